"""A gateway with a lane and one without are asked the same by the same clients, and nobody can tell them apart.

Clients send whole requests, halves and several at once, signed rightly, wrongly and not at all, leave and stop reading; workers
answer whatever they may, die and come back; the tables of routes and keys change, time passes, the gateway is drained. After
each step both have written the same bytes to every client and the same frames to every worker, and hold and count the same.
"""

import re
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from modelyard.domain.routes import EndpointRoute
from modelyard.gateway.http import ClientConnection
from modelyard.native import part
from modelyard.testing.gateways import (
    HEADS,
    OTHER_SECRET,
    SECRET,
    Gateway,
    Loop,
    Request,
    Worker,
    endpoint,
    key_table,
)
from modelyard.testing.wire import Wire
from modelyard.transport import frames
from modelyard.wire.keys import KeyTable

pytestmark = pytest.mark.skipif(part("Lane") is None, reason="the C was not built")

CLIENTS = 4
METAS = (
    frames.AnswerMeta("application/json"),
    frames.AnswerMeta("text/csv"),
    frames.AnswerMeta("application/json", "c=d"),
    frames.AnswerMeta("bad\r\ntype"),
)
_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _both(one: EndpointRoute, other: EndpointRoute) -> EndpointRoute:
    """Amid a rollout: requests go two ways."""
    return replace(one, variants=one.variants + other.variants)


TABLES: tuple[tuple[EndpointRoute, ...], ...] = (
    (endpoint("one", "w1"), endpoint("two", "w2", "w3")),
    (endpoint("one", "w1"), endpoint("two", "w2")),
    (endpoint("one", "w4"), endpoint("two", "w2", "w3", retry=False)),
    (endpoint("one", "w1", "w4"),),
    (endpoint("one"), endpoint("two", "w3", concurrency=1)),
    (endpoint("one", "w5", fleet=1), endpoint("two", "w2", "w3")),
    (endpoint("one", "w1"), _both(endpoint("two", "w2"), endpoint("two", "w5", fleet=1))),
)


REQUESTS = st.builds(
    Request,
    st.sampled_from(["one", "one", "two", "none"]),
    st.sampled_from(["json", "json", "json", "csv", *HEADS]),
    st.sampled_from([b"[[1.5]]", b"[[1.5]]", b"[[2.5]]", b"", b"x" * 2900, b"x" * 3100]),
    st.sampled_from([None, None, None, SECRET, SECRET, SECRET, OTHER_SECRET]),
    st.sampled_from([0.0, 0.0, 0.0, 290.0, 310.0]),
)
KEYS: tuple[Callable[[], KeyTable | OSError], ...] = (
    key_table,
    key_table,
    lambda: key_table(is_active=False),
    lambda: key_table(OTHER_SECRET),
    lambda: KeyTable({}),
    lambda: OSError("too many files are open"),
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

    def both(self, act: Callable[[Gateway], object]) -> None:
        with self.loop.running():
            for gateway in self.pair:
                act(gateway)
                self.loop.turn(gateway.pass_time)
                gateway.look()

    @rule()
    def connect(self) -> None:
        self.both(lambda gateway: gateway.connect())

    def on_client(self, place: int, act: Callable[[ClientConnection, Wire], object]) -> None:
        def do(gateway: Gateway) -> None:
            gateway.now += 1e-4
            clients = self.clients_of(gateway)
            act(*clients[place % len(clients)])

        self.both(do)

    @staticmethod
    def clients_of(gateway: Gateway) -> list[tuple[ClientConnection, Wire]]:
        """Those that are there, and as many as are needed for something to happen."""
        clients = [client for client in gateway.clients if client[0].is_open]
        while len(clients) < CLIENTS:
            clients.append(gateway.connect())
        return clients

    @staticmethod
    def send(connection: ClientConnection, wire: Wire, data: bytes) -> None:
        """As a transport does it: not to who does not want to read."""
        if data and connection.is_open and wire.is_reading:
            connection.data_received(data)

    def bytes_of(self, *asked: Request) -> list[bytes]:
        """As they are sent now."""
        return [one.at(self.pair[0].wall()) for one in asked]

    @rule(place=st.integers(0, 5), asked=REQUESTS)
    def ask(self, place: int, asked: Request) -> None:
        (data,) = self.bytes_of(asked)
        self.on_client(place, lambda connection, wire: self.send(connection, wire, data))

    @rule(asked=REQUESTS, times=st.integers(3, 9))
    def ask_all_the_same(self, asked: Request, times: int) -> None:
        self.ask_together([asked] * times)

    @rule(asked=st.lists(REQUESTS, min_size=2, max_size=14))
    def ask_together(self, asked: list[Request]) -> None:
        """In one turn, each on a connection of its own as far as there are so many."""
        data = self.bytes_of(*asked)

        def act(gateway: Gateway) -> None:
            clients = self.clients_of(gateway)
            for place, one in enumerate(data):
                gateway.now += 1e-4
                self.send(*clients[place % len(clients)], one)

        self.both(act)

    @rule(
        place=st.integers(0, 5),
        asked=st.lists(REQUESTS, min_size=1, max_size=3),
        cut=st.integers(1, 400),
    )
    def ask_in_pieces(self, place: int, asked: list[Request], cut: int) -> None:
        whole = b"".join(self.bytes_of(*asked))

        def act(connection: ClientConnection, wire: Wire) -> None:
            for piece in (whole[:cut], whole[cut:]):
                self.send(connection, wire, piece)

        self.on_client(place, act)

    @rule(place=st.integers(0, 5), asked=REQUESTS, cut=st.integers(1, 300))
    def ask_half(self, place: int, asked: Request, cut: int) -> None:
        (data,) = self.bytes_of(asked)
        self.on_client(place, lambda connection, wire: self.send(connection, wire, data[:cut]))

    @rule(
        place=st.integers(0, 5), asked=REQUESTS, at=st.integers(0, 420), byte=st.binary(max_size=2)
    )
    def ask_damaged(self, place: int, asked: Request, at: int, byte: bytes) -> None:
        """With a byte that is another one, or gone, or two."""
        (data,) = self.bytes_of(asked)
        data = data[:at] + byte + data[at + 1 :]
        self.on_client(place, lambda connection, wire: self.send(connection, wire, data))

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

    @rule()
    def answer_all(self) -> None:
        """All workers, all that they were asked."""
        meta = frames.encode_meta(METAS[0])

        def act(gateway: Gateway) -> None:
            for worker in gateway.workers.values():
                asked, worker.asked = worker.asked, []
                for one in asked if worker.is_connected else ():
                    answer = frames.encode_answer(one.id, 200, 0, meta, b"[0.5]" + one.body[:10])
                    worker.channel.data_received(answer)

        self.both(act)

    @rule(asked=REQUESTS, times=st.integers(1, 3))
    def serve_all(self, asked: Request, times: int) -> None:
        """Clients learn the lane's ways: the third signed request of a connection is the first that is a trip."""
        for _ in range(times):
            self.greet_all()
            for place in range(CLIENTS):
                self.ask(place, asked)
            self.answer_all()

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
        self.both(lambda gateway: gateway.greet())

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

    @rule(table=st.sampled_from(KEYS))
    def change_keys(self, table: Callable[[], KeyTable | OSError]) -> None:
        def act(gateway: Gateway) -> None:
            gateway.table = table()

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
