"""Copies for a shadow: as many as its share, after the answer, bounded; what becomes of them is nobody's but the counters'."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.base.errors import ServiceError
from modelyard.base.ids import SeededRandom
from modelyard.domain.capture import CaptureRule
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.shadow import Answer
from modelyard.gateway.books import Books
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import Cell, Counters, decode_report
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.in_flight import Invocation, VariantKey
from modelyard.gateway.shadows import BYTES_MAX, COPIES_MAX, Copied, Shadows
from modelyard.testing.clock import ManualClock
from modelyard.transport.frames import RequestMeta

META = RequestMeta(content_type="text/csv")
RULE = CaptureRule(destination="s3://b/p", percent=100, inputs=True, outputs=True)


def route(share: float = 1.0) -> VariantRoute:
    return VariantRoute(
        name="new", weight=share, share=share, replicas=(), fleet=-1, config="c", shadow=True,
        tolerance=0.001,
    )  # fmt: skip


def endpoint(shadow: VariantRoute, capture: CaptureRule | None = None) -> EndpointRoute:
    return EndpointRoute(
        name="churn", arn="", account="1", region="r", variants=(), shadows=(shadow,), capture=capture
    )  # fmt: skip


class Pool:
    """A dispatcher that keeps what it is given until the test ends it."""

    def __init__(self) -> None:
        self.taken: list[Invocation] = []
        self.refuses: ServiceError | None = None

    def submit(self, key: VariantKey, invocation: Invocation) -> None:
        assert key == ("1", "r", "churn", "new", -1)
        if self.refuses is not None:
            raise self.refuses
        self.taken.append(invocation)


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.pool = Pool()
        self.counters = Counters()
        self.written: list[tuple[str, bytes]] = []
        self.capture = Capture(
            write=lambda uri, data: self.written.append((uri, data)),
            disk=tmp_path,
            clock=self.clock,
            random=SeededRandom(1),
        )
        self.shadows = Shadows(
            dispatcher=self.pool,
            counters=self.counters,
            capture=self.capture,
            random=SeededRandom(7),
            now=self.clock.monotonic,
            seconds=60.0,
            books=Books(tmp_path / "ledgers", "gateway"),
        )

    def cell(self) -> Cell:
        told: list[bytes] = []

        def take(data: bytes) -> bool:
            told.append(data)
            return True

        self.counters.tell(0, take)
        (cell,) = decode_report(told[0]).cells
        return cell


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(work: Callable[[], Any]) -> None:
    async def main() -> None:
        work()
        await asyncio.sleep(0)

    asyncio.run(main())


def copied(body: bytes = b"1\n", answer: bytes = b"[1.0]", event_id: str = "") -> Copied:
    return Copied(
        body=body, meta=META, answer=Answer(200, "application/json", answer), event_id=event_id
    )


def test_a_shadow_gets_its_share_of_the_requests_of_its_own_fleet(bench: Bench) -> None:
    shared = endpoint(route(0.25))
    chosen = [bench.shadows.choose(shared, 1) for _ in range(4_000)]
    assert 0.22 < sum(one is not None for one in chosen) / len(chosen) < 0.28
    assert bench.shadows.choose(endpoint(route(1.0)), 2) is None


def test_a_copy_leaves_in_another_turn_of_the_loop_than_the_answer(bench: Bench) -> None:
    def work() -> None:
        bench.shadows.copy(endpoint(route()), route(), copied())
        assert bench.pool.taken == []

    run(work)
    assert [one.body for one in bench.pool.taken] == [b"1\n"]


def test_what_the_shadow_says_is_counted_and_compared(bench: Bench) -> None:
    run(lambda: [bench.shadows.copy(endpoint(route()), route(), copied()) for _ in range(3)])
    for said in (b"[1.0]", b"[1.0001]", b"[1.5]"):
        bench.pool.taken.pop(0).end(Final(200, "application/json", said, "primary"))
    cell = bench.cell()
    assert (cell.requests, cell.compared, cell.disagreed, cell.drifts) == (3, 3, 1, 3)
    assert cell.drift_high == pytest.approx(1 / 3)


def test_a_shadow_that_is_not_there_gave_no_answer_that_could_be_wrong(bench: Bench) -> None:
    bench.pool.refuses = ServiceError("ServiceUnavailable", "no replicas", status=503)
    run(lambda: bench.shadows.copy(endpoint(route()), route(), copied()))
    cell = bench.cell()
    assert (cell.requests, cell.dropped, cell.compared) == (0, 1, 0)


def test_a_shadow_that_fails_disagrees(bench: Bench) -> None:
    run(lambda: bench.shadows.copy(endpoint(route()), route(), copied()))
    bench.pool.taken[0].end(Final(500, "text/plain", b"no", "primary"))
    cell = bench.cell()
    assert (cell.requests, cell.server_errors, cell.disagreed) == (1, 1, 1)


def test_copies_of_a_shadow_that_hangs_are_bounded_and_what_is_dropped_is_counted(
    bench: Bench,
) -> None:
    run(
        lambda: [
            bench.shadows.copy(endpoint(route()), route(), copied()) for _ in range(COPIES_MAX + 5)
        ]
    )
    assert len(bench.pool.taken) == COPIES_MAX
    bench.pool.taken[0].end(Final(200, "application/json", b"[1.0]", "primary"))
    run(lambda: bench.shadows.copy(endpoint(route()), route(), copied()))
    assert len(bench.pool.taken) == COPIES_MAX + 1
    assert bench.cell().dropped == 5


def test_the_bytes_of_copies_are_bounded(bench: Bench) -> None:
    large = copied(body=bytes(BYTES_MAX // 2 + 1))
    run(lambda: [bench.shadows.copy(endpoint(route()), route(), large) for _ in range(2)])
    assert len(bench.pool.taken) == 1
    assert bench.cell().dropped == 1


def test_what_is_captured_of_the_request_is_captured_of_its_copy(bench: Bench) -> None:
    def work() -> None:
        for event_id in ("one", ""):
            bench.shadows.copy(endpoint(route(), RULE), route(), copied(event_id=event_id))

    run(work)
    for invocation in bench.pool.taken:
        invocation.end(Final(200, "application/json", b"[1.0]", "primary"))
    asyncio.run(bench.capture.flush())
    ((uri, lines),) = bench.written
    assert uri.startswith("s3://b/p/churn/new/")
    assert lines.count(b'"eventId": "one"') == 1
    assert lines.count(b"\n") == 1


def test_copies_for_the_shadow_of_a_fleet_that_is_gone_go_to_no_other(bench: Bench) -> None:
    class Silent:
        """A connection to a worker that never greets."""

        is_ready = False
        in_flight = 0

        def connect(self) -> None: ...
        def close(self) -> None: ...
        def send(self, tag: object, **_: object) -> int:
            raise AssertionError("it is not ready")

        def cancel(self, request_id: int) -> None: ...

    dispatcher = Dispatcher(
        channel=lambda address, listener: Silent(),
        now=bench.clock.monotonic,
        queue_limit=10,
        wait_seconds=10.0,
    )

    def table(fleet: int) -> tuple[EndpointRoute, ...]:
        shadow = msgspec.structs.replace(route(), fleet=-fleet)
        return (msgspec.structs.replace(endpoint(shadow), shadows=(shadow,)),)

    ended: list[Final | ServiceError] = []
    dispatcher.update(table(1))
    waiting = Invocation(b"", META, 60.0, ended.append)
    dispatcher.submit(("1", "r", "churn", "new", -1), waiting)
    dispatcher.update(table(2))
    assert [outcome.status for outcome in ended] == [503]
