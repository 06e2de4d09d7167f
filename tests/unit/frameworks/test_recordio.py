"""RecordIO protobuf: what AWS's own writers write is read, what is written is read back, and nonsense is the caller's error."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.frameworks import answers, bodies, recordio
from modelyard.frameworks.bodies import BodyError


def record(content: bytes) -> bytes:
    return struct.pack("<II", 0xCED7230A, len(content)) + content + bytes(-len(content) % 4)


def message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2, len(content)]) + content


def feature(tensor: bytes, kind: int, name: bytes = b"values") -> bytes:
    return message(1, message(1, name) + message(2, message(kind, tensor)))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_rows_come_back_as_they_went(dtype: str) -> None:
    rows = np.array([[1, -2, 300], [4, 5, -60000]], dtype=dtype)
    found = recordio.decode(recordio.encode_features(rows)).array
    assert found is not None
    np.testing.assert_array_equal(found, rows)
    assert found.dtype == (np.float64 if dtype == "i4" else dtype)


def test_what_protobuf_writes_for_the_sdk_is_read() -> None:
    # Record messages of the SageMaker SDK's record_pb2: float32 with a label, sparse int32 with a negative value.
    dense = bytes.fromhex(
        "0a160a0676616c756573120c120a0a080000c03f0000004012120a0676616c756573120812060a040000803f"
    )
    sparse = bytes.fromhex(
        "0a250a0676616c756573121b3a190a0d01feffffffffffffffff01900312040002ac021a028004"
    )
    found = recordio.decode(record(dense)).array
    assert found is not None and found.tolist() == [[1.5, 2.0]]
    wide = recordio.decode(record(sparse)).array
    assert wide is not None and wide.shape == (1, 512)
    assert (wide[0, 0], wide[0, 2], wide[0, 300], np.count_nonzero(wide)) == (1, -2, 400, 3)


def test_a_sparse_row_is_filled_with_zeros() -> None:
    keys = message(2, bytes([1, 3]))
    values = message(1, struct.pack("<2f", 1.5, -2.0))
    shape = message(3, bytes([5]))
    body = record(feature(values + keys + shape, 2))
    found = recordio.decode(body).array
    assert found is not None
    assert found.tolist() == [[0, 1.5, 0, -2.0, 0]]


def test_numbers_one_by_one_and_labels_are_read_over() -> None:
    tensor = b"".join(bytes([1 << 3 | 5]) + struct.pack("<f", one) for one in (1.0, 2.0))
    label = message(2, message(1, b"values") + message(2, message(2, b"")))
    found = recordio.decode(record(label + feature(tensor, 2, b"pixels"))).array
    assert found is not None
    assert found.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no records"),
        (b"PK\3\4 not this", "no RecordIO"),
        (struct.pack("<II", 0xCED7230A, 99) + b"short", "cut off within a record"),
        (struct.pack("<I", 0xCED7230A), "cut off within a record's head"),
        (record(b"\xff\xff"), "Record 1"),
        (record(b""), "it needs a feature called values, it has none"),
        (record(feature(message(1, b"abc"), 2)), "cut off"),
        (record(feature(message(1, b"abcd") + message(2, bytes([9])) + message(3, bytes([4])), 2)), "outside"),
        (record(feature(message(1, b"abcd"), 9)), "neither a float nor an int"),
        (
            record(feature(message(1, bytes(4)), 2)) + record(feature(message(1, bytes(8)), 2)),
            r"Record 2 of the body has the shape \[2\]",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body: bytes, words: str) -> None:
    with pytest.raises(BodyError, match=words):
        recordio.decode(body)


def test_a_sparse_row_cannot_claim_all_memory() -> None:
    width = message(3, b"\xff\xff\xff\xff\xff\xff\x03")
    body = record(feature(message(1, bytes(4)) + message(2, bytes([1])) + width, 2))
    with pytest.raises(BodyError, match="longer than"):
        recordio.decode(body)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for body in (data, record(data), record(feature(data, 2)), record(message(1, data[:100]))):
        with contextlib.suppress(BodyError):
            bodies.decode(body, recordio.CONTENT_TYPE)


@given(arrays.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False)))
@settings(max_examples=50, deadline=None)
def test_any_numbers_survive(rows: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> None:
    found = recordio.decode(recordio.encode_features(rows)).array
    assert found is not None
    np.testing.assert_array_equal(found, rows)


def test_answers_are_labels_called_score() -> None:
    assert answers.choose(recordio.CONTENT_TYPE, "text/csv") == recordio.CONTENT_TYPE
    body = answers.encode(np.array([0.5, 2.0], dtype=np.float32), recordio.CONTENT_TYPE)
    expected = message(
        2, message(1, b"score") + message(2, message(2, message(1, struct.pack("<f", 0.5))))
    )
    assert body.startswith(record(expected))
    assert body.count(b"score") == 2
    with pytest.raises(answers.NotAcceptable, match="only numbers"):
        answers.encode(np.array(["a"], dtype=object), recordio.CONTENT_TYPE)
