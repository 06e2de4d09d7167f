"""Asynchronous invocations that wait, or whose outcome is on its way: an SQLite file of its own.

``add`` returns when the request is on the disk. An outcome is written here before it goes anywhere else, so a request is executed
until one execution's outcome is kept, and then never again: what is delivered again after a kill is the same object once more.
Methods block, and may be called from any thread.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.store.opening import open_migrated

_MIGRATIONS = (
    """
    CREATE TABLE requests (
      number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
      endpoint TEXT NOT NULL, received_at REAL NOT NULL, request BLOB NOT NULL, outcome BLOB);
    CREATE INDEX requests_by_endpoint ON requests (account, region, endpoint, number);
    """,
)


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times are epoch seconds; ``body`` is what came inline, else ``input_location`` names an object."""

    id: str
    account: str
    region: str
    endpoint: str
    inference_id: str
    received_at: float
    expires_at: float
    timeout_seconds: float
    output_location: str
    failure_location: str = ""
    input_location: str = ""
    body: bytes = b""
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    success_topic: str = ""
    error_topic: str = ""
    includes: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request: the answer, or why there is none."""

    is_success: bool
    body: bytes
    content_type: str
    at: float
    reason: str = ""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Of one endpoint: requests without an outcome, and since when the first of them waits."""

    account: str
    region: str
    endpoint: str
    size: int
    oldest: float


class QueueFull(Exception):
    """The endpoint has as many requests as may wait."""


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Queued).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


class AsyncQueue:
    """Opens or creates the file."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._connection = open_migrated(path, _MIGRATIONS)

    def add(self, queued: Queued) -> None:
        """Keep a request. Raises ``QueueFull``."""
        place = (queued.account, queued.region, queued.endpoint)
        with self._lock:
            (size,) = self._connection.execute(
                "SELECT count(*) FROM requests WHERE account = ? AND region = ? AND endpoint = ?",
                place,
            ).fetchone()
            if size >= self._limit:
                raise QueueFull
            self._connection.execute(
                "INSERT INTO requests (id, account, region, endpoint, received_at, request)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (queued.id, *place, queued.received_at, _encode(queued)),
            )
        failpoint("async.after-add")

    def waiting(
        self, account: str, region: str, endpoint: str, *, besides: Sequence[str], most: int
    ) -> list[Queued]:
        """The oldest requests of an endpoint without an outcome, those in hand left out."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, request FROM requests WHERE account = ? AND region = ? AND endpoint = ?"
                " AND outcome IS NULL ORDER BY number LIMIT ?",
                (account, region, endpoint, most + len(besides)),
            ).fetchall()
        in_hand = set(besides)
        return [_decode_request(row[1]) for row in rows if row[0] not in in_hand][:most]

    def decide(self, request_id: str, outcome: Outcome) -> None:
        """Keep an outcome: from now on the request is not executed again."""
        with self._lock:
            self._connection.execute(
                "UPDATE requests SET outcome = ? WHERE id = ? AND outcome IS NULL",
                (_encode(outcome), request_id),
            )
        failpoint("async.after-decide")

    def decided(self, *, besides: Sequence[str], most: int) -> list[tuple[Queued, Outcome]]:
        """Requests whose outcome has still to be delivered, the oldest first; those in hand left out."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, request, outcome FROM requests WHERE outcome IS NOT NULL ORDER BY number LIMIT ?",
                (most + len(besides),),
            ).fetchall()
        in_hand = set(besides)
        found = [row for row in rows if row[0] not in in_hand][:most]
        return [
            (_decode_request(request), _decode_outcome(outcome)) for _, request, outcome in found
        ]

    def remove(self, request_id: str) -> None:
        """It was delivered."""
        with self._lock:
            self._connection.execute("DELETE FROM requests WHERE id = ?", (request_id,))

    def backlogs(self) -> list[Backlog]:
        """Of each endpoint that has any."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT account, region, endpoint, count(*), min(received_at) FROM requests"
                " WHERE outcome IS NULL GROUP BY account, region, endpoint"
            ).fetchall()
        return [
            Backlog(account=account, region=region, endpoint=endpoint, size=size, oldest=oldest)
            for account, region, endpoint, size, oldest in rows
        ]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.execute("DELETE FROM requests")

    def close(self) -> None:
        with self._lock:
            self._connection.close()
