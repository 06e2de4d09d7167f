"""From running workers to CloudWatch's CPU and memory of an endpoint."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from modelyard.control.endpoints import fleet_owner
from modelyard.control.fleets import instance_id
from modelyard.control.processes import Processes
from modelyard.control.utilisation import Utilisation
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import Container, Fleet, Variant, placements
from modelyard.domain.instances import GIB
from modelyard.domain.transform_plan import JobMemory
from modelyard.domain.utilisation import JOB_NAMESPACE, NAMESPACE, Used
from modelyard.domain.worker_report import LOADED_MODELS
from modelyard.runtimes.runtime import LogStream, ProcessSpec, ProcessState
from modelyard.store.metrics import Dimensions, Metric, MetricStore
from modelyard.store.resources import Create, Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.fake_runtime import FakeRuntime
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
KEY = Key(kind="endpoint", account="1", region="r", name="churn")
VARIANT = Variant(
    name="blue",
    instance_type="ml.m5.large",  # 8 GiB
    count=2,
    weight=1.0,
    containers=(Container(name="a", image="i", runtime="onnx"),),
)
FLEET = Fleet(owner="o", generation=1, created_at=0.0, variants=(VARIANT,), config_name="c1")
OF_VARIANT: Dimensions = (("EndpointName", "churn"), ("VariantName", "blue"))
OF_FLEET: Dimensions = (("EndpointConfigName", "c1"), *OF_VARIANT)


class Machine:
    """Two workers of one variant; ``used`` by process id of the operating system."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1_700_000_100.0)
        self.store = MemoryResourceStore(clock=self.clock)
        self.metrics = MetricStore(folder / "metrics.db")
        self.runtime = FakeRuntime()
        self.used: dict[int, Used] = {}
        self.processes = Processes(self.runtime)
        self.utilisation = Utilisation(
            store=self.store,
            processes=self.processes,
            metrics=self.metrics,
            clock=self.clock,
            read=self.used.get,
        )

    async def begin(self) -> None:
        remembered = msgspec.to_builtins(Memory(serving=FLEET))
        await self.store.write(Create(key=KEY, spec={}, status={"control": remembered}))
        log = LogStream(account="1", region="r", group="g", stream="s")
        for placement in placements(FLEET, {}):
            await self.runtime.start(ProcessSpec(id=placement.id, kind="worker", log=log))
        self.processes.claim(KEY, [placement.id for placement in placements(FLEET, {})])

    def works(self, pid: int, cpu_seconds: float, memory_bytes: int) -> None:
        self.used[pid] = Used(cpu_seconds=cpu_seconds, memory_bytes=memory_bytes)

    def told(
        self, name: str, dimensions: Dimensions = OF_VARIANT, namespace: str = NAMESPACE
    ) -> list[tuple[float, float]]:
        """Average and maximum of each minute."""
        metric = Metric(
            account="1", region="r", namespace=namespace, name=name, dimensions=dimensions
        )
        now = self.clock.now()
        found = self.metrics.read(metric, start=now - 3600, end=now + 60, period=60, now=now)
        return [(one.statistic("Average") or 0.0, one.high) for one in found.values()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.metrics.close()


async def test_each_minute_tells_what_instances_used_since_the_one_before(machine: Machine) -> None:
    await machine.begin()
    machine.works(1001, 10.0, 2 * GIB)
    machine.works(1002, 20.0, 4 * GIB)
    await machine.utilisation.look()
    assert machine.told("CPUUtilization") == []
    machine.clock.advance(60.0)
    machine.works(1001, 100.0, 2 * GIB)
    machine.works(1002, 50.0, 4 * GIB)
    await machine.utilisation.look()
    for dimensions in (OF_VARIANT, OF_FLEET):
        assert machine.told("CPUUtilization", dimensions) == [(100.0, 150.0)]
        assert machine.told("MemoryUtilization", dimensions) == [(37.5, 50.0), (37.5, 50.0)]


async def test_each_instance_of_a_running_transform_job_is_told_by_its_host(
    machine: Machine,
) -> None:
    key = Key(kind="transform-job", account="1", region="r", name="nightly")
    remembered = msgspec.to_builtins(JobMemory(fleet=FLEET))
    (job,) = await machine.store.write(Create(key=key, spec={}, status={"control": remembered}))
    workers = list(placements(FLEET, {}))
    log = LogStream(account="1", region="r", group="g", stream="s")
    for placement in workers:
        await machine.runtime.start(ProcessSpec(id=placement.id, kind="worker", log=log))
    machine.processes.claim(key, {placement.id for placement in workers})
    machine.works(1001, 10.0, 2 * GIB)
    machine.works(1002, 20.0, 4 * GIB)
    await machine.utilisation.look()
    hosts = [f"nightly/{instance_id(one, fleet_owner(job))}" for one in workers]
    assert len(set(hosts)) == 2
    told = [machine.told("MemoryUtilization", (("Host", host),), JOB_NAMESPACE) for host in hosts]
    assert told == [[(25.0, 25.0)], [(50.0, 50.0)]]


async def test_each_instance_tells_how_many_models_it_has_loaded(machine: Machine) -> None:
    await machine.begin()
    first, second = (placement.id for placement in placements(FLEET, {}))
    machine.works(1001, 10.0, 2 * GIB)
    machine.works(1002, 10.0, 2 * GIB)
    await machine.utilisation.look()
    assert machine.told("LoadedModelCount", OF_VARIANT, "AWS/SageMaker") == []
    machine.runtime.become(first, ProcessState.READY, progress={LOADED_MODELS: 5})
    machine.runtime.become(second, ProcessState.READY, progress={LOADED_MODELS: 0})
    await machine.processes.refresh()
    machine.clock.advance(60.0)
    await machine.utilisation.look()
    for dimensions in (OF_VARIANT, OF_FLEET):
        told = machine.told("LoadedModelCount", dimensions, "AWS/SageMaker")
        assert told == [(2.5, 5.0)]


async def test_an_ended_worker_says_nothing(machine: Machine) -> None:
    await machine.begin()
    machine.works(1001, 10.0, 2 * GIB)
    await machine.utilisation.look()
    assert machine.told("MemoryUtilization") == [(25.0, 25.0)]


async def test_while_the_host_is_down_nothing_is_told(machine: Machine) -> None:
    await machine.begin()
    machine.works(1001, 10.0, 2 * GIB)
    machine.runtime.available = False
    await machine.utilisation.look()
    assert machine.told("MemoryUtilization") == []
