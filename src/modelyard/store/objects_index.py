"""The index of the object store: SQLite, which says which data file an object's bytes are in.

Several processes have it open at once, each thread with a connection of its own. What it names exists: a data file is
on disk before its row, and goes after it. Keys are kept as bytes, so that they sort as S3 sorts them.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.base.failpoint import failpoint

BUSY_SECONDS = 30.0
ROWS_AT_A_TIME = 64

_FIRST = """
CREATE TABLE buckets (name TEXT PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, created REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE objects (
    bucket TEXT NOT NULL, key BLOB NOT NULL, data TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified REAL NOT NULL, attributes BLOB NOT NULL, parts BLOB, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, created REAL NOT NULL, options BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, data TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    modified REAL NOT NULL, checksums BLOB NOT NULL, PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""
_SETTINGS = "ALTER TABLE buckets ADD COLUMN settings BLOB NOT NULL DEFAULT x'7b7d'"
"""A JSON object; empty where nothing was set."""
_MIGRATIONS: Sequence[str] = (_FIRST, _SETTINGS)
"""Applied in order; their number is the format. A released one never changes."""


class StorageFull(OSError):
    """No room for this write; nothing of it is visible."""


class IndexFormatTooNew(Exception):
    """A later Modelyard wrote the index."""


def data_files(index: sqlite3.Connection) -> list[str]:
    """The data files that an index names, relative to the objects folder."""
    rows = index.execute("SELECT data FROM objects UNION ALL SELECT data FROM parts")
    return [row[0] for row in rows]


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind all keys with this prefix. UTF-8 has no byte 255, so the last one can be raised."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class _Connection(NamedTuple):
    """One thread's. Whoever is in it holds ``lock``: to close it meanwhile would end the process, not the statement."""

    sqlite: sqlite3.Connection
    lock: AbstractContextManager[bool]


class ObjectIndex:
    """Connections and transactions; what the rows mean is for ``objects`` and ``uploads``.

    Closed while threads are still at work, it ends what they do next with ``sqlite3.ProgrammingError``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[_Connection] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        # Two processes that open a new index at once must not both change its journal mode and format.
        with path.with_name("open.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._connection().sqlite.execute("PRAGMA journal_mode=WAL")
            with self.transaction() as change:
                _migrate(change)
        os.chmod(path, 0o600)

    def _connection(self) -> _Connection:
        known: _Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        opened = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        opened.execute("PRAGMA synchronous=FULL")
        connection = self._local.connection = _Connection(opened, threading.RLock())
        with self._lock:
            self._opened.append(connection)
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One change, durable when the block has ended. Raises ``StorageFull``."""
        connection, in_use = self._connection()
        with self._writing, in_use:  # Within a process nobody has to poll for SQLite's lock.
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    failpoint("objects.before-commit")
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                    raise StorageFull(f"the object index cannot grow: {error}") from error
                raise

    def rows(self, statement: str, *values: Any) -> Generator[tuple[Any, ...], None, None]:
        """Rows as they are found; a caller that stops early ends the scan."""
        connection, in_use = self._connection()
        with in_use:
            cursor = connection.execute(statement, values)
        try:
            while True:
                with in_use:
                    some = cursor.fetchmany(ROWS_AT_A_TIME)
                if not some:
                    return
                yield from some
        finally:
            # Of an index that was closed meanwhile, the cursor is so, too.
            with in_use, suppress(sqlite3.ProgrammingError):
                cursor.close()

    def row(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row."""
        connection, in_use = self._connection()
        with in_use, closing(connection.execute(statement, values)) as cursor:
            found: tuple[Any, ...] | None = cursor.fetchone()
            return found

    def data_files(self) -> set[str]:
        """Every data file that is in use."""
        connection, in_use = self._connection()
        with in_use:
            return set(data_files(connection))

    def close(self) -> None:
        with self._lock:
            for connection, in_use in self._opened:
                with in_use:
                    connection.close()
            self._opened.clear()
        self._local = threading.local()


def _migrate(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(_MIGRATIONS):
        raise IndexFormatTooNew(
            f"the object index has format {found}, this Modelyard knows formats up to {len(_MIGRATIONS)}"
        )
    for step in _MIGRATIONS[found:]:
        for statement in filter(str.strip, step.split(";")):
            connection.execute(statement)
    if found < len(_MIGRATIONS):
        connection.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")
