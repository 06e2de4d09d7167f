"""Marian's binary files: what is written is read, and what is not whole is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.ai.marian_format import (
    FLOAT32,
    INT8,
    SHORTLIST_MAGIC,
    FormatError,
    configuration,
    read_model,
    read_shortlist,
)
from modelyard.testing.firefox_models import marian_file, shortlist_file

TEXT = b'dim-emb: 256\ntransformer-preprocess: ""\ndim-vocabs:\n  - 32000\n  - 32000\n\0'
SMALL = marian_file(
    [
        ("bias", FLOAT32, (1, 3), struct.pack("<3f", 1.5, -2.0, 0.25)),
        ("W", INT8, (2, 2), struct.pack("<4bf", 1, -2, 3, -4, 0.5) + bytes(248)),
        ("special:model.yml", 0x101, (len(TEXT),), TEXT),
    ]
)


def test_tensors_are_read_as_they_are_written() -> None:
    tensors = read_model(SMALL)
    assert list(tensors) == ["bias", "W", "special:model.yml"]
    assert tensors["bias"].floats().tolist() == [1.5, -2.0, 0.25]
    assert tensors["W"].shape == (2, 2) and tensors["W"].multiplier == 0.5
    assert configuration(tensors) == {
        "dim-emb": "256", "transformer-preprocess": "", "dim-vocabs": "",
    }  # fmt: skip


@given(st.integers(0, len(SMALL) - 1))
def test_a_model_that_ends_early_is_refused(end: int) -> None:
    with pytest.raises(FormatError, match="it ends within"):
        read_model(SMALL[:end])


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_no_bytes_lead_out_of_the_file(place: int, written: bytes) -> None:
    data = SMALL[:place] + written + SMALL[place + len(written) :]
    try:
        tensors = read_model(data)
    except FormatError:
        return
    for tensor in tensors.values():
        assert tensor.kind != FLOAT32 or len(tensor.floats()) == tensor.size
        assert tensor.kind != INT8 or isinstance(tensor.multiplier, float)


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "its head"),
        (b"PK\x03\x04" + bytes(300), "version"),
        (struct.pack("<2Q", 1, HUGE), "tensors, and at most"),
        (struct.pack("<6Q", 1, 1, HUGE, FLOAT32, 2, 8), "is none"),
        (struct.pack("<6Q", 1, 1, 2, FLOAT32, HUGE, 8) + b"a\0", "dimensions"),
        (struct.pack("<6Q2s2iQ", 1, 1, 2, FLOAT32, 2, HUGE, b"a\0", 1, 1, 0), "within the tensor a"),
        (struct.pack("<6Q2s2iQ", 1, 1, 2, FLOAT32, 2, 8, b"a\0", 1, -1, 0), "the shape"),
        (marian_file([("a", FLOAT32, (1 << 30, 1 << 30), bytes(8))]), "needs"),
        (marian_file([("a", INT8, (2, 2), bytes(4))]), "needs 8"),
        (marian_file([("a", FLOAT32, (1, 1), bytes(4))] * 2), "two tensors a"),
        (struct.pack("<6Q", 1, 1, 2, FLOAT32, 0, 4) + b"\xff\0" + bytes(20), "no UTF-8"),
    ],
)  # fmt: skip
def test_what_a_model_says_of_itself_is_not_believed(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read_model(data)


def test_a_shortlist_is_read_and_one_that_leads_astray_is_not() -> None:
    data = shortlist_file({1: 3, 2: 0}, 4)
    shortlist = read_shortlist(data)
    assert shortlist.first == 8
    assert shortlist.begins.tolist() == [0, 0, 1, 2, 2] and shortlist.candidates.tolist() == [3, 0]
    head = SHORTLIST_MAGIC, 0, 8, 1
    for bad in (
        data[:-1],
        b"\0" + data[1:],
        struct.pack("<6Q", *head, HUGE, 0),
        struct.pack("<6Q", *head, 0, 0),
        struct.pack("<6Q3Q1I", *head, 3, 1, 5, 0, 1, 7),
        struct.pack("<6Q2Q1I", *head, 2, 1, 0, 2, 7),
    ):
        with pytest.raises(FormatError):
            read_shortlist(bad)
