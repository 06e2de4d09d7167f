"""A large object taken by several replicas: the bytes are those of one replica, killed or not."""

import threading
from typing import Any

import pytest

from modelyard.jobs import sharing
from modelyard.testing.fake_worker import Answered
from modelyard.transport.frames import Frame

LINES = [b"%d,%s\n" % (number, b"x" * (number * 7 % 50)) for number in range(2000)]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "RANGE_BYTES", 10_000)


def shared(bench: Any) -> None:
    bench.spec["Environment"] = {"MODELYARD_TRANSFORM_SHARE_OBJECTS": "true"}
    bench.spec["DataProcessing"] = {"JoinSource": "Input", "OutputFilter": "$[0,-2]"}
    bench.spec["TransformOutput"]["AssembleWith"] = "Line"


def echo(frame: Frame) -> Answered:
    return 200, frame.body


def expected(lines: list[bytes]) -> bytes:
    return b"".join(line.split(b",")[0] + b"," + line.split(b",")[0] + b"\n" for line in lines)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_four_replicas_write_what_one_would(bench: Any, end: bytes) -> None:
    data = b"".join(LINES).removesuffix(b"\n") + end
    bench.objects.put("in", "d/a", data)
    bench.objects.put("in", "d/small", LINES[0])
    shared(bench)
    gathered = threading.Barrier(4, timeout=60)
    seen: set[int] = set()

    def together(frame: Frame) -> Answered:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            gathered.wait()
        return echo(frame)

    bench.run(*[[bench.worker(together)] for _ in range(4)])
    assert bench.last[:2] == ("succeeded", "")
    assert bench.objects.get("out", "r/a.out") == expected(LINES)
    assert bench.objects.get("out", "r/small.out") == expected(LINES[:1])
    assert bench.last[2]["records"] == len(LINES) + 1
    assert not list((bench.folder / "journal" / "parts").iterdir())


def test_lines_longer_than_a_range_are_never_cut(bench: Any) -> None:
    lines = [b"1," + b"x" * 25_000 + b"\n", b"2,y\n", b"3," + b"z" * 9_994 + b"\n", b"4,\n"]
    bench.objects.put("in", "d/a", b"".join(lines))
    shared(bench)
    bench.run([bench.worker(echo)], [bench.worker(echo)])
    assert bench.objects.get("out", "r/a.out") == expected(lines)


def test_a_stopped_job_answers_only_the_other_ranges_when_it_goes_on(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"".join(LINES))
    shared(bench)

    def model(frame: Frame) -> Answered:
        if sum(len(worker.seen) for worker in bench.workers) >= 4:
            bench.stop.set()
        return echo(frame)

    bench.run([bench.worker(model)], [bench.worker(model)])
    assert bench.objects.keys("out") == []
    before = sum(len(worker.seen) for worker in bench.workers)
    bench.stop.clear()
    later = [bench.worker(echo), bench.worker(echo)]
    bench.run(*[[worker] for worker in later])
    assert bench.objects.get("out", "r/a.out") == expected(LINES)
    ranges = sharing.ranges_of(len(b"".join(LINES)))
    assert sum(len(worker.seen) for worker in later) <= ranges - (before - 2)
    assert bench.objects.commits == ["r/a.out"]


def test_a_range_that_fails_fails_the_object_and_spares_the_others(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"".join([*LINES, b"bad\n", *LINES]))
    bench.objects.put("in", "d/b", b"".join(LINES))
    shared(bench)
    del bench.spec["DataProcessing"]

    def model(frame: Frame) -> Answered:
        return (400, b"no") if b"bad" in frame.body else echo(frame)

    bench.run([bench.worker(model)], [bench.worker(model)])
    assert "1 of 2 objects" in bench.last[1]
    assert 's3://in/d/a: the model answered 400 with message "no"' in bench.last[1]
    assert bench.objects.keys("out") == ["r/b.out"]
    assert bench.objects.get("out", "r/b.out") == b"".join(LINES)
