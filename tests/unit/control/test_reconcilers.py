"""The loop and its reconcilers over a memory store and a scripted runtime, on a manual clock."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.ids import SeededRandom
from modelyard.base.settings import Home, Limits
from modelyard.control.endpoints import EndpointReconciler
from modelyard.control.fleets import Fleets
from modelyard.control.garbage import GarbageCollector
from modelyard.control.keys import KeyPublisher
from modelyard.control.loop import GARBAGE, Loop
from modelyard.control.processes import Processes
from modelyard.control.rollout_watch import RolloutWatch
from modelyard.control.routes import RoutePublisher, last_published
from modelyard.control.transform_jobs import TransformJobReconciler
from modelyard.domain.routes import EndpointRoute, RoutingTable
from modelyard.runtimes.runtime import (
    LogStream,
    Process,
    ProcessSpec,
    ProcessState,
    RuntimeUnavailable,
)
from modelyard.store.published import Publisher
from modelyard.store.resources import Create, Delete, Key, Update, VersionConflict
from modelyard.testing.alarms import RangBriefly
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
ENDPOINT = Key(kind="endpoint", account="1", region="us-east-1", name="churn")
JOB = Key(kind="transform-job", account="1", region="us-east-1", name="score")
STARTING, READY, DEAD = ProcessState.STARTING, ProcessState.READY, ProcessState.DEAD
WAITING = ProcessState.WAITING
MODEL = {"PrimaryContainer": {"Image": "modelyard/sklearn", "ModelDataUrl": "s3://models/m.tar.gz"}}


class ScriptedRuntime:
    """Processes do what the test says."""

    def __init__(self) -> None:
        self.specs: dict[str, ProcessSpec] = {}
        self.processes: dict[str, Process] = {}
        self.available = True
        self._changed = asyncio.Event()

    def _reach(self) -> None:
        if not self.available:
            raise RuntimeUnavailable

    async def start(self, spec: ProcessSpec) -> None:
        self._reach()
        known = self.processes.get(spec.id)
        if known is None or (known.state is WAITING and spec.prepares_for is None):
            self.specs[spec.id] = spec
            state = STARTING if spec.prepares_for is None else WAITING
            self.put(Process(id=spec.id, kind=spec.kind, pid=1, state=state, address=spec.address))

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        self._reach()
        if process_id in self.processes:
            self.become(process_id, DEAD)

    async def forget(self, process_id: str) -> None:
        self._reach()
        self.processes.pop(process_id, None)

    async def list(self) -> list[Process]:
        self._reach()
        return list(self.processes.values())

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def put(self, process: Process) -> None:
        self.processes[process.id] = process
        self._changed.set()

    def become(self, process_id: str, state: ProcessState, **changes: Any) -> None:
        self.put(replace(self.processes[process_id], state=state, **changes))

    def ids(self, kind: str, *states: ProcessState) -> Sequence[str]:
        return [p.id for p in self.processes.values() if p.kind == kind and p.state in states]

    def all_become(self, kind: str, state: ProcessState, **changes: Any) -> None:
        for process_id in self.ids(kind, STARTING, READY, ProcessState.RUNNING):
            self.become(process_id, state, **changes)


@dataclass(frozen=True)
class Stored:
    etag: str
    size: int
    path: Path


class OneModel:
    """An object store that holds s3://models/m.tar.gz, until it does not."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def head(self, bucket: str, key: str) -> Stored | None:
        if (bucket, key) != ("models", "m.tar.gz") or not self.path.exists():
            return None
        return Stored(etag="abc", size=self.path.stat().st_size, path=self.path)


class KeyTables:
    """What was published of access keys; the disk is full as often as the test says."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.failures = 0

    def publish(self, table: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left on device")
        self.published.append(table)


class Control:
    """A whole control process but for its API."""

    def __init__(self, folder: Path) -> None:
        self.alarms = RangBriefly()
        self.home = Home(folder)
        self.home.create()
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.runtime = ScriptedRuntime()
        self.model = folder / "m.tar.gz"
        self.model.write_bytes(b"model")
        self.processes = Processes(self.runtime)
        limits = Limits()
        self.routes = RoutePublisher(
            Publisher(self.home.run, "routes"), initial=last_published(self.home.run)
        )
        fleets = Fleets(
            objects=OneModel(self.model),
            home=self.home,
            limits=limits,
            address_of=lambda name: f"unix:/{name}",
        )
        self.key_tables = KeyTables()
        self.keys = KeyPublisher(store=self.store, publisher=self.key_tables)
        self.garbage = GarbageCollector(
            store=self.store,
            processes=self.processes,
            routes=self.routes,
            keys=self.keys,
            clock=self.clock,
            home=self.home,
            limits=limits,
        )
        self.endpoints = EndpointReconciler(
            store=self.store,
            processes=self.processes,
            routes=self.routes,
            fleets=fleets,
            clock=self.clock,
            limits=limits,
            watch=RolloutWatch(self.clock, alarms=self.alarms),
        )
        self.loop = Loop(
            store=self.store,
            processes=self.processes,
            reconcilers={
                "endpoint": self.endpoints,
                "transform-job": TransformJobReconciler(
                    store=self.store,
                    processes=self.processes,
                    fleets=fleets,
                    clock=self.clock,
                    home=self.home,
                    limits=limits,
                ),
                GARBAGE.kind: self.garbage,
            },
            clock=self.clock,
            random=SeededRandom(1),
        )

    def status(self, key: Key) -> dict[str, Any]:
        resource = self.store.get(key)
        return resource.status if resource else {}

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the loop work until the condition holds."""
        for _ in range(2_000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"it never came to that: {self.store.list('endpoint')}")

    async def quiet(self) -> None:
        """Let the loop work until it has nothing left to do."""
        idle = 0
        while idle < 20:
            await asyncio.sleep(0.001)
            idle = idle + 1 if self.loop.is_idle else 0

    async def create_endpoint(self, **container: Any) -> None:
        model = {"PrimaryContainer": {**MODEL["PrimaryContainer"], **container}}
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": "m",
            "InitialInstanceCount": 2,
            "InstanceType": "ml.m5.large",
        }
        spec = {
            "EndpointConfigName": "c",
            "config": {"ProductionVariants": [variant]},
            "models": {"m": model},
            "generation": 1,
            "deleting": False,
        }
        status = {"EndpointStatus": "Creating", "generation": 0}
        await self.store.write(Create(key=ENDPOINT, spec=spec, status=status))

    async def create_job(self, **more: Any) -> None:
        spec = {
            "ModelName": "m",
            "model": MODEL,
            "stopping": False,
            "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "s3://in/"}}},
            "TransformOutput": {"S3OutputPath": "s3://out/"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **more,
        }
        status = {"TransformJobStatus": "InProgress"}
        await self.store.write(Create(key=JOB, spec=spec, status=status))

    async def change_spec(self, key: Key, **changes: Any) -> None:
        resource = self.store.get(key)
        assert resource
        spec = {**resource.spec, **changes}
        await self.store.write(Update(key=key, version=resource.version, spec=spec))

    async def job_runs(self) -> str:
        """Bring a fresh job to where its process runs; the process's id."""
        await self.create_job()
        await self.until(lambda: self.runtime.ids("worker", STARTING))
        self.runtime.all_become("worker", READY)
        await self.until(lambda: self.runtime.ids("job", STARTING))
        (process_id,) = self.runtime.ids("job", STARTING)
        self.runtime.become(process_id, ProcessState.RUNNING, progress={"objects_done": 1})
        await self.until(lambda: self.status(JOB)["progress"] == {"objects_done": 1})
        return process_id

    @property
    def table(self) -> RoutingTable:
        return last_published(self.home.run)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    control = Control(tmp_path)
    task = asyncio.create_task(control.loop.run())
    yield control
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_endpoint_is_in_service_when_all_replicas_are_ready(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.become(control.runtime.ids("worker", STARTING)[0], READY)
    await control.quiet()
    assert control.status(ENDPOINT)["EndpointStatus"] == "Creating"
    assert not control.table.endpoints
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    (route,) = control.table.endpoints
    assert len(route.variants[0].replicas) == 2
    assert route.log_group == "/aws/sagemaker/Endpoints/churn"
    (variant,) = control.status(ENDPOINT)["variants"]
    assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (2, 1.0)


async def test_workers_are_told_what_they_need(control: Control) -> None:
    await control.create_endpoint(Environment={"A": "1"})
    await control.until(lambda: control.runtime.specs)
    spec = next(iter(control.runtime.specs.values()))
    assert spec.address == f"unix:/{spec.id}"
    assert spec.payload["environment"] == {"A": "1"}
    assert spec.payload["model"]["name"] == "m.tar.gz"
    assert spec.payload["model"]["key"] == "abc-5"
    assert spec.payload["image"] == "sklearn"
    assert spec.caps.cpus == 2.0
    assert spec.log.stream.startswith("AllTraffic/i-")


async def test_a_dead_replica_is_restarted_from_the_artifact_it_was_made_of(
    control: Control,
) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    control.model.unlink()
    dead, other = control.runtime.ids("worker", READY)
    control.runtime.become(dead, DEAD)
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    assert control.status(ENDPOINT)["EndpointStatus"] == "InService"
    (replica,) = control.table.endpoints[0].variants[0].replicas
    assert replica.workers[0].id == other
    (restarted,) = control.runtime.ids("worker", STARTING)
    path = Path(control.runtime.specs[restarted].payload["model"]["path"])
    assert path.read_bytes() == b"model"
    await control.until(lambda: dead not in control.runtime.processes)


async def test_a_replica_that_keeps_dying_waits_longer_each_time(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    control.runtime.become(control.runtime.ids("worker", READY)[0], DEAD)
    for wait in (1.0, 2.0, 4.0):
        await control.until(lambda: control.runtime.ids("worker", STARTING))
        control.runtime.become(control.runtime.ids("worker", STARTING)[0], DEAD)
        await control.quiet()
        control.clock.advance(wait - 0.1)
        await control.quiet()
        assert not control.runtime.ids("worker", STARTING)
        control.clock.advance(0.2)
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    assert control.status(ENDPOINT)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"Image": "strange"}, "container primary: Image strange is not one that Modelyard runs"),
        ({"ModelDataUrl": "s3://models/none"}, "could not find model data at s3://models/none"),
    ],
)
async def test_an_endpoint_that_cannot_be_says_why(
    control: Control, container: dict[str, str], reason: str
) -> None:
    await control.create_endpoint(**container)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "Failed")
    assert reason in control.status(ENDPOINT)["FailureReason"]
    assert not control.runtime.processes


async def test_a_load_error_fails_the_endpoint_at_once_with_the_last_lines(
    control: Control,
) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    reason = "x" * 2_000 + "ValueError: no such column"
    failed = control.runtime.ids("worker", STARTING)[0]
    control.runtime.become(failed, ProcessState.FAILED, reason=reason)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "Failed")
    shown = control.status(ENDPOINT)["FailureReason"]
    assert len(shown) == 1024
    assert shown.startswith("Variant AllTraffic, container primary: xxx")
    assert shown.endswith("ValueError: no such column")
    await control.until(lambda: not control.runtime.processes)


async def test_a_worker_that_never_gets_ready_fails_its_health_check(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    await control.quiet()
    control.clock.advance(241)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "Failed")
    assert "did not pass the ping health check" in control.status(ENDPOINT)["FailureReason"]


async def test_an_alarm_that_rang_is_heard_although_somebody_else_wrote_as_it_was_decided(
    control: Control,
) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 600}
    rollback = {"Alarms": [{"AlarmName": "bad"}]}
    deployment = {"BlueGreenUpdatePolicy": policy, "AutoRollbackConfiguration": rollback}
    await control.change_spec(ENDPOINT, generation=2, update={"DeploymentConfig": deployment})
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.quiet()
    assert control.status(ENDPOINT)["control"]["rollout"]["shifted"]
    control.clock.advance(1.5)
    await control.quiet()
    control.alarms.until = control.clock.now() + 0.1
    control.store.fail_next_write = VersionConflict(ENDPOINT)
    control.clock.advance(1.0)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    assert "Alarm bad was in ALARM" in control.status(ENDPOINT)["FailureReason"]
    assert control.store.fail_next_write is None


async def test_a_deleted_endpoint_loses_routes_then_workers_then_itself(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    await control.change_spec(ENDPOINT, deleting=True)
    await control.until(lambda: control.store.get(ENDPOINT) is None)
    assert not control.table.endpoints
    assert not control.runtime.processes


async def test_the_use_of_an_endpoint_is_not_that_of_the_next_one_of_its_name(
    tmp_path: Path,
) -> None:
    control = Control(tmp_path)

    async def look() -> None:
        await control.processes.refresh()
        await control.endpoints.reconcile(ENDPOINT)

    async def in_service() -> None:
        await control.create_endpoint()
        tag = {"Key": "modelyard:hibernate-after-seconds", "Value": "10"}
        await control.change_spec(ENDPOINT, Tags=[tag])
        await look()
        control.runtime.all_become("worker", READY)
        for _ in range(3):
            await look()
        assert control.status(ENDPOINT)["EndpointStatus"] == "InService"

    await in_service()
    await control.change_spec(ENDPOINT, deleting=True)
    while control.store.get(ENDPOINT) is not None:
        await look()
    control.clock.advance(3600.0)
    await in_service()
    assert "asleep" not in control.status(ENDPOINT)["control"]
    control.clock.advance(10.0)
    await look()
    assert control.status(ENDPOINT)["control"]["asleep"] == ["AllTraffic"]


async def test_an_absent_host_is_waited_for(control: Control) -> None:
    control.runtime.available = False
    await control.create_endpoint()
    await control.until(lambda: control.clock.sleepers > 1)
    control.runtime.available = True
    for _ in range(20):
        control.clock.advance(1.0)
        await asyncio.sleep(0.002)
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)


async def test_a_reset_stops_everything(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    await control.store.clear()
    await control.until(lambda: not control.runtime.processes)
    assert not control.table.endpoints


async def test_a_bug_in_one_reconciler_spares_the_other_resources(
    control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace_name(ENDPOINT, "broken")
    await control.store.write(Create(key=broken, spec={}, status={"EndpointStatus": "Creating"}))
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    await control.until(lambda: "KeyError" in caplog.text)


def replace_name(key: Key, name: str) -> Key:
    return Key(kind=key.kind, account=key.account, region=key.region, name=name)


async def test_a_job_runs_on_ready_replicas_and_completes(control: Control) -> None:
    process_id = await control.job_runs()
    spec = control.runtime.specs[process_id]
    (worker,) = control.runtime.ids("worker", READY)
    assert spec.payload["replicas"] == [[f"unix:/{worker}"]]
    assert spec.log.group == "/aws/sagemaker/TransformJobs"
    environment = control.runtime.specs[worker].payload["environment"]
    assert environment["SAGEMAKER_BATCH"] == "true"
    control.runtime.become(process_id, ProcessState.SUCCEEDED, progress={"objects_done": 7})
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Completed")
    await control.until(lambda: not control.runtime.processes)
    status = control.status(JOB)
    assert status["TransformStartTime"] <= status["TransformEndTime"]
    assert status["progress"] == {"objects_done": 7}
    assert "FailureReason" not in status


async def test_the_process_of_a_job_waits_while_its_replicas_start(control: Control) -> None:
    await control.create_job(
        TransformInput={
            "DataSource": {"S3DataSource": {"S3Uri": "s3://in/"}},
            "ContentType": "text/csv",
        }
    )
    await control.until(lambda: control.runtime.ids("job", WAITING))
    await control.quiet()
    (process_id,) = control.runtime.ids("job", WAITING)
    spec = control.runtime.specs[process_id]
    assert (spec.prepares_for, spec.payload) == ("text/csv", {})
    assert control.processes.owner(process_id) == JOB
    assert "TransformStartTime" not in control.status(JOB)
    await control.garbage.reconcile(GARBAGE)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.runtime.ids("job", STARTING))
    assert control.runtime.ids("job", STARTING) == [process_id]
    assert control.runtime.specs[process_id].payload["job"] == "transform"


async def test_a_job_whose_waiting_process_died_has_another(control: Control) -> None:
    await control.create_job()
    await control.until(lambda: control.runtime.ids("job", WAITING))
    (first,) = control.runtime.ids("job", WAITING)
    control.runtime.become(first, DEAD)
    await control.quiet()
    control.runtime.all_become("worker", READY)
    await control.quiet()
    control.clock.advance(60)
    await control.until(lambda: control.runtime.ids("job", STARTING))
    (second,) = control.runtime.ids("job", STARTING)
    assert second != first
    assert control.runtime.specs[second].payload["job"] == "transform"


async def test_a_job_that_is_stopped_before_its_replicas_are_ready_leaves_nothing(
    control: Control,
) -> None:
    await control.create_job()
    await control.until(lambda: control.runtime.ids("job", WAITING))
    await control.change_spec(JOB, stopping=True)
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Stopped")
    await control.until(lambda: not control.runtime.processes)


async def test_a_job_is_told_what_its_workers_said_of_themselves(control: Control) -> None:
    await control.create_job()
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    (worker,) = control.runtime.ids("worker", STARTING)
    said = {"MaxPayloadInMB": 3}
    progress = {"takes_arrays": "<f4", "execution_parameters": said}
    control.runtime.become(worker, READY, progress=progress)
    await control.until(lambda: control.runtime.ids("job", STARTING))
    (process_id,) = control.runtime.ids("job", STARTING)
    payload = control.runtime.specs[process_id].payload
    assert (payload["takes_arrays"], payload["execution"]) == (["<f4"], said)


async def test_a_failed_job_says_why(control: Control) -> None:
    process_id = await control.job_runs()
    control.runtime.become(process_id, ProcessState.FAILED, reason="1 of 2 objects")
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Failed")
    assert control.status(JOB)["FailureReason"] == "1 of 2 objects"
    await control.until(lambda: not control.runtime.processes)


async def test_a_model_that_cannot_be_loaded_fails_its_job(control: Control) -> None:
    await control.create_job()
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    control.runtime.all_become("worker", ProcessState.FAILED, reason="corrupt")
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Failed")
    assert control.status(JOB)["FailureReason"] == "Container primary: corrupt"
    await control.until(lambda: not control.runtime.processes)


async def test_a_killed_job_process_is_started_again(control: Control) -> None:
    first = await control.job_runs()
    control.runtime.become(first, DEAD)
    await control.until(lambda: control.runtime.ids("job", STARTING))
    (second,) = control.runtime.ids("job", STARTING)
    assert second != first
    one, two = (control.runtime.specs[name].payload["journal"] for name in (first, second))
    assert one == two


async def test_a_job_process_that_dies_without_progress_is_given_up(control: Control) -> None:
    process_id = await control.job_runs()
    for _ in range(6):
        control.runtime.become(process_id, DEAD, reason="out of memory")
        await control.quiet()
        control.clock.advance(60)
        await control.quiet()
        if control.status(JOB)["TransformJobStatus"] == "Failed":
            break
        (process_id,) = control.runtime.ids("job", STARTING)
    assert "died 5 times: out of memory" in control.status(JOB)["FailureReason"]


async def test_a_job_learns_where_its_restarted_worker_is(control: Control) -> None:
    process_id = await control.job_runs()
    control.runtime.become(control.runtime.ids("worker", READY)[0], DEAD)
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    (worker,) = control.runtime.ids("worker", STARTING)
    journal = Path(control.runtime.specs[process_id].payload["journal"])
    await control.until(lambda: worker in (journal / "replicas.json").read_text())


async def test_a_stopped_job_ends_its_process_first(control: Control) -> None:
    await control.job_runs()
    await control.change_spec(JOB, stopping=True)
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Stopped")
    await control.until(lambda: not control.runtime.processes)
    await control.until(lambda: not any(control.home.jobs.iterdir()))


async def test_a_job_that_is_stopped_before_it_began_is_stopped(control: Control) -> None:
    await control.create_job(stopping=True)
    await control.until(lambda: control.status(JOB)["TransformJobStatus"] == "Stopped")


async def test_what_nobody_names_is_garbage(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    artifacts = control.home.artifacts
    unused, used, young = (artifacts / name for name in ("old-9", "abc-5", "new-1"))
    for folder in (unused, used, young, control.home.jobs / "gone"):
        folder.mkdir()
    log = LogStream(account="1", region="r", group="g", stream="s")
    await control.runtime.start(ProcessSpec(id="stray", kind="worker", log=log))
    await control.until(lambda: "stray" not in control.runtime.processes)
    control.clock.step_wall_time(os.stat(unused).st_ctime + 601 - control.clock.now())
    await control.garbage.reconcile(GARBAGE)
    assert not unused.exists() and not (control.home.jobs / "gone").exists()
    assert used.exists()
    assert (artifacts / ".pinned" / "abc-5" / "m.tar.gz").exists()
    assert len(control.runtime.ids("worker", STARTING)) == 2


async def test_young_files_are_not_garbage(control: Control) -> None:
    folder = control.home.artifacts / "being-unpacked"
    folder.mkdir()
    control.clock.step_wall_time(os.stat(folder).st_ctime + 1 - control.clock.now())
    await control.garbage.reconcile(GARBAGE)
    assert folder.exists()


async def test_of_what_another_s3_gave_what_is_still_coming_stays_and_what_is_old_goes(
    control: Control,
) -> None:
    slow, old, young = (control.home.fetched / name for name in ("5e", "01d", "40f"))
    for folder in (slow, old):
        folder.mkdir(parents=True)
        (folder / "model.tar.gz").touch()
    part = slow / "+part"
    part.touch()
    begun = os.stat(slow).st_ctime
    while os.stat(part).st_ctime - begun < 0.05:
        part.write_bytes(b"more")
    young.mkdir()
    control.clock.step_wall_time(begun + 600.025 - control.clock.now())
    await control.garbage.reconcile(GARBAGE)
    assert set(control.home.fetched.iterdir()) == {slow, young}


async def test_what_another_s3_gives_is_not_garbage_while_it_comes_though_that_takes_long(
    control: Control,
) -> None:
    folder = control.home.fetched / "5e"
    folder.mkdir(parents=True)
    part = folder / "+part"
    part.touch()
    begun = os.stat(folder).st_ctime
    while os.stat(part).st_ctime - begun < 0.05:
        part.write_bytes(b"more")
    control.clock.step_wall_time(begun + 600.025 - control.clock.now())
    await control.garbage.reconcile(GARBAGE)
    assert part.exists()


async def test_routes_of_a_predecessor_are_kept_until_they_are_known_to_be_wrong(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.create()
    kept, gone = (
        EndpointRoute(name=name, arn="a", account="1", region="r", variants=())
        for name in ("kept", "gone")
    )
    Publisher(home.run, "routes").publish(RoutingTable(endpoints=(kept, gone)))
    routes = RoutePublisher(Publisher(home.run, "routes"), initial=last_published(home.run))
    key = Key(kind="endpoint", account="1", region="r", name="new")
    await routes.set(key, EndpointRoute(name="new", arn="a", account="1", region="r", variants=()))
    assert [one.name for one in last_published(home.run).endpoints] == ["kept", "gone", "new"]
    await routes.retain([key, replace_name(key, "kept")])
    assert [one.name for one in last_published(home.run).endpoints] == ["kept", "new"]


async def test_routes_set_together_share_publications() -> None:
    class Counter:
        published = 0

        def publish(self, table: Any) -> None:
            self.published += 1

    counter = Counter()
    routes = RoutePublisher(counter, initial=RoutingTable())
    keys = [Key(kind="endpoint", account="1", region="r", name=f"e{n}") for n in range(100)]
    await asyncio.gather(
        *(
            routes.set(
                key, EndpointRoute(name=key.name, arn="", account="1", region="r", variants=())
            )
            for key in keys
        )
    )
    assert counter.published <= 3


async def test_keys_are_published_with_their_state() -> None:
    tables = KeyTables()
    store = MemoryResourceStore(clock=ManualClock())
    key = Key(kind="iam-access-key", account="1", region="", name="AKIA1")
    principal = {"kind": "root", "arn": "a", "id": "1", "account": "1"}
    spec = {"UserName": "", "Secret": "s", "Status": "Inactive", "principal": principal}
    await store.write(Create(key=key, spec=spec))
    await KeyPublisher(store=store, publisher=tables).publish_keys()
    shown = {"secret": "s", "principal": principal, "active": False}
    assert tables.published == [{"keys": {"AKIA1": shown}}]


async def test_a_key_whose_end_could_not_be_published_ends_when_there_is_room(
    control: Control,
) -> None:
    key = Key(kind="iam-access-key", account="1", region="", name="AKIA1")
    principal = {"kind": "root", "arn": "a", "id": "1", "account": "1"}
    spec = {"UserName": "", "Secret": "s", "Status": "Active", "principal": principal}
    await control.store.write(Create(key=key, spec=spec))
    await control.keys.publish_keys()
    await control.quiet()
    control.key_tables.failures = 1
    await control.store.write(Delete(key=key))
    with pytest.raises(OSError, match="no space"):
        await control.keys.publish_keys()
    await control.quiet()
    assert list(control.key_tables.published[-1]["keys"]) == ["AKIA1"]
    control.clock.advance(61.0)
    await control.until(lambda: not control.key_tables.published[-1]["keys"])
    count = len(control.key_tables.published)
    control.clock.advance(61.0)
    await control.quiet()
    assert len(control.key_tables.published) == count, "nothing is new"


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
async def test_a_clock_that_is_set_makes_no_worker_late_and_no_attempt_wait(
    control: Control, seconds: float
) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    control.clock.step_wall_time(seconds)
    control.clock.advance(1.0)
    control.loop.wake(ENDPOINT)
    await control.quiet()
    assert control.status(ENDPOINT)["EndpointStatus"] == "Creating"
    assert len(control.runtime.ids("worker", STARTING)) == 2

    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    (first, _) = control.runtime.ids("worker", READY)
    control.runtime.become(first, DEAD)
    await control.until(lambda: control.runtime.ids("worker", STARTING))
    control.runtime.become(control.runtime.ids("worker", STARTING)[0], DEAD)
    await control.quiet()
    control.clock.step_wall_time(seconds)
    control.clock.advance(1.1)
    await control.until(lambda: control.runtime.ids("worker", STARTING))


async def test_an_endpoint_was_never_modified_before_it_was_made(control: Control) -> None:
    await control.create_endpoint()
    await control.until(lambda: len(control.runtime.ids("worker", STARTING)) == 2)
    before = control.status(ENDPOINT).get("last_modified", control.clock.now())
    control.clock.step_wall_time(-86_400.0)
    control.runtime.all_become("worker", READY)
    await control.until(lambda: control.status(ENDPOINT)["EndpointStatus"] == "InService")
    assert control.status(ENDPOINT)["last_modified"] >= before
