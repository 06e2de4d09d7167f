"""Logging of the platform's own processes: one line an event, to the process's log file."""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

LOG_BYTES = 20 << 20
"""Of a process's log file; past it that is called ``.log.1``, in place of what was, and another begins."""
_OUTPUTS = (1, 2)


def configure(process: str, *, level: str = "INFO", file: Path | None = None) -> None:
    """Send all records to stderr, which the supervisor has pointed at ``<home>/logs/<process>.log``: at ``file``."""
    handler = logging.StreamHandler(sys.stderr) if file is None else _Bounded(file)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class _Bounded(logging.StreamHandler[TextIO]):
    """The descriptors themselves go to the new file: what is printed past the log is in it, too."""

    def __init__(self, file: Path) -> None:
        super().__init__(sys.stderr)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        with suppress(OSError):  # No room for another, or no descriptor: all goes on where it is.
            if os.fstat(_OUTPUTS[-1]).st_size > LOG_BYTES:
                self._begin_another()

    def _begin_another(self) -> None:
        if not os.path.samestat(os.fstat(_OUTPUTS[-1]), self._file.stat()):
            return  # It was sent elsewhere.
        new = self._file.with_suffix(".log.new")
        with new.open("ab") as another:
            self._file.replace(self._file.with_suffix(".log.1"))
            new.replace(self._file)
            for output in _OUTPUTS:
                os.dup2(another.fileno(), output)
