"""Logging of the platform's own processes: one line an event, to the process's log file."""

import logging
import sys


def configure(process: str, *, level: str = "INFO") -> None:
    """Send all records to stderr, which the supervisor has pointed at ``<home>/logs/<process>.log``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
