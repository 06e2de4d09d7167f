"""What workers and jobs print: an SQLite file of its own that the host writes and control reads.

Any number of processes may use it at once; each call is one short transaction. A power cut may take the last
moments with it (``synchronous=NORMAL``), a killed process takes nothing that ``append`` returned for. The file is
bounded: past ``limit_bytes`` of text the oldest lines of all streams go first.

Events of a stream are in the order of their times, and of their arrival where these are equal. A position between two
events is written as ``f/<ms>-<id>`` (what follows) or ``b/<ms>-<id>`` (what comes before).
"""

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from modelyard.base.clock import Clock
from modelyard.store import log_retention
from modelyard.store.log_search import FoundEvent, Place, Search, search
from modelyard.store.log_values import (
    AlreadyThere,
    Events,
    GroupName,
    InvalidToken,
    LogEvent,
    LogGroup,
    NotThere,
    Stream,
    StreamName,
)

LIMIT_BYTES = 1 << 30
EVENTS_MAX = 10_000
PAGE_BYTES = 1 << 20
"""Text of one page of events, as AWS bounds it."""
_EVENT_OVERHEAD = 26  # what AWS adds to a message's size
_TRIM_TO = 0.9
_TRIM_STEP = 5_000
_BUSY_SECONDS = 10.0
_TOKEN = re.compile(r"([fb])/(\d{1,18})-(\d{1,18})")

_MIGRATIONS = (
    """
    CREATE TABLE log_groups (
      id INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
      created_ms INTEGER NOT NULL, UNIQUE (account, region, name));
    CREATE TABLE log_streams (
      id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL REFERENCES log_groups ON DELETE CASCADE,
      name TEXT NOT NULL, created_ms INTEGER NOT NULL, first_ms INTEGER, last_ms INTEGER,
      ingested_ms INTEGER, bytes INTEGER NOT NULL DEFAULT 0, UNIQUE (group_id, name));
    CREATE TABLE events (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      stream_id INTEGER NOT NULL REFERENCES log_streams ON DELETE CASCADE,
      ms INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, size INTEGER NOT NULL, message TEXT NOT NULL);
    CREATE INDEX events_in_order ON events (stream_id, ms, id);
    """,
    "ALTER TABLE log_groups ADD COLUMN retention_days INTEGER",
)


class LogsUnavailable(Exception):
    """The file cannot be read or written; the text says why (disk full, locked for too long)."""


Batch = tuple[StreamName, Sequence[tuple[int, str]]]


class LogStore:
    """Blocking and safe to share between threads; not to be used in a forked child."""

    def __init__(self, path: Path, *, clock: Clock, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open or create. Raises ``LogsUnavailable``."""
        self._clock = clock
        self._limit = limit_bytes
        self._expire_at = 0.0
        self._lock = threading.Lock()
        with _alone(path), ExitStack() as undo:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            undo.callback(self._connection.close)
            with self._lock, _explained():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute("PRAGMA foreign_keys = ON")
            with self._writing() as connection:
                _migrate(connection)
            undo.pop_all()

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()

    def append(self, stream: StreamName, events: Sequence[tuple[int, str]]) -> None:
        """Add ``(milliseconds since the epoch, message)``; group and stream are created as needed."""
        self.append_all([(stream, events)])

    def append_all(self, batches: Iterable[Batch]) -> None:
        """Add to several streams in one transaction. Raises ``LogsUnavailable``."""
        now = self._now()
        with self._writing() as connection:
            for stream, events in batches:
                group = _ensure_group(connection, stream.group, now)
                _add(connection, _ensure_stream(connection, group, stream.name, now), events, now)
            self._trim(connection)

    def put(self, stream: StreamName, events: Sequence[tuple[int, str]]) -> None:
        """As ``append``, but raises ``NotThere`` where group or stream is missing."""
        now = self._now()
        with self._writing() as connection:
            _add(connection, _stream_id(connection, stream), events, now)
            self._trim(connection)

    def create_group(self, group: GroupName) -> None:
        """Raises ``AlreadyThere``."""
        with self._writing() as connection:
            if _find_group(connection, group) is not None:
                raise AlreadyThere
            _ensure_group(connection, group, self._now())

    def create_stream(self, stream: StreamName) -> None:
        """Raises ``NotThere`` for the group, ``AlreadyThere`` for the stream."""
        with self._writing() as connection:
            group = _group_id(connection, stream.group)
            if _find_stream(connection, group, stream.name) is not None:
                raise AlreadyThere
            _ensure_stream(connection, group, stream.name, self._now())

    def delete_group(self, group: GroupName) -> None:
        """With all that is in it. Raises ``NotThere``."""
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM log_groups WHERE id = ?", (_group_id(connection, group),)
            )

    def delete_stream(self, stream: StreamName) -> None:
        """With all that is in it. Raises ``NotThere``."""
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM log_streams WHERE id = ?", (_stream_id(connection, stream),)
            )

    def set_retention(self, group: GroupName, days: int | None) -> None:
        """Keep the group's events for so many days, None: as long as there is room. Raises ``NotThere``."""
        with self._writing() as connection:
            log_retention.set_days(connection, _group_id(connection, group), days)
            self._expire_at = 0.0
            self._trim(connection)

    def clear(self) -> None:
        """Delete everything."""
        with self._writing() as connection:
            connection.execute("DELETE FROM log_groups")

    def groups(self, *, account: str, region: str, prefix: str = "") -> Sequence[LogGroup]:
        """By name."""
        statement = (
            "SELECT g.name, g.created_ms, coalesce(sum(s.bytes), 0), g.retention_days FROM log_groups g"
            " LEFT JOIN log_streams s ON s.group_id = g.id"
            " WHERE g.account = ? AND g.region = ? AND substr(g.name, 1, ?) = ?"
            " GROUP BY g.id ORDER BY g.name"
        )
        with self._reading() as connection:
            rows = connection.execute(statement, (account, region, len(prefix), prefix)).fetchall()
        return [
            LogGroup(name=name, created_ms=ms, bytes=size, retention_days=days)
            for name, ms, size, days in rows
        ]

    def streams(
        self,
        group: GroupName,
        *,
        prefix: str = "",
        order_by: Literal["LogStreamName", "LastEventTime"] = "LogStreamName",
    ) -> Sequence[Stream]:
        """In rising order. Raises ``NotThere``."""
        order = "name" if order_by == "LogStreamName" else "coalesce(last_ms, 0), name"
        statement = (
            "SELECT name, created_ms, first_ms, last_ms, ingested_ms, bytes FROM log_streams"  # noqa: S608 - two constants
            f" WHERE group_id = ? AND substr(name, 1, ?) = ? ORDER BY {order}"
        )
        with self._reading() as connection:
            group_id = _group_id(connection, group)
            rows = connection.execute(statement, (group_id, len(prefix), prefix)).fetchall()
        return [
            Stream(
                name=name,
                created_ms=created,
                first_ms=first,
                last_ms=last,
                ingested_ms=ingested,
                bytes=size,
            )
            for name, created, first, last, ingested, size in rows
        ]

    def events(
        self,
        stream: StreamName,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = EVENTS_MAX,
        token: str | None = None,
        from_head: bool = False,
    ) -> Events:
        """A page of at most ``limit`` events and a mebibyte, at least one event if there is any.

        ``start_ms`` is inclusive, ``end_ms`` is not. Without a token the newest, or with ``from_head`` the oldest;
        a token brings its own direction. Raises ``NotThere`` and ``InvalidToken``.
        """
        forward, place = (from_head, None) if token is None else _parse(token)
        where = "stream_id = ? AND ms >= ? AND ms < ?"
        values: list[int] = [start_ms or 0, (1 << 62) if end_ms is None else end_ms]
        if place is not None:
            where += f" AND (ms, id) {'>' if forward else '<'} (?, ?)"
            values += place
        direction = "ASC" if forward else "DESC"
        statement = (
            "SELECT ms, id, ingested_ms, size, message FROM events"  # noqa: S608 - constants
            f" WHERE {where} ORDER BY ms {direction}, id {direction} LIMIT ?"
        )
        with self._reading() as connection:
            stream_id = _stream_id(connection, stream)
            cursor = connection.execute(statement, (stream_id, *values, limit))
            rows = _fitting(cursor)
            cursor.close()
        return _page(rows if forward else rows[::-1], place, forward=forward)

    def search(
        self,
        group: GroupName,
        asked: Search,
        *,
        limit: int = EVENTS_MAX,
        token: str | None = None,
        from_head: bool = True,
    ) -> tuple[Sequence[FoundEvent], str | None]:
        """A page of events of several streams, and a token where there may be more, after an empty page too.

        A token brings its own direction. Raises ``NotThere`` for the group or a named stream, and ``InvalidToken``.
        """
        forward, after = (from_head, None) if token is None else _parse(token)
        place = Place(forward=forward, after=after)
        with self._reading() as connection:
            streams = _searched(connection, group, asked)
            found = search(connection, streams, asked, place=place, limit=limit)
        if found.last is None:
            return found.events, None
        return found.events, f"{'f' if forward else 'b'}/{found.last[0]}-{found.last[1]}"

    def _now(self) -> int:
        return int(self._clock.now() * 1000)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot for all statements."""
        with self._lock, _explained():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Delete what has expired. Once over the limit, delete down to nine tenths of it, so that not every append has to."""
        now = self._clock.now()
        if now >= self._expire_at:
            more = log_retention.expire(connection, int(now * 1000))
            self._expire_at = now if more else now + log_retention.EXPIRE_SECONDS
        (total,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM log_streams").fetchone()
        if total <= self._limit:
            return
        excess = total - int(self._limit * _TRIM_TO)
        while excess > 0:
            oldest = connection.execute(
                "SELECT id, size FROM events ORDER BY id LIMIT ?", (_TRIM_STEP,)
            ).fetchall()
            if not oldest:
                return
            last = 0
            for event, size in oldest:
                last, excess = event, excess - size
                if excess <= 0:
                    break
            _delete_up_to(connection, last)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Processes that start together open one after the other: SQLite does not wait for its change to WAL.

    The lock is a file of its own, because closing any descriptor of a database drops SQLite's locks on it.
    """
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        yield


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LogsUnavailable(f"the log store cannot be used: {error}") from error


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_MIGRATIONS):
        raise LogsUnavailable(
            f"the log store has format {version}, this Modelyard knows formats up to {len(_MIGRATIONS)}"
        )
    if version == len(_MIGRATIONS):
        return  # Without a write: on a full disk there are still logs to be read.
    for script in _MIGRATIONS[version:]:
        # Not executescript, which would commit the transaction that the migration must be part of.
        for statement in filter(str.strip, script.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _find_group(connection: sqlite3.Connection, group: GroupName) -> int | None:
    row = connection.execute(
        "SELECT id FROM log_groups WHERE account = ? AND region = ? AND name = ?",
        (group.account, group.region, group.name),
    ).fetchone()
    return None if row is None else int(row[0])


def _find_stream(connection: sqlite3.Connection, group: int, name: str) -> int | None:
    row = connection.execute(
        "SELECT id FROM log_streams WHERE group_id = ? AND name = ?", (group, name)
    ).fetchone()
    return None if row is None else int(row[0])


def _group_id(connection: sqlite3.Connection, group: GroupName) -> int:
    found = _find_group(connection, group)
    if found is None:
        raise NotThere("group")
    return found


def _stream_id(connection: sqlite3.Connection, stream: StreamName) -> int:
    found = _find_stream(connection, _group_id(connection, stream.group), stream.name)
    if found is None:
        raise NotThere("stream")
    return found


def _searched(
    connection: sqlite3.Connection, group: GroupName, asked: Search
) -> list[tuple[int, str]]:
    """Ids and names of the streams of a search."""
    group_id = _group_id(connection, group)
    if asked.streams is not None:
        return [
            (_stream_id(connection, StreamName(group=group, name=name)), name)
            for name in asked.streams
        ]
    return connection.execute(
        "SELECT id, name FROM log_streams WHERE group_id = ? AND substr(name, 1, ?) = ?",
        (group_id, len(asked.prefix), asked.prefix),
    ).fetchall()


def _ensure_group(connection: sqlite3.Connection, group: GroupName, now: int) -> int:
    found = _find_group(connection, group)
    if found is not None:
        return found
    cursor = connection.execute(
        "INSERT INTO log_groups (account, region, name, created_ms) VALUES (?, ?, ?, ?)",
        (group.account, group.region, group.name, now),
    )
    return int(cursor.lastrowid or 0)


def _ensure_stream(connection: sqlite3.Connection, group: int, name: str, now: int) -> int:
    found = _find_stream(connection, group, name)
    if found is not None:
        return found
    cursor = connection.execute(
        "INSERT INTO log_streams (group_id, name, created_ms) VALUES (?, ?, ?)", (group, name, now)
    )
    return int(cursor.lastrowid or 0)


def _add(
    connection: sqlite3.Connection, stream: int, events: Sequence[tuple[int, str]], now: int
) -> None:
    if not events:
        return
    # Half a surrogate pair, which a program may well print, has no UTF-8.
    texts = [(ms, message.encode("utf-8", "replace").decode()) for ms, message in events]
    rows = [(stream, ms, now, len(text.encode()) + _EVENT_OVERHEAD, text) for ms, text in texts]
    connection.executemany(
        "INSERT INTO events (stream_id, ms, ingested_ms, size, message) VALUES (?, ?, ?, ?, ?)",
        rows,
    )
    first, last = min(ms for ms, _ in texts), max(ms for ms, _ in texts)
    connection.execute(
        "UPDATE log_streams SET bytes = bytes + ?, ingested_ms = ?, first_ms = min(coalesce(first_ms, ?), ?),"
        " last_ms = max(coalesce(last_ms, ?), ?) WHERE id = ?",
        (sum(row[3] for row in rows), now, first, first, last, last, stream),
    )


def _delete_up_to(connection: sqlite3.Connection, last: int) -> None:
    gone = connection.execute(
        "SELECT stream_id, sum(size) FROM events WHERE id <= ? GROUP BY stream_id", (last,)
    ).fetchall()
    connection.execute("DELETE FROM events WHERE id <= ?", (last,))
    for stream, size in gone:
        connection.execute(
            "UPDATE log_streams SET bytes = bytes - ?,"
            " first_ms = (SELECT min(ms) FROM events WHERE stream_id = ?) WHERE id = ?",
            (size, stream, stream),
        )


_Row = tuple[int, int, int, int, str]


def _fitting(rows: Iterable[_Row]) -> list[_Row]:
    """The first rows, as long as they fit into a page; always one."""
    kept: list[_Row] = []
    left = PAGE_BYTES
    for row in rows:
        left -= row[3]
        if kept and left < 0:
            break
        kept.append(row)
    return kept


def _parse(token: str) -> tuple[bool, tuple[int, int]]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidToken
    return match[1] == "f", (int(match[2]), int(match[3]))


def _page(rows: Sequence[_Row], place: tuple[int, int] | None, *, forward: bool) -> Events:
    if rows:
        first, last = rows[0][:2], rows[-1][:2]
    elif place is None:
        first, last = (0, 1), (0, 0)
    elif forward:
        # Nothing follows: the same token again; what comes before includes the place itself.
        first, last = (place[0], place[1] + 1), place
    else:
        first, last = place, (place[0], max(0, place[1] - 1))
    return Events(
        events=[
            LogEvent(ms=ms, ingested_ms=ingested, message=message)
            for ms, _, ingested, _, message in rows
        ],
        forward_token=f"f/{last[0]}-{last[1]}",
        backward_token=f"b/{first[0]}-{first[1]}",
    )
