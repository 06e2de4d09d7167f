"""What is remembered of conversations with bots: an SQLite file of its own, a row a session, and a journal of turns beside it.

``put`` returns when the turn is the kernel's, in the journal, so that it survives whoever is killed; it is not synced for each,
and a power cut may cost the last turns. What is in a journal alone is in memory, too, until a thread has folded it into the file.
A session that nobody used for its bot's time is over: it is not found, and makes room.
``get`` and ``put`` wait for no disk and for no commit, so an event loop may call them; only a ``put`` without room makes some
first. All methods may be called from any thread; one process at a time has the file open (control, by its lease).
"""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.store.folding import Folding
from modelyard.store.journal import Journal, journals, whole_lines
from modelyard.store.opening import connect, open_migrated

logger = logging.getLogger(__name__)
RECENT_MAX = 2_000
"""Sessions whose last turn is in journals alone, while they cannot be folded; past it none is taken."""
_SWEEP_EVERY = 1_000
_SWEPT_MAX = 2_000
"""Sessions that are removed at once: a caller may wait for it."""
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


class _Turn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line of a journal: what a session is after a turn, or, without ``data``, that it is no more."""

    key: SessionKey
    expires_at: float
    data: bytes | None
    begins: bool = False
    """There was none before, as far as the file knows."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Turn).decode


class TooManySessions(Exception):
    """As many conversations are remembered as may be."""


class LexSessions:
    """Opens or creates the file; ``limit`` bounds the sessions of all bots together."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._limit = limit
        self._path = path
        self._connection = open_migrated(path, _MIGRATIONS, synchronous="NORMAL")
        self._folder_lock = threading.Lock()
        """Around the connection, folding, and removing."""
        self._reader = connect(path)
        self._lock = threading.Lock()
        """Around the rest; nobody commits while it is held."""
        self._journal = Journal(_folder(path))
        self._recent = {turn.key: turn for turn in _left(_folder(path))}
        (self._rows,) = self._connection.execute("SELECT count(*) FROM sessions").fetchone()
        self._begun = self._count_begun()
        """Of the recent ones, those that are no row yet."""
        self._puts = 0
        self._now = 0.0
        self._folding = Folding(self._fold, name="lex-sessions")
        if self._recent:
            self._folding.soon()

    def get(self, key: SessionKey, *, now: float) -> bytes | None:
        """What was put last, unless its time is over."""
        with self._lock:
            turn = self._recent.get(key)
            if turn is not None:
                return turn.data if turn.expires_at > now else None
            row = self._reader.execute(
                f"SELECT data FROM sessions WHERE {_WHERE} AND expires_at > ?",  # noqa: S608 - a constant
                (*_columns(key), now),
            ).fetchone()
        return row[0] if row else None

    def put(
        self, key: SessionKey, data: bytes, *, expires_at: float, now: float, begins: bool
    ) -> None:
        """Kept on return. Raises ``TooManySessions`` where there is no room, and ``OSError``.

        ``begins``: ``get`` has found none.
        """
        if self._is_full(begins=begins):
            self._make_room(now)
        with self._lock:
            if self._is_full(begins=begins):
                raise TooManySessions(f"{self._rows + self._begun} sessions are remembered")
            before = self._recent.get(key)
            is_new = begins if before is None or before.data is None else before.begins
            self._append(_Turn(key, expires_at, data, is_new))
            self._puts += 1
            self._now = now
        failpoint("lex.after-put")
        self._folding.soon()

    def delete(self, key: SessionKey) -> None:
        """Nothing happens where there is none. Raises ``OSError``."""
        with self._lock:
            self._append(_Turn(key, 0.0, None))
        self._folding.soon()

    def _append(self, turn: _Turn) -> None:
        self._journal.append(_encode(turn) + b"\n")
        before = self._recent.get(turn.key)
        self._begun += turn.begins - (before is not None and before.begins)
        self._recent[turn.key] = turn

    def _is_full(self, *, begins: bool) -> bool:
        is_full = begins and self._rows + self._begun >= self._limit
        return is_full or len(self._recent) >= RECENT_MAX

    def _make_room(self, now: float) -> None:
        try:
            self._fold()
            self._sweep(now)
        except (sqlite3.Error, OSError) as error:
            logger.warning("no room could be made for sessions: %s", error)

    def _fold(self) -> None:
        """Raises ``sqlite3.Error`` and ``OSError``; nothing is lost then."""
        with self._folder_lock, held(self._path):
            with self._lock:
                turns = self._recent.copy()
                files = journals(_folder(self._path))
                current = self._journal.path
            self._rows += _apply(self._connection, turns.values())
            with self._lock:
                for key, turn in turns.items():
                    if self._recent[key] is turn:
                        del self._recent[key]
                self._begun = self._count_begun()
                for path in files:
                    if path != current:
                        path.unlink()  # In their order: what a kill leaves is the end of the story.
                if not self._recent:
                    self._journal.empty()
        if self._puts >= _SWEEP_EVERY:
            self._sweep(self._now)

    def _count_begun(self) -> int:
        return sum(turn.begins for turn in self._recent.values())

    def _sweep(self, now: float) -> None:
        """Some of those that are over; the next ones by the next sweep."""
        with self._folder_lock:
            gone = self._connection.execute(
                "DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE expires_at <= ? LIMIT ?)",
                (now, _SWEPT_MAX),
            )
            self._puts = 0
            self._rows -= gone.rowcount

    def clear(self) -> None:
        """Forget everything. Raises ``sqlite3.Error`` and ``OSError``."""
        with self._folder_lock, held(self._path), self._lock:
            self._connection.execute("DELETE FROM sessions")
            self._journal.close()
            for path in journals(_folder(self._path)):
                path.unlink()
            self._recent.clear()
            self._rows = self._begun = 0

    def close(self) -> None:
        """What cannot be folded now is folded by whoever opens the file next."""
        self._folding.end()
        try:
            self._fold()
        except (sqlite3.Error, OSError) as error:
            logger.warning("turns are left in their journals: %s", error)
        self._journal.close()
        self._reader.close()
        self._connection.close()


def _left(folder: Path) -> Iterator[_Turn]:
    """What is in journals alone, the oldest first."""
    for path in journals(folder):
        with path.open("rb") as file:
            lines, _ = whole_lines(file, 0)
        for line in lines:
            try:
                yield _decode(line)
            except msgspec.MsgspecError:
                # Of a power cut: no kill leaves such a line behind.
                logger.error("a turn cannot be read, and is lost: %r", line[:200])


def _apply(connection: sqlite3.Connection, turns: Iterable[_Turn]) -> int:
    """In one transaction; the rows that there are more. Raises ``sqlite3.Error``."""
    added = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        for turn in turns:
            columns = _columns(turn.key)
            if turn.data is None:
                gone = connection.execute(f"DELETE FROM sessions WHERE {_WHERE}", columns)  # noqa: S608 - a constant
                added -= gone.rowcount
                continue
            changed = connection.execute(
                f"UPDATE sessions SET data = ?, expires_at = ? WHERE {_WHERE}",  # noqa: S608 - a constant
                (turn.data, turn.expires_at, *columns),
            )
            if not changed.rowcount:
                row = (*columns, turn.expires_at, turn.data)
                connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                added += 1
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # A full disk may have rolled it back.
            connection.execute("ROLLBACK")
        raise
    return added


@contextmanager
def held(path: Path) -> Iterator[None]:
    """No process folds turns into the file meanwhile: it and its journals tell one story."""
    folder = _folder(path)
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fold_into(copy: Path, path: Path) -> None:
    """What the journals of ``path`` have, into a copy of it, whoever appends beside. Raises ``sqlite3.Error``."""
    connection = open_migrated(copy, _MIGRATIONS)
    try:
        _apply(connection, {turn.key: turn for turn in _left(_folder(path))}.values())
    finally:
        connection.close()


def _folder(path: Path) -> Path:
    return path.with_name("lex-journals")


def _columns(key: SessionKey) -> tuple[str, ...]:
    return (key.account, key.region, key.bot, key.alias, key.locale, key.id)
