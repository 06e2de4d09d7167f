"""Where a process prints, on a disk that may be full."""

import errno
import io
from typing import Any, TextIO

_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Lossy(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return memoryview(data).nbytes


def open_lossy(descriptor: int) -> TextIO:
    """Line by line; what finds no room is lost, and is no error of whoever was about to say it.

    Else the traceback of a model's error would end its worker, with all that it has in hand.
    """
    raw = _Lossy(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), errors="backslashreplace", line_buffering=True)
