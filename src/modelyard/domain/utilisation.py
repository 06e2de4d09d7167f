"""CPU and memory of the instances of endpoints and transform jobs, in percent, as CloudWatch's namespaces for them have it. Pure.

An instance is a replica: its containers add up. CPU adds up over cores, as on AWS: four busy cores are 400 percent. Source:
scaling.md, section 7; batch.md, section 7.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from modelyard.domain.fleet import Fleet, Placement, Slot, placements
from modelyard.domain.instances import resources_of

NAMESPACE, JOB_NAMESPACE = "/aws/sagemaker/Endpoints", "/aws/sagemaker/TransformJobs"
CPU, MEMORY, UNIT = "CPUUtilization", "MemoryUtilization", "Percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """By one worker. ``cpu_seconds`` since it began."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of one instance. ``cpu`` is None until it has been seen twice; ``placement`` is one of its workers."""

    placement: Placement
    config_name: str
    cpu: float | None
    memory: float

    @property
    def variant(self) -> str:
        return self.placement.variant.name


def readings(
    fleets: Iterable[Fleet],
    slots: Mapping[str, Slot],
    *,
    before: Mapping[str, Used],
    now: Mapping[str, Used],
    seconds: float,
    machine_memory_bytes: int,
) -> Iterator[Reading]:
    """Of every instance of which a worker runs. ``before`` is what was used ``seconds`` ago, by the worker's id."""
    for fleet in fleets:
        instances: dict[tuple[str, int], list[Placement]] = {}
        for placement in placements(fleet, slots):
            if placement.id in now:
                place = (placement.variant.name, placement.replica)
                instances.setdefault(place, []).append(placement)
        for placed in instances.values():
            workers = [placement.id for placement in placed]
            resources = resources_of(placed[0].variant.instance_type)
            memory_bytes = resources.memory_bytes if resources else machine_memory_bytes
            yield Reading(
                placement=placed[0],
                config_name=fleet.config_name,
                cpu=_cpu_percent(workers, before, now, seconds),
                memory=100.0 * sum(now[one].memory_bytes for one in workers) / memory_bytes,
            )


def _cpu_percent(
    workers: Iterable[str], before: Mapping[str, Used], now: Mapping[str, Used], seconds: float
) -> float | None:
    grown = [now[one].cpu_seconds - before[one].cpu_seconds for one in workers if one in before]
    if not grown or seconds <= 0:
        return None
    return 100.0 * sum(max(0.0, one) for one in grown) / seconds
