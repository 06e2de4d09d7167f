"""Tables that control publishes and every process reads on its hot path.

A table is one JSON file, replaced by rename. Beside it lies an eight-byte epoch in shared memory, raised *after* the
rename: a reader compares one integer on each request and reloads only when it moved. So a reader needs no connection
to control, serves from the last table while control is down, and, because the comparison stands before each use, once
``publish`` has returned no later request of any process can be judged by the older table. That is the acknowledgement
that the design asks for, without waiting for anyone.
"""

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from modelyard.base.failpoint import failpoint

T = TypeVar("T")
_EPOCH = struct.Struct("<Q")
_FORMAT = 1


class _File(msgspec.Struct):
    format: int | None = None
    table: msgspec.Raw = msgspec.Raw(b"null")


def _map_epoch(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size < _EPOCH.size:
            os.ftruncate(descriptor, _EPOCH.size)
        return mmap.mmap(descriptor, _EPOCH.size)
    finally:
        os.close(descriptor)


class Publisher:
    """The one writer of a table; idempotent, safe to kill between any two instructions."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.json"
        self._epoch = _map_epoch(folder / f"{name}.epoch")

    def publish(self, table: Any) -> None:
        """Replace the table; on return every reader's next look sees it. Mode 600: it may hold secrets."""
        data = msgspec.json.encode({"format": _FORMAT, "table": table})
        temporary = self._path.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoint("published.before-rename")
        os.replace(temporary, self._path)
        failpoint("published.before-epoch")
        (epoch,) = _EPOCH.unpack_from(self._epoch)
        _EPOCH.pack_into(self._epoch, 0, epoch + 1)


class Published(Generic[T]):
    """A reader of a table; ``decode`` turns its JSON into what the reader uses."""

    def __init__(self, folder: Path, name: str, *, decode: Callable[[bytes], T], empty: T) -> None:
        self._path = folder / f"{name}.json"
        self.epoch = _map_epoch(folder / f"{name}.epoch")
        """Shared memory: the newest table's."""
        self.seen = b""
        """The epoch of the table that was read last."""
        self._decode = decode
        self._table = empty

    def current(self) -> T:
        """The newest table; ``empty`` before the first. Raises ``ValueError`` for another format version."""
        now = self.epoch[:]
        if now != self.seen:
            # The epoch is read before the file: a table published in between is read again, never missed.
            self._table = self._load()
            self.seen = now
        return self._table

    def _load(self) -> T:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return self._table
        file = msgspec.json.decode(data, type=_File)
        if file.format != _FORMAT:
            raise ValueError(f"{self._path}: format {file.format!r}, expected {_FORMAT}")
        return self._decode(bytes(file.table))
