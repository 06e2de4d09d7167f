"""One large object of lines, taken by several replicas: cut into ranges, answered range by range, put together at the end.

A range begins where a line does, so that no record is cut. Its answers wait in a file of the job's folder; the journal knows
which are whole, so that a job which is started again computes only the others. The output is written once, in order.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelyard.jobs.inputs import PIECE_BYTES, Input, Objects
from modelyard.jobs.journal import Journal
from modelyard.jobs.replica import ObjectFailed

RANGE_BYTES = 32 << 20


class Part(msgspec.Struct, frozen=True):
    """What is known of a range whose answers are in their file."""

    records: int
    bytes: int
    content_type: str


@dataclass(slots=True)
class SharedObject:
    """An object on its way through several replicas; the last one to finish a range puts it together."""

    source: Input
    ranges: int
    error: str = ""
    _unfinished: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._unfinished = self.ranges

    def finish_range(self, error: str = "") -> bool:
        """Whether it was the last one."""
        with self._lock:
            self.error = self.error or error
            self._unfinished -= 1
            return not self._unfinished


@dataclass(frozen=True, slots=True)
class Range:
    """One task of a replica."""

    whole: SharedObject
    number: int


@dataclass(frozen=True, slots=True)
class Parts:
    """The answers of ranges, in files of ``folder``."""

    folder: Path
    journal: Journal

    def find(self, task: Range) -> Part | None:
        """A range that was answered before."""
        known = self.journal.known_fact(self._name(task))
        return msgspec.json.decode(known, type=Part) if known else None

    def write(self, task: Range, answers: Iterator[bytes]) -> int:
        """Keep the answers; durable on return. The bytes written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(task)
        size = 0
        with path.open("wb") as file:
            for answer in answers:
                size += file.write(answer)
            file.flush()
            os.fsync(file.fileno())
        return size

    def finish(self, task: Range, part: Part) -> None:
        """The range need not be answered again."""
        self.journal.fact(self._name(task), msgspec.json.encode(part).decode())

    def read(self, whole: SharedObject) -> Iterator[tuple[Part, Iterator[bytes]]]:
        """All ranges in order."""
        for number in range(whole.ranges):
            task = Range(whole, number)
            part = self.find(task)
            assert part is not None
            yield part, self._pieces(task)

    def _pieces(self, task: Range) -> Iterator[bytes]:
        with self._path(task).open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def remove(self, whole: SharedObject) -> None:
        """The output is there."""
        for number in range(whole.ranges):
            self._path(Range(whole, number)).unlink(missing_ok=True)

    def _name(self, task: Range) -> str:
        source = task.whole.source
        return f"range {task.number} of {task.whole.ranges} {source.etag} {source.key}"

    def _path(self, task: Range) -> Path:
        digest = hashlib.blake2b(self._name(task).encode(), digest_size=16).hexdigest()
        return self.folder / digest


def ranges_of(size: int) -> int:
    """Into how many an object is cut."""
    return -(-size // RANGE_BYTES)


def range_pieces(objects: Objects, bucket: str, task: Range) -> Iterator[bytes]:
    """The lines that begin within a range. Raises ``ObjectFailed``."""
    source = task.whole.source
    opened = objects.open_object(bucket, source.key)
    if opened is None or opened[0].etag != source.etag:
        raise ObjectFailed("the object was deleted or replaced while the job ran")
    with opened[1] as file:
        begin = _line_start(file, task.number * RANGE_BYTES, source.size)
        end = _line_start(file, (task.number + 1) * RANGE_BYTES, source.size)
        file.seek(begin)
        while begin < end and (piece := file.read(min(PIECE_BYTES, end - begin))):
            begin += len(piece)
            yield piece


def _line_start(file: BinaryIO, at: int, size: int) -> int:
    """The first place from ``at`` on where a line begins."""
    if at == 0 or at >= size:
        return min(at, size)
    file.seek(at - 1)
    at -= 1
    while piece := file.read(PIECE_BYTES):
        found = piece.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(piece)
    return size
