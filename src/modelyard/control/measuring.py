"""What gateways tell, into the metric store: a datagram socket, a bounded queue, one writer.

A datagram that finds the queue full is dropped and counted: metrics never hold up the data plane.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from modelyard.base.clock import Clock
from modelyard.domain.endpoint_metrics import (
    NAMESPACE,
    SHADOW_NAMESPACE,
    Counted,
    dimensions_of,
    own_summary,
    shadow_summaries,
    summaries,
    together,
)
from modelyard.domain.metrics import Summary
from modelyard.store.metrics import Datum, Metric, MetricsNotKept, MetricStore
from modelyard.transport.datagrams import bound

logger = logging.getLogger(__name__)
QUEUE_MAX = 1_000
GATHER_SECONDS = 0.5
"""Gateways tell at the same moments: their reports are waited for and put together. Less than alarms wait for a period's end."""
_Place = tuple[int, str, str, str, str, str, str, str]
"""Moment, account, region, endpoint, variant, endpoint config; a measure of its own and its container, or empty."""


class ReportLike(Protocol):
    """``gateway.counters.Report``."""

    @property
    def at(self) -> int: ...
    @property
    def cells(self) -> Any: ...


class Measuring(asyncio.DatagramProtocol):
    """Listens on a UNIX datagram socket; ``decode`` reads a datagram and raises ``ValueError`` for what is none.

    ``heard`` is told the cells of each report that are of requests.
    """

    def __init__(
        self,
        *,
        metrics: MetricStore,
        clock: Clock,
        decode: Callable[[bytes], ReportLike],
        heard: Callable[[Any], None],
    ) -> None:
        self._heard = heard
        self._metrics = metrics
        self._clock = clock
        self._decode = decode
        self._queue: asyncio.Queue[ReportLike] = asyncio.Queue(QUEUE_MAX)
        self.dropped = 0

    async def run(self, path: Path) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=bound(path))
        try:
            while True:
                first = await self._queue.get()
                await self._clock.sleep(GATHER_SECONDS)
                await self._write([first])
        finally:
            transport.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            report = self._decode(data)
        except ValueError as error:
            logger.warning("a report that cannot be read is dropped: %s", error)
            return
        # Now, and not when a slow disk has taken what came before: what is in use must not be thought idle for that.
        self._heard([cell for cell in report.cells if not cell.measure])
        try:
            self._queue.put_nowait(report)
        except asyncio.QueueFull:
            self.dropped += 1

    async def _write(self, reports: list[ReportLike]) -> None:
        """All that waits, in one transaction."""
        while not self._queue.empty():
            reports.append(self._queue.get_nowait())
        try:
            # What a thousand endpoints have to say is put together in the thread that writes it.
            await asyncio.to_thread(self._metrics.put, data_of(*reports), now=self._clock.now())
        except MetricsNotKept as error:
            logger.warning("measurements are dropped: %s", error)


def data_of(*reports: ReportLike) -> Iterator[Datum]:
    """For each fleet's part of a variant its metrics, for the variant and once more for its part from this endpoint config."""
    found: dict[_Place, Counted] = {}
    for report in reports:
        for cell in report.cells:
            place = (
                report.at,
                cell.account,
                cell.region,
                cell.endpoint,
                cell.variant,
                cell.config,
                cell.measure,
                cell.container,
            )
            counted = _counted(cell)
            found[place] = together(found[place], counted) if place in found else counted
    for place, counted in found.items():
        at, account, region, endpoint, variant, config, measure, container = place
        for namespace, name, unit, summary in _named(measure, counted):
            for dimensions in dimensions_of(endpoint, variant, config, container):
                yield Datum(
                    metric=Metric(
                        account=account,
                        region=region,
                        namespace=namespace,
                        name=name,
                        dimensions=dimensions,
                    ),
                    at=at,
                    summary=summary,
                    unit=unit,
                    is_high_resolution=True,
                )


def _named(measure: str, counted: Counted) -> list[tuple[str, str, str, Summary]]:
    """Namespace, name, unit and summary of each metric of a cell."""
    if measure:
        return [(NAMESPACE, *own_summary(measure, counted))]
    return [
        *((NAMESPACE, *one) for one in summaries(counted)),
        *((SHADOW_NAMESPACE, *one) for one in shadow_summaries(counted)),
    ]


def _counted(cell: Any) -> Counted:
    return Counted(
        requests=cell.requests,
        client_errors=cell.client_errors,
        server_errors=cell.server_errors,
        model_errors=cell.model_errors,
        model_sum=cell.model_sum,
        overhead_sum=cell.overhead_sum,
        model=cell.model,
        overhead=cell.overhead,
        instances=cell.instances,
        in_flight=cell.in_flight,
        compared=cell.compared,
        disagreed=cell.disagreed,
        drifts=cell.drifts,
        drift_sum=cell.drift_sum,
        drift_low=cell.drift_low,
        drift_high=cell.drift_high,
        dropped=cell.dropped,
    )
