"""What services were used for: an SQLite file of its own, with a row an account, region, day and operation.

``record`` returns when the usage is the kernel's, in a journal beside the file, and an answer leaves after that: whatever was
answered is metered, whoever is killed then. It is not synced to the disk for each, which each call would wait for: a power cut
may cost the last few. A thread folds journals into the file; how far it got is committed with what it folded. Each usage has an
id; one that is recorded again (by a client that repeats what it got no answer to) is counted once.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.store.folding import Folding
from modelyard.store.journal import Journal, is_removed, journals, reading, whole_lines
from modelyard.store.opening import connect, open_migrated

logger = logging.getLogger(__name__)
REMEMBERED_SECONDS = 86_400.0
"""An id is known for so long; clients repeat a request for minutes."""
PENDING_MAX = 100_000
"""Uses that are in journals alone, while they cannot be folded; past it none is recorded."""
_MIGRATIONS = (
    """
    CREATE TABLE used (
      account TEXT NOT NULL, region TEXT NOT NULL, day TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
      usage_type TEXT NOT NULL, unit TEXT NOT NULL, quantity REAL NOT NULL, requests INTEGER NOT NULL,
      PRIMARY KEY (account, day, region, service, operation, usage_type, unit)) WITHOUT ROWID;
    CREATE TABLE recorded (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX recorded_by_age ON recorded (at);
    """,
    """
    CREATE TABLE folded (journal TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``quantity`` of ``unit``; ``day`` is a UTC date (``2026-01-31``)."""

    account: str
    region: str
    day: str
    service: str
    operation: str
    usage_type: str
    unit: str
    quantity: float
    requests: int = 1


_Line = tuple[str, float, Usage]
"""Of a journal: an id, when it was, and what."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class TooMuchUsage(Exception):
    """More waits to be folded than may."""


class UsageStore:
    """Opens or creates the file. ``record`` is for one thread; the rest blocks, and may be called from any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._journal = Journal(_folder(path))
        self._recorded = self._folded = 0
        self._lock = threading.Lock()
        """Around the connection."""
        # What cannot be folded is kept, and past PENDING_MAX no more of it is taken.
        self._folding = Folding(self._fold, name="usage")

    def close(self) -> None:
        """After the last ``record`` has returned. What cannot be folded now is folded by whoever opens the file next."""
        self._folding.end()
        self._journal.close()
        try:
            self._fold()
        except sqlite3.Error as error:
            logger.warning("what was used is left in its journals: %s", error)
        self._connection.close()

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        """Kept on return, and counted once for each id. Raises ``TooMuchUsage`` and ``OSError``."""
        if self._recorded - self._folded >= PENDING_MAX:
            raise TooMuchUsage(f"{self._recorded - self._folded} uses wait to be added up.")
        line = _encode((usage_id, now, usage)) + b"\n"
        failpoint("usage.before-append")
        self._journal.append(line)
        failpoint("usage.after-append")
        self._recorded += 1
        self._folding.soon()

    def read(self, account: str, *, start: str, end: str) -> list[Usage]:
        """Of the days from ``start`` on, before ``end``; by day. Raises ``sqlite3.Error``."""
        self._fold()
        with closing(connect(self._path)) as connection:
            rows = connection.execute(
                "SELECT account, region, day, service, operation, usage_type, unit, quantity, requests FROM used"
                " WHERE account = ? AND day >= ? AND day < ? ORDER BY day, service, operation",
                (account, start, end),
            ).fetchall()
        names = Usage.__slots__
        return [Usage(**dict(zip(names, row, strict=True))) for row in rows]

    def clear(self) -> None:
        """Forget everything that was recorded until now."""
        self._fold()
        with self._lock, _transaction(self._connection):
            self._connection.execute("DELETE FROM used")
            self._connection.execute("DELETE FROM recorded")

    def _fold(self) -> None:
        recorded = self._recorded
        with self._lock:
            fold(self._connection, _folder(self._path))
            self._folded = max(self._folded, recorded)


def fold_journals(path: Path) -> None:
    """What any process has recorded is in the file on return. Raises ``sqlite3.Error``."""
    with closing(open_migrated(path, _MIGRATIONS, synchronous="NORMAL")) as connection:
        fold(connection, _folder(path))


def fold(connection: sqlite3.Connection, folder: Path) -> None:
    """Add what journals have gained to what was used, each use once whoever folds beside; remove those that were left."""
    for path in journals(folder):
        try:
            with reading(path) as (file, is_left):
                with _transaction(connection):
                    row = connection.execute(
                        "SELECT bytes FROM folded WHERE journal = ?", (path.name,)
                    ).fetchone()
                    if row is None and is_removed(file):
                        continue  # Folded by another process, which remembers no more how far.
                    lines, end = whole_lines(file, row[0] if row else 0)
                    if lines:
                        _add(connection, lines)
                        connection.execute(
                            "INSERT OR REPLACE INTO folded VALUES (?, ?)", (path.name, end)
                        )
                        failpoint("usage.before-commit")
                failpoint("usage.after-commit")
                if is_left:
                    path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # Folded and removed by another process.
    names = {path.name for path in journals(folder)}
    for (name,) in connection.execute("SELECT journal FROM folded").fetchall():
        if name not in names:
            connection.execute("DELETE FROM folded WHERE journal = ?", (name,))


def _add(connection: sqlite3.Connection, lines: Sequence[bytes]) -> None:
    newest = 0.0
    for line in lines:
        try:
            usage_id, at, usage = _decode(line)
        except msgspec.MsgspecError:
            # Of a power cut: no kill leaves such a line behind.
            logger.error("a use cannot be read, and is not counted: %r", line[:200])
            continue
        newest = max(newest, at)
        added = connection.execute(
            "INSERT OR IGNORE INTO recorded (id, at) VALUES (?, ?)", (usage_id, at)
        )
        if added.rowcount == 0:
            continue
        connection.execute(
            "INSERT INTO used VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " quantity = quantity + excluded.quantity, requests = requests + excluded.requests",
            (
                usage.account, usage.region, usage.day, usage.service, usage.operation, usage.usage_type,
                usage.unit, usage.quantity, usage.requests,
            ),
        )  # fmt: skip
    connection.execute("DELETE FROM recorded WHERE at < ?", (newest - REMEMBERED_SECONDS,))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _folder(path: Path) -> Path:
    return path.with_name("usage-journals")
