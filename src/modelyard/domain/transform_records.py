"""Records within an object: lines, RecordIO and TFRecord, cut out of pieces of any size.

Each framing is fed the bytes of an object in pieces and yields ``Record``s: ``framed`` as it stands in the object, and
``content`` without framing and padding. A framing holds at most one unfinished record, of no more than ``limit`` bytes. A
line keeps its line feed in both, so that what is sent, put together, is the object again.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

SplitType = Literal["None", "Line", "RecordIO", "TFRecord"]
RECORDIO_MAGIC = 0xCED7230A
_RECORDIO_HEAD = struct.Struct("<II")
_TFRECORD_HEAD = struct.Struct("<QI")
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = 0, 1, 2, 3
_CRC_DELTA = 0xA282EAD8


class RecordTooLarge(Exception):
    """A record, or an object that is not split, is over the limit; it fails its object."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than the limit of {limit} bytes (MaxPayloadInMB)")


class BadFraming(Exception):
    """The object's bytes are not of the framing that ``SplitType`` names."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record. For lines both are the same bytes."""

    framed: bytes
    content: bytes


class Framing(Protocol):
    """From pieces of an object to its records. Both methods raise ``RecordTooLarge`` and ``BadFraming``."""

    def feed(self, piece: bytes) -> Iterator[Record]:
        """The records that are whole now."""

    def finish(self) -> Iterator[Record]:
        """What is left when the object has ended."""


class Lines:
    """Each line, with its line feed; the last one may lack it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, piece: bytes) -> Iterator[Record]:
        head, found, tail = piece.rpartition(b"\n")
        if found:
            self._rest.append(head)
            lines = b"".join(self._rest).split(b"\n")
            self._rest, self._rest_bytes = [], 0
            for line in lines:
                check_record(len(line) + 1, self._limit)
                whole = line + b"\n"
                yield Record(whole, whole)
        if tail:
            self._rest.append(tail)
            self._rest_bytes += len(tail)
            check_record(self._rest_bytes, self._limit)

    def finish(self) -> Iterator[Record]:
        if self._rest:
            line = b"".join(self._rest)
            yield Record(line, line)


class Whole:
    """The object is the only record."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Record]:
        self._buffer += piece
        if len(self._buffer) > self._limit:
            raise RecordTooLarge("the object", self._limit)
        yield from ()

    def finish(self) -> Iterator[Record]:
        if self._buffer:
            whole = bytes(self._buffer)
            yield Record(whole, whole)


class RecordIO:
    """MXNet's framing: magic, a word of three bits (part of a record) and 29 bits (length), data, padding to four bytes.

    Data that holds the magic itself, aligned, was cut there by its writer into parts: they are joined with the magic again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._framed: list[bytes] = []
        self._contents: list[bytes] = []
        self._offset = 0

    def feed(self, piece: bytes) -> Iterator[Record]:
        buffer = self._buffer
        buffer += piece
        place = 0
        while len(buffer) - place >= _RECORDIO_HEAD.size:
            magic, word = _RECORDIO_HEAD.unpack_from(buffer, place)
            if magic != RECORDIO_MAGIC:
                raise BadFraming(
                    f"the object is not RecordIO: no magic number at byte {self._offset + place}"
                )
            length = word & ((1 << _LENGTH_BITS) - 1)
            begin = place + _RECORDIO_HEAD.size
            end = begin + (length + 3) // 4 * 4
            check_record(length + sum(map(len, self._contents)), self._limit)
            if end > len(buffer):
                break
            self._framed.append(bytes(buffer[place:end]))
            self._contents.append(bytes(buffer[begin : begin + length]))
            place = end
            yield from self._after_part(word >> _LENGTH_BITS)
        self._offset += place
        del buffer[:place]

    def _after_part(self, part: int) -> Iterator[Record]:
        is_start = len(self._contents) == 1
        if is_start != (part in (_WHOLE, _FIRST)) or part > _LAST:
            raise BadFraming("the object is not RecordIO: a part of a record is out of place")
        if part in (_WHOLE, _LAST):
            magic = RECORDIO_MAGIC.to_bytes(4, "little")
            record = Record(b"".join(self._framed), magic.join(self._contents))
            self._framed, self._contents = [], []
            yield record

    def finish(self) -> Iterator[Record]:
        if self._buffer or self._framed:
            raise BadFraming("the object ends within a RecordIO record")
        yield from ()


class TFRecord:
    """TensorFlow's framing: length, its checksum, data, its checksum (CRC-32C, masked)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._offset = 0

    def feed(self, piece: bytes) -> Iterator[Record]:
        buffer = self._buffer
        buffer += piece
        place = 0
        while len(buffer) - place >= _TFRECORD_HEAD.size:
            length, check = _TFRECORD_HEAD.unpack_from(buffer, place)
            if check != masked_crc(bytes(buffer[place : place + 8])):
                raise BadFraming(
                    f"the object is not TFRecord: wrong checksum at byte {self._offset + place}"
                )
            check_record(length, self._limit)
            begin = place + _TFRECORD_HEAD.size
            end = begin + length + 4
            if end > len(buffer):
                break
            content = bytes(buffer[begin : end - 4])
            if int.from_bytes(buffer[end - 4 : end], "little") != masked_crc(content):
                raise BadFraming(f"the TFRecord at byte {self._offset + place} is damaged")
            yield Record(bytes(buffer[place:end]), content)
            place = end
        self._offset += place
        del buffer[:place]

    def finish(self) -> Iterator[Record]:
        if self._buffer:
            raise BadFraming("the object ends within a TFRecord")
        yield from ()


FRAMINGS: dict[str, Callable[[int], Framing]] = {
    "None": Whole,
    "Line": Lines,
    "RecordIO": RecordIO,
    "TFRecord": TFRecord,
}
"""By ``SplitType``; each takes the limit of a record in bytes."""


def masked_crc(data: bytes) -> int:
    """TensorFlow's checksum: CRC-32C turned by 15 bits, plus a constant, so that it may stand beside what it checks."""
    from awscrt.checksums import (
        crc32c,  # Few jobs read TFRecord, and it takes as long as all else here.
    )

    crc: int = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _CRC_DELTA) & 0xFFFFFFFF


def check_record(size: int, limit: int) -> None:
    """Raises ``RecordTooLarge``."""
    if size > limit:
        raise RecordTooLarge("a record", limit)
