import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.transform import (
    MIB,
    UNLIMITED_BYTES,
    Location,
    TransformOptions,
    container_environment,
    execution_parameters,
    is_input,
    output_key,
    switches_of,
)
from modelyard.domain.transform_packing import Batch, PackedLines, PackedRecords, Packer
from modelyard.domain.transform_records import FRAMINGS, RecordTooLarge


def single_lines(limit: int) -> Packer:
    return PackedRecords(framing=FRAMINGS["Line"](limit), limit=limit, is_single=True)


def whole_object(limit: int) -> Packer:
    return PackedRecords(framing=FRAMINGS["None"](limit), limit=limit, is_single=False)


TEXT = st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"\n"))
CUTS = st.lists(st.integers(0, 200), max_size=10)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def packed(packer: Packer, parts: list[bytes]) -> list[Batch]:
    batches = [batch for part in parts for batch in packer.feed(part)]
    return batches + list(packer.finish())


@given(TEXT, CUTS)
def test_packed_lines_are_the_object_again_however_it_is_read(data: bytes, cuts: list[int]) -> None:
    limit = 300
    batches = packed(PackedLines(limit), pieces(data, cuts))
    assert b"".join(batch.body for batch in batches) == data


@given(TEXT, CUTS, st.integers(1, 60))
def test_packed_requests_hold_whole_records_within_the_limit(
    data: bytes, cuts: list[int], limit: int
) -> None:
    longest = max((len(record) for record in _records(data)), default=0)
    if longest > limit:
        with pytest.raises(RecordTooLarge):
            packed(PackedLines(limit), pieces(data, cuts))
        return
    batches = packed(PackedLines(limit), pieces(data, cuts))
    assert b"".join(batch.body for batch in batches) == data
    assert [record for batch in batches for record in _records(batch.body)] == _records(data)
    assert all(len(batch.body) <= limit for batch in batches)
    assert sum(batch.records for batch in batches) == len(_records(data))
    for batch, following in itertools.pairwise(batches):
        assert len(batch.body) + len(_records(following.body)[0]) > limit


@given(TEXT, CUTS)
def test_single_lines_are_one_request_each(data: bytes, cuts: list[int]) -> None:
    batches = packed(single_lines(300), pieces(data, cuts))
    assert [batch.body for batch in batches] == _records(data)


@given(TEXT, CUTS)
def test_an_object_that_is_not_split_is_one_request(data: bytes, cuts: list[int]) -> None:
    batches = packed(whole_object(300), pieces(data, cuts))
    assert [batch.body for batch in batches] == ([data] if data else [])


@given(TEXT, CUTS)
def test_what_an_echoing_model_answers_assembles_to_the_input(data: bytes, cuts: list[int]) -> None:
    spec = {
        "TransformInput": {"SplitType": "Line"},
        "TransformOutput": {"AssembleWith": "Line"},
        "BatchStrategy": "SingleRecord",
    }
    options = TransformOptions.of(spec)
    answers = [
        options.assembled(batch.body) for batch in packed(options.packer(), pieces(data, cuts))
    ]
    whole = data if data.endswith(b"\n") or not data else data + b"\n"
    assert b"".join(answers) == whole


def _records(data: bytes) -> list[bytes]:
    whole = [line + b"\n" for line in data.split(b"\n")]
    whole[-1] = whole[-1][:-1]
    return whole if whole[-1] else whole[:-1]


@pytest.mark.parametrize("packer", [whole_object(4), single_lines(4), PackedLines(4)])
def test_a_record_over_the_limit_is_refused_without_waiting_for_its_end(packer: Packer) -> None:
    with pytest.raises(RecordTooLarge, match="limit of 4 bytes"):
        list(packer.feed(b"12345"))


def test_carriage_returns_stay_with_their_record() -> None:
    batches = packed(single_lines(100), [b"a\r", b"\nb\r\n"])
    assert [batch.body for batch in batches] == [b"a\r\n", b"b\r\n"]


def test_options_have_the_defaults_of_aws() -> None:
    options = TransformOptions.of({"TransformInput": {}, "TransformOutput": {}})
    assert options == TransformOptions()
    assert (options.payload_bytes, options.retries, options.timeout_seconds) == (6 * MIB, 3, 600.0)


def test_a_payload_limit_of_zero_is_no_limit_of_the_user() -> None:
    spec = {"TransformInput": {}, "TransformOutput": {}, "MaxPayloadInMB": 0}
    assert TransformOptions.of(spec).payload_bytes == UNLIMITED_BYTES


def test_no_retries_can_be_asked_for() -> None:
    client = {"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 5}
    spec = {"TransformInput": {}, "TransformOutput": {}, "ModelClientConfig": client}
    options = TransformOptions.of(spec)
    assert (options.retries, options.timeout_seconds) == (0, 5.0)


def test_assembling_without_line_changes_nothing() -> None:
    assert TransformOptions().assembled(b"0.9") == b"0.9"
    assert TransformOptions(assemble="Line").assembled(b"0.9") == b"0.9\n"
    assert TransformOptions(assemble="Line").assembled(b"0.9\n") == b"0.9\n"


@pytest.mark.parametrize(
    ("key", "prefix", "output"),
    [
        ("in/a.csv", "in/", "out/a.csv.out"),
        ("in/a.csv", "in", "out/a.csv.out"),
        ("in/deep/a.csv", "in/", "out/deep/a.csv.out"),
        ("in/a.csv", "in/a.csv", "out/a.csv.out"),
        ("in/part-1.csv", "in/part-", "out/part-1.csv.out"),
        ("a.csv", "", "out/a.csv.out"),
        ("a.csv", "a", "out/a.csv.out"),
        ("x/a.csv", "", "out/x/a.csv.out"),
    ],
)
def test_an_output_is_named_by_the_path_below_the_prefix(
    key: str, prefix: str, output: str
) -> None:
    assert output_key(key, prefix=prefix, output_prefix="out/") == output
    assert output_key(key, prefix=prefix, output_prefix="out") == output
    assert f"out/{output_key(key, prefix=prefix, output_prefix='')}" == output


def test_only_objects_with_content_are_inputs() -> None:
    assert is_input("a.csv", 1)
    assert not is_input("a.csv", 0)
    assert not is_input("folder/", 5)


def test_locations_are_parsed_and_written_alike() -> None:
    assert str(Location.parse("s3://bucket/a/b")) == "s3://bucket/a/b"
    assert Location.parse("s3://bucket") == Location("bucket", "")
    for text in ("bucket/key", "s3:///key", "http://bucket/key"):
        with pytest.raises(ValueError, match="not an S3 URI"):
            Location.parse(text)


def test_a_container_is_told_only_what_the_user_said() -> None:
    assert container_environment({}) == {"SAGEMAKER_BATCH": "true"}
    spec = {
        "MaxPayloadInMB": 2,
        "BatchStrategy": "SingleRecord",
        "MaxConcurrentTransforms": 4,
        "Environment": {"A": "1"},
    }
    assert container_environment(spec) == {
        "SAGEMAKER_BATCH": "true",
        "A": "1",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
    }


def test_switches_are_for_modelyard_and_not_for_the_container() -> None:
    spec = {"Environment": {"MODELYARD_TRANSFORM_MANIFEST": "True", "A": "1"}}
    assert switches_of(spec)["MODELYARD_TRANSFORM_MANIFEST"] is True
    assert switches_of({})["MODELYARD_TRANSFORM_COLUMNS"] is True
    assert container_environment(spec) == {"SAGEMAKER_BATCH": "true", "A": "1"}
    for name, text in (("MODELYARD_TRANSFORM_X", "1"), ("MODELYARD_TRANSFORM_MANIFEST", "yes")):
        with pytest.raises(ValueError, match=name):
            switches_of({"Environment": {name: text}})


def test_a_request_goes_before_what_the_container_says_of_itself() -> None:
    said = {"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}
    spec: dict[str, object] = {"TransformInput": {"SplitType": "Line"}, "TransformOutput": {}}
    options = TransformOptions.of(spec, said)
    assert (options.concurrency, options.is_single, options.payload_bytes) == (8, True, 2 * MIB)
    asked = {"MaxConcurrentTransforms": 1, "BatchStrategy": "MultiRecord", "MaxPayloadInMB": 0}
    options = TransformOptions.of({**spec, **asked}, said)
    assert (options.concurrency, options.is_single) == (1, False)
    assert options.payload_bytes == UNLIMITED_BYTES


@pytest.mark.parametrize(
    "said",
    [
        None,
        "text",
        [],
        {"BatchStrategy": "Multi"},
        {"MaxPayloadInMB": 101},
        {"MaxConcurrentTransforms": 0},
    ],
)
def test_execution_parameters_that_make_no_sense_mean_the_defaults(said: object) -> None:
    parameters = execution_parameters(said)
    assert parameters.MaxPayloadInMB is None
    assert parameters.MaxConcurrentTransforms is None
    assert parameters.BatchStrategy is None
