"""What the lane takes, and what it leaves to Python: request by request, with time that is told."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.domain.routes import EndpointRoute
from modelyard.gateway import lane as lane_module
from modelyard.native import part
from modelyard.testing.gateways import (
    LIMITS,
    OTHER_SECRET,
    SECRET,
    Gateway,
    Loop,
    Request,
    Worker,
    endpoint,
    key_table,
)
from modelyard.transport import frames

pytestmark = pytest.mark.skipif(part("Lane") is None, reason="the C was not built")
TABLE = (endpoint("one", "w1"), endpoint("two", "w2"))
JSON = frames.encode_meta(frames.AnswerMeta("application/json"))


class Client:
    """One connection."""

    def __init__(self, yard: "Yard") -> None:
        self._yard = yard
        self.connection, self.wire = yard.gateway.connect()
        self._read = 0

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)
        self._yard.turn()

    def ask(self, name: str = "one", **more: Any) -> None:
        self.send(Request(name, **more).at(self._yard.gateway.wall()))

    def read(self) -> bytes:
        """What was answered since the last time."""
        data, self._read = self.wire.written[self._read :], len(self.wire.written)
        return data

    @property
    def status(self) -> int:
        """Of what was answered since the last time."""
        return int(self.read().split(b" ")[1])


class Yard:
    """A gateway with a lane, and the workers of its endpoints."""

    def __init__(self, loop: Loop, *table: EndpointRoute, seed: int = 0) -> None:
        self.loop = loop
        self.gateway = Gateway(self.loop, has_lane=True, seed=seed)
        assert self.gateway.lane is not None
        self.lane = self.gateway.lane
        self.publish(*table)
        self.gateway.refresh()
        self.gateway.greet()

    def publish(self, *table: EndpointRoute) -> None:
        self.gateway.publish(table)

    def turn(self) -> None:
        self.gateway.now += 1e-3
        self.loop.turn()
        self.gateway.look()

    def worker(self, name: str = "w1") -> Worker:
        return self.gateway.workers[name]

    def answer(self, name: str = "w1", *, status: int = 200, body: bytes = b"[0.5]") -> None:
        """All that a worker was asked."""
        self.turn()
        worker = self.worker(name)
        for asked in worker.asked:
            worker.channel.data_received(frames.encode_answer(asked.id, status, 0, JSON, body))
        worker.asked.clear()
        self.turn()

    def wait(self, seconds: float) -> None:
        """As the gateway's looks pass it."""
        end = self.gateway.now + seconds
        while self.gateway.now < end:
            self.gateway.now = min(end, self.gateway.now + 1.0)
            self.gateway.refresh()
            self.gateway.dispatcher.tick()
            self.gateway.gate.tick()
        self.turn()

    def is_trip(self, client: Client, name: str = "one", **more: Any) -> bool:
        """Whether such a request is one; it is answered all the same."""
        before = self.lane.in_flight
        client.ask(name, **more)
        is_so = self.lane.in_flight > before
        self.answer({"one": "w1", "two": "w2"}[name])
        return is_so


@pytest.fixture
def yard() -> Iterator[Yard]:
    loop = Loop()
    with loop.running():
        yield Yard(loop, *TABLE)


def test_a_request_with_a_head_that_came_before_is_a_trip(yard: Yard) -> None:
    client = Client(yard)
    client.ask(body=b"[1]")
    assert yard.lane.in_flight == 0
    yard.answer()
    first = client.read()
    client.ask(body=b"[2]")
    assert (yard.lane.in_flight, yard.lane.held) == (1, 3)
    (asked,) = yard.worker().asked
    assert (asked.meta, asked.body, asked.flags) == (yard.worker().heard[0][3], b"[2]", 0)
    yard.answer()
    assert (yard.lane.in_flight, yard.lane.held) == (0, 0)
    second = client.read()
    assert len(first) == len(second)
    at = first.index(b"RequestId: ") + 11
    assert first[:at] + first[at + 36 :] == second[:at] + second[at + 36 :]
    assert first[at : at + 36] != second[at : at + 36]


def test_a_signed_clients_third_request_is_a_trip(yard: Yard) -> None:
    client = Client(yard)
    are_trips = [yard.is_trip(client, secret=SECRET, body=b"[%d]" % i) for i in range(4)]
    assert are_trips == [False, False, True, True]
    assert client.read().count(b"HTTP/1.1 200 OK") == 4


def test_a_signed_request_goes_to_the_endpoint_that_it_names(yard: Yard) -> None:
    """A connection's heads are like its first one but for their targets."""
    client = Client(yard)
    for name in ("one", "two", "one", "two", "one", "one"):
        client.ask(name, secret=SECRET)
        other = {"one": "w2", "two": "w1"}[name]
        assert yard.worker(other).asked == []
        yard.answer({"one": "w1", "two": "w2"}[name])
        assert client.status == 200
    assert yard.is_trip(client, secret=SECRET)
    assert not yard.is_trip(client, "two", secret=SECRET)


@pytest.mark.parametrize("size", [LIMITS.payload_bytes, LIMITS.payload_bytes + 1])
def test_a_signed_body_has_the_limit_of_all_bodies(yard: Yard, size: int) -> None:
    client = Client(yard)
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)][-1]
    client.read()
    client.ask(secret=SECRET, body=b"x" * size)
    yard.answer()
    assert client.status == (200 if size == LIMITS.payload_bytes else 413)


def test_a_key_table_that_cannot_be_read_is_said_and_the_connection_goes_on(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)][-1]
    client.read()
    table, yard.gateway.table = yard.gateway.table, OSError("too many files are open")
    client.ask(secret=SECRET)
    assert client.status == 500
    assert [yard.is_trip(Client(yard)) for _ in range(2)] == [
        False,
        True,
    ]  # Who does not sign needs none.
    yard.gateway.table = table
    assert yard.is_trip(client, secret=SECRET)


def test_on_another_day_the_requests_of_a_connection_are_trips_again(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)][-1]
    yard.gateway.now += 24 * 3600
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)] == [False, True, True]
    assert client.read().count(b"HTTP/1.1 200 OK") == 6


def test_a_wrong_signature_is_refused_and_the_next_right_one_is_a_trip(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)][-1]
    client.read()
    client.ask(secret=OTHER_SECRET)
    assert (client.status, yard.worker().asked) == (403, [])
    assert yard.is_trip(client, secret=SECRET)


def test_a_revoked_key_is_refused_at_once(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client, secret=SECRET) for _ in range(3)][-1]
    client.read()
    for table in (key_table(is_active=False), key_table(OTHER_SECRET)):
        yard.gateway.table = table
        client.ask(secret=SECRET)
        assert (client.status, yard.worker().asked) == (403, [])
    yard.gateway.table = key_table()
    assert [yard.is_trip(client, secret=SECRET) for _ in range(2)] == [False, True]
    assert client.read().count(b"HTTP/1.1 200 OK") == 2


def test_a_request_that_could_not_be_sent_takes_no_other_along(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is lost with both."""

    def fail(data: bytes) -> None:
        raise RuntimeError("the handler is closed")

    one, other = Client(yard), Client(yard)
    assert [yard.is_trip(client) for client in (one, other)] == [False, True]
    worker = yard.worker()
    worker.channel.line.open(fail, yard.loop.call_soon)
    with pytest.raises(RuntimeError, match="closed"):
        one.ask()
    one.connection.connection_lost(None)
    worker.channel.line.open(worker.wire.write, yard.loop.call_soon)
    other.read()
    other.ask()
    assert yard.lane.in_flight == 1
    worker.is_connected = False
    worker.channel.connection_lost(None)
    yard.gateway.greet()
    yard.answer()
    assert other.status == 200


def test_a_line_may_end_while_one_of_its_requests_is_taken_over(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(yard)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.read()
    line = yard.worker().channel.line
    client.ask()
    pool = yard.gateway.dispatcher._pools["1", "r", "one", "v", 0]
    monkeypatch.setattr(pool, "take_over", lambda invocation: line.shut())
    client.connection.close_when_idle()
    assert (yard.lane.in_flight, line.in_flight) == (0, 0)


def test_a_request_may_be_taken_over_while_its_answer_is_made(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(yard)

    def interrupted(variant: str, meta: bytes) -> bytes:
        client.connection.close_when_idle()
        return b""

    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.read()
    monkeypatch.setattr(lane_module, "common_lines", interrupted)
    yard.publish(endpoint("one", "w1"))
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    assert (yard.lane.in_flight, yard.lane.held) == (0, 0)
    assert client.read().count(b"HTTP/1.1 200 OK") == 2
    assert client.wire.is_closed


def test_a_newer_routing_table_sends_a_request_to_python_first(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.read()
    yard.publish(endpoint("two", "w2"))
    client.ask()
    assert (client.status, yard.worker().asked) == (400, [])
    yard.publish(*TABLE)
    client.ask()
    yard.gateway.greet()
    yard.answer()
    assert client.status == 200
    assert yard.is_trip(client)


def test_bodies_on_the_lane_count_against_the_budget_of_all(yard: Yard) -> None:
    body = b"x" * LIMITS.payload_bytes
    clients = [Client(yard) for _ in range(4)]
    for client in clients:
        client.ask(body=body)
        yard.answer()
        assert client.status == 200
    for client in clients:
        client.ask(body=body)
    assert [client.read()[9:12] for client in clients] == [b"", b"", b"", b"503"]
    assert yard.lane.held == yard.gateway.held == LIMITS.body_budget_bytes
    yard.answer()
    assert yard.gateway.held == 0


def test_the_worker_is_told_of_a_client_that_leaves(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.ask()
    (asked,) = yard.worker().asked
    client.connection.connection_lost(None)
    yard.turn()
    assert yard.worker().heard[-1][:2] == (frames.CANCEL, asked.id)
    assert (yard.lane.in_flight, yard.gateway.held) == (0, 0)
    yard.answer()
    assert client.read().count(b"HTTP/1.1") == 2


def test_a_trip_has_the_deadline_of_any_invocation(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.read()
    yard.wait(0.1)
    assert yard.gateway.dispatcher.is_idle
    begun = yard.gateway.begun
    client.ask()
    assert yard.gateway.begun == begun + 1
    yard.wait(LIMITS.invocation_seconds - 0.1)
    assert not yard.gateway.dispatcher.is_idle
    assert client.read() == b""
    yard.wait(0.2)
    assert client.status == 424
    assert yard.worker().heard[-1][0] == frames.CANCEL
    yard.answer()
    yard.wait(1.0)
    assert yard.gateway.dispatcher.is_idle
    assert yard.is_trip(client)
    assert yard.gateway.begun == begun + 2


def test_trips_are_counted_as_other_requests_are(yard: Yard) -> None:
    client = Client(yard)
    assert [yard.is_trip(client) for _ in range(5)] == [False, True, True, True, True]
    (counted,) = yard.gateway.counted
    assert (counted["requests"], counted["again"], counted["errors"]) == (5, 5, (0, 0, 0))
    model, overhead = counted["seconds"]
    assert model >= 5 * 1000  # Microseconds: time passes with each turn.
    assert overhead >= 0


def test_no_two_requests_have_the_same_id() -> None:
    ids: list[bytes] = []
    for place in range(2):
        loop = Loop()
        with loop.running():
            yard = Yard(loop, *TABLE, seed=10 * place)
            client = Client(yard)
            assert [yard.is_trip(client) for _ in range(4)] == [False, True, True, True]
            ids += [part[:36] for part in client.read().split(b"RequestId: ")[1:]]
    assert len(ids) == len(set(ids)) == 8


def test_a_client_of_the_lane_is_not_idle(yard: Yard) -> None:
    client = Client(yard)
    for _ in range(10):
        yard.is_trip(client)
        yard.wait(LIMITS.idle_seconds / 2)
        assert not client.wire.is_closed
    yard.wait(LIMITS.idle_seconds + 3.0)
    assert client.wire.is_closed


def test_a_trip_that_takes_long_is_no_idle_time(yard: Yard) -> None:
    client = Client(yard)
    yard.wait(1.0)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    yard.wait(LIMITS.idle_seconds - 1.0)
    client.ask()
    yard.wait(LIMITS.invocation_seconds - 1.0)
    yard.answer()
    assert not client.wire.is_closed
    assert yard.is_trip(client)


def test_a_slow_head_after_a_trip_has_the_time_of_any_head(yard: Yard) -> None:
    client = Client(yard)
    yard.wait(1.0)
    assert [yard.is_trip(client) for _ in range(2)] == [False, True]
    client.read()
    client.send(b"POST /endpoints/one/invocations HTTP/1.1\r\n")
    yard.wait(LIMITS.header_seconds - 0.5)
    assert client.read() == b""
    client.send(b"Host: ")
    yard.wait(1.5)
    assert client.status == 408
    assert client.wire.is_closed


@pytest.mark.parametrize("secret", [None, SECRET])
def test_connections_that_end_leave_nothing_for_the_garbage_collector(
    yard: Yard, secret: str | None
) -> None:
    def use() -> None:
        """One is used to its end, the other leaves with a trip in flight."""
        for leaves in (False, True):
            client = Client(yard)
            for _ in range(3):
                yard.is_trip(client, secret=secret)
            client.ask(secret=secret)
            assert yard.lane.in_flight == 1
            if not leaves:
                yard.answer()
            client.connection.connection_lost(None)
            yard.answer()
        yard.gateway.clients.clear()
        yard.gateway.dispatcher.tick()

    def found() -> Counter[str]:
        kinds = Counter(map(type, gc.get_objects()))
        return Counter({f"{k.__module__}.{k.__name__}": n for k, n in kinds.items()})

    use()
    gc.collect()
    gc.disable()
    try:
        before = found()
        for _ in range(5):
            use()
        grown = found() - before
    finally:
        gc.enable()
    assert {name: n for name, n in grown.items() if name.startswith("modelyard.")} == {}
