"""CBOR from anywhere: read as the shape says, or refused; never an accident."""

from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.errors import ServiceError
from modelyard.wire import codec
from modelyard.wire.models import load_service

CLOUDWATCH = load_service("cloudwatch")
SHAPE = CLOUDWATCH.operation_model("PutMetricData").input_shape
HEADERS = {"smithy-protocol": "rpc-v2-cbor"}
GOOD = cbor2.dumps(
    {
        "Namespace": "n",
        "MetricData": [
            {"MetricName": "m", "Value": 1.5, "Timestamp": cbor2.CBORTag(1, 1_700_000_000)}
        ],
    }
)


def parse(body: bytes) -> dict[str, Any]:
    uri = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    return codec.parse(
        CLOUDWATCH, "PutMetricData", method="POST", uri=uri, headers=HEADERS, body=body
    )


def test_values_are_read_by_the_shape() -> None:
    (datum,) = parse(GOOD)["MetricData"]
    assert datum["Timestamp"] == datetime.fromtimestamp(1_700_000_000, UTC)


@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        parse(body)
    except ServiceError as error:
        assert error.status == 400


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Namespace", "MetricData", "Value", "Values", "Timestamp"])
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(nested)
def test_any_value_is_read_or_refused(value: Any) -> None:
    try:
        parse(cbor2.dumps(value))
    except ServiceError as error:
        assert error.status == 400


@pytest.mark.parametrize("data", [[None], [{"MetricName": "m", "Values": [None]}]])
def test_nothing_in_a_list_is_refused(data: Any) -> None:
    with pytest.raises(ServiceError, match="Member must not be null") as caught:
        parse(cbor2.dumps({"Namespace": "n", "MetricData": data}))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",  # a list of 2^63 items
        b"\x5b\x00\x00\x7f\xff\xff\xff\xff\xff",  # a text of 128 TiB
        b"\x81" * 5000 + b"\x01",
        b"\xa1\x6aMetricData\xd8\x1c\x81\xd8\x1d\x00",  # a list that contains itself
        b"\xa1\x69Namespace\xd8\x24\x61a",  # a mail message
        b"\xa1\x69Namespace\xc4\x82\x1a\x7f\xff\xff\xff\x01",  # 10^2147483647
        cbor2.dumps({"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 10**400}]}),
        cbor2.dumps({"MetricData": [{"MetricName": "m", "Timestamp": 1e300}]}),
    ],
)
def test_hostile_values_are_refused(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        parse(body)
    assert caught.value.status == 400


def parse_json(body: bytes) -> dict[str, Any]:
    headers = {"x-amz-target": "GraniteServiceVersion20100801.PutMetricData"}
    return codec.parse(
        CLOUDWATCH, "PutMetricData", method="POST", uri="/", headers=headers, body=body
    )


@pytest.mark.parametrize("number", [b"1" + b"0" * 400, b"1" + b"0" * 5000, b"true", b'"x"'])
def test_json_numbers_beyond_a_double_are_refused_too(number: bytes) -> None:
    body = b'{"Namespace":"n","MetricData":[{"MetricName":"m","Value":%b}]}' % number
    with pytest.raises(ServiceError) as caught:
        parse_json(body)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1.5", b"1e999", b"true"])
def test_json_integers_are_whole(number: bytes) -> None:
    body = (
        b'{"Namespace":"n","MetricData":[{"MetricName":"m","Value":1,"StorageResolution":%b}]}'
        % number
    )
    with pytest.raises(ServiceError) as caught:
        parse_json(body)
    assert caught.value.code == "SerializationException"


def test_a_null_for_the_whole_request_is_an_empty_one() -> None:
    for read, body in ((parse, cbor2.dumps(None)), (parse_json, b"null")):
        with pytest.raises(ServiceError) as caught:
            read(body)
        assert "namespace" in caught.value.message
