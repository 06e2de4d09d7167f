"""What is remembered of conversations with bots: an SQLite file of its own, a row a session.

``put`` returns when the turn is the kernel's, so that it survives whoever is killed; it is not synced for each, and a power cut
may cost the last turns. A session that nobody used for its bot's time is over: it is not found, and makes
room.
``get`` and ``put`` touch one row by its key and wait for no disk, so an event loop may call them; what waits for it (moving the
write-ahead log into the file) a thread does now and then. All methods may be called from any thread.
"""

import threading
from contextlib import closing
from pathlib import Path

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.store.opening import connect, open_migrated

_SWEEP_EVERY = 1_000
_SWEPT_MAX = 2_000
"""Sessions that are removed at once: a caller waits for it."""
_CHECKPOINT_EVERY = 500
"""So many turns are some megabytes of the write-ahead log."""
_LOG_PAGES_MAX = 8_192
"""Of the write-ahead log, 32 MB; past it, turns wait while the last of it is moved."""
_MIGRATIONS = (
    """
    CREATE TABLE sessions (
      account TEXT NOT NULL, region TEXT NOT NULL, bot TEXT NOT NULL, alias TEXT NOT NULL, locale TEXT NOT NULL,
      id TEXT NOT NULL, expires_at REAL NOT NULL, data BLOB NOT NULL,
      PRIMARY KEY (account, region, bot, alias, locale, id));
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);
    """,
)
_WHERE = "account = ? AND region = ? AND bot = ? AND alias = ? AND locale = ? AND id = ?"


class SessionKey(msgspec.Struct, frozen=True, kw_only=True):
    """A session is of one locale: in another one, the same id is another session."""

    account: str
    region: str
    bot: str
    alias: str
    locale: str
    id: str


class TooManySessions(Exception):
    """As many conversations are remembered as may be."""


class LexSessions:
    """Opens or creates the file; ``limit`` bounds the sessions of all bots together."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._limit = limit
        self._path = path
        self._lock = threading.Lock()
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._count = self._counted()
        self._puts = 0
        self._checkpointer: threading.Thread | None = None

    def _counted(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM sessions").fetchone()
        return int(count)

    def get(self, key: SessionKey, *, now: float) -> bytes | None:
        """What was put last, unless its time is over."""
        with self._lock:
            row = self._connection.execute(
                f"SELECT data FROM sessions WHERE {_WHERE} AND expires_at > ?",  # noqa: S608 - a constant
                (*_columns(key), now),
            ).fetchone()
        return row[0] if row else None

    def put(
        self, key: SessionKey, data: bytes, *, expires_at: float, now: float, begins: bool = False
    ) -> None:
        """Kept on return. Raises ``TooManySessions`` for a new one where there is no room.

        ``begins``: it was not found, which spares a new one the search for an old one.
        """
        with self._lock:
            self._puts += 1
            if self._count >= self._limit or self._puts % _SWEEP_EVERY == 0:
                self._sweep(now)
            self._write(key, data, expires_at, begins=begins)
            if self._puts % _CHECKPOINT_EVERY == 0:
                self._begin_checkpoint()
        failpoint("lex.after-put")

    def _write(self, key: SessionKey, data: bytes, expires_at: float, *, begins: bool) -> None:
        has_room = self._count < self._limit
        if begins and has_room and self._insert(key, data, expires_at):
            return
        if self._update(key, data, expires_at):
            return
        if not has_room:
            raise TooManySessions(f"{self._count} sessions are remembered")
        self._insert(key, data, expires_at)

    def _insert(self, key: SessionKey, data: bytes, expires_at: float) -> bool:
        """False where it is there, though its time may be over."""
        added = self._connection.execute(
            "INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*_columns(key), expires_at, data),
        )
        self._count += added.rowcount
        return added.rowcount > 0

    def _update(self, key: SessionKey, data: bytes, expires_at: float) -> bool:
        changed = self._connection.execute(
            f"UPDATE sessions SET data = ?, expires_at = ? WHERE {_WHERE}",  # noqa: S608 - a constant
            (data, expires_at, *_columns(key)),
        )
        return changed.rowcount > 0

    def _sweep(self, now: float) -> None:
        """Some of those that are over; the next ones by the next sweep."""
        gone = self._connection.execute(
            "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE expires_at <= ? LIMIT ?)",
            (now, _SWEPT_MAX),
        )
        self._count -= gone.rowcount

    def _begin_checkpoint(self) -> None:
        """Unless the last one still runs."""
        if self._checkpointer is None or not self._checkpointer.is_alive():
            self._checkpointer = threading.Thread(
                target=self._checkpoint, name="lex-sessions", daemon=True
            )
            self._checkpointer.start()

    def _checkpoint(self) -> None:
        """Nobody waits for it, neither who reads nor who writes, unless the log has become long.

        It is begun anew only where all of it was moved, and of turns that come without a pause the last never is.
        """
        move = "PRAGMA wal_checkpoint(PASSIVE)"
        with closing(connect(self._path)) as connection:
            _, pages, _ = connection.execute(move).fetchone()
            if pages > _LOG_PAGES_MAX:
                with self._lock:
                    connection.execute(move).fetchall()

    def delete(self, key: SessionKey) -> None:
        """Nothing happens where there is none."""
        with self._lock:
            gone = self._connection.execute(
                f"DELETE FROM sessions WHERE {_WHERE}",  # noqa: S608 - a constant
                _columns(key),
            )
            self._count -= gone.rowcount

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.execute("DELETE FROM sessions")
            self._count = 0

    def close(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.join()
        with self._lock:
            self._connection.close()


def _columns(key: SessionKey) -> tuple[str, ...]:
    return (key.account, key.region, key.bot, key.alias, key.locale, key.id)
