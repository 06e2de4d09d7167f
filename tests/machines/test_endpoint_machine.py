"""Everything that can happen to an endpoint, in any order, with a controller that is killed between any two steps."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.base.settings import Home, Limits
from modelyard.control.endpoints import EndpointReconciler, endpoint_memory
from modelyard.control.fleets import Fleets
from modelyard.control.processes import Processes
from modelyard.control.rollout_watch import RolloutWatch
from modelyard.control.routes import RoutePublisher
from modelyard.domain.fleet import Observed, homes_of
from modelyard.domain.ledger import AlarmSeen
from modelyard.domain.routes import ReplicaRoute, RoutingTable
from modelyard.runtimes.runtime import (
    Process,
    ProcessSpec,
    ProcessState,
    RuntimeUnavailable,
)
from modelyard.store.resources import Change, Create, Delete, Key, Resource, Update

KEY = Key(kind="endpoint", account="123456789012", region="us-east-1", name="churn")
ENDED = (ProcessState.DEAD, ProcessState.FAILED, ProcessState.SUCCEEDED)


class Killed(BaseException):
    """The controller died here."""


class Knife:
    """Kills the controller before its n-th act on the world."""

    def __init__(self) -> None:
        self.acts_left = -1

    def act(self) -> None:
        if self.acts_left == 0:
            raise Killed
        self.acts_left -= 1


class World:
    """A runtime, a store of one resource and a published table: what survives a controller."""

    def __init__(self, knife: Knife) -> None:
        self.knife = knife
        self.time = 1_000.0
        self.available = True
        self.zones: tuple[str, ...] = ()
        self.away: set[str] = set()
        self.processes: dict[str, Process] = {}
        self.stopped: set[str] = set()
        self.resource: Resource | None = None
        self.versions = itertools.count(1)
        self.table = RoutingTable()

    # Clock
    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    # Runtime
    def _reach(self) -> None:
        self.knife.act()
        if not self.available:
            raise RuntimeUnavailable

    async def start(self, spec: ProcessSpec) -> None:
        self._reach()
        assert self.resource is not None, "a worker of nothing was started"
        if self.zones and (not spec.zone or spec.zone in self.away):
            raise RuntimeUnavailable
        if spec.id not in self.processes:
            self.processes[spec.id] = Process(
                id=spec.id,
                kind="worker",
                pid=1,
                state=ProcessState.STARTING,
                address=spec.address,
                zone=spec.zone,
            )
        assert self.processes[spec.id].zone == spec.zone, "one id in two zones"

    def zones_up(self) -> tuple[str, ...]:
        return tuple(zone for zone in self.zones if zone not in self.away)

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        self._reach()
        routed = {worker.id for replica in self.routed_replicas() for worker in replica.workers}
        assert process_id not in routed, "a worker was stopped that requests are still sent to"
        self.stopped.add(process_id)

    async def forget(self, process_id: str) -> None:
        self._reach()
        process = self.processes.pop(process_id, None)
        assert process is None or process.state in ENDED

    async def list(self) -> list[Process]:
        if not self.available:
            raise RuntimeUnavailable
        return list(self.processes.values())

    async def changed(self) -> None:
        return

    # Publisher
    def publish(self, table: RoutingTable) -> None:
        self.knife.act()
        before = self.routed_replicas()
        resource = self.resource
        self.table = msgspec.convert(msgspec.to_builtins(table), RoutingTable)
        after = {replica.id for replica in self.routed_replicas()}
        if resource is None or resource.spec["deleting"] or resource.spec.get("update"):
            return  # What a staged rollout keeps on is the business of the machine of rollouts.
        if _is_resizing(resource):
            return
        taken = [replica for replica in before if replica.id not in after]
        if any(self._is_ready(replica) for replica in taken):
            wanted = _desired(resource)
            assert len(after) == wanted, "ready replicas were taken away before the new fleet stood"

    def _is_ready(self, replica: ReplicaRoute) -> bool:
        return all(
            worker.id in self.processes
            and self.processes[worker.id].state is ProcessState.READY
            and worker.id not in self.stopped
            for worker in replica.workers
        )

    def routed_replicas(self) -> Sequence[ReplicaRoute]:
        return [
            replica
            for endpoint in self.table.endpoints
            for variant in endpoint.variants
            for replica in variant.replicas
        ]


class OneResourceStore:
    """``ResourceStore`` of at most one endpoint."""

    def __init__(self, world: World) -> None:
        self.world = world

    def get(self, key: Key) -> Resource | None:
        return self.world.resource

    def list(self, kind: str, *, account: Any = None, region: Any = None) -> Sequence[Resource]:
        return [self.world.resource] if self.world.resource else []

    def subscribe(self, listener: Callable[[Key], None]) -> None:
        return

    async def write(self, *changes: Change) -> Sequence[Resource]:
        self.world.knife.act()
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Resource:
        world = self.world
        old = world.resource
        match change:
            case Create():
                assert old is None
                new = self._resource(change.spec, change.status, world.time)
            case Update():
                assert old is not None and old.version == change.version
                spec = old.spec if change.spec is None else change.spec
                status = old.status if change.status is None else change.status
                new = self._resource(spec, status, old.created_at)
            case Delete():
                assert old is not None and old.version == change.version
                world.resource = None
                return old
        world.resource = new
        return new

    def _resource(self, spec: Any, status: Any, created_at: float) -> Resource:
        spec, status = (msgspec.json.decode(msgspec.json.encode(value)) for value in (spec, status))
        return Resource(
            key=KEY,
            version=next(self.world.versions),
            created_at=created_at,
            updated_at=self.world.time,
            spec=spec,
            status=status,
        )


@dataclass(frozen=True)
class NoObject:
    etag: str = ""
    size: int = 0
    path: Path = Path()


class NoObjects:
    def head(self, bucket: str, key: str) -> NoObject | None:
        return None


def _is_resizing(resource: Resource) -> bool:
    """Whether a change in place may take replicas away by itself."""
    memory = endpoint_memory(resource)
    is_new = "capacity" in resource.spec and memory.sized < resource.spec["generation"]
    return is_new or memory.resize is not None


def _desired(resource: Resource) -> int:
    memory = endpoint_memory(resource)
    if memory.failure and memory.serving:  # What was asked for cannot be: all stays as it was.
        return sum(variant.count for variant in memory.serving.variants)
    if "capacity" in resource.spec:
        return sum(size["count"] for size in resource.spec["capacity"].values())
    return sum(
        variant["InitialInstanceCount"] for variant in resource.spec["config"]["ProductionVariants"]
    )


def _staged(kind: str, **routing: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": 10, **routing}
    policy = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 5}
    return {"BlueGreenUpdatePolicy": policy, "AutoRollbackConfiguration": ALARMS}


HALF = {"Type": "CAPACITY_PERCENT", "Value": 50}
ALARMS = {"Alarms": [{"AlarmName": "bad"}]}
DEPLOYMENTS: list[dict[str, Any] | None] = [
    None,
    _staged("ALL_AT_ONCE"),
    _staged("CANARY", CanarySize=HALF),
    _staged("LINEAR", LinearStepSize=HALF),
    {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": HALF,
            "RollbackMaximumBatchSize": HALF,
            "WaitIntervalInSeconds": 10,
        },
        "AutoRollbackConfiguration": ALARMS,
    },
]


class Alarms:
    """CloudWatch, where the one alarm rings or does not."""

    rings = False

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        return tuple(names) if self.rings else ()

    def seen(self, account: str, region: str, names: Collection[str]) -> tuple[AlarmSeen, ...]:
        state = "ALARM" if self.rings else "OK"
        return tuple(AlarmSeen(name=name, state=state, reason="") for name in names)


def _spec(
    generation: int,
    *,
    counts: Sequence[int],
    containers: int,
    image: str,
    deployment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "EndpointConfigName": f"config-{generation}",
        "update": {"DeploymentConfig": deployment} if deployment else {},
        "generation": generation,
        "deleting": False,
        "config": {
            "ProductionVariants": [
                {"VariantName": f"v{n}", "ModelName": "m", "InitialInstanceCount": count}
                for n, count in enumerate(counts)
            ]
        },
        "models": {"m": {"Containers": [{"Image": image} for _ in range(containers)]}},
    }


class EndpointMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.knife = Knife()
        self.world = World(self.knife)
        self.store = OneResourceStore(self.world)
        self.alarms = Alarms()
        self.loop = asyncio.new_event_loop()
        self._restart_controller()

    def _restart_controller(self) -> None:
        self.knife.acts_left = -1
        self.processes = Processes(self.world)
        home = Home(Path("/nowhere"))
        self.reconciler = EndpointReconciler(
            store=self.store,
            processes=self.processes,
            routes=RoutePublisher(self.world, initial=self.world.table),
            fleets=Fleets(
                objects=NoObjects(),
                home=home,
                limits=Limits(),
                address_of=lambda name: f"unix:/{name}",
            ),
            clock=self.world,
            limits=Limits(),
            watch=RolloutWatch(self.world, alarms=self.alarms),
            zones=self.world.zones_up,
        )

    @initialize(zones=st.sampled_from(["", "ab", "abc"]))
    def zones(self, zones: str) -> None:
        self.world.zones = tuple(zones)

    def _run(self, awaitable: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(awaitable)

    async def _pass(self) -> float:
        try:
            await self.processes.refresh()
            return await self.reconciler.reconcile(KEY)
        except RuntimeUnavailable:
            return 1.0

    @property
    def status(self) -> str:
        return self.world.resource.status["EndpointStatus"] if self.world.resource else ""

    counts = st.lists(st.integers(1, 3), min_size=1, max_size=2)
    images = st.sampled_from(["sagemaker-xgboost"] * 3 + ["unknown"])

    @precondition(lambda self: self.world.resource is None)
    @rule(counts=counts, containers=st.integers(1, 2), image=images)
    def create(self, counts: list[int], containers: int, image: str) -> None:
        spec = _spec(1, counts=counts, containers=containers, image=image)
        status = {"EndpointStatus": "Creating", "generation": 0}
        self._run(self.store.write(Create(key=KEY, spec=spec, status=status)))

    @precondition(lambda self: self.status in ("InService", "UpdateRollbackFailed"))
    @rule(
        counts=counts,
        containers=st.integers(1, 2),
        image=images,
        deployment=st.sampled_from(DEPLOYMENTS),
    )
    def update(
        self, counts: list[int], containers: int, image: str, deployment: dict[str, Any] | None
    ) -> None:
        resource = self.world.resource
        assert resource
        generation = resource.spec["generation"] + 1
        spec = _spec(
            generation, counts=counts, containers=containers, image=image, deployment=deployment
        )
        status = {**resource.status, "EndpointStatus": "Updating"}
        change = Update(key=KEY, version=resource.version, spec=spec, status=status)
        self._run(self.store.write(change))
        self._run(self._pass())

    @precondition(lambda self: self.status == "InService")
    @rule(count=st.integers(1, 4), weight=st.floats(0.5, 2.0))
    def resize(self, count: int, weight: float) -> None:
        resource = self.world.resource
        assert resource
        memory = endpoint_memory(resource)
        assert memory.serving
        variants = memory.serving.variants
        capacity = {one.name: {"count": one.count, "weight": one.weight} for one in variants}
        capacity[variants[0].name] = {"count": count, "weight": weight}
        spec = {
            **resource.spec,
            "generation": resource.spec["generation"] + 1,
            "rolled": resource.spec.get("rolled", resource.spec["generation"]),
            "capacity": capacity,
        }
        status = {**resource.status, "EndpointStatus": "Updating"}
        change = Update(key=KEY, version=resource.version, spec=spec, status=status)
        self._run(self.store.write(change))
        kept = {p.id for p in self.world.processes.values() if p.state is ProcessState.READY}
        kept -= self.world.stopped
        whole = {r.id: {worker.id for worker in r.workers} for r in self.world.routed_replicas()}
        self._run(self._pass())
        if count >= variants[0].count:
            after = {replica.id for replica in self.world.routed_replicas()}
            lost = {name for name, workers in whole.items() if workers <= kept} - after
            assert not lost, "a replica that serves was taken away though none has to go"

    @precondition(lambda self: self.status in ("InService", "Failed", "UpdateRollbackFailed"))
    @rule()
    def delete(self) -> None:
        resource = self.world.resource
        assert resource
        spec = {**resource.spec, "deleting": True}
        status = {**resource.status, "EndpointStatus": "Deleting"}
        change = Update(key=KEY, version=resource.version, spec=spec, status=status)
        self._run(self.store.write(change))

    @rule()
    def controller_passes(self) -> None:
        self._run(self._pass())

    @rule()
    def nothing_goes_wrong_for_a_while(self) -> None:
        for _ in range(3):
            self._run(self._pass())
            self.all_workers_become_ready()

    @rule(acts=st.integers(0, 8))
    def controller_is_killed(self, acts: int) -> None:
        self.knife.acts_left = acts
        with contextlib.suppress(Killed):
            self._run(self._pass())
        self._restart_controller()

    @rule(pick=st.integers(0, 30))
    def a_worker_becomes_ready(self, pick: int) -> None:
        self._move(pick, [ProcessState.STARTING], ProcessState.READY)

    @rule()
    def all_workers_become_ready(self) -> None:
        for process in list(self.world.processes.values()):
            if process.state is ProcessState.STARTING:
                self._become(process, ProcessState.READY)

    @rule(pick=st.integers(0, 30))
    def a_worker_dies(self, pick: int) -> None:
        self._move(pick, [ProcessState.STARTING, ProcessState.READY], ProcessState.DEAD)

    @rule(pick=st.integers(0, 30))
    def a_model_cannot_be_loaded(self, pick: int) -> None:
        self._move(pick, [ProcessState.STARTING], ProcessState.FAILED)

    @rule()
    def stopped_workers_exit(self) -> None:
        for process in list(self.world.processes.values()):
            if process.id in self.world.stopped and process.state not in ENDED:
                self._become(process, ProcessState.DEAD)

    @rule()
    def the_machine_reboots(self) -> None:
        self.world.processes.clear()

    @rule()
    def the_host_is_away_for_a_pass(self) -> None:
        self.world.available = False
        self._run(self._pass())
        self.world.available = True

    @precondition(lambda self: self.world.zones)
    @rule(pick=st.integers(0, 2), takes_all=st.booleans())
    def a_zone_goes_away(self, pick: int, takes_all: bool) -> None:
        """Its host alone, or with all that it started."""
        zone = self.world.zones[pick % len(self.world.zones)]
        self.world.away.add(zone)
        for process in list(self.world.processes.values()):
            if takes_all and process.zone == zone and process.state not in ENDED:
                self._become(process, ProcessState.DEAD)
        self._run(self._pass())

    @rule()
    def all_zones_are_back(self) -> None:
        self.world.away.clear()
        self._run(self._pass())

    @rule(rings=st.booleans())
    def the_alarm_changes(self, rings: bool) -> None:
        self.alarms.rings = rings
        self._run(self._pass())

    @rule(seconds=st.sampled_from([0.5, 2.0, 60.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.time += seconds

    def _seen(self) -> Mapping[str, Observed]:
        return self._run(self.processes.observed())

    def _move(self, pick: int, states: list[ProcessState], to: ProcessState) -> None:
        candidates = [p for p in self.world.processes.values() if p.state in states]
        if candidates:
            self._become(candidates[pick % len(candidates)], to)
            self._run(self._pass())

    def _become(self, process: Process, state: ProcessState) -> None:
        reason = "boom" if state in ENDED else ""
        self.world.processes[process.id] = Process(
            id=process.id,
            kind="worker",
            pid=1,
            state=state,
            address=process.address,
            reason=reason,
            zone=process.zone,
        )

    @invariant()
    def in_service_is_said_only_of_what_is_routed(self) -> None:
        if self.status in ("InService", "Updating", "RollingBack", "UpdateRollbackFailed"):
            assert self.world.table.endpoints
        if self.status == "Failed":
            assert not self.world.table.endpoints
            assert self.world.resource and self.world.resource.status["FailureReason"]

    def teardown(self) -> None:
        try:
            self._settle()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def _settle(self) -> None:
        self.alarms.rings = False
        self.world.away.clear()
        for _ in range(90):
            seconds = self._run(self._pass())
            self.all_workers_become_ready()
            self.stopped_workers_exit()
            self.world.time += min(seconds, 60.0)
        resource = self.world.resource
        self._run(self._pass())
        assert self.world.resource == resource, "a settled endpoint is still being written"
        routed = self.world.routed_replicas()
        if resource is None or self.status == "Failed":
            assert not self.world.processes
            assert not self.world.table.endpoints
            assert resource is None or not resource.spec["deleting"]
            return
        if self.status == "UpdateRollbackFailed":
            assert resource.status["FailureReason"]
            assert routed
            return
        assert self.status == "InService"
        assert "pending" not in resource.status
        memory = endpoint_memory(resource)
        serving = memory.serving
        assert serving
        wanted = sum(variant.count for variant in serving.variants)
        assert len(routed) == wanted
        workers = {worker.id for replica in routed for worker in replica.workers}
        assert workers == self.world.processes.keys()
        if self.world.zones:
            for variant in serving.variants:
                counts = Counter(dict.fromkeys(self.world.zones, 0))
                counts.update(
                    homes_of(serving, memory.slots, self._seen())[variant.name, replica]
                    for replica in range(variant.count)
                )
                assert max(counts.values()) - min(counts.values()) <= 1, "replicas lie unevenly"
        if "FailureReason" not in resource.status:
            rolled = resource.spec.get("rolled", resource.spec["generation"])
            assert wanted == _desired(resource)
            # A resize that worked clears the reason why the update before it did not.
            assert serving.generation == rolled or memory.refused == rolled
            for variant in serving.variants:
                asked = resource.spec.get("capacity", {}).get(variant.name)
                assert asked in (None, {"count": variant.count, "weight": variant.weight})


EndpointMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEndpoint = EndpointMachine.TestCase
