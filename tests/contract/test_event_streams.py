"""Event streams: botocore's own vectors, and whatever we write through its reader."""

import datetime
import importlib.util
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from modelyard.wire.event_stream import (
    Byte,
    EventStreamError,
    Long,
    Message,
    MessageDecoder,
    Short,
    encode_event,
    encode_exception,
    encode_message,
)

_spec = importlib.util.spec_from_file_location(
    "botocore_source", Path(__file__).with_name("botocore_source.py")
)
assert _spec is not None and _spec.loader is not None
botocore_source = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(botocore_source)


def cases(name: str) -> list[tuple[bytes, Any]]:
    module: dict[str, Any] = {"__name__": "botocore_vectors"}
    source = botocore_source.unit_test_source("test_eventstream")
    exec(source.replace("from tests import mock", ""), module)
    found: list[tuple[bytes, Any]] = module[name]
    return found


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


names = st.text(min_size=1, max_size=40).filter(lambda name: len(name.encode()) <= 255)
times = st.integers(0, 2**42).map(
    lambda ms: (
        datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(milliseconds=ms)
    )
)
values = st.one_of(
    st.booleans(),
    integers(8).map(Byte),
    integers(16).map(Short),
    integers(32),
    integers(64).map(Long),
    st.binary(max_size=200),
    st.text(max_size=200),
    times,
    st.uuids(),
)
messages = st.tuples(st.dictionaries(names, values, max_size=6), st.binary(max_size=300))


def as_botocore_reads(value: Any) -> Any:
    """Times are milliseconds to it, and UUIDs bytes."""
    if isinstance(value, datetime.datetime):
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return (value - epoch) // datetime.timedelta(milliseconds=1)
    return value.bytes if isinstance(value, uuid.UUID) else value


def test_botocores_vectors_are_read_and_written_again() -> None:
    for encoded, expected in cases("POSITIVE_CASES"):
        (found,) = MessageDecoder().feed(encoded)
        read = {name: as_botocore_reads(value) for name, value in found.headers.items()}
        assert (read, found.payload) == (expected.headers, expected.payload)
        assert encode_message(found.headers, found.payload) == encoded


def test_botocores_broken_vectors_are_refused() -> None:
    for encoded, _ in cases("NEGATIVE_CASES"):
        with pytest.raises(EventStreamError):
            list(MessageDecoder().feed(encoded))


@given(messages)
def test_botocore_reads_what_is_written(message: tuple[dict[str, Any], bytes]) -> None:
    headers, payload = message
    buffer = EventStreamBuffer()
    buffer.add_data(encode_message(headers, payload))
    (found,) = buffer
    assert found.headers == {name: as_botocore_reads(value) for name, value in headers.items()}
    assert found.payload == payload


@given(st.lists(messages, max_size=5), st.lists(st.integers(1, 400), max_size=20))
def test_messages_come_back_however_they_are_cut(
    sent: list[tuple[dict[str, Any], bytes]], cuts: list[int]
) -> None:
    data = b"".join(encode_message(headers, payload) for headers, payload in sent)
    decoder, found = MessageDecoder(), list[Message]()
    for size in cuts:
        found += decoder.feed(data[:size])
        data = data[size:]
    found += decoder.feed(data)
    assert [(one.headers, one.payload) for one in found] == sent
    assert decoder.is_between


@given(messages, st.data())
def test_no_flipped_bit_passes(message: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    encoded = bytearray(encode_message(*message))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(EventStreamError):
        list(MessageDecoder().feed(bytes(encoded)))


@given(st.binary(max_size=100))
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    decoder = MessageDecoder()
    try:
        list(decoder.feed(garbage))
    except EventStreamError:
        return
    assert len(garbage) < 12


def test_events_and_exceptions_are_what_botocore_knows() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(encode_event("PayloadPart", b"\x00"))
    buffer.add_data(encode_exception("ModelStreamError", b"{}"))
    event, error = (one.to_response_dict() for one in buffer)
    assert (event["status_code"], event["headers"][":event-type"]) == (200, "PayloadPart")
    assert (error["status_code"], error["headers"][":exception-type"]) == (400, "ModelStreamError")


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ({"": 1}, b""),
        ({"n" * 256: 1}, b""),
        ({"n": Byte(200)}, b""),
        ({"n": 2**31}, b""),
        ({"n": "v" * 32_768}, b""),
        ({f"n{n}": "v" * 32_000 for n in range(5)}, b""),
        ({}, bytes(24 * 2**20 + 1)),
    ],
)
def test_what_is_past_a_limit_is_not_written(headers: dict[str, Any], payload: bytes) -> None:
    with pytest.raises(EventStreamError):
        encode_message(headers, payload)
