"""The job's second log, ``…/data-log``: what went wrong with which request, in the form of AWS's.

A file in the job's folder, appended line by line; control brings it to its log stream.
"""

import os
from pathlib import Path
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.domain.data_log import DATA_LOG_FILE, data_log_line

LINES_MAX = 10_000


class ErrorLog(Protocol):
    """Where failed requests are told."""

    def tell(self, text: str) -> None: ...


class DataLog:
    """Used by several threads: a line is one write. Past ``LINES_MAX`` nothing more is written."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(folder / DATA_LOG_FILE, flags, 0o600)
        self._clock = clock
        self._written = 0

    def tell(self, text: str) -> None:
        self._written += 1
        if self._written > LINES_MAX:
            return
        if self._written == LINES_MAX:
            text = "more errors follow, which are not written"
        os.write(self._file, data_log_line(self._clock.now(), text))

    def close(self) -> None:
        """Once."""
        os.close(self._file)
