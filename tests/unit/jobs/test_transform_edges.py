"""The edge cases of AWS's batch transform, each at the job's process; what needs a platform is in ``tests/system``."""

import gzip
import json
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelyard.testing.fake_worker import LATER, Answered
from modelyard.transport.frames import Frame, decode_request_meta


def echo(frame: Frame) -> Answered:
    return 200, frame.body


def with_manifest(bench: Any, *keys: str, prefix: str = "s3://in/d/") -> None:
    bench.objects.put("lists", "m.json", json.dumps([{"prefix": prefix}, *keys]).encode())
    bench.spec["TransformInput"]["DataSource"]["S3DataSource"] = {
        "S3DataType": "ManifestFile",
        "S3Uri": "s3://lists/m.json",
    }


def joining(bench: Any, **processing: str) -> None:
    bench.spec["DataProcessing"] = {"JoinSource": "Input", **processing}
    bench.spec["TransformOutput"]["AssembleWith"] = "Line"


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_a_last_line_without_line_feed_is_a_record_like_the_others(
    bench: Any, strategy: str
) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3")
    bench.spec |= {"BatchStrategy": strategy}
    bench.spec["TransformOutput"]["AssembleWith"] = "Line"
    bench.run([bench.worker(echo)])
    assert bench.objects.get("out", "r/a.out") == b"1\n2\n3\n"
    assert bench.last[2]["records"] == 3


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_carriage_returns_reach_the_container(bench: Any, strategy: str) -> None:
    bench.objects.put("in", "d/a", b"1\r\n2\r\n")
    bench.spec |= {"BatchStrategy": strategy}
    worker = bench.worker(echo)
    bench.run([worker])
    assert b"".join(frame.body for frame in worker.seen) == b"1\r\n2\r\n"


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_a_character_across_two_reads_is_never_cut(bench: Any, strategy: str) -> None:
    line = (
        "ü€𝄞" * 40_000 + "\n"
    ).encode()  # 9 bytes each: no read of a power of two ends between them
    bench.objects.put("in", "d/a", b"x" + line * 8)
    bench.spec |= {"BatchStrategy": strategy, "MaxPayloadInMB": 1}
    worker = bench.worker(echo)
    bench.run([worker])
    for frame in worker.seen:
        frame.body.decode()
    assert bench.objects.get("out", "r/a.out") == b"x" + line * 8


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_split_after_it_was_decompressed(bench: Any, members: int) -> None:
    data = b"".join(b"%d\n" % number for number in range(500_000))
    third = len(data) // members
    parts = [data[at : at + third] for at in range(0, len(data), third)]
    bench.objects.put("in", "d/a.csv.gz", b"".join(map(gzip.compress, parts)) + bytes(100))
    bench.spec["TransformInput"]["CompressionType"] = "Gzip"
    bench.spec["MaxPayloadInMB"] = 1
    worker = bench.worker(echo)
    bench.run([worker])
    assert bench.objects.get("out", "r/a.csv.gz.out") == data
    assert len(worker.seen) == 4
    assert bench.last[2]["records"] == 500_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"plain text\n", "is not gzip"),
        (gzip.compress(b"1\n" * 1000, mtime=0)[:-9], "ends within its gzip data"),
        (gzip.compress(b"1\n", mtime=0)[:-8] + b"12345678", "is not gzip"),
    ],
)
def test_what_is_not_gzip_fails_its_object_alone(bench: Any, data: bytes, why: str) -> None:
    bench.objects.put("in", "d/a", data)
    bench.objects.put("in", "d/b", gzip.compress(b"1\n"))
    bench.spec["TransformInput"]["CompressionType"] = "Gzip"
    bench.run([bench.worker(echo)])
    assert why in bench.last[1]
    assert bench.objects.keys("out") == ["r/b.out"]


def test_gzip_of_nothing_makes_no_request_and_no_output(bench: Any) -> None:
    bench.objects.put("in", "d/a", gzip.compress(b""))
    bench.spec["TransformInput"]["CompressionType"] = "Gzip"
    worker = bench.worker(echo)
    bench.run([worker])
    assert (bench.last[0], worker.seen, bench.objects.keys("out")) == ("succeeded", [], [])


def test_an_object_that_is_not_split_fails_above_the_limit(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"x" * ((1 << 20) + 1))
    bench.objects.put("in", "d/b", b"x" * (1 << 20))
    bench.spec["TransformInput"]["SplitType"] = "None"
    bench.spec["MaxPayloadInMB"] = 1
    bench.run([bench.worker(echo)])
    assert "s3://in/d/a: the object is larger than the limit of 1048576 bytes" in bench.last[1]
    assert bench.objects.keys("out") == ["r/b.out"]


def test_a_limit_of_zero_sends_an_object_of_any_size_as_one_request(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"x" * (101 << 20))
    bench.spec["TransformInput"]["SplitType"] = "None"
    bench.spec["MaxPayloadInMB"] = 0
    worker = bench.worker(lambda frame: (200, str(len(frame.body)).encode()))
    bench.run([worker])
    assert bench.objects.get("out", "r/a.out") == str(101 << 20).encode()


@pytest.mark.parametrize("split", ["None", ""])
def test_a_strategy_has_no_effect_without_a_split(bench: Any, split: str) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3\n")
    bench.spec["TransformInput"] |= {"SplitType": split}
    if not split:
        del bench.spec["TransformInput"]["SplitType"]
    bench.spec["BatchStrategy"] = "SingleRecord"
    worker = bench.worker(echo)
    bench.run([worker])
    assert [frame.body for frame in worker.seen] == [b"1\n2\n3\n"]


def test_requests_never_mix_objects(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n2")
    bench.objects.put("in", "d/b", b"3\n")
    bench.spec["BatchStrategy"] = "MultiRecord"
    worker = bench.worker(echo)
    bench.run([worker])
    assert [frame.body for frame in worker.seen] == [b"1\n2", b"3\n"]


def test_answers_are_written_in_the_order_of_records_though_the_first_comes_last(
    bench: Any,
) -> None:
    bench.objects.put("in", "d/a", b"first\nsecond\n")
    bench.spec |= {"BatchStrategy": "SingleRecord", "MaxConcurrentTransforms": 2}
    bench.run([bench.worker(lambda frame: (LATER if b"first" in frame.body else 200, frame.body))])
    assert bench.objects.get("out", "r/a.out") == b"first\nsecond\n"


def test_an_output_that_exists_is_replaced(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"new\n")
    bench.objects.put("out", "r/a.out", b"of an earlier job")
    bench.run([bench.worker(echo)])
    assert bench.objects.get("out", "r/a.out") == b"new\n"


def test_a_model_over_its_time_out_is_asked_again_and_then_its_object_fails(bench: Any) -> None:
    for name in ("a", "b"):
        bench.objects.put("in", f"d/{name}", name.encode())
    bench.spec["ModelClientConfig"] = {
        "InvocationsTimeoutInSeconds": 1,
        "InvocationsMaxRetries": 1,
    }
    worker = bench.worker(lambda frame: (LATER if frame.body == b"a" else 200, frame.body))
    bench.run([worker])
    assert "s3://in/d/a: the model did not answer within 1 seconds (2 attempts)" in bench.last[1]
    assert [frame.body for frame in worker.seen] == [b"a", b"a", b"b"]
    assert bench.objects.keys("out") == ["r/b.out"]


def test_a_container_that_dies_within_an_object_is_asked_again_when_it_is_back(
    bench: Any,
) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3\n")
    bench.spec["BatchStrategy"] = "SingleRecord"
    deaths: list[bytes] = []

    def model(frame: Frame) -> Answered:
        if frame.body == b"2\n" and len(deaths) < 3:
            deaths.append(frame.body)
            bench.move([[bench.worker(model).address]])
            return None
        return echo(frame)

    bench.run([bench.worker(model)])
    assert bench.last[0] == "succeeded", bench.last
    assert len(deaths) == 3, "as many retries as there are by default"
    assert bench.objects.get("out", "r/a.out") == b"1\n2\n3\n"


@pytest.mark.parametrize("answer", [b"0.1\n", b"0.1\n0.2\n0.3\n0.4\n"])
def test_a_join_with_another_number_of_answers_fails_its_object(bench: Any, answer: bytes) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3\n")
    bench.objects.put("in", "d/b", b"1\n")
    joining(bench)

    def model(frame: Frame) -> Answered:
        return (200, answer) if frame.body.count(b"\n") > 1 else (200, b"0.5\n")

    bench.run([bench.worker(model)])
    assert f"the model answered {len(answer) // 4} rows for 3 records" in bench.last[1]
    assert bench.objects.keys("out") == ["r/b.out"]
    assert bench.objects.get("out", "r/b.out") == b"1,0.5\n"


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_a_join_keeps_ids_beside_their_answers(bench: Any, strategy: str) -> None:
    bench.objects.put("in", "d/a", b'"x,1",1.0,2.0\nb,3.0,4.0')
    bench.spec |= {"BatchStrategy": strategy, "MaxConcurrentTransforms": 4}
    joining(bench, InputFilter="$[1:]", OutputFilter="$[0,-1]")
    worker = bench.worker(lambda frame: (200, frame.body.replace(b",", b"+")))
    bench.run([worker])
    assert bench.objects.get("out", "r/a.out") == b'"x,1",1.0+2.0\nb,3.0+4.0\n'


def test_a_column_that_a_row_lacks_fails_its_object(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1,2\n3\n")
    bench.spec["DataProcessing"] = {"InputFilter": "$[1]"}
    bench.run([bench.worker(echo)])
    assert "$[1] chooses a column that is not there: the row has 1" in bench.last[1]


def test_one_object_keeps_one_of_four_instances_busy(bench: Any) -> None:
    data = b"".join(b"%d\n" % number for number in range(200_000))
    bench.objects.put("in", "d/a", data)
    bench.spec["MaxPayloadInMB"] = 1
    workers = [bench.worker(echo) for _ in range(4)]
    bench.run(*[[worker] for worker in workers])
    assert sorted(bool(worker.seen) for worker in workers) == [False, False, False, True]
    assert bench.objects.get("out", "r/a.out") == data


def test_many_small_objects_are_taken_in_order_of_their_keys_and_never_listed_whole(
    bench: Any,
) -> None:
    bench.objects.page_size = 50
    for number in range(400):
        bench.objects.put("in", f"d/{number:04}", b"%d\n" % number)
    worker = bench.worker(echo)
    bench.run([worker])
    assert [int(frame.body) for frame in worker.seen] == list(range(400))
    assert bench.last[2]["objects_done"] == 400


def test_memory_is_flat_in_the_size_of_an_object(bench: Any, tmp_path: Path) -> None:
    peaks = []
    for number, mebibytes in enumerate((8, 40)):
        bench.objects.put("in", f"d{number}/a", b"1234567\n" * (mebibytes << 17))
        bench.spec["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://in/d{number}/"
        bench.spec["MaxPayloadInMB"] = 1
        worker = bench.worker(lambda frame: (200, b"1\n"))
        worker.seen = type("Forgetful", (list,), {"append": lambda *_: None})()
        tracemalloc.start()
        bench.run([worker])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + (1 << 20)


def test_recordio_records_go_singly_without_their_framing(bench: Any) -> None:
    record = b"\x0a\x23\xd7\xce\x05\0\0\0hello\0\0\0"
    bench.objects.put("in", "d/a", record * 3)
    bench.spec["TransformInput"] |= {
        "SplitType": "RecordIO",
        "ContentType": "application/x-recordio",
    }
    bench.spec["BatchStrategy"] = "SingleRecord"
    worker = bench.worker(echo)
    bench.run([worker])
    assert [frame.body for frame in worker.seen] == [b"hello"] * 3


def test_what_is_not_recordio_fails_its_object(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1,2,3\n4,5,6\n")
    bench.spec["TransformInput"]["SplitType"] = "RecordIO"
    bench.run([bench.worker(echo)])
    assert "the object is not RecordIO: no magic number at byte 0" in bench.last[1]


def test_a_manifest_names_the_objects_below_its_prefix(bench: Any) -> None:
    for name in ("a.csv", "sub/b.csv", "c.csv"):
        bench.objects.put("in", f"d/{name}", name.encode())
    bench.objects.put("in", "d/empty", b"")
    with_manifest(bench, "sub/b.csv", "a.csv", "empty", "a.csv")
    worker = bench.worker(echo)
    bench.run([worker])
    assert bench.last[0] == "succeeded"
    assert bench.objects.commits == ["r/sub/b.csv.out", "r/a.csv.out"]


def test_an_object_that_a_manifest_names_in_vain_fails_alone(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    with_manifest(bench, "gone", "a")
    bench.run([bench.worker(echo)])
    assert "1 of 2 objects" in bench.last[1]
    assert "s3://in/d/gone: the object does not exist" in bench.last[1]
    assert bench.objects.keys("out") == ["r/a.out"]


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"1,2", "it is not JSON"), (b"[]", "not a JSON array"), (None, "does not exist")],
)
def test_a_manifest_that_is_none_fails_the_job(bench: Any, data: bytes | None, why: str) -> None:
    with_manifest(bench, "a")
    if data is None:
        bench.spec["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://lists/other"
    else:
        bench.objects.put("lists", "m.json", data)
    bench.run([bench.worker(echo)])
    assert bench.last[0] == "failed"
    assert why in bench.last[1]


def test_a_manifest_without_objects_fails_the_job_and_is_named(bench: Any) -> None:
    with_manifest(bench)
    bench.run([bench.worker(echo)])
    assert "were found in the manifest s3://lists/m.json" in bench.last[1]


def test_what_the_container_says_of_itself_goes_behind_the_request(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n3\n")
    bench.payload["execution"] = {"BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 1}
    worker = bench.worker(echo)
    bench.run([worker])
    assert len(worker.seen) == 3
    assert bench.errors[0] == (
        "MaxConcurrentTransforms=1, MaxPayloadInMB=1, BatchStrategy=SingleRecord"
    )


def test_request_errors_are_told_with_their_records(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"good\n" * 3 + b"bad\n")
    bench.spec |= {
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {"InvocationsMaxRetries": 1},
    }
    bench.run([bench.worker(lambda frame: (500, b"no") if b"bad" in frame.body else echo(frame))])
    told = [line for line in bench.errors if line.startswith("in/d/a: records")]
    assert (
        told
        == ['in/d/a: records 3 to 3, from byte 15: the model answered 500 with message "no"'] * 2
    )


def test_capture_names_what_was_read_and_written(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    bench.objects.put("in", "d/sub/b", b"bad\n")
    bench.objects.put("in", "d/sub/c", b"3\n")
    bench.spec |= {
        "TransformJobName": "night",
        "DataCaptureConfig": {"DestinationS3Uri": "s3://out/cap/"},
    }
    bench.run([bench.worker(lambda frame: (400, b"") if b"bad" in frame.body else echo(frame))])
    (read,) = [key for key in bench.objects.keys("out") if key.startswith("cap/input/")]
    (written,) = [key for key in bench.objects.keys("out") if key.startswith("cap/output/")]
    assert read.count("/") == 6
    assert read.endswith("/night.json")
    assert json.loads(bench.objects.get("out", read)) == [{"prefix": "s3://in/d/"}, "a", "sub/c"]
    assert json.loads(bench.objects.get("out", written)) == [
        {"prefix": "s3://out/r"}, "/a.out", "/sub/c.out"
    ]  # fmt: skip


def test_inference_ids_are_the_same_when_a_job_goes_on(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n2\n")
    bench.spec |= {
        "TransformJobName": "night",
        "DataCaptureConfig": {"DestinationS3Uri": "s3://out/cap", "GenerateInferenceId": True},
    }
    bench.run([bench.worker(echo)])
    first = bench.objects.get("out", "r/a.out")
    rows = [row.split(",") for row in first.decode().splitlines()]
    assert [row[0] for row in rows] == ["1", "2"]
    assert len({row[1] for row in rows}) == 2
    assert all(row[2].endswith("Z") for row in rows)
    with closing(sqlite3.connect(bench.folder / "journal" / "journal.db")) as journal:
        journal.execute("DELETE FROM objects")
        journal.commit()
    bench.run([bench.worker(echo)])
    assert bench.objects.get("out", "r/a.out") == first


def test_dead_letters_hold_the_records_that_the_model_does_not_answer(bench: Any) -> None:
    lines = [b"row-%d\n" % number for number in range(1000)]
    for poison in (0, 500, 501, 999):
        lines[poison] = b"poison-%d\n" % poison
    bench.objects.put("in", "d/a", b"".join(lines))
    bench.spec["Environment"] = {"MODELYARD_TRANSFORM_DEAD_LETTERS": "true"}

    def model(frame: Frame) -> Answered:
        return (400, b"cannot") if b"poison" in frame.body else echo(frame)

    worker = bench.worker(model)
    bench.run([worker])
    assert bench.last[0] == "succeeded"
    good = b"".join(line for line in lines if b"poison" not in line)
    assert bench.objects.get("out", "r/a.out") == good
    letters = [
        json.loads(line) for line in bench.objects.get("out", "r/a.dead-letters.jsonl").splitlines()
    ]
    assert [letter["record"] for letter in letters] == [0, 500, 501, 999]
    for letter in letters:
        assert letter["data"].encode() == lines[letter["record"]]
        assert letter["offset"] == len(b"".join(lines[: letter["record"]]))
        assert letter["error"] == 'the model answered 400 with message "cannot"'
    assert len(worker.seen) < 100, "found by halves, not one by one"


def test_a_record_that_kills_workers_is_put_aside_as_well(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"good\nfine\npoison\nnice\n")
    bench.spec["Environment"] = {"MODELYARD_TRANSFORM_DEAD_LETTERS": "1"}
    bench.spec["ModelClientConfig"] = {"InvocationsMaxRetries": 1}

    def model(frame: Frame) -> Answered:
        if b"poison" in frame.body:
            bench.move([[bench.worker(model).address]])
            return None
        return echo(frame)

    bench.run([bench.worker(model)])
    assert bench.last[0] == "succeeded"
    assert bench.objects.get("out", "r/a.out") == b"good\nfine\nnice\n"


def test_the_completeness_manifest_can_be_recomputed(bench: Any) -> None:
    for name in ("a", "b", "sub/c"):
        bench.objects.put("in", f"d/{name}", f"{name}\n{name}\n".encode())
    bench.objects.put("in", "d/bad", b"bad\n")
    bench.spec |= {
        "TransformJobName": "night",
        "Environment": {"MODELYARD_TRANSFORM_MANIFEST": "true"},
    }
    bench.run([bench.worker(lambda frame: (400, b"no") if b"bad" in frame.body else echo(frame))])
    *lines, sums = map(json.loads, bench.objects.get("out", "r/night.manifest.jsonl").splitlines())
    found = {line["input"]: line for line in lines}
    assert list(found) == [f"s3://in/d/{name}" for name in ("a", "b", "bad", "sub/c")]
    assert "answered 400" in found["s3://in/d/bad"]["error"]
    for name in ("a", "b", "sub/c"):
        line = found[f"s3://in/d/{name}"]
        stored = bench.objects.head("out", f"r/{name}.out")
        assert line["output"] == f"s3://out/r/{name}.out"
        assert (line["output_md5"], line["bytes"]) == (stored.etag.strip('"'), stored.size)
        assert line["input_etag"] == bench.objects.head("in", f"d/{name}").etag.strip('"')
        assert line["records"] == 2
    assert sums == {
        "inputs": 4,
        "transformed": 3,
        "failed": 1,
        "records": 6,
        "bytes": sums["bytes"],
    }


def test_without_the_switches_nothing_is_left_beside_the_outputs(bench: Any) -> None:
    bench.objects.put("in", "d/a", b"1\n")
    worker = bench.worker(echo)
    bench.run([worker])
    assert bench.objects.keys("out") == ["r/a.out"]
    assert decode_request_meta(worker.seen[0].meta).content_type == "text/csv"
