"""From an object's bytes to the bodies of requests: whole records, as many as ``BatchStrategy`` and the limit allow.

A packer is fed pieces of any size and holds at most one request's worth of bytes. It never cuts a record, and gives every
record exactly once and in order; requests never mix objects.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from modelyard.domain.transform_records import FRAMINGS, Framing, Record, check_record

PACKED_BYTES_MAX = 100 << 20
"""A request of several records is never larger, even where ``MaxPayloadInMB`` is 0."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one request.

    ``first`` is the number of its first record within the object, ``offset`` the place of that record's first byte
    (after decompression). ``originals`` are the records as they were before the input filter, where they are needed.
    """

    body: bytes
    records: int
    first: int = 0
    offset: int = 0
    originals: tuple[bytes, ...] = ()


class Packer(Protocol):
    """From pieces of an object to request bodies. Both methods raise ``RecordTooLarge`` and ``BadFraming``."""

    def feed(self, piece: bytes) -> Iterator[Batch]:
        """Whole requests, as soon as it is sure that nothing more fits into them."""

    def finish(self) -> Iterator[Batch]:
        """What is left when the object has ended."""


class PackedLines:
    """``SplitType`` Line, ``MultiRecord``: as many whole lines as fit into one request, found without looking at each."""

    def __init__(self, limit: int, size: int = PACKED_BYTES_MAX) -> None:
        """``limit`` is that of one record, ``size`` that of several together."""
        self._limit = limit
        self._size = min(limit, size)
        self._buffer = bytearray()
        self._records = 0
        self._offset = 0

    def feed(self, piece: bytes) -> Iterator[Batch]:
        buffer = self._buffer
        buffer += piece
        start = 0
        while len(buffer) - start > self._size:
            end = buffer.rfind(b"\n", start, start + self._size) + 1
            if end <= start:
                end = buffer.find(b"\n", start + self._size) + 1
                check_record((end or len(buffer)) - start, self._limit)
                if not end:
                    break
            with memoryview(buffer) as view:
                body = bytes(view[start:end])
            yield self._packed(body)
            start = end
        del buffer[:start]

    def finish(self) -> Iterator[Batch]:
        if self._buffer:
            yield self._packed(bytes(self._buffer))

    def _packed(self, body: bytes) -> Batch:
        records = body.count(b"\n") + (not body.endswith(b"\n"))
        batch = Batch(body, records, first=self._records, offset=self._offset)
        self._records += records
        self._offset += len(body)
        return batch


@dataclass(slots=True, kw_only=True)
class PackedRecords:
    """Any framing; a request holds one record without its framing (``is_single``), or several with it.

    ``prepare`` makes of a record what the model gets (the input filter); what it was is then kept in the batch.
    """

    framing: Framing
    limit: int
    is_single: bool
    prepare: Callable[[bytes], bytes] | None = None
    size: int = PACKED_BYTES_MAX
    _bodies: list[bytes] | None = None
    _originals: list[bytes] | None = None
    _packed_bytes: int = 0
    _first: int = 0
    _begin: int = 0
    _records: int = 0
    _offset: int = 0

    def feed(self, piece: bytes) -> Iterator[Batch]:
        for record in self.framing.feed(piece):
            yield from self._add(record)

    def finish(self) -> Iterator[Batch]:
        for record in self.framing.finish():
            yield from self._add(record)
        yield from self._flush()

    def _add(self, record: Record) -> Iterator[Batch]:
        body = record.content if self.is_single else record.framed
        if self.prepare is not None:
            body = self.prepare(body)
        check_record(len(body), self.limit)
        if self._bodies and (
            self.is_single or self._packed_bytes + len(body) > min(self.limit, self.size)
        ):
            yield from self._flush()
        if not self._bodies:
            self._bodies, self._originals = [], []
            self._packed_bytes, self._first, self._begin = 0, self._records, self._offset
        assert self._originals is not None
        self._bodies.append(body)
        self._packed_bytes += len(body)
        if self.prepare is not None:
            self._originals.append(record.content if self.is_single else record.framed)
        self._records += 1
        self._offset += len(record.framed)

    def _flush(self) -> Iterator[Batch]:
        if self._bodies:
            yield Batch(
                b"".join(self._bodies),
                len(self._bodies),
                first=self._first,
                offset=self._begin,
                originals=tuple(self._originals or ()),
            )
            self._bodies = None


def split_batch(batch: Batch, *, split: str, parts: int) -> Iterator[Batch]:
    """The same records in up to ``parts`` smaller requests, in order; for a batch of lines or of framed records."""
    framing = FRAMINGS[split](len(batch.body))
    records = [*framing.feed(batch.body), *framing.finish()]
    step = -(-len(records) // parts)
    offset = batch.offset
    for begin in range(0, len(records), step):
        some = records[begin : begin + step]
        originals = batch.originals[begin : begin + step]
        single = len(some) == 1 and split != "Line"
        body = some[0].content if single else b"".join(one.framed for one in some)
        yield Batch(body, len(some), batch.first + begin, offset, originals)
        offset += sum(map(len, originals)) if originals else sum(len(one.framed) for one in some)
