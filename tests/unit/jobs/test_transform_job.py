"""A transform job against a worker that speaks frames, in threads of this process."""

import signal
import threading
from typing import Any

import pytest

from modelyard.domain.chain import accept_at
from modelyard.jobs.journal import Journal
from modelyard.jobs.main import EXIT_STOPPED
from modelyard.testing.fake_worker import Answered
from modelyard.transport.frames import GOAWAY, OWN_STATUS, Frame, decode_request_meta


def upper(frame: Frame) -> Answered:
    return 200, frame.body.upper()


def test_each_object_gets_an_output_of_the_same_order(bench: Any) -> None:
    for number in range(10):
        bench.objects.put("in", f"d/sub{number % 2}/{number}.csv", b"a%d\nb\nc" % number)
    bench.objects.put("in", "d/empty.csv", b"")
    bench.objects.put("in", "d/folder/", b"")
    bench.objects.put("in", "elsewhere", b"x")
    bench.spec["BatchStrategy"] = "SingleRecord"
    bench.spec["MaxConcurrentTransforms"] = 4
    assert bench.run([bench.worker()], [bench.worker()]) == 0
    state, reason, progress = bench.last
    assert (state, reason) == ("succeeded", "")
    assert len(bench.objects.commits) == 10
    assert bench.objects.get("out", "r/sub1/7.csv.out") == b"A7\nB\nC"
    assert progress == {
        "objects_total": 10,
        "objects_done": 10,
        "objects_failed": 0,
        "records": 30,
        "bytes": 60,
    }


def test_a_worker_is_told_content_type_accept_and_time(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    worker = bench.worker()
    bench.run([worker])
    (frame,) = worker.seen
    meta = decode_request_meta(frame.meta)
    assert (meta.content_type, meta.accept, frame.number) == ("text/csv", "text/csv", 600_000)


def test_assembling_with_line_ends_each_answer(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3")
    bench.spec["BatchStrategy"] = "SingleRecord"
    bench.spec["TransformOutput"]["AssembleWith"] = "Line"
    bench.run([bench.worker(lambda frame: (200, frame.body.strip()))])
    assert bench.objects.get("out", "r/a.out") == b"1\n2\n3\n"


def test_a_chain_of_containers_is_passed_in_order(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"x\ny\n")
    first, second = bench.worker(), bench.worker(lambda frame: (200, frame.body + b"!"))
    bench.run([first, second])
    assert bench.objects.get("out", "r/a.out") == b"X\nY\n!"
    assert decode_request_meta(second.seen[0].meta).content_type == "text/plain"


def test_containers_in_series_are_asked_as_on_an_endpoint(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"x\n")
    bench.payload["takes_arrays"] = ["<f8", "<f4", ""]
    workers = [bench.worker() for _ in range(3)]
    bench.run(workers)
    accepts = [decode_request_meta(worker.seen[0].meta).accept for worker in workers]
    flags = (True, True, False)
    assert accepts == [
        accept_at(n, flags, accept="text/csv", content_type="text/csv") for n in range(3)
    ]


def test_a_prefix_without_objects_fails_and_is_named(bench: Any) -> None:
    assert bench.run([bench.worker()]) == 0
    assert bench.last[0] == "failed"
    assert "s3://in/d/" in bench.last[1]


def test_a_failed_object_leaves_the_others_and_no_fragment(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"good\n")
    bench.objects.put("in", "d/b", b"good\nbad\n")
    bench.objects.put("in", "d/c", b"good\n")
    bench.spec["BatchStrategy"] = "SingleRecord"

    def model(frame: Frame) -> Answered:
        return (400, b"bad record") if b"bad" in frame.body else upper(frame)

    bench.run([bench.worker(model)])
    state, reason, progress = bench.last
    assert state == "failed"
    assert reason == (
        "1 of 3 objects could not be transformed: "
        's3://in/d/b: the model answered 400 with message "bad record"'
    )
    assert bench.objects.keys("out") == ["r/a.out", "r/c.out"]
    assert bench.objects.open_writers == 0
    assert progress["objects_failed"] == 1


def test_a_record_over_the_payload_limit_fails_its_object(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"x" * (1 << 20) + b"y\n")
    bench.objects.put("in", "d/b", b"good\n")
    bench.spec["MaxPayloadInMB"] = 1
    bench.run([bench.worker()])
    assert "larger than the limit of 1048576 bytes" in bench.last[1]
    assert bench.objects.keys("out") == ["r/b.out"]


def test_server_errors_are_tried_again_as_often_as_was_asked(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    answers = iter([(500, b"once"), (503, b"twice"), (200, b"third")])
    bench.run([bench.worker(lambda frame: next(answers))])
    assert bench.last[0] == "succeeded"
    assert bench.objects.get("out", "r/a.out") == b"third"


def test_an_object_is_given_up_after_the_retries(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    bench.spec["ModelClientConfig"] = {"InvocationsMaxRetries": 1}
    worker = bench.worker(lambda frame: (500, b"never"))
    bench.run([worker])
    assert len(worker.seen) == 2
    assert 'answered 500 with message "never" (2 attempts)' in bench.last[1]


def test_a_busy_worker_costs_no_retry(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    bench.spec["ModelClientConfig"] = {"InvocationsMaxRetries": 0}
    answers = iter([(429, b"full"), (GOAWAY, b""), (200, b"ok")])
    bench.run([bench.worker(lambda frame: next(answers))])
    assert bench.objects.get("out", "r/a.out") == b"ok"


def test_a_program_that_calls_itself_busy_is_not_asked_for_ever(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    bench.spec["ModelClientConfig"] = {"InvocationsMaxRetries": 1}
    worker = bench.worker(lambda _: (429, b"busy") if len(worker.seen) < 9 else (200, b"late"))
    worker.flags = OWN_STATUS
    bench.run([worker])
    assert len(worker.seen) == 2
    assert 'answered 429 with message "busy" (2 attempts)' in bench.last[1]


def test_a_model_that_does_not_answer_fails_its_object(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    bench.spec["ModelClientConfig"] = {
        "InvocationsMaxRetries": 0,
        "InvocationsTimeoutInSeconds": 1,
    }
    released = threading.Event()

    def model(frame: Frame) -> Answered:
        released.wait(10)
        return upper(frame)

    worker = bench.worker(model)
    bench.run([worker])
    released.set()
    assert "did not answer within 1 seconds" in bench.last[1]


def test_a_poison_record_kills_workers_but_no_neighbour(bench: Any) -> None:
    for name in ("a", "b", "c"):
        bench.objects.put("in", f"d/{name}", b"good\nfine\nnice\n")
    bench.objects.put("in", "d/b", b"good\npoison\nnice\n")
    bench.spec |= {"BatchStrategy": "SingleRecord", "MaxConcurrentTransforms": 3}

    def model(frame: Frame) -> Answered:
        if b"poison" in frame.body:
            successor = bench.worker(model)
            bench.move([[successor.address]])
            return None
        return upper(frame)

    bench.run([bench.worker(model)])
    assert bench.objects.keys("out") == ["r/a.out", "r/c.out"]
    assert "s3://in/d/b: the model's worker died" in bench.last[1]
    assert len(bench.workers) == 5
    suspects = [frame.body for worker in bench.workers for frame in worker.seen if frame.flags]
    assert suspects.count(b"poison\n") == 3


def test_a_large_object_passes_in_payloads_and_comes_out_whole(bench: Any) -> None:
    data = b"".join(b"%d,%d\n" % (number, number * 7) for number in range(400_000))
    bench.objects.put("in", "d/a", data)
    bench.spec["MaxPayloadInMB"] = 1
    worker = bench.worker(lambda frame: (200, frame.body))
    bench.run([worker])
    assert bench.objects.get("out", "r/a.out") == data
    assert len(worker.seen) > 4
    assert all(frame.body.endswith(b"\n") for frame in worker.seen)


def test_a_stopped_job_stores_no_unfinished_object_and_resumes(bench: Any) -> None:
    for name in ("a", "b", "c"):
        bench.objects.put("in", f"d/{name}", b"1\n")

    def model(frame: Frame) -> Answered:
        if len(bench.workers[0].seen) == 2:
            bench.stop.set()
        return upper(frame)

    assert bench.run([bench.worker(model)]) == EXIT_STOPPED == 128 + signal.SIGTERM
    assert bench.objects.keys("out") in (["r/a.out"], ["r/a.out", "r/b.out"])
    assert bench.last[0] == "running"
    assert bench.objects.open_writers == 0
    bench.stop.clear()
    assert bench.run([bench.worker()]) == 0
    assert bench.last[0] == "succeeded"
    assert bench.objects.commits == ["r/a.out", "r/b.out", "r/c.out"]


@pytest.mark.parametrize("place", ["intend", "commit", "finish"])
def test_each_output_is_committed_once_wherever_the_job_is_killed(
    bench: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        bench.objects.put("in", f"d/{name}", name.encode())

    class Killed(BaseException):
        pass

    target = bench.objects.writer_type if place == "commit" else Journal
    original = getattr(target, place)
    visits = iter([False, True])

    def die_before_the_second(*arguments: Any) -> None:
        if next(visits, False):
            raise Killed
        original(*arguments)

    monkeypatch.setattr(target, place, die_before_the_second)
    with pytest.raises(Killed):
        bench.run([bench.worker()])
    monkeypatch.undo()
    assert bench.run([bench.worker()]) == 0
    assert bench.last[0] == "succeeded"
    assert bench.objects.commits == ["r/a.out", "r/b.out", "r/c.out"]
    assert bench.last[2]["objects_done"] == 3


def test_two_inputs_never_share_an_output(bench: Any) -> None:
    bench.spec["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://in/d"
    bench.objects.put("in", "d/d-x", b"under\n")
    bench.objects.put("in", "d-x", b"beside\n")
    bench.run([bench.worker()])
    assert bench.objects.get("out", "r/d-x.out") == b"UNDER\n"
    assert "s3://in/d-x: its output would take the place of that of d/d-x" in bench.last[1]
