"""Spans to a collector: in batches, again where that may help, dropped and counted where nothing does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modelyard.control import tracing
from modelyard.control.tracing import Posted, TraceExport
from modelyard.domain.tracing import Span, Told, encode_told
from modelyard.gateway.counters import Teller
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
SPAN = Span("a" * 32, "b" * 16, "", "", "s", 1, 0, 1, "gateway")


class Collector:
    """Answers as it is told to, in order, and then takes everything."""

    def __init__(self, *answers: Posted) -> None:
        self.answers = list(answers)
        self.taken: list[int] = []

    def post(self, spans: Sequence[Span]) -> Posted:
        answer = self.answers.pop(0) if self.answers else Posted()
        if not answer.reason:
            self.taken.append(len(spans))
        return answer


@asynccontextmanager
async def exporting(collector: Collector, folder: Path) -> AsyncIterator[tuple[TraceExport, ManualClock]]:  # fmt: skip
    clock = ManualClock()
    export = TraceExport(post=collector.post, clock=clock)
    running = asyncio.create_task(export.run(folder / "s"))
    await asyncio.sleep(0)
    try:
        yield export, clock
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def passes(export: TraceExport, clock: ManualClock, count: int) -> None:
    """Until so many spans have come to their end."""
    async with asyncio.timeout(10):
        while export.exported + export.dropped < count:
            clock.advance(1.0)
            await asyncio.sleep(0.001)


async def test_what_gateways_tell_is_posted_in_batches(tmp_path: Path) -> None:
    collector = Collector()
    async with exporting(collector, tmp_path) as (export, clock):
        teller = Teller(str(tmp_path / "s"))
        for _ in range(10):
            assert teller.send(encode_told(Told([SPAN] * 60, 1)))
        assert teller.send(b"no span")
        teller.close()
        await passes(export, clock, 610)
    assert sum(collector.taken) == 600 and max(collector.taken) <= 512
    assert (export.exported, export.dropped) == (600, 10), "the gateway's own losses count, too"


async def test_a_collector_that_is_away_is_asked_again(tmp_path: Path) -> None:
    away = Posted(reason="refused", may_retry=True, after_seconds=3.0)
    collector = Collector(away, away)
    async with exporting(collector, tmp_path) as (export, clock):
        export.add(SPAN)
        await passes(export, clock, 1)
    assert (export.exported, export.dropped, collector.taken) == (1, 0, [1])


async def test_what_is_never_taken_is_dropped_after_some_tries(tmp_path: Path) -> None:
    away = Posted(reason="refused", may_retry=True)
    collector = Collector(*[away] * tracing.TRIES, Posted(reason="no such path"))
    async with exporting(collector, tmp_path) as (export, clock):
        for lost in (1, 2):
            export.add(SPAN)
            await passes(export, clock, lost)
        export.add(SPAN)
        await passes(export, clock, 3)
    assert (export.exported, export.dropped) == (1, 2)


async def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "SPANS_MAX", 3)
    export = TraceExport(post=Collector().post, clock=ManualClock())
    for _ in range(5):
        export.add(SPAN)
    assert export.dropped == 2
    values = {one.name: [s.value for s in one.samples] for one in export.families()}
    assert values["modelyard_trace_spans_dropped_total"] == [2]
