"""What a process prints: read from the file it writes to, handed on as lines, and freed as it is read.

A process writes to a plain file and never waits for anyone, host or platform down included. The host reads along. What was
read is punched out of the file, so that a process that prints a gigabyte fills neither the disk nor the log; past its quota
lines are counted and dropped, with one line that says so.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.runtimes.runtime import LogStream

LogSink = Callable[[LogStream, Sequence[tuple[int, str]]], None]
"""Called with the stream and its new lines, each with its time in milliseconds."""

PIECE = 1 << 20
PIECES_A_TURN = 8
LINE_LIMIT = 256 * 1024
"""CloudWatch's limit of one event."""
FREE_ABOVE = 1 << 20
TAIL_BYTES = 8192
_PUNCH_HOLE_KEEP_SIZE = 3


class Tail:
    """The output of one process."""

    def __init__(
        self, path: Path, offset_file: Path, stream: LogStream, *, sink: LogSink, quota: int
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._quota = quota
        # The process appends; the host reads and punches holes.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._place = os.open(offset_file, os.O_RDWR | os.O_CREAT, 0o600)
        saved = os.pread(self._place, 16, 0)
        self._offset = int.from_bytes(saved[:8], "little")
        self._kept = int.from_bytes(saved[8:16], "little")
        self._freed = self._offset
        self._rest = b""
        self._recent = b""

    def read(self, now: float, *, last: bool = False) -> bool:
        """Hand on what is new; True if there may be more at once. ``last``: an unfinished line is one, too."""
        size = os.fstat(self._file).st_size
        if size <= self._offset and not (last and self._rest):
            return False
        for _ in range(PIECES_A_TURN):
            data = os.pread(self._file, PIECE, self._offset)
            if not data:
                break
            self._offset += len(data)
            self._recent = (self._recent + data)[-TAIL_BYTES:]
            self._take(data, now)
        if last and self._rest:
            self._hand_on([self._rest], now)
            self._rest = b""
        self._save()
        return self._offset < os.fstat(self._file).st_size

    def last_lines(self, characters: int) -> str:
        """The end of what was printed, for a failure's reason."""
        text = self._recent.decode("utf-8", "replace").strip()
        return text[-characters:]

    def close(self) -> None:
        os.close(self._file)
        os.close(self._place)

    def _take(self, data: bytes, now: float) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        self._hand_on(lines, now)

    def _hand_on(self, lines: list[bytes], now: float) -> None:
        if self._kept >= self._quota:
            return
        stamp = int(now * 1000)
        events = []
        for line in lines:
            self._kept += len(line) + 1
            events.append((stamp, line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")))
            if self._kept >= self._quota:
                events.append(
                    (
                        stamp,
                        f"[modelyard] more than {self._quota} bytes were printed; the rest is dropped",
                    )
                )
                break
        events = [(moment, text) for moment, text in events if text]
        if events:
            self._sink(self._stream, events)

    def _save(self) -> None:
        # The unfinished line is read again by a successor.
        place = self._offset - len(self._rest)
        os.pwrite(self._place, place.to_bytes(8, "little") + self._kept.to_bytes(8, "little"), 0)
        if self._offset - self._freed > FREE_ABOVE:
            _free(self._file, self._freed, self._offset - self._freed)
            self._freed = self._offset


def _free(descriptor: int, offset: int, length: int) -> None:
    """Give the blocks of what was read back to the file system; the file's size stays."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    # A file system that cannot (EOPNOTSUPP) keeps the bytes: bounded by what the process prints, and said in status.
    library.fallocate(
        descriptor, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)
    )
