"""What services were used for: an SQLite file of its own, with a row an account, region, day and operation.

``record`` returns when the usage is the kernel's, and an answer leaves after that: whatever was answered is metered, whoever is
killed then. It is not synced to the disk for each, which each call would wait for: a power cut may cost the last few. Each
usage has an id; one that is recorded again (by a client that repeats what it got no answer to) is counted once. Requests that
come together share a commit.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.base.failpoint import failpoint
from modelyard.store.opening import connect, open_migrated

REMEMBERED_SECONDS = 86_400.0
"""An id is known for so long; clients repeat a request for minutes."""
PENDING_MAX = 10_000
_TRIM_EVERY = 1_000
_MIGRATIONS = (
    """
    CREATE TABLE used (
      account TEXT NOT NULL, region TEXT NOT NULL, day TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
      usage_type TEXT NOT NULL, unit TEXT NOT NULL, quantity REAL NOT NULL, requests INTEGER NOT NULL,
      PRIMARY KEY (account, day, region, service, operation, usage_type, unit)) WITHOUT ROWID;
    CREATE TABLE recorded (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX recorded_by_age ON recorded (at);
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


_Waiting = tuple[str, float, Usage, asyncio.Future[None]]
"""A use, when it was, and who waits for its being written."""


class TooMuchUsage(Exception):
    """More waits to be written than may."""


class UsageStore:
    """Opens or creates the file. ``record`` is for one event loop; the rest blocks, and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._pending: list[_Waiting] = []
        self._is_writing = False
        self._commits = 0
        self._lock = threading.Lock()
        """Around each transaction."""
        self._work: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Waiting]] | None] = (
            queue.SimpleQueue()
        )
        self._writer = threading.Thread(target=self._write, name="usage", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """After the last ``record`` has returned."""
        self._work.put(None)
        self._writer.join()
        self._connection.close()

    async def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        """Kept on return, and counted once for each id. Raises ``TooMuchUsage``, ``sqlite3.Error`` and ``OSError``."""
        if len(self._pending) >= PENDING_MAX:
            raise TooMuchUsage(f"{len(self._pending)} usages wait to be written.")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._pending.append((usage_id, now, usage, done))
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._hand_over, loop)
        await done

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """To the writer, what waits by now."""
        batch, self._pending = self._pending, []
        self._is_writing = bool(batch)
        if batch:
            self._work.put((loop, batch))

    def _write(self) -> None:
        """The writer's thread: handed one batch at a time, it wakes the loop once for it. Each hop costs a caller its time."""
        while (work := self._work.get()) is not None:
            loop, batch = work
            error: Exception | None = None
            try:
                self._commit([waiting[:3] for waiting in batch])
            except Exception as failure:  # noqa: BLE001 - who waits is told, and the next ones are written
                error = failure
            loop.call_soon_threadsafe(self._tell, loop, batch, error)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Waiting],
        error: Exception | None,
    ) -> None:
        """Those who wait, and go on with who came meanwhile."""
        self._hand_over(loop)
        for *_, done in batch:
            if done.done():
                continue  # The caller has gone.
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def _commit(self, rows: Sequence[tuple[str, float, Usage]]) -> None:
        connection = self._connection
        with self._lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for usage_id, at, usage in rows:
                    self._add(usage_id, at, usage)
                self._commits += 1
                if self._commits % _TRIM_EVERY == 1:
                    oldest = rows[-1][1] - REMEMBERED_SECONDS
                    connection.execute("DELETE FROM recorded WHERE at < ?", (oldest,))
                failpoint("usage.before-commit")
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        failpoint("usage.after-commit")

    def _add(self, usage_id: str, at: float, usage: Usage) -> None:
        added = self._connection.execute(
            "INSERT OR IGNORE INTO recorded (id, at) VALUES (?, ?)", (usage_id, at)
        )
        if added.rowcount == 0:
            return
        self._connection.execute(
            "INSERT INTO used VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " quantity = quantity + excluded.quantity, requests = requests + excluded.requests",
            (
                usage.account, usage.region, usage.day, usage.service, usage.operation, usage.usage_type,
                usage.unit, usage.quantity, usage.requests,
            ),
        )  # fmt: skip

    def read(self, account: str, *, start: str, end: str) -> list[Usage]:
        """Of the days from ``start`` on, before ``end``; by day."""
        connection = connect(self._path)
        try:
            rows = connection.execute(
                "SELECT account, region, day, service, operation, usage_type, unit, quantity, requests FROM used"
                " WHERE account = ? AND day >= ? AND day < ? ORDER BY day, service, operation",
                (account, start, end),
            ).fetchall()
        finally:
            connection.close()
        names = (
            "account",
            "region",
            "day",
            "service",
            "operation",
            "usage_type",
            "unit",
            "quantity",
            "requests",
        )
        return [Usage(**dict(zip(names, row, strict=True))) for row in rows]

    def clear(self) -> None:
        """Forget everything; waits for what is being written."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM used")
            self._connection.execute("DELETE FROM recorded")
            self._connection.execute("COMMIT")
