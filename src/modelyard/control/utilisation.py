"""How busy instances are: each minute, what their workers used of processors and memory, into the metric store.

And how many models the workers of multi-model endpoints have loaded, as they last reported.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from modelyard.base.clock import Clock
from modelyard.control.endpoints import endpoint_memory, fleet_owner
from modelyard.control.fleets import instance_id
from modelyard.control.processes import Processes
from modelyard.control.transform_jobs import job_memory
from modelyard.domain.endpoint_metrics import LOADED_MODEL_COUNT, dimensions_of
from modelyard.domain.endpoint_metrics import NAMESPACE as MODEL_NAMESPACE
from modelyard.domain.fleet import Fleet, Slot, placements
from modelyard.domain.metrics import Dimensions, Summary
from modelyard.domain.utilisation import (
    CPU,
    JOB_NAMESPACE,
    MEMORY,
    NAMESPACE,
    UNIT,
    Reading,
    Used,
    readings,
)
from modelyard.domain.worker_report import LOADED_MODELS
from modelyard.runtimes.runtime import Process, RuntimeUnavailable
from modelyard.runtimes.usage import machine_memory_bytes, usage
from modelyard.store.metrics import Datum, Metric, MetricsNotKept, MetricStore
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
        try:
            known = await self._processes.current()
        except RuntimeUnavailable:
            return  # Nobody knows what runs; the next minute will tell.
        pids = {one.id: one.pid for one in known.values() if one.kind == "worker" and one.pid}
        used = await asyncio.to_thread(self._read_all, pids)
        moment, at = self._clock.monotonic(), self._clock.now()
        seconds = moment - self._looked_at
        data: list[Datum] = []
        for owner in self._owners(used):
            if owner.key.kind == "endpoint":
                data += _of_endpoint(owner.key, self._endpoint(owner, used, seconds), at=int(at))
                data += _loaded_models(owner, known, at=int(at))
            elif owner.key.kind == "transform-job":
                data += _of_job(owner, self._job(owner, used, seconds), at=int(at))
            await asyncio.sleep(
                0
            )  # Whoever wakes an endpoint meanwhile does not wait for all of them.
        self._before, self._looked_at = used, moment
        try:
            await asyncio.to_thread(self._metrics.put, data, now=at)
        except MetricsNotKept as error:
            logger.warning("measurements are dropped: %s", error)

    def _owners(self, used: Mapping[str, Used]) -> Iterator[Resource]:
        """Found by their workers: of thousands of endpoints and jobs few may run."""
        owners = {owner for one in used if (owner := self._processes.owner(one)) is not None}
        for key in owners:
            if (resource := self._store.get(key)) is not None:
                yield resource

    def _read_all(self, pids: Mapping[str, int]) -> Mapping[str, Used]:
        found = {process_id: self._read(pid) for process_id, pid in pids.items()}
        return {process_id: used for process_id, used in found.items() if used is not None}

    def _endpoint(
        self, endpoint: Resource, used: Mapping[str, Used], seconds: float
    ) -> Iterator[Reading]:
        return self._of(_fleets(endpoint), endpoint_memory(endpoint).slots, used, seconds)

    def _job(self, job: Resource, used: Mapping[str, Used], seconds: float) -> Iterator[Reading]:
        memory = job_memory(job)
        fleets = [memory.fleet] if memory.fleet is not None else []
        return self._of(fleets, memory.slots, used, seconds)

    def _of(
        self,
        fleets: Sequence[Fleet],
        slots: Mapping[str, Slot],
        used: Mapping[str, Used],
        seconds: float,
    ) -> Iterator[Reading]:
        return readings(
            fleets,
            slots,
            before=self._before,
            now=used,
            seconds=seconds,
            machine_memory_bytes=machine_memory_bytes(),
        )


def _fleets(endpoint: Resource) -> list[Fleet]:
    memory = endpoint_memory(endpoint)
    return [fleet for fleet in (memory.serving, memory.target) if fleet is not None]


def _loaded_models(endpoint: Resource, known: Mapping[str, Process], *, at: int) -> Iterator[Datum]:
    """A sample for each instance of a multi-model variant."""
    slots = endpoint_memory(endpoint).slots
    summaries: dict[tuple[Dimensions, str], Summary] = {}
    for fleet in _fleets(endpoint):
        for placement in placements(fleet, slots):
            worker = known.get(placement.id)
            loaded = None if worker is None else worker.progress.get(LOADED_MODELS)
            if isinstance(loaded, int):
                variant = placement.variant.name
                for dimensions in dimensions_of(endpoint.key.name, variant, fleet.config_name):
                    place = dimensions, LOADED_MODEL_COUNT
                    summaries.setdefault(place, Summary()).add(float(loaded))
    return _data(endpoint.key, MODEL_NAMESPACE, summaries, at=at, unit="None")


def _of_endpoint(endpoint: Key, found: Iterable[Reading], *, at: int) -> Iterator[Datum]:
    """For the variant, and once more for the variant's part from its endpoint config."""
    summaries: dict[tuple[Dimensions, str], Summary] = {}
    for reading in found:
        for dimensions in dimensions_of(endpoint.name, reading.variant, reading.config_name):
            _add(summaries, dimensions, reading)
    return _data(endpoint, NAMESPACE, summaries, at=at)


def _of_job(job: Resource, found: Iterable[Reading], *, at: int) -> Iterator[Datum]:
    """Each instance by itself: ``Host`` is the job's name and the instance's id."""
    summaries: dict[tuple[Dimensions, str], Summary] = {}
    for reading in found:
        instance = instance_id(reading.placement, fleet_owner(job))
        _add(summaries, (("Host", f"{job.key.name}/{instance}"),), reading)
    return _data(job.key, JOB_NAMESPACE, summaries, at=at)


def _add(
    summaries: dict[tuple[Dimensions, str], Summary], dimensions: Dimensions, reading: Reading
) -> None:
    for name, value in ((CPU, reading.cpu), (MEMORY, reading.memory)):
        if value is not None:
            summaries.setdefault((dimensions, name), Summary()).add(value)


def _data(
    owner: Key,
    namespace: str,
    summaries: Mapping[tuple[Dimensions, str], Summary],
    *,
    at: int,
    unit: str = UNIT,
) -> Iterator[Datum]:
    for (dimensions, name), summary in summaries.items():
        yield Datum(
            metric=Metric(
                account=owner.account,
                region=owner.region,
                namespace=namespace,
                name=name,
                dimensions=dimensions,
            ),
            at=at,
            summary=summary,
            unit=unit,
        )
