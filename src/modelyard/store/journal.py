"""Files that are appended to on their way into a database: an append takes microseconds, a commit a tenth of a millisecond.

Each writer has a file of its own in one folder, locked while the writer lives, and begins another when it is long. Whoever folds
them into the database (``store/usage.py``, ``store/lex_sessions.py``) removes those that nobody writes to any more.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

ROTATE_BYTES = 1 << 20
"""A file is read whole: past this length the next append begins another."""
_SUFFIX = ".journal"


class Journal:
    """One writer's files, the first of them made with the first line. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path: Path | None = None
        """The file that is appended to."""
        self._descriptor = -1
        self._bytes = 0

    def append(self, line: bytes) -> None:
        """The kernel has the whole line on return: it survives a kill. Raises ``OSError``; nothing of the line is kept then."""
        if self._descriptor < 0 or self._bytes >= ROTATE_BYTES:
            descriptor, path = self._begin()
            self.close()
            self._descriptor, self._bytes = descriptor, 0
            self.path = path
        written = os.write(self._descriptor, line)
        if written < len(line):  # The disk is full.
            os.ftruncate(self._descriptor, self._bytes)
            raise OSError(f"{written} of {len(line)} bytes could be written")
        self._bytes += written

    def empty(self) -> None:
        """All that the file has is folded, and nobody else reads it. Raises ``OSError``."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            self._bytes = 0

    def close(self) -> None:
        """The file is left to whoever folds."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self.path = -1, None

    def _begin(self) -> tuple[int, Path]:
        """A file that is locked before anybody can find it, behind all that are there. Raises ``OSError``."""
        self._folder.mkdir(exist_ok=True)
        name = (
            f"{1 + max(map(_number, journals(self._folder)), default=0):012}-{secrets.token_hex(4)}"
        )
        hidden = self._folder / f".{name}"
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path = hidden.rename(self._folder / (name + _SUFFIX))
        except OSError:
            hidden.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return descriptor, path


def journals(folder: Path) -> list[Path]:
    """All files, of any writer; of one writer in the order in which it began them."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _number(path: Path) -> int:
    number = path.name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


@contextmanager
def reading(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The file, and whether its writer has left it. Raises ``FileNotFoundError`` where somebody else has removed it."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield file, False
        else:
            yield file, True


def is_removed(file: BinaryIO) -> bool:
    """Whether somebody has removed it since it was opened."""
    return os.fstat(file.fileno()).st_nlink == 0


def whole_lines(file: BinaryIO, offset: int) -> tuple[list[bytes], int]:
    """From the offset on, and where they end. What follows is being written, or was never acknowledged."""
    file.seek(offset)
    data = file.read()
    end = data.rfind(b"\n") + 1
    return data[:end].splitlines(), offset + end
