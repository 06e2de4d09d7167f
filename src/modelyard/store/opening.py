"""Opening a SQLite file of the smaller stores: a log that readers do not wait for, and the scripts that its format still needs.

``PRAGMA user_version`` is the format: the number of scripts that were applied, each in a transaction of its own.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

BUSY_SECONDS = 10.0


def open_migrated(
    path: Path, scripts: Sequence[str], *, synchronous: Literal["FULL", "NORMAL"] = "FULL"
) -> sqlite3.Connection:
    """Open or create it. What is committed survives a kill; with ``FULL`` a power cut as well."""
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(scripts[version:], version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Another connection to the same file, for any thread; each statement is a transaction unless one is begun."""
    return sqlite3.connect(
        path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
    )
