"""What is remembered of conversations with bots: an SQLite file of its own, a row a session.

``put`` returns when the turn is the kernel's, so that it survives whoever is killed; it is not synced for each, and a power cut
may cost the last turns. A session that nobody used for its bot's time is over: it is not found, and makes
room.
Methods block, and may be called from any thread. ``get`` waits for no ``put``: it has a connection of its own, and reads what was
put last.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from modelyard.base.failpoint import failpoint
from modelyard.store.opening import connect, open_migrated

_SWEEP_EVERY = 1_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKey:
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
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._count = self._counted()
        self._puts = 0
        self._reader = connect(path)

    def _counted(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM sessions").fetchone()
        return int(count)

    def get(self, key: SessionKey, *, now: float) -> bytes | None:
        """What was put last, unless its time is over."""
        with self._reading:
            row = self._reader.execute(
                f"SELECT data FROM sessions WHERE {_WHERE} AND expires_at > ?",  # noqa: S608 - a constant
                (*_columns(key), now),
            ).fetchone()
        return row[0] if row else None

    def has_room_for(self, more: int) -> bool:
        """Whether so many ``put`` cannot raise ``TooManySessions``, even if each were of a new session."""
        return self._count + more <= self._limit

    def put(self, key: SessionKey, data: bytes, *, expires_at: float, now: float) -> None:
        """Kept on return. Raises ``TooManySessions`` for a new one where there is no room."""
        with self._lock:
            self._puts += 1
            if self._count >= self._limit or self._puts % _SWEEP_EVERY == 0:
                self._sweep(now)
            is_new = not self._update(key, data, expires_at)
            if is_new and self._count >= self._limit:
                raise TooManySessions(f"{self._count} sessions are remembered")
            if is_new:
                self._connection.execute(
                    "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*_columns(key), expires_at, data),
                )
                self._count += 1
        failpoint("lex.after-put")

    def _update(self, key: SessionKey, data: bytes, expires_at: float) -> bool:
        changed = self._connection.execute(
            f"UPDATE sessions SET data = ?, expires_at = ? WHERE {_WHERE}",  # noqa: S608 - a constant
            (data, expires_at, *_columns(key)),
        )
        return changed.rowcount > 0

    def _sweep(self, now: float) -> None:
        gone = self._connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
        self._count -= gone.rowcount

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
        with self._reading, self._lock:
            self._reader.close()
            self._connection.close()


def _columns(key: SessionKey) -> tuple[str, ...]:
    return (key.account, key.region, key.bot, key.alias, key.locale, key.id)
