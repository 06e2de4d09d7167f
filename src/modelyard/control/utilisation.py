"""How busy instances are: each minute, what their workers used of processors and memory, into the metric store."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from modelyard.base.clock import Clock
from modelyard.control.endpoints import endpoint_memory
from modelyard.control.processes import Processes
from modelyard.domain.metrics import Summary
from modelyard.domain.utilisation import CPU, MEMORY, NAMESPACE, UNIT, Reading, Used, readings
from modelyard.runtimes.runtime import RuntimeUnavailable
from modelyard.runtimes.usage import machine_memory_bytes, usage
from modelyard.store.metrics import Datum, Dimensions, Metric, MetricsNotKept, MetricStore
from modelyard.store.resources import Key, Resource, ResourceStore

logger = logging.getLogger(__name__)
PERIOD_SECONDS = 60
"""AWS's default of ``MetricPublishFrequencyInSeconds``."""


def used_by(pid: int) -> Used | None:
    """By a worker with all that it has started; None where it has ended. Blocks."""
    found = usage(pid)
    if found is None:
        return None
    return Used(cpu_seconds=found.cpu_seconds, memory_bytes=found.memory_bytes)


class Utilisation:
    """Looks shortly before the end of each minute, so that the value is that minute's."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        processes: Processes,
        metrics: MetricStore,
        clock: Clock,
        read: Callable[[int], Used | None] = used_by,
    ) -> None:
        self._store = store
        self._processes = processes
        self._metrics = metrics
        self._clock = clock
        self._read = read
        self._before: Mapping[str, Used] = {}
        self._looked_at = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            now = self._clock.now()
            await self._clock.sleep((now // PERIOD_SECONDS + 1) * PERIOD_SECONDS - 1.0 - now)
            await self.look()
            await self._clock.sleep(2.0)

    async def look(self) -> None:
        """Read once, and keep what it tells."""
        endpoints = self._store.list("endpoint")
        try:
            known = await self._processes.current()
        except RuntimeUnavailable:
            return  # Nobody knows what runs; the next minute will tell.
        pids = {one.id: one.pid for one in known.values() if one.kind == "worker" and one.pid}
        used = await asyncio.to_thread(self._read_all, pids)
        moment, at = self._clock.monotonic(), self._clock.now()
        data = [
            datum
            for endpoint in endpoints
            for datum in _data(
                endpoint.key,
                list(self._of(endpoint, used, moment - self._looked_at)),
                at=int(at),
            )
        ]
        self._before, self._looked_at = used, moment
        try:
            await asyncio.to_thread(self._metrics.put, data, now=at)
        except MetricsNotKept as error:
            logger.warning("measurements are dropped: %s", error)

    def _read_all(self, pids: Mapping[str, int]) -> Mapping[str, Used]:
        found = {process_id: self._read(pid) for process_id, pid in pids.items()}
        return {process_id: used for process_id, used in found.items() if used is not None}

    def _of(
        self, endpoint: Resource, used: Mapping[str, Used], seconds: float
    ) -> Iterator[Reading]:
        memory = endpoint_memory(endpoint)
        return readings(
            [fleet for fleet in (memory.serving, memory.target) if fleet is not None],
            memory.slots,
            before=self._before,
            now=used,
            seconds=seconds,
            machine_memory_bytes=machine_memory_bytes(),
        )


def _data(endpoint: Key, found: Sequence[Reading], *, at: int) -> Iterator[Datum]:
    """For the variant, and once more for the variant's part from its endpoint config."""
    summaries: dict[tuple[Dimensions, str], Summary] = {}
    for reading in found:
        of_variant: Dimensions = (
            ("EndpointName", endpoint.name),
            ("VariantName", reading.variant),
        )
        of_fleet: Dimensions = (("EndpointConfigName", reading.config_name), *of_variant)
        for name, value in ((CPU, reading.cpu), (MEMORY, reading.memory)):
            if value is not None:
                for dimensions in (of_variant, of_fleet):
                    summaries.setdefault((dimensions, name), Summary()).add(value)
    for (dimensions, name), summary in summaries.items():
        yield Datum(
            metric=Metric(
                account=endpoint.account,
                region=endpoint.region,
                namespace=NAMESPACE,
                name=name,
                dimensions=dimensions,
            ),
            at=at,
            summary=summary,
            unit=UNIT,
        )
