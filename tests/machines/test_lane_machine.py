"""A gateway with a lane and one without are asked the same by the same clients, and nobody can tell them apart.

Clients send whole requests, halves and several at once, leave and stop reading; workers answer whatever they may, die and
come back; the routing table changes, time passes, the gateway is drained. After each step both have written the same bytes
to every client and the same frames to every worker, and hold and count the same.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.base.call import Principal
from modelyard.base.ids import RequestIds, SeededRandom
from modelyard.base.settings import Limits
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.gateway.counters import Counters
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.invocations import Invocations
from modelyard.gateway.lane import Tracks, open_lane
from modelyard.native import part
from modelyard.testing.wire import Wire
from modelyard.transport import frames
from modelyard.transport.channel import Channel, Listener

pytestmark = pytest.mark.skipif(part("Lane") is None, reason="the C was not built")

CALLER = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
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
METAS = (
    frames.AnswerMeta("application/json"),
    frames.AnswerMeta("text/csv"),
    frames.AnswerMeta("application/json", "c=d"),
    frames.AnswerMeta("bad\r\ntype"),
)
_ID = re.compile(rb"x-amzn-RequestId: \S{36}")


class Loop:
    """An event loop that turns when it is told to, and connects nobody."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], Any]] = []

    def call_soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.calls.append(lambda: call(*arguments))

    def create_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        work.close()

    def turn(self) -> None:
        while self.calls:
            calls, self.calls = self.calls, []
            for call in calls:
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


class Gateway:
    """One of the two."""

    def __init__(self, loop: Loop, *, has_lane: bool) -> None:
        self.loop = loop
        self.now = 1000.0
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
            authenticate=lambda head, body: (CALLER, "r"),
            authorise=lambda call: None,
            audit=lambda call, error: None,
            find=self._find,
            random=SeededRandom(1),
            now=self._now,
            request_id=RequestIds(SeededRandom(2)),
            counters=self.counters,
            capture=unused,
            shelves=unused,
            shadows=unused,
            books=unused,
        )
        self.begun = 0
        if has_lane:
            ids = RequestIds(SeededRandom(3))
            lane = open_lane(
                self.gate,
                routes=self.routes,
                keys=object,
                take_over=self.invocations.take_over,
                begin=self._begin,
                ids=(ids.prefix, ids.last),
                clocks=(self._now, self._now),
            )
            assert lane is not None
            self.gate.lane = self.dispatcher.lane = lane
            self.invocations.tracks = Tracks(lane, keys=object, sign=lambda form: None)

    def _begin(self) -> None:
        self.begun += 1

    def _now(self) -> float:
        return self.now

    def _handle(self, head: Head, client: ClientConnection) -> Any:
        return self.invocations.begin(head, client)

    def _channel(self, address: str, listener: Listener) -> Channel:
        channel = Channel(address, listener, frame_limit=1 << 20)
        self.workers[address] = Worker(channel)
        return channel

    def _find(self, account: str, region: str, name: str) -> EndpointRoute | None:
        self.refresh()
        return self.endpoints.get(name)

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
        return self.gate.body_bytes + (0 if self.gate.lane is None else self.gate.lane.held)

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


TABLES: tuple[tuple[EndpointRoute, ...], ...] = (
    (endpoint("one", "w1"), endpoint("two", "w2", "w3")),
    (endpoint("one", "w1"), endpoint("two", "w2")),
    (endpoint("one", "w4"), endpoint("two", "w2", "w3", retry=False)),
    (endpoint("one", "w1", "w4"),),
    (endpoint("one"), endpoint("two", "w3", concurrency=1)),
)


def request(name: str, head: str, body: bytes) -> bytes:
    return (
        f"POST /endpoints/{name}/invocations HTTP/1.1\r\nHost: localhost\r\n{HEADS[head]}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


REQUESTS = st.builds(
    request,
    st.sampled_from(["one", "one", "two", "none"]),
    st.sampled_from(["json", "json", "json", "csv", *HEADS]),
    st.sampled_from([b"[[1.5]]", b"[[1.5]]", b"[[2.5]]", b"", b"x" * 2900, b"x" * 3100]),
)


class LaneMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.table = 0

    @initialize()
    def begin(self) -> None:
        with self.loop.running():
            self.pair = [Gateway(self.loop, has_lane=has_lane) for has_lane in (False, True)]
        self.reroute(0)
        self.greet_all()
        for _ in range(3):
            self.connect()

    def both(self, act: Callable[[Gateway], object]) -> None:
        with self.loop.running():
            for gateway in self.pair:
                act(gateway)
                self.loop.turn()
                gateway.look()

    @rule()
    def connect(self) -> None:
        def act(gateway: Gateway) -> None:
            connection, wire = ClientConnection(gateway.gate), Wire()
            connection.connection_made(cast(Any, wire))
            gateway.clients.append((connection, wire))

        self.both(act)

    def on_client(self, place: int, act: Callable[[ClientConnection, Wire], object]) -> None:
        def do(gateway: Gateway) -> None:
            gateway.now += 1e-4
            connection, wire = gateway.clients[place % len(gateway.clients)]
            if connection.is_open:
                act(connection, wire)

        self.both(do)

    @staticmethod
    def send(connection: ClientConnection, wire: Wire, data: bytes) -> None:
        """As a transport does it: not to who does not want to read."""
        if data and connection.is_open and wire.is_reading:
            connection.data_received(data)

    @rule(place=st.integers(0, 5), data=REQUESTS)
    def ask(self, place: int, data: bytes) -> None:
        self.on_client(place, lambda connection, wire: self.send(connection, wire, data))

    @rule(data=st.lists(REQUESTS, min_size=2, max_size=14))
    def ask_together(self, data: list[bytes]) -> None:
        """In one turn, each on a connection of its own as far as there are so many."""

        def act(gateway: Gateway) -> None:
            for place, one in enumerate(data):
                gateway.now += 1e-4
                self.send(*gateway.clients[place % len(gateway.clients)], one)

        self.both(act)

    @rule(
        place=st.integers(0, 5),
        data=st.lists(REQUESTS, min_size=1, max_size=3),
        cut=st.integers(1, 400),
    )
    def ask_in_pieces(self, place: int, data: list[bytes], cut: int) -> None:
        whole = b"".join(data)

        def act(connection: ClientConnection, wire: Wire) -> None:
            for piece in (whole[:cut], whole[cut:]):
                self.send(connection, wire, piece)

        self.on_client(place, act)

    @rule(place=st.integers(0, 5), data=REQUESTS, cut=st.integers(1, 300))
    def ask_half(self, place: int, data: bytes, cut: int) -> None:
        self.on_client(place, lambda connection, wire: self.send(connection, wire, data[:cut]))

    @rule(place=st.integers(0, 5))
    def leave(self, place: int) -> None:
        self.on_client(place, lambda connection, wire: connection.connection_lost(None))

    @rule(place=st.integers(0, 5), reads=st.booleans())
    def read(self, place: int, reads: bool) -> None:
        self.on_client(
            place,
            lambda one, wire: one.resume_writing() if reads else one.pause_writing(),
        )

    @rule(
        places=st.lists(st.integers(0, 9), min_size=1, max_size=6),
        status=st.sampled_from([200, 200, 200, 200, 500, 429, 408, 404, 201]),
        flags=st.sampled_from([0, 0, 0, frames.OWN_STATUS, frames.TRACED]),
        meta=st.sampled_from(METAS),
        body=st.sampled_from([b"[0.5]", b"", b"y" * 3000, b"y" * 3001]),
        cut=st.integers(0, 80),
    )
    def answer(
        self,
        places: list[int],
        status: int,
        flags: int,
        meta: frames.AnswerMeta,
        body: bytes,
        cut: int,
    ) -> None:
        """Of one worker, the answers in one piece or cut in two."""

        def act(gateway: Gateway) -> None:
            busy = [w for w in gateway.workers.values() if w.is_connected and w.asked]
            if not busy:
                return
            worker = busy[places[0] % len(busy)]
            data = b""
            for place in places:
                if worker.asked:
                    asked = worker.asked.pop(place % len(worker.asked))
                    told = body and body + asked.body[:10]
                    encoded = frames.encode_meta(meta)
                    data += frames.encode_answer(asked.id, status, flags, encoded, told)
            for piece in (data[:cut], data[cut:]):
                if piece:
                    worker.channel.data_received(piece)

        self.both(act)

    @rule(
        place=st.integers(0, 5),
        data=st.sampled_from([
            frames.encode_answer(1, 200, 0, b"\xc1", b""),
            frames.encode_frame(frames.PART, 2),
            frames.encode_frame(frames.GOAWAY, 0),
            frames.encode_answer(77, 200, 0, b"\x90", b""),
            b"\x14\0\0\0\7" + bytes(19),
            b"\xff\xff\xff\xff\1" + bytes(19),
        ]),
    )  # fmt: skip
    def say_something_else(self, place: int, data: bytes) -> None:
        def act(gateway: Gateway) -> None:
            worker = list(gateway.workers.values())[place % len(gateway.workers)]
            if worker.is_connected:
                worker.channel.data_received(data)
                if worker.wire.is_aborted:
                    self.drop(worker, None)

        self.both(act)

    @staticmethod
    def drop(worker: Worker, error: Exception | None) -> None:
        worker.is_connected = False
        worker.asked.clear()
        worker.channel.connection_lost(error)

    @rule(place=st.integers(0, 5), is_reset=st.booleans())
    def die(self, place: int, is_reset: bool) -> None:
        def act(gateway: Gateway) -> None:
            worker = list(gateway.workers.values())[place % len(gateway.workers)]
            if worker.is_connected:
                self.drop(worker, ConnectionResetError() if is_reset else None)

        self.both(act)

    @rule()
    def greet_all(self) -> None:
        def act(gateway: Gateway) -> None:
            for worker in gateway.workers.values():
                if not worker.is_connected and not cast(Any, worker.channel)._closed:
                    worker.wire, worker.read, worker.is_connected = Wire(), 0, True
                    worker.channel.connection_made(cast(Any, worker.wire))
                    worker.channel.data_received(frames.encode_frame(frames.HELLO, 0))

        self.both(act)

    @rule(table=st.integers(0, len(TABLES) - 1), is_read=st.booleans())
    def reroute(self, table: int, is_read: bool = True) -> None:
        """Some requests come before anybody has looked for the new table."""

        def act(gateway: Gateway) -> None:
            gateway.publish(TABLES[table])
            if is_read:
                gateway.refresh()
            for worker in gateway.workers.values():
                if worker.is_connected and worker.wire.is_closed:
                    self.drop(worker, None)

        self.both(act)

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.5, 3.1, 7.0, 14.0]))
    def wait(self, seconds: float) -> None:
        def act(gateway: Gateway) -> None:
            left = seconds
            while left > 0:
                gateway.now += min(left, 1.0)
                left -= 1.0
                gateway.refresh()
                gateway.dispatcher.tick()
                gateway.gate.tick()

        self.both(act)

    @rule()
    def drain_a_client(self) -> None:
        self.on_client(0, lambda connection, wire: connection.close_when_idle())

    @invariant()
    def nobody_can_tell_them_apart(self) -> None:
        if not hasattr(self, "pair"):
            return
        plain, laned = self.pair
        for (_, wire), (_, other) in zip(plain.clients, laned.clients, strict=True):
            assert _ID.sub(b"ID", wire.written) == _ID.sub(b"ID", other.written)
            assert (wire.is_closed, wire.is_aborted, wire.is_reading) == (
                other.is_closed,
                other.is_aborted,
                other.is_reading,
            )
        assert plain.workers.keys() == laned.workers.keys()
        for name, worker in plain.workers.items():
            assert worker.heard == laned.workers[name].heard
            assert worker.wire.is_closed == laned.workers[name].wire.is_closed
        assert plain.held == laned.held
        assert plain.dispatcher.in_flight == laned.dispatcher.in_flight
        assert list(plain.dispatcher.gauges()) == list(laned.dispatcher.gauges())
        assert plain.counted == laned.counted

    def teardown(self) -> None:
        """Time passes, and nothing is left: what was pipelined is asked and times out, one after the other."""
        if not hasattr(self, "pair"):
            return
        for _ in range(100):
            if not any(gateway.dispatcher.in_flight or gateway.held for gateway in self.pair):
                break
            self.wait(7.0)
            self.nobody_can_tell_them_apart()
        self.wait(0.1)
        for gateway in self.pair:
            assert gateway.dispatcher.in_flight == gateway.held == 0
            assert gateway.dispatcher.is_idle


LaneMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLane = LaneMachine.TestCase
