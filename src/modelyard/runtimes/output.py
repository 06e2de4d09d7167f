"""What a process prints: read from the file it writes to, handed on as lines, and freed as it is read.

A process writes to a plain file and never waits for anyone, host or platform down included. The host reads along. What was
read is punched out of the file, so that a process that prints a gigabyte fills neither the disk nor the log; past its quota
the rest is skipped, with one line that says so.
"""

import ctypes
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modelyard.runtimes.runtime import LogStream

logger = logging.getLogger(__name__)
LogSink = Callable[[LogStream, Sequence[tuple[int, str]]], None]
"""Called with the stream and its new lines, each with its time in milliseconds."""

PIECE = 1 << 20
PIECES_A_TURN = 8
LINE_LIMIT = 256 * 1024
"""CloudWatch's limit of one event; a longer line becomes several."""
FREE_ABOVE = 1 << 20
TAIL_BYTES = 8192
"""Kept of the end, for a failure's reason."""
_PUNCH_HOLE_KEEP_SIZE = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Tail:
    """The output of one process. The place is saved after each piece: a successor repeats at most the last one.

    Or more, if the disk was full meanwhile: the place is saved again with the next piece.
    """

    def __init__(
        self, path: Path, offset_file: Path, stream: LogStream, *, sink: LogSink, quota: int
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._quota = quota
        # The process appends; the host reads and punches holes.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._place = os.open(offset_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        saved = os.pread(self._place, 16, 0)
        self._offset = int.from_bytes(saved[:8], "little")
        self._kept = int.from_bytes(saved[8:16], "little")
        self._freed = self._offset
        self._rest = b""
        self._is_told = False
        """That the place cannot be saved."""
        known = min(self._offset, TAIL_BYTES)
        self._recent = os.pread(self._file, known, self._offset - known)

    def read(self, now: float, *, last: bool = False) -> int:
        """Hand on what is new, up to a turn's worth; how many bytes that was. ``last``: an unfinished line is one, too."""
        size = os.fstat(self._file).st_size
        if size < self._offset:  # Somebody emptied the file.
            self._offset = self._freed = 0
        before = self._offset
        if self._kept >= self._quota:
            self._skip_to(size)
        for _ in range(PIECES_A_TURN):
            data = os.pread(self._file, min(PIECE, size - self._offset), self._offset)
            if not data:
                break
            self._offset += len(data)
            self._recent = (self._recent + data)[-TAIL_BYTES:]
            self._take(data, now)
            self._save()
        if last and self._rest:
            self._hand_on([self._rest], now)
            self._rest = b""
            self._save()
        return self._offset - before

    def last_lines(self, characters: int) -> str:
        """The end of what was printed, for a failure's reason."""
        text = self._recent.replace(b"\0", b"").decode("utf-8", "replace").strip()
        if len(text) <= characters:
            return text
        _, _, whole = text[-characters:].partition("\n")
        return whole or text[-characters:]

    def close(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            os.close(self._place)
            self._file = self._place = -1

    def _skip_to(self, size: int) -> None:
        """Nobody reads what is over the quota, but for the very end."""
        if size - self._offset > TAIL_BYTES:
            self._offset = size - TAIL_BYTES
            self._rest = b""

    def _take(self, data: bytes, now: float) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        self._hand_on(lines, now)

    def _hand_on(self, lines: Sequence[bytes], now: float) -> None:
        if self._kept >= self._quota:
            return
        stamp = int(now * 1000)
        events = []
        for line in _short(lines):
            text = line.decode("utf-8", "replace").rstrip("\r")
            self._kept += len(line) + 1
            if text:  # CloudWatch has no empty events.
                events.append((stamp, text))
            if self._kept >= self._quota:
                limit = (
                    f"[modelyard] more than {self._quota} bytes were printed; the rest is dropped"
                )
                events.append((stamp, limit))
                break
        if events:
            self._sink(self._stream, events)

    def _save(self) -> None:
        # The unfinished line is read again by a successor.
        place = self._offset - len(self._rest)
        self._write_place(place.to_bytes(8, "little") + self._kept.to_bytes(8, "little"))
        if place - self._freed > FREE_ABOVE:
            if not _free(self._file, self._freed, place - self._freed):
                self._empty()
            self._freed = place if self._offset else 0

    def _write_place(self, data: bytes) -> None:
        try:
            os.pwrite(self._place, data, 0)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not self._is_told:
                logger.warning("how far output was read cannot be saved: %s", error)
            self._is_told = True
        else:
            self._is_told = False

    def _empty(self) -> None:
        """Where files have no holes: empty it while all is read. A line printed in between is the price."""
        if os.fstat(self._file).st_size == self._offset and not self._rest:
            os.ftruncate(self._file, 0)
            self._write_place(bytes(8))
            self._offset = 0


def _short(lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        if len(line) <= LINE_LIMIT:
            yield line
        else:
            yield from (line[at : at + LINE_LIMIT] for at in range(0, len(line), LINE_LIMIT))


def _free(descriptor: int, offset: int, length: int) -> bool:
    """Give the blocks of what was read back to the file system; the file's size stays. False where it cannot."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    done: int = library.fallocate(
        descriptor, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)
    )
    return done == 0
