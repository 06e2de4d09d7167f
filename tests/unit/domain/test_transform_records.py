import itertools
import struct
from collections.abc import Sequence

import pytest
from awscrt.checksums import crc32c
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.transform_packing import PackedRecords, split_batch
from modelyard.domain.transform_records import (
    FRAMINGS,
    RECORDIO_MAGIC,
    BadFraming,
    Record,
    RecordTooLarge,
    masked_crc,
)

CONTENTS = st.lists(st.binary(max_size=40), max_size=8)
CUTS = st.lists(st.integers(0, 600), max_size=12)
MAGIC = struct.pack("<I", RECORDIO_MAGIC)


def recordio(content: bytes) -> bytes:
    """As dmlc's writer does it: content is cut wherever the magic stands at a multiple of four."""
    parts, begin = [], 0
    for place in range(0, len(content) // 4 * 4, 4):
        if content[place : place + 4] == MAGIC:
            parts.append(content[begin:place])
            begin = place + 4
    parts.append(content[begin:])
    framed = b""
    for number, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if not number else 3 if number == len(parts) - 1 else 2
        padding = b"\0" * (-len(part) % 4)
        framed += MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + padding
    return framed


def tfrecord(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return (
        length
        + struct.pack("<I", masked_crc(length))
        + content
        + struct.pack("<I", masked_crc(content))
    )


FRAMED = {"RecordIO": recordio, "TFRecord": tfrecord}


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def records(kind: str, data: bytes, cuts: Sequence[int] = (), limit: int = 1000) -> list[Record]:
    framing = FRAMINGS[kind](limit)
    found = [record for piece in pieces(data, cuts) for record in framing.feed(piece)]
    return found + list(framing.finish())


@pytest.mark.parametrize("kind", ["RecordIO", "TFRecord"])
@given(contents=CONTENTS, cuts=CUTS)
def test_records_are_found_however_the_object_is_read(
    kind: str, contents: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(map(FRAMED[kind], contents))
    found = records(kind, data, cuts)
    assert [record.content for record in found] == contents
    assert b"".join(record.framed for record in found) == data


@given(CUTS)
def test_a_recordio_record_that_holds_the_magic_is_put_together_again(cuts: list[int]) -> None:
    content = b"head" + MAGIC + b"1234" + MAGIC + b"tail!"
    (record,) = records("RecordIO", recordio(content), cuts)
    assert record.content == content


@given(st.binary(max_size=200), CUTS)
def test_lines_keep_their_line_feeds_and_multi_byte_characters(
    data: bytes, cuts: list[int]
) -> None:
    text = "ü€𝄞\n".encode() + data.replace(b"\0", b"\n")
    found = records("Line", text, cuts)
    assert b"".join(record.framed for record in found) == text
    assert found[0].content == "ü€𝄞\n".encode()
    assert all(record.content.endswith(b"\n") for record in found[:-1])


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("RecordIO", b"not a record", "no magic number at byte 0"),
        ("RecordIO", recordio(b"fine") + b"not a record", "no magic number at byte 12"),
        ("RecordIO", recordio(b"whole")[:-1], "ends within"),
        ("RecordIO", MAGIC + struct.pack("<I", 3 << 29), "out of place"),
        ("RecordIO", MAGIC + struct.pack("<I", 1 << 29) + recordio(b""), "out of place"),
        ("RecordIO", MAGIC + struct.pack("<I", 1 << 29), "ends within"),
        ("TFRecord", b"this is no such record", "wrong checksum at byte 0"),
        ("TFRecord", tfrecord(b"fine") + b"\1" * 20, "wrong checksum at byte 20"),
        ("TFRecord", tfrecord(b"fine")[:-1], "ends within"),
        ("TFRecord", tfrecord(b"fine").replace(b"fine", b"evil"), "byte 0 is damaged"),
    ],
)
def test_what_is_not_of_the_framing_is_told_with_its_place(
    kind: str, data: bytes, why: str
) -> None:
    with pytest.raises(BadFraming, match=why):
        records(kind, data)


@pytest.mark.parametrize("kind", ["RecordIO", "TFRecord"])
def test_a_record_over_the_limit_is_refused_by_its_header(kind: str) -> None:
    with pytest.raises(RecordTooLarge, match="limit of 10 bytes"):
        records(kind, FRAMED[kind](b"x" * 11)[:20], limit=10)


def test_the_checksum_is_a_masked_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc(b"123456789") == 0xC78AB0E5


@pytest.mark.parametrize("kind", ["RecordIO", "TFRecord"])
def test_single_records_lose_their_framing_and_several_keep_it(kind: str) -> None:
    contents = [b"a", b"bc", b"def"]
    data = b"".join(map(FRAMED[kind], contents))

    def bodies(*, is_single: bool, limit: int = 1000) -> list[bytes]:
        packer = PackedRecords(framing=FRAMINGS[kind](limit), limit=limit, is_single=is_single)
        return [batch.body for batch in [*packer.feed(data), *packer.finish()]]

    assert bodies(is_single=True) == contents
    assert bodies(is_single=False) == [data]
    two = len(FRAMED[kind](b"a")) + len(FRAMED[kind](b"bc"))
    assert bodies(is_single=False, limit=two) == [data[:two], data[two:]]


@pytest.mark.parametrize("kind", ["Line", "RecordIO", "TFRecord"])
@given(st.integers(1, 7))
def test_a_request_is_split_into_smaller_ones_that_know_their_places(kind: str, parts: int) -> None:
    contents = [b"a", b"bc", b"def", b"ghij", b"klmno"]
    frame = FRAMED.get(kind, lambda content: content + b"\n")
    before, data = b"".join([frame(b"zero")] * 2), b"".join(map(frame, contents))
    packer = PackedRecords(framing=FRAMINGS[kind](99), limit=99, is_single=False)
    found = [*packer.feed(before + data), *packer.finish()]
    smaller = [one for batch in found for one in split_batch(batch, split=kind, parts=parts)]
    assert [one.first for one in smaller] == list(
        itertools.accumulate([one.records for one in smaller[:-1]], initial=0)
    )
    for one in smaller:
        if one.records > 1:
            assert (before + data)[one.offset :].startswith(one.body)
        assert (before + data).find(
            frame(one.body) if kind != "Line" and one.records == 1 else one.body, one.offset
        ) == one.offset
