"""How a process tells the host to look at its state file: its id, one line, through a named pipe.

A name rather than an inherited descriptor, so that a process whose host was killed reaches the next one. A poke is only
a hint: one that finds no host is made good by the next host, which looks at every file when it starts.
"""

import contextlib
import os
import stat
from pathlib import Path

NAME = "host.poke"
_PIPE_BYTES = 64 * 1024


def poke(folder: Path, process_id: str) -> None:
    """Never waits. Lines this short are written whole or not at all."""
    with contextlib.suppress(OSError):  # No host now.
        descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, process_id.encode() + b"\n")
        finally:
            os.close(descriptor)


class Pokes:
    """The host's end."""

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        if not path.exists() or not stat.S_ISFIFO(path.lstat().st_mode):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        # For writing, too: else it would be at its end whenever no process has it open.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self) -> set[str] | None:
        """Who poked; None for everyone, when the pipe was so full that pokes may have been refused."""
        data = bytearray()
        with contextlib.suppress(BlockingIOError):
            while len(data) < _PIPE_BYTES:
                data += os.read(self._descriptor, _PIPE_BYTES)
        if len(data) > _PIPE_BYTES // 2:
            return None
        return set(data.decode("utf-8", "replace").split())
