"""Search of a group's events across its streams, in order of time: a merge of the streams' own orders.

Each stream is read by its index, as far as the merge asks for it, so that a page costs what it looks at and not what the
group holds. A page ends at ``limit`` matches, a mebibyte of text, or ``SCANNED_MAX`` events that were looked at; it says where
the next one begins.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

SCANNED_MAX = 20_000
PAGE_BYTES = 1 << 20
LAST_MS = 1 << 62
"""Later than any event."""
_Row = tuple[int, int, int, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for: events from ``first_ms`` to ``last_ms``, both inclusive, whose message ``matches``."""

    matches: Callable[[str], bool]
    streams: Sequence[str] | None = None
    """Names of streams; without them all whose names begin with ``prefix``."""
    prefix: str = ""
    first_ms: int = 0
    last_ms: int = LAST_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page begins: behind the last event, by time and id, that an earlier page looked at."""

    forward: bool
    after: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """One line and the stream that it is of."""

    id: int
    ms: int
    ingested_ms: int
    message: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of matches in the order of the search; ``last`` is where the next page goes on, None at the end."""

    events: Sequence[FoundEvent]
    last: tuple[int, int] | None


def search(
    connection: sqlite3.Connection,
    streams: Sequence[tuple[int, str]],
    asked: Search,
    *,
    place: Place,
    limit: int,
) -> Found:
    """One page of the streams of these ids and names, within the caller's transaction."""
    rows = heapq.merge(
        *(_events(connection, stream, asked, place) for stream in streams),
        key=lambda row: row[:2],
        reverse=not place.forward,
    )
    found: list[FoundEvent] = []
    room, last = PAGE_BYTES, None
    for scanned, (ms, number, ingested, size, message, stream) in enumerate(rows):
        matched = asked.matches(message)
        full = len(found) == limit or (matched and found and size > room)
        if full or scanned == SCANNED_MAX:
            return Found(events=found, last=last)
        last = (ms, number)
        if matched:
            room -= size
            found.append(
                FoundEvent(id=number, ms=ms, ingested_ms=ingested, message=message, stream=stream)
            )
    return Found(events=found, last=None)


def _events(
    connection: sqlite3.Connection, stream: tuple[int, str], asked: Search, place: Place
) -> Iterator[_Row]:
    number_of_stream, name = stream
    where = "stream_id = ? AND ms >= ? AND ms <= ?"
    values = [number_of_stream, asked.first_ms, asked.last_ms]
    if place.after is not None:
        where += f" AND (ms, id) {'>' if place.forward else '<'} (?, ?)"
        values += place.after
    direction = "ASC" if place.forward else "DESC"
    cursor = connection.execute(
        "SELECT ms, id, ingested_ms, size, message FROM events"  # noqa: S608 - constants
        f" WHERE {where} ORDER BY ms {direction}, id {direction}",
        values,
    )
    try:
        for ms, number, ingested, size, message in cursor:
            yield ms, number, ingested, size, message, name
    finally:
        cursor.close()
