"""A change of counts and weights in place: who stays, who comes, who goes, and the way back."""

from dataclasses import dataclass, field

import msgspec

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_plan import plan
from modelyard.domain.endpoint_routes import shared_routes
from modelyard.domain.endpoint_steps import (
    Endpoint,
    ForgetWorker,
    PublishRoutes,
    Rules,
    SaveStatus,
    Sizing,
    StartWorker,
    StopWorker,
)
from modelyard.domain.fleet import (
    Capacity,
    Container,
    Fleet,
    Observed,
    Variant,
    WorkerState,
    placements,
)
from modelyard.domain.rollout import Extent
from modelyard.domain.routes import VariantRoute

CONTAINER = Container(name="primary", image="i", runtime="r")
RULES = Rules(startup_seconds=60.0, restart_attempts=3)


def fleet(**counts: int) -> Fleet:
    variants = tuple(
        Variant(name=name, instance_type="", count=n, weight=1.0, containers=(CONTAINER,))
        for name, n in counts.items()
    )
    return Fleet(owner="o", generation=1, created_at=0.0, variants=variants)


@dataclass
class Live:
    """An endpoint that serves; ``step`` is one look of a controller that does what it decides."""

    memory: Memory
    observed: dict[str, Observed] = field(default_factory=dict)
    sizing: Sizing | None = None
    status: str = ""
    reason: str = ""
    shown: list[dict[str, object]] = field(default_factory=list)
    routes: tuple[VariantRoute, ...] = ()
    stopped: set[str] = field(default_factory=set)
    now: float = 0.0

    def step(self, new: WorkerState = "ready") -> None:
        self.now += 1.0
        wished = Endpoint(generation=1, deleting=False, memory=self.memory, sizing=self.sizing)
        for step in plan(wished, self.observed, now=self.now, rules=RULES).steps:
            match step:
                case PublishRoutes(variants=variants):
                    self.routes = variants or ()
                case SaveStatus():
                    self.memory, self.status = step.memory, step.endpoint_status
                    self.reason, self.shown = step.failure_reason, step.variants
                case StartWorker(placement=placement):
                    self.observed[placement.id] = Observed(state=new, reason="no such file")
                case StopWorker(id=worker) | ForgetWorker(id=worker):
                    self.stopped.add(worker)
                    del self.observed[worker]

    def resize(self, revision: int, **capacities: tuple[int, float]) -> None:
        wanted = {
            name: Capacity(count=count, weight=weight)
            for name, (count, weight) in capacities.items()
        }
        self.sizing = Sizing(revision=revision, capacities=wanted)

    @property
    def replicas(self) -> dict[str, set[str]]:
        return {route.name: {replica.id for replica in route.replicas} for route in self.routes}


def live(**counts: int) -> Live:
    endpoint = Live(memory=Memory(serving=fleet(**counts)))
    endpoint.step()
    endpoint.step()
    assert endpoint.status == "InService"
    return endpoint


def test_new_weights_only_publish_routes() -> None:
    endpoint = live(a=1, b=1)
    workers, replicas = dict(endpoint.observed), endpoint.replicas
    endpoint.resize(2, a=(1, 0.0), b=(1, 3.0))
    endpoint.step()
    assert [route.weight for route in endpoint.routes] == [0.0, 3.0]
    assert (endpoint.observed, endpoint.replicas, endpoint.stopped) == (workers, replicas, set())
    assert endpoint.status == "InService"


def test_more_instances_start_beside_those_that_serve() -> None:
    endpoint = live(a=1)
    (first,) = endpoint.replicas["a"]
    endpoint.resize(2, a=(3, 1.0))
    endpoint.step()
    assert endpoint.status == "Updating"
    (summary,) = endpoint.shown
    assert (summary["CurrentInstanceCount"], summary["DesiredInstanceCount"]) == (1, 3)
    assert summary["VariantStatus"] == [
        {
            "Status": "Updating",
            "StatusMessage": "Scaling out desired instance count to 3.",
            "StartTime": 3.0,
        }
    ]
    assert endpoint.replicas["a"] == {first}
    endpoint.step()
    assert endpoint.status == "InService"
    assert first in endpoint.replicas["a"]
    assert len(endpoint.replicas["a"]) == 3
    assert not endpoint.stopped


def test_fewer_instances_take_no_request_before_they_are_stopped() -> None:
    endpoint = live(a=3)
    before = endpoint.replicas["a"]
    endpoint.resize(2, a=(1, 1.0))
    endpoint.step()
    assert endpoint.status == "InService"
    assert len(endpoint.replicas["a"] & before) == 1
    assert len(endpoint.stopped) == 2
    assert len(endpoint.observed) == 1


def test_instances_that_cannot_start_send_the_change_back() -> None:
    endpoint = live(a=1)
    before = endpoint.replicas
    endpoint.resize(2, a=(2, 5.0))
    endpoint.step(new="failed")
    assert endpoint.routes[0].weight == 5.0
    endpoint.step()
    assert endpoint.status == "RollingBack"
    assert endpoint.reason == "Variant a, container primary: no such file"
    endpoint.step()
    endpoint.step()
    assert endpoint.status == "InService"
    assert endpoint.reason == "Variant a, container primary: no such file"
    assert endpoint.replicas == before
    assert endpoint.routes[0].weight == 1.0
    assert endpoint.memory.serving == fleet(a=1)
    endpoint.resize(3, a=(2, 1.0))
    endpoint.step()
    endpoint.step()
    assert (endpoint.status, endpoint.reason) == ("InService", "")
    assert len(endpoint.replicas["a"]) == 2


def test_a_death_among_those_that_served_sends_nothing_back() -> None:
    endpoint = live(a=1)
    (old,) = endpoint.observed
    endpoint.resize(2, a=(2, 1.0))
    endpoint.step()
    endpoint.observed[old] = Observed(state="failed", reason="boom")
    for _ in range(4):
        endpoint.step()
    assert endpoint.memory.resize is None
    assert endpoint.memory.serving == fleet(a=2)


def test_an_update_of_what_is_scaled_to_zero_keeps_its_route_until_the_new_fleet_serves() -> None:
    ready = tuple(placements(fleet(a=2), {}))
    blue, green = fleet(a=0), msgspec.structs.replace(fleet(a=2), generation=2)
    waiting = Extent(blue={"a": 0}, green={"a": 2}, blue_on={"a": 0}, green_on={"a": 0})
    (route,) = shared_routes((blue, ()), (green, ()), waiting, {})
    assert (route.name, route.fleet, route.replicas) == ("a", 1, ())
    seen = {one.id: Observed(state="ready", address="x") for one in ready}
    serving = Extent(blue={"a": 0}, green={"a": 2}, blue_on={"a": 0}, green_on={"a": 2})
    (route,) = shared_routes((blue, ()), (green, ready), serving, seen)
    assert (route.fleet, len(route.replicas)) == (2, 2)


def test_what_has_no_share_yet_is_there_early_for_those_who_ask_for_it() -> None:
    blue, green = fleet(a=1, b=1), msgspec.structs.replace(fleet(a=1, b=1), generation=2)
    ready = tuple(placements(blue, {}))
    half = tuple(one for one in placements(green, {}) if one.variant.name == "a")
    seen = {one.id: Observed(state="ready", address="x") for one in (*ready, *half)}
    ones, none = {"a": 1, "b": 1}, {"a": 0, "b": 0}
    starting = Extent(blue=ones, green=ones, blue_on=ones, green_on=none)
    found = shared_routes((blue, ready), (green, half), starting, seen, early=True)
    assert [(one.name, one.fleet, one.share) for one in found] == [
        ("a", 1, 1.0), ("b", 1, 1.0), ("a", 2, 0.0),
    ]  # fmt: skip
    assert shared_routes((blue, ready), (green, half), starting, seen) == found[:2]
    found = shared_routes((blue, ()), (green, half), starting, seen, early=True)
    assert [(one.name, one.fleet) for one in found] == [("a", 1), ("b", 1), ("a", 2)], (
        "those who do not ask for it wait for the old one"
    )
