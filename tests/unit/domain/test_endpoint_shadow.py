"""What a plan does with a shadow: it has to start, gets its fleet's copies, and its death changes nothing."""

from collections.abc import Sequence

import msgspec

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_plan import plan
from modelyard.domain.endpoint_steps import (
    Endpoint,
    PublishRoutes,
    Rules,
    SaveStatus,
    Sizing,
    StartWorker,
    Watch,
)
from modelyard.domain.fleet import (
    Capacity,
    Container,
    Fleet,
    Observed,
    Variant,
    with_shadows,
)
from modelyard.domain.rollout import Policy, Size
from modelyard.domain.routes import VariantRoute

RULES = Rules(startup_seconds=60.0, restart_attempts=2)
HALF = Size(kind="CAPACITY_PERCENT", value=50)


def fleet(generation: int, *, live: str = "live", shadow: str = "") -> Fleet:
    container = Container(name="primary", image="modelyard/python", runtime="python")
    names = [live, shadow] if shadow else [live]
    variants = [
        Variant(
            name=name,
            instance_type="ml.m5.large",
            count=1 if name == shadow else 2,
            weight=0.5 if name == shadow else 2.0,
            containers=(container,),
        )
        for name in names
    ]
    whole = Fleet(
        owner="me",
        generation=generation,
        created_at=0.0,
        variants=tuple(variants),
        config_name=f"c{generation}",
    )
    return with_shadows(whole, {shadow} - {""})


class World:
    """An endpoint whose plans are carried out; workers do what the test says."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.workers: dict[str, Observed] = {}
        self.places: dict[str, str] = {}
        self.routes: Sequence[VariantRoute] = ()
        self.saved: SaveStatus | None = None
        self.now = 100.0

    def look(
        self,
        proposal: Fleet | None = None,
        *,
        policy: Policy | None = None,
        sizing: Sizing | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.now += 1.0
        self._look(proposal, policy or Policy(), sizing, seconds)
        self._look(None, policy or Policy(), sizing, 0.0)

    def _look(
        self, proposal: Fleet | None, policy: Policy, sizing: Sizing | None, seconds: float
    ) -> None:
        generation = proposal.generation if proposal else 1
        wished = Endpoint(
            generation=generation,
            deleting=False,
            memory=self.memory,
            proposal=proposal,
            policy=policy,
            sizing=sizing,
        )
        watch = Watch(seconds=seconds)
        for step in plan(wished, self.workers, now=self.now, rules=RULES, watch=watch).steps:
            match step:
                case PublishRoutes(variants=variants):
                    self.routes = variants or ()
                case SaveStatus():
                    self.saved, self.memory = step, step.memory
                case StartWorker(placement=placement):
                    self.workers[placement.id] = Observed(state="starting")
                    self.places[placement.id] = placement.slot
                case _:
                    pass

    def become(self, part: str, state: str, reason: str = "") -> None:
        for worker, slot in self.places.items():
            if part in slot and worker in self.workers:
                observed = Observed(state=state, address=f"unix:{worker}", reason=reason)  # type: ignore[arg-type]
                self.workers[worker] = observed

    def serving(self, first: Fleet) -> "World":
        self.look(first)
        self.become("", "ready")
        self.look()
        return self

    @property
    def status(self) -> str:
        assert self.saved is not None
        return self.saved.endpoint_status

    def shadows(self) -> list[VariantRoute]:
        return [route for route in self.routes if route.shadow]


def test_a_shadow_has_a_route_of_its_own_with_its_share_of_the_production_weight() -> None:
    world = World().serving(fleet(1, shadow="candidate"))
    live, shadow = world.routes
    assert (live.name, live.shadow, live.fleet) == ("live", False, 1)
    assert (shadow.name, shadow.shadow, shadow.fleet, shadow.share) == ("candidate", True, -1, 0.25)
    assert world.saved is not None
    assert [one["VariantName"] for one in world.saved.variants] == ["live"]
    assert [one["VariantName"] for one in world.saved.shadows] == ["candidate"]


def test_an_endpoint_is_not_in_service_before_its_shadow_is_and_fails_with_it() -> None:
    world = World()
    world.look(fleet(1, shadow="candidate"))
    world.become("live", "ready")
    world.look()
    assert world.status == "Creating"
    world.become("candidate", "failed", "no such model")
    world.look()
    assert world.status == "Failed"
    assert "Variant candidate" in world.memory.failure


def test_a_shadow_that_dies_leaves_the_endpoint_in_service_and_is_started_again() -> None:
    world = World().serving(fleet(1, shadow="candidate"))
    for _ in range(5):
        world.become("candidate", "dead")
        world.now += 60.0
        world.look()
        assert world.status == "InService"
        assert len(world.routes[0].replicas) == 2
    assert "starting" in {worker.state for worker in world.workers.values()}


def test_a_shadow_that_is_down_does_not_hold_up_a_change_of_the_production_variant() -> None:
    world = World().serving(fleet(1, shadow="candidate"))
    world.become("candidate", "dead")
    sizes = {"live": Capacity(count=3, weight=2.0), "candidate": Capacity(count=1, weight=0.5)}
    sizing = Sizing(revision=2, capacities=sizes)
    world.look(sizing=sizing)
    assert world.status == "Updating"
    world.become("live", "ready")
    world.look(sizing=sizing)
    assert world.status == "InService"


def test_each_fleet_of_a_rollout_keeps_its_own_shadow() -> None:
    policy = Policy(kind="CANARY", size=HALF, wait=10.0, termination_wait=5.0)
    world = World().serving(fleet(1, shadow="candidate"))
    world.look(fleet(2, live="candidate", shadow="live"), policy=policy)
    world.become("2/", "ready")
    world.look(policy=policy)
    # The variants' names were exchanged: one that answers never stands in for one that copies.
    found = {(route.name, route.fleet) for route in world.shadows()}
    assert found == {("candidate", -1), ("live", -2)}
    world.look(policy=policy, seconds=10.0)
    assert {route.fleet for route in world.shadows()} == {-2}
    world.look(policy=policy, seconds=5.0)
    assert world.status == "InService"
    assert {route.name for route in world.shadows()} == {"live"}


def test_traffic_waits_for_the_shadow_of_the_new_fleet_and_goes_back_without_it() -> None:
    policy = Policy(kind="CANARY", size=HALF, wait=10.0)
    world = World().serving(fleet(1))
    world.look(fleet(2, shadow="candidate"), policy=policy)
    world.become("2/live", "ready")
    world.look(policy=policy)
    assert {route.fleet for route in world.routes} == {1}
    world.become("candidate", "failed", "no such model")
    world.look(policy=policy)
    assert world.status == "InService"
    assert {route.fleet for route in world.routes} == {1}
    assert "Variant candidate" in world.memory.failure


def test_a_shadow_that_dies_once_traffic_has_moved_sends_nothing_back() -> None:
    policy = Policy(kind="CANARY", size=HALF, wait=10.0, termination_wait=1.0)
    world = World().serving(fleet(1))
    world.look(fleet(2, shadow="candidate"), policy=policy)
    world.become("2/", "ready")
    world.look(policy=policy)
    for _ in range(4):
        world.become("candidate", "failed", "it died")
        world.now += 60.0
        world.look(policy=policy)
        assert world.status == "Updating"
    world.look(policy=policy, seconds=10.0)
    world.look(policy=policy, seconds=1.0)
    assert world.status == "InService"
    assert world.memory.serving is not None
    assert world.memory.serving.generation == 2


def test_the_tolerance_of_a_comparison_is_the_candidates_own() -> None:
    (live,) = fleet(1).variants
    (container,) = live.containers
    for text, tolerance in {"0.05": 0.05, "": 0.001, "nonsense": 0.001, "-1": 0.001}.items():
        told = msgspec.structs.replace(
            container, environment={"MODELYARD_SHADOW_TOLERANCE": text} if text else {}
        )
        assert msgspec.structs.replace(live, containers=(told,)).tolerance == tolerance
