"""A gateway's way of an invocation, whole but for sockets and processes: clients and workers are wires, time is told.

``Gateway`` is what ``server/gateway.py`` builds, with a lane or without one, with real signatures; ``Request`` is what a client
sends it, as bytes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from modelyard.base.call import Principal
from modelyard.base.ids import RequestIds, SeededRandom
from modelyard.base.settings import Limits, Settings
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.gateway.asked import is_invocation
from modelyard.gateway.counters import Counters
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Exchange, Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.invocations import Invocations
from modelyard.gateway.lane import Lane, Tracks, open_lane
from modelyard.server.authentication import Authentication
from modelyard.testing.wire import Wire
from modelyard.transport import frames
from modelyard.transport.channel import Channel, Listener
from modelyard.wire.keys import KeyEntry, KeyTable
from modelyard.wire.sealed import Seal
from modelyard.wire.sigv4 import Verifier

KEY, SECRET, OTHER_SECRET = "AKIAIOSFODNN7EXAMPLE", "a secret", "another secret"
CALLER = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1", access_key_id=KEY)
_BEGIN = 1000.0
_EVE = datetime(2026, 11, 28, 23, 58, tzinfo=UTC).timestamp() - _BEGIN
"""Of the wall's clock when the other says 0: keys of another day come soon."""
LIMITS = Limits(
    replica_queue=4,
    payload_bytes=3000,
    body_budget_bytes=9000,
    invocation_seconds=6.0,
    header_seconds=3.0,
    idle_seconds=12.0,
)
HEADS = {
    "json": "Content-Type: application/json\r\n",
    "csv": "Content-Type: text/csv\r\nAccept: text/csv\r\n",
    "attributes": "X-Amzn-SageMaker-Custom-Attributes: a=b\r\n",
    "close": "Connection: close\r\n",
    "refused": "X-Amzn-SageMaker-Inference-Component: c\r\n",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends; where it is signed, then at the time that it is asked for."""

    name: str
    head: str = "json"
    body: bytes = b"[[1.5]]"
    secret: str | None = None
    """Of ``KEY``; None of what is not signed."""
    late: float = 0.0
    """Seconds that its sender's clock goes wrong."""

    def at(self, wall: float) -> bytes:
        """On the wire."""
        target = f"/endpoints/{self.name}/invocations"
        first = f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{HEADS[self.head]}"
        last = f"Content-Length: {len(self.body)}\r\n\r\n"
        return f"{first}{self._signature(target, wall)}{last}".encode() + self.body

    def _signature(self, target: str, wall: float) -> str:
        """As botocore signs it."""
        if self.secret is None:
            return ""
        asked = AWSRequest("POST", f"http://localhost{target}", {"Host": "localhost"}, self.body)
        stamp = datetime.fromtimestamp(wall + self.late, UTC).strftime("%Y%m%dT%H%M%SZ")
        asked.context["timestamp"] = stamp
        auth = SigV4Auth(Credentials(KEY, self.secret), "sagemaker", "r")
        asked.headers["X-Amz-Date"] = stamp
        canonical = auth.canonical_request(asked).rpartition("\n")[0]
        canonical += "\n" + sha256(self.body).hexdigest()
        signature = auth.signature(auth.string_to_sign(asked, canonical), asked)
        auth._inject_signature_to_request(asked, signature)
        return f"X-Amz-Date: {stamp}\r\nAuthorization: {asked.headers['Authorization']}\r\n"


def key_table(secret: str = SECRET, *, is_active: bool = True) -> KeyTable:
    """A new one, in which ``KEY`` has that secret."""
    return KeyTable({KEY: KeyEntry(secret=secret, principal=CALLER, active=is_active)})


class Loop:
    """An event loop that turns when it is told to, and connects nobody."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []

    def call_soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.calls.append(lambda: call(*arguments))

    def create_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        work.close()

    def turn(self, before: Callable[[], None] = lambda: None) -> None:
        """Until nothing is left to call; before each call, whatever it is."""
        while self.calls:
            calls, self.calls = self.calls, []
            for call in calls:
                before()
                call()

    @contextmanager
    def running(self) -> Iterator[None]:
        asyncio._set_running_loop(cast(Any, self))
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


class Routes:
    """A published table."""

    def __init__(self) -> None:
        self.epoch = bytearray(8)
        self.seen = bytes(8)


@dataclass
class Worker:
    """One worker's connection, and what it was sent."""

    channel: Channel
    wire: Wire = field(default_factory=Wire)
    is_connected: bool = False
    read: int = 0
    asked: list[frames.Frame] = field(default_factory=list)
    heard: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)

    def look(self) -> None:
        """What was written since the last look."""
        data, self.read = self.wire.written[self.read :], len(self.wire.written)
        for frame in frames.FrameDecoder(limit=1 << 20).feed(data):
            self.heard.append((frame.kind, frame.id, frame.flags, frame.meta, frame.body))
            if frame.kind == frames.CANCEL:
                self._sort_cancels()
            if frame.kind == frames.REQUEST:
                assert 0 < frame.number <= 6_000
                self.asked.append(frame)

    def _sort_cancels(self) -> None:
        """Of requests that came at one time, it is open whose time is over first."""
        first = len(self.heard)
        while first and self.heard[first - 1][0] == frames.CANCEL:
            first -= 1
        self.heard[first:] = sorted(self.heard[first:])


class _Elsewhere:
    """What is no invocation has nobody here."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client

    def body(self, data: bytes) -> None: ...
    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...

    def whole(self, data: bytes) -> None:
        self.complete()

    def complete(self) -> None:
        self._client.respond(404, b"", b"")


class Gateway:
    """One gateway's part in it."""

    def __init__(self, loop: Loop, *, has_lane: bool, seed: int = 0) -> None:
        self.loop = loop
        self.now = _BEGIN
        self.table: KeyTable | OSError = key_table()
        """Of keys; an error where it cannot be read."""
        self.endpoints: dict[str, EndpointRoute] = {}
        self.newest: tuple[EndpointRoute, ...] = ()
        self.workers: dict[str, Worker] = {}
        self.clients: list[tuple[ClientConnection, Wire]] = []
        self.routes = Routes()
        self.gate = Gate(LIMITS, self._handle, self._now)
        self.dispatcher = Dispatcher(
            channel=self._channel, now=self._now, queue_limit=LIMITS.replica_queue, wait_seconds=2.0
        )  # fmt: skip
        self.counters = self.dispatcher.counters = Counters()
        unused: Any = None
        self.invocations = Invocations(
            gate=self.gate,
            dispatcher=self.dispatcher,
            authenticate=self._authenticate,
            authorise=lambda call: None,
            audit=lambda call, error: None,
            find=self._find,
            random=SeededRandom(seed + 1),
            now=self._now,
            request_id=RequestIds(SeededRandom(seed + 2)),
            counters=self.counters,
            capture=unused,
            shelves=unused,
            shadows=unused,
            books=unused,
        )
        self.begun = 0
        self._authentication = Authentication(
            Settings(home=Path("unused")),
            Verifier(keys=self._keys, seal=Seal(bytes(32)), now=self.wall),
        )
        self.lane: Lane | None = None
        if has_lane:
            ids = RequestIds(SeededRandom(seed + 3))
            keys = self._authentication.key_table
            lane = open_lane(
                self.gate,
                routes=self.routes,
                keys=keys,
                take_over=self.invocations.take_over,
                begin=self._begin,
                ids=(ids.prefix, ids.last),
                clocks=(self._now, self.wall),
            )
            assert lane is not None
            self.lane = self.gate.lane = self.dispatcher.lane = lane
            self.invocations.tracks = Tracks(lane, keys=keys, sign=self._authentication.signed)

    def _begin(self) -> None:
        self.begun += 1

    def _now(self) -> float:
        return self.now

    def wall(self) -> float:
        """Unix time."""
        return _EVE + self.now

    def pass_time(self) -> None:
        """Things happen one after the other: no two deadlines are the same."""
        self.now += 1e-5

    def _keys(self) -> KeyTable:
        if isinstance(self.table, OSError):
            raise self.table
        return self.table

    def _authenticate(self, head: Head, body: bytes) -> tuple[Principal, str]:
        """Whoever does not sign is taken for the caller, too."""
        if "authorization" not in head.joined:
            return CALLER, "r"
        return self._authentication.invocation(head, body)

    def _handle(self, head: Head, client: ClientConnection) -> Exchange:
        if not is_invocation(head.path):
            return _Elsewhere(client)
        return self.invocations.begin(head, client)

    def _channel(self, address: str, listener: Listener) -> Channel:
        channel = Channel(address, listener, frame_limit=1 << 20)
        self.workers[address] = Worker(channel)
        return channel

    def _find(self, account: str, region: str, name: str) -> EndpointRoute | None:
        self.refresh()
        return self.endpoints.get(name)

    def connect(self) -> tuple[ClientConnection, Wire]:
        """A client."""
        client = ClientConnection(self.gate), Wire()
        client[0].connection_made(cast(Any, client[1]))
        self.clients.append(client)
        return client

    def greet(self) -> None:
        """All workers that are not there come."""
        for worker in self.workers.values():
            if not worker.is_connected and not cast(Any, worker.channel)._closed:
                worker.wire, worker.read, worker.is_connected = Wire(), 0, True
                worker.channel.connection_made(cast(Any, worker.wire))
                worker.channel.data_received(frames.encode_frame(frames.HELLO, 0))

    def publish(self, endpoints: tuple[EndpointRoute, ...]) -> None:
        self.newest = endpoints
        self.routes.epoch[0] = (self.routes.epoch[0] + 1) % 256

    def refresh(self) -> None:
        if bytes(self.routes.epoch) != self.routes.seen:
            self.routes.seen = bytes(self.routes.epoch)
            self.endpoints = {endpoint.name: endpoint for endpoint in self.newest}
            self.dispatcher.update(self.newest)

    def look(self) -> None:
        for worker in self.workers.values():
            worker.look()

    @property
    def held(self) -> int:
        return self.gate.body_bytes + (0 if self.lane is None else self.lane.held)

    @property
    def counted(self) -> list[dict[str, Any]]:
        """Of each cell what does not depend on the width of a bucket."""
        self.counters.note(0, [])
        cells = cast(Any, self.counters)._cells.values()
        return [
            {
                "requests": sum(cell.model.values()),
                "again": sum(cell.overhead.values()),
                "errors": (cell.client_errors, cell.server_errors, cell.model_errors),
                "seconds": (round(cell.model_sum), round(cell.overhead_sum)),
                "endpoint": cell.endpoint,
            }
            for cell in sorted(cells, key=lambda cell: cell.endpoint)
            if cell.model
        ]


def replicas(*names: str) -> tuple[ReplicaRoute, ...]:
    return tuple(
        ReplicaRoute(id=name, workers=(WorkerRoute(id=name, container="primary", address=name),))
        for name in names
    )


def endpoint(name: str, *workers: str, **more: Any) -> EndpointRoute:
    variant = VariantRoute(name="v", weight=1.0, replicas=replicas(*workers), **more)
    return EndpointRoute(name=name, arn="a", account="1", region="r", variants=(variant,))
