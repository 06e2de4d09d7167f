import json
from typing import Any

import pytest

from modelyard.domain.record_join import Misaligned, Processing, Stamp, processing_of
from modelyard.domain.record_paths import BadPath, NotInRecord
from modelyard.domain.transform_packing import Batch

STAMP = Stamp("seed", "2026-01-02T03:04:05Z")


def processing(kind: str = "text/csv", split: str = "Line", **given: Any) -> Processing:
    spec = {
        "TransformInput": {"ContentType": kind, "SplitType": split},
        "TransformOutput": {"Accept": kind, "AssembleWith": split},
        "DataProcessing": given,
    }
    if given.pop("ids", False):
        spec["DataCaptureConfig"] = {"GenerateInferenceId": True}
    made = processing_of(spec)
    assert made is not None
    return made


def stored(
    made: Processing, records: list[bytes], answer: bytes, stamp: Stamp | None = None
) -> bytes:
    prepare = made.prepare or bytes
    body = b"".join(map(prepare, records))
    originals = tuple(records) if made.prepare else ()
    batch = Batch(body, len(records), originals=originals)
    return made.stored(batch, answer, key="k", stamp=stamp)


@pytest.mark.parametrize(
    ("given", "sent", "line"),
    [
        ({"InputFilter": "$[1:]"}, b"1.0,2.0\n", b"0.9\n"),
        ({"InputFilter": "$[1:]", "JoinSource": "Input"}, b"1.0,2.0\n", b"7,1.0,2.0,0.9\n"),
        (
            {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
            b"1.0,2.0\n",
            b"7,0.9\n",
        ),
        ({"JoinSource": "Input"}, b"7,1.0,2.0\n", b"7,1.0,2.0,0.9\n"),
    ],
)
def test_the_examples_of_csv(given: dict[str, str], sent: bytes, line: bytes) -> None:
    made = processing(**given)
    record = b"7,1.0,2.0\n"
    assert (made.prepare or bytes)(record) == sent
    answer = stored(made, [record], b"0.9\n") if made.changes_answers else b"0.9\n"
    assert answer == line


def test_no_filter_and_no_join_is_no_processing() -> None:
    spec = {"TransformInput": {}, "TransformOutput": {}, "DataProcessing": {"InputFilter": "$"}}
    assert processing_of(spec) is None


def test_several_records_of_a_request_are_joined_in_order() -> None:
    made = processing(JoinSource="Input")
    records = [b'1,"a,b"\r\n', b"2,c\n", b"3,d"]
    assert stored(made, records, b"x\ny\nz\n") == b'1,"a,b",x\n2,c,y\n3,d,z\n'


@pytest.mark.parametrize("answer", [b"x\n", b"x\ny\nz\n", b""])
def test_an_answer_for_another_number_of_records_is_never_joined(answer: bytes) -> None:
    with pytest.raises(Misaligned, match="rows for 2 records"):
        stored(processing(JoinSource="Input"), [b"1\n", b"2\n"], answer)


def test_carriage_returns_stay_with_what_is_sent_and_leave_what_is_joined() -> None:
    made = processing(InputFilter="$[1:]", JoinSource="Input")
    assert made.prepare is not None
    assert made.prepare(b"7,1,2\r\n") == b"1,2\r\n"
    assert stored(made, [b"7,1,2\r\n"], b"0.9\r\n") == b"7,1,2,0.9\n"


def test_a_json_object_gets_the_answer_as_a_member() -> None:
    made = processing("application/jsonlines", InputFilter="$.features", JoinSource="Input")
    record = b'{"id": 1.10, "features": [1, 2], "SageMakerOutput": "old"}\n'
    assert made.prepare is not None
    assert made.prepare(record) == b"[1, 2]\n"
    line = stored(made, [record], b'{"score": 0.50}\n')
    assert line == b'{"id":1.10,"features":[1, 2],"SageMakerOutput":{"score": 0.50}}\n'


def test_json_that_is_no_object_stands_beside_its_answer() -> None:
    made = processing("application/jsonlines", JoinSource="Input")
    assert stored(made, [b"[1,2]\n", b"3\n"], b"0.1\n0.2\n") == (
        b'{"SageMakerInput":[1,2],"SageMakerOutput":0.1}\n'
        b'{"SageMakerInput":3,"SageMakerOutput":0.2}\n'
    )


def test_an_output_filter_chooses_members_of_the_joined_record() -> None:
    made = processing(
        "application/jsonlines", JoinSource="Input", OutputFilter="$['id','SageMakerOutput']"
    )
    line = stored(made, [b'{"id":5,"x":[1]}\n'], b"0.5\n")
    assert line == b'{"id":5,"SageMakerOutput":0.5}\n'


def test_a_whole_json_object_is_one_record_over_many_lines() -> None:
    made = processing("application/json", "None", InputFilter="$.x", JoinSource="Input")
    record = b'{\n "x": [1,\n 2],\n "id": 3\n}\n'
    assert made.prepare is not None
    assert made.prepare(record) == b"[1,\n 2]"
    joined = json.loads(stored(made, [record], b'{\n "y": 4 }\n'))
    assert joined == {"x": [1, 2], "id": 3, "SageMakerOutput": {"y": 4}}


def test_a_csv_object_that_is_not_split_is_filtered_and_joined_row_by_row() -> None:
    made = processing(split="None", InputFilter="$[1:]", JoinSource="Input")
    assert made.prepare is not None
    assert made.prepare(b"7,1\n8,2\n") == b"1\n2\n"
    assert stored(made, [b"7,1\n8,2\n"], b"a\nb\n") == b"7,1,a\n8,2,b\n"


def test_ids_and_the_time_are_two_more_columns_or_members() -> None:
    made = processing(ids=True)
    rows = stored(made, [b"1\n", b"2\n"], b"0.1\n0.2\n", STAMP).decode().splitlines()
    first, second = (row.split(",") for row in rows)
    assert (first[0], second[0], first[2]) == ("0.1", "0.2", "2026-01-02T03:04:05Z")
    assert first[1] == STAMP.id_of("k", 0) != second[1] == STAMP.id_of("k", 1)
    assert len(first[1]) == 36
    lines = processing("application/jsonlines", ids=True)
    one, two = stored(lines, [b"1\n", b"2\n"], b'{"p":1}\n0.5\n', STAMP).splitlines()
    time = {"SageMakerInferenceTime": "2026-01-02T03:04:05Z"}
    assert json.loads(one) == {"p": 1, "SageMakerInferenceId": STAMP.id_of("k", 0), **time}
    assert json.loads(two) == {
        "SageMakerOutput": 0.5, "SageMakerInferenceId": STAMP.id_of("k", 1), **time
    }  # fmt: skip


def test_an_answer_that_is_not_json_fails_its_object() -> None:
    made = processing("application/jsonlines", JoinSource="Input")
    with pytest.raises(NotInRecord, match="answer is not JSON"):
        stored(made, [b"1\n"], b"oops\n")
    with pytest.raises(NotInRecord, match="record is not JSON"):
        stored(made, [b"{oops\n"], b"1\n")


def test_filters_need_a_type_whose_records_are_known() -> None:
    with pytest.raises(BadPath, match="it is not given"):
        processing("", InputFilter="$[1:]")
