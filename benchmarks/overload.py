"""``python -m benchmarks overload``: more requests than can be answered, at the times at which they come, whatever is answered.

The load is open: what is slow does not slow down who asks, as with real callers. Capacity is measured first, by the same client
with a fixed number of callers that wait for each answer.
"""

import asyncio
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httptools
import uvloop

from benchmarks.load import Target
from benchmarks.models import Case
from benchmarks.systems import System

CALLERS = 64
CONNECTIONS_MAX = 4_000
CHECK_EVERY = 50
"""Answers: each of them would cost the client what it is to measure."""
WARM_SECONDS = 1.0
TICK_SECONDS = 0.001
OK = 200


@dataclass(kw_only=True)
class Seen:
    """What came back of a phase. Seconds from the moment at which a request was due."""

    seconds: float
    offered: int = 0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Connections that ended with a request on them, and requests for which no connection was to be had."""

    @property
    def goodput(self) -> float:
        return len(self.answered) / self.seconds


def percentile(values: list[float], share: float) -> float:
    """NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def measure(system: System, case: Case, *, factor: float, seconds: float) -> tuple[Seen, Seen]:
    """At capacity, and at ``factor`` times as much. Raises ``WrongAnswer`` and ``NotHere``."""
    with (
        tempfile.TemporaryDirectory(prefix="overload-") as name,
        system.run(case, Path(name)) as running,
    ):
        return uvloop.run(_both(running.target, case, factor, seconds))


def figures(at: Seen, over: Seen) -> dict[str, float]:
    """Rates a second, latencies in milliseconds."""
    return {
        "capacity": at.goodput,
        "offered": over.offered / over.seconds,
        "answered": over.goodput,
        "of_capacity": over.goodput / at.goodput,
        "p50_ms": percentile(over.answered, 0.5) * 1e3,
        "p99_ms": percentile(over.answered, 0.99) * 1e3,
        "refused": len(over.refused) / over.seconds,
        "refused_p99_ms": percentile(over.refused, 0.99) * 1e3,
        "broken": over.broken,
        **{f"status_{status}": count for status, count in sorted(over.statuses.items())},
    }


def shown(found: dict[str, float]) -> list[str]:
    """The cells of one system's line."""
    rates = [f"{found[name]:,.0f}" for name in ("capacity", "offered", "answered")]
    times = [f"{found[name]:,.1f} ms" for name in ("p50_ms", "p99_ms")]
    last = [
        f"{found['refused']:,.0f}",
        f"{found['refused_p99_ms']:,.1f} ms",
        f"{found['broken']:,.0f}",
    ]
    return [*rates, f"{found['of_capacity']:.2f}", *times, *last]


async def _both(target: Target, case: Case, factor: float, seconds: float) -> tuple[Seen, Seen]:
    client = Client(target, case)
    try:
        await client.closed(CALLERS, WARM_SECONDS)
        capacity = await client.closed(CALLERS, seconds)
        return capacity, await client.open(capacity.goodput * factor, seconds)
    finally:
        client.close()


class Client:
    """Connections that are kept, and what came back on them."""

    def __init__(self, target: Target, case: Case) -> None:
        host, _, path = target.url.partition("//")[2].partition("/")
        name, _, port = host.partition(":")
        self._address = (name, int(port))
        headers = {"Host": host, "Content-Type": "application/json", **target.headers[0]}
        lines = "".join(
            f"{key}: {value}\r\n"
            for key, value in headers.items()
            if key.lower() != "content-length"
        )
        head = f"POST /{path} HTTP/1.1\r\n{lines}Content-Length: {len(case.body)}\r\n\r\n"
        self._request = head.encode() + case.body
        self._case = case
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._seen = Seen(seconds=0.0)
        self._next: Callable[[_Connection], None] = self._idle.append
        self._count = 0

    async def closed(self, callers: int, seconds: float) -> Seen:
        """So many callers, each with its next request when it has the answer to the one before."""
        seen = self._seen = Seen(seconds=seconds)
        end = time.monotonic() + seconds

        def again(connection: "_Connection") -> None:
            if time.monotonic() < end:
                seen.offered += 1
                connection.ask(self._request, time.monotonic())
            else:
                self._idle.append(connection)

        self._next = again
        for _ in range(callers):
            again(await self._connection())
        await self._settled(end)
        return seen

    async def open(self, rate: float, seconds: float) -> Seen:
        """So many requests a second, each when it is due."""
        seen = self._seen = Seen(seconds=seconds)
        self._next = self._idle.append
        began = time.monotonic()
        opening: set[asyncio.Task[None]] = set()
        while (now := time.monotonic()) < began + seconds:
            while seen.offered < (now - began) * rate:
                due = began + seen.offered / rate
                seen.offered += 1
                if self._idle:
                    self._idle.popleft().ask(self._request, due)
                elif len(self._open) + len(opening) < CONNECTIONS_MAX:
                    task = asyncio.create_task(self._ask_on_new(due))
                    opening.add(task)
                    task.add_done_callback(opening.discard)
                else:
                    seen.broken += 1
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*opening)
        await self._settled(time.monotonic())
        return seen

    async def _ask_on_new(self, due: float) -> None:
        (await self._connection()).ask(self._request, due)

    async def _connection(self) -> "_Connection":
        if self._idle:
            return self._idle.popleft()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), *self._address)
        self._open.add(connection)
        return connection

    async def _settled(self, end: float) -> None:
        """Until the last is answered, at most a minute after the end."""
        while time.monotonic() < end or any(one.is_busy for one in self._open):
            if time.monotonic() > end + 60:
                raise SystemExit("Requests are still unanswered after a minute.")
            await asyncio.sleep(TICK_SECONDS)

    def answered(self, connection: "_Connection", status: int, body: bytes, due: float) -> None:
        seconds = time.monotonic() - due
        self._seen.statuses[status] += 1
        if status == OK:
            self._count += 1
            if self._count % CHECK_EVERY == 0:
                self._case.check(body)
            self._seen.answered.append(seconds)
        else:
            self._seen.refused.append(seconds)
        self._next(connection)

    def ended(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if connection.is_busy:
            self._seen.broken += 1
            connection.is_busy = False
        elif connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        for connection in list(self._open):
            connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._due = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def ask(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due, self.is_busy, self._body = due, True, []
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.is_busy = False
        status = self._parser.get_status_code()
        self._client.answered(self, status, b"".join(self._body), self._due)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.ended(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
