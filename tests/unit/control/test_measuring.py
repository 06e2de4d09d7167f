"""From gateways' datagrams to stored metrics: put together by moment, never in the way, never the end of control."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from modelyard.base.clock import SystemClock
from modelyard.control import measuring
from modelyard.control.measuring import Measuring, data_of
from modelyard.domain.metrics import Summary
from modelyard.gateway.counters import Cell, Report, Teller, decode_report
from modelyard.store.metrics import Datum, MetricsNotKept, MetricStore

pytestmark = pytest.mark.anyio
AT = 1_700_000_040
VARIANT = (("EndpointName", "churn"), ("VariantName", "blue"))


def cell(**changes: object) -> Cell:
    return msgspec.structs.replace(
        Cell("1", "r", "churn", "blue", "c", instances=2, model={600: 1}, overhead={500: 1}),
        **changes,
    )


def of_variant(data: Iterable[Datum]) -> Mapping[str, Summary]:
    found: dict[str, Summary] = {}
    for datum in data:
        if datum.metric.dimensions == VARIANT:
            found.setdefault(datum.metric.name, Summary()).merge(datum.summary)
    return found


def test_what_is_in_flight_at_several_gateways_adds_up() -> None:
    reports = [
        Report(AT, [cell(requests=1, in_flight=6, model_sum=400.0)]),
        Report(AT, [cell(requests=1, in_flight=2, model_sum=600.0, server_errors=1)]),
    ]
    found = of_variant(data_of(*reports))
    concurrent = found["ConcurrentRequestsPerModel"]
    assert (concurrent.statistic("Average"), concurrent.count) == (4.0, 1)
    assert found["Invocations"].statistic("Sum") == 2.0
    assert found["InvocationsPerInstance"].statistic("Sum") == 1.0
    assert found["ModelLatency"].statistic("Average") == 500.0
    assert found["Invocation5XXErrors"].statistic("Sum") == 1.0


def test_times_of_one_container_at_several_gateways_add_up_and_are_no_requests() -> None:
    of_add = cell(measure="ContainerLatency", container="add", requests=1, model_sum=400.0)
    found = [
        (datum.metric.name, datum.summary.count, datum.summary.statistic("Sum"))
        for datum in data_of(Report(AT, [of_add]), Report(AT, [of_add]))
    ]
    assert found == [("ContainerLatency", 2, 800.0)] * 2  # Of the variant, and of the fleet.


def test_two_moments_are_two_samples() -> None:
    reports = [Report(AT + place * 5, [cell(in_flight=place)]) for place in (2, 4)]
    concurrent = of_variant(data_of(*reports))["ConcurrentRequestsPerModel"]
    assert (concurrent.statistic("Average"), concurrent.count) == (1.5, 2)


class Failing(MetricStore):
    """A metric store whose disk can be full; tells who waits what it took."""

    is_full = False
    is_stuck = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.tries: asyncio.Queue[int] = asyncio.Queue()
        self.freed = threading.Event()
        self.used: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, data: Iterable[Datum], *, now: float) -> None:
        taken = list(data)
        self._loop.call_soon_threadsafe(self.tries.put_nowait, len(taken))
        if self.is_stuck:
            self.freed.wait(60.0)
        if self.is_full:
            raise MetricsNotKept("full")
        super().put(taken, now=now)


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Measuring, Failing, Teller]]:
    store = Failing(folder / "metrics.db")
    heard = Measuring(
        metrics=store,
        clock=SystemClock(),
        decode=decode_report,
        heard=lambda cells: store.used.put_nowait(len(cells)),
    )
    task = asyncio.create_task(heard.run(folder / "s"))
    teller = Teller(str(folder / "s"))
    encoded = msgspec.msgpack.encode(Report(AT, [cell(requests=1)]))
    while not teller.send(encoded):
        await asyncio.sleep(0)
    try:
        assert await store.tries.get() > 0
        yield heard, store, teller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        teller.close()
        store.close()


async def test_a_full_disk_or_nonsense_does_not_end_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "GATHER_SECONDS", 0.0)
    encoded = msgspec.msgpack.encode(Report(AT, [cell(requests=1)]))
    async with listening(tmp_path) as (_, store, teller):
        store.is_full = True
        assert teller.send(encoded)
        await store.tries.get()
        store.is_full = False
        assert teller.send(b"\xc1 nonsense")
        assert teller.send(encoded)
        assert await store.tries.get() > 0


async def test_what_is_in_use_is_heard_of_while_the_disk_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "GATHER_SECONDS", 0.0)
    encoded = msgspec.msgpack.encode(Report(AT, [cell(requests=1)]))
    async with listening(tmp_path) as (_, store, teller):
        assert await store.used.get() == 1
        store.is_stuck = True
        assert teller.send(encoded)
        await store.tries.get()
        assert await store.used.get() == 1
        assert teller.send(encoded)
        try:
            async with asyncio.timeout(10.0):
                assert await store.used.get() == 1
        finally:
            store.freed.set()


async def test_without_room_reports_are_dropped_and_counted(tmp_path: Path) -> None:
    store = MetricStore(tmp_path / "metrics.db")
    heard = Measuring(
        metrics=store, clock=SystemClock(), decode=decode_report, heard=lambda cells: None
    )
    encoded = msgspec.msgpack.encode(Report(AT, [cell(requests=1)]))
    for _ in range(measuring.QUEUE_MAX + 3):
        heard.datagram_received(encoded, None)
    assert heard.dropped == 3
    store.close()


def test_a_gateway_never_waits_for_control(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "s"))
        teller = Teller(str(tmp_path / "s"))
        taken = 0
        while teller.send(b"x" * 1000):
            taken += 1
            assert taken < 100_000
        teller.close()
    lonely = Teller(str(tmp_path / "nobody"))
    assert not lonely.send(b"x")
    lonely.close()
