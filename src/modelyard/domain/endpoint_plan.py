"""What an endpoint needs next: a pure decision over what was asked for, what is remembered and what runs.

The plan is a list of steps in the order in which they are applied, each of them idempotent::

    PublishRoutes   requests go where they should from now on
    SaveStatus      what was decided is remembered before anything that depends on it is done
    StartWorker     …under ids that follow from what was saved
    StopWorker      only what no published route names any more
    ForgetWorker    of ended workers
    RemoveEndpoint  when nothing of it runs

So a controller may be killed between any two steps: the next pass sees the same world and decides the same again. An
update keeps the serving fleet until all of the new one is ready; our own actions never cost serving capacity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelyard.domain.fleet import (
    Fleet,
    Look,
    Observed,
    Placement,
    Slots,
    Variant,
    describe_loss,
    limited_reason,
    look_at,
    placements,
    short_id,
)
from modelyard.domain.routes import ReplicaRoute, VariantRoute, WorkerRoute

_STOP_POLL_SECONDS = 5.0


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the reconciler keeps in the endpoint's status from one pass to the next.

    ``retired`` are ids of workers that are to be stopped and forgotten; ``refused`` is the last generation that
    could not be rolled out, with its ``failure``.
    """

    serving: Fleet | None = None
    target: Fleet | None = None
    slots: Slots = {}
    retired: tuple[str, ...] = ()
    refused: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as it is wished. ``proposal``: the fleet of a generation not yet begun, or why there is none."""

    generation: int
    deleting: bool
    memory: Memory
    proposal: Fleet | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The bounds that apply."""

    startup_seconds: float
    restart_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRoutes:
    """Requests of the endpoint go to these; None: it is not invocable."""

    variants: tuple[VariantRoute, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveStatus:
    """Remember, and show."""

    endpoint_status: str
    failure_reason: str
    generation: int
    config_name: str
    variants: list[dict[str, Any]]
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorker:
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWorker:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetWorker:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveEndpoint:
    """Delete the resource."""


Step = PublishRoutes | SaveStatus | StartWorker | StopWorker | ForgetWorker | RemoveEndpoint


@dataclass(slots=True, kw_only=True)
class Plan:
    """Steps in order, and when to look again (seconds from now; infinity: when something changes)."""

    steps: list[Step] = field(default_factory=list)
    seconds: float = float("inf")


def wants_rollout(generation: int, memory: Memory) -> bool:
    """Whether this generation is still to be rolled out and its fleet is not yet known."""
    served = memory.serving.generation if memory.serving else 0
    begun = memory.target is not None and memory.target.generation == generation
    return generation > served and generation != memory.refused and not begun


def plan(endpoint: Endpoint, observed: Mapping[str, Observed], *, now: float, rules: Rules) -> Plan:
    """Decide the next steps."""
    if endpoint.deleting:
        return _teardown(endpoint, observed)
    memory = _begin(endpoint)
    wake_at = float("inf")
    starts: list[Placement] = []
    ready: Sequence[Placement] = ()
    if memory.target is not None:
        look = _look(memory.target, memory, observed, now=now, rules=rules, forgiving=False)
        memory, ready = _roll_out(memory, look, rules)
        if memory.target is not None:
            starts, wake_at = look.start, look.wake_at
    if memory.serving is not None:
        look = _look(memory.serving, memory, observed, now=now, rules=rules, forgiving=True)
        memory = _remember(memory, look)
        ready, starts, wake_at = look.ready, starts + look.start, min(wake_at, look.wake_at)
    result = Plan(seconds=max(0.0, wake_at - now))
    result.steps.append(PublishRoutes(variants=routes(memory.serving, ready, observed)))
    memory = _drop_unseen(memory, observed)
    result.steps.append(_status(memory, ready))
    result.steps += [StartWorker(placement=placement) for placement in starts]
    _retire(result, memory, observed)
    return result


def routes(
    fleet: Fleet | None, ready: Sequence[Placement], observed: Mapping[str, Observed]
) -> tuple[VariantRoute, ...] | None:
    """The fleet's variants with those replicas all of whose workers are ready."""
    if fleet is None:
        return None
    chains: dict[tuple[str, int], list[Placement]] = {}
    for placement in ready:
        chains.setdefault((placement.variant.name, placement.replica), []).append(placement)
    return tuple(
        VariantRoute(
            name=variant.name,
            weight=variant.weight,
            retry=variant.retry,
            replicas=tuple(
                _replica_route(chain, observed)
                for replica in range(variant.count)
                if len(chain := chains.get((variant.name, replica), [])) == len(variant.containers)
            ),
        )
        for variant in fleet.variants
    )


def _replica_route(chain: Sequence[Placement], observed: Mapping[str, Observed]) -> ReplicaRoute:
    # The id changes with any of its workers: to a gateway, a restarted replica is another one.
    return ReplicaRoute(
        id=short_id(*(placement.id for placement in chain)),
        workers=tuple(
            WorkerRoute(
                id=placement.id,
                container=placement.container.name,
                address=observed[placement.id].address,
            )
            for placement in chain
        ),
    )


def _begin(endpoint: Endpoint) -> Memory:
    """Take up the proposal of a new generation; one that was still being rolled out is given up."""
    memory = endpoint.memory
    replace = msgspec.structs.replace
    match endpoint.proposal:
        case None:
            return memory
        case str(reason):
            memory = _give_up_target(memory)
            return replace(memory, refused=endpoint.generation, failure=limited_reason(reason))
        case fleet:
            return replace(_give_up_target(memory), target=fleet, failure="")


def _give_up_target(memory: Memory) -> Memory:
    return _without(memory, memory.target, target=None)


def _without(memory: Memory, fleet: Fleet | None, **changes: Any) -> Memory:
    """Retire all workers of a fleet and drop their slots."""
    if fleet is None:
        return msgspec.structs.replace(memory, **changes)
    gone = list(placements(fleet, memory.slots))
    names = {placement.slot for placement in gone}
    return msgspec.structs.replace(
        memory,
        retired=_merged(memory.retired, [placement.id for placement in gone]),
        slots={name: slot for name, slot in memory.slots.items() if name not in names},
        **changes,
    )


def _look(
    fleet: Fleet,
    memory: Memory,
    observed: Mapping[str, Observed],
    *,
    now: float,
    rules: Rules,
    forgiving: bool,
) -> Look:
    return look_at(
        fleet,
        memory.slots,
        observed,
        now=now,
        startup_seconds=rules.startup_seconds,
        forgiving=forgiving,
    )


def _remember(memory: Memory, look: Look) -> Memory:
    return msgspec.structs.replace(
        memory, slots=look.slots, retired=_merged(memory.retired, look.retired)
    )


def _roll_out(memory: Memory, look: Look, rules: Rules) -> tuple[Memory, Sequence[Placement]]:
    """The target fleet fails, takes over, or goes on starting; with what of it is ready."""
    target = memory.target
    assert target is not None
    memory = _remember(memory, look)
    for loss in look.losses:
        if loss.deterministic or loss.deaths >= rules.restart_attempts:
            failure = describe_loss(loss)
            memory = _without(
                memory, target, target=None, refused=target.generation, failure=failure
            )
            return memory, ()
    if look.is_ready:
        memory = _without(memory, memory.serving, serving=target, target=None, failure="")
    return memory, look.ready


def _status(memory: Memory, ready: Sequence[Placement]) -> SaveStatus:
    shown = memory.serving or memory.target
    if memory.target is not None:
        status = "Updating" if memory.serving else "Creating"
    else:
        status = "InService" if memory.serving else "Failed"
    return SaveStatus(
        endpoint_status=status,
        failure_reason=memory.failure,
        generation=memory.serving.generation if memory.serving else 0,
        config_name=shown.config_name if shown else "",
        variants=[_summary(variant, shown, ready, status) for variant in shown.variants]
        if shown
        else [],
        memory=memory,
    )


def _summary(
    variant: Variant, fleet: Fleet, ready: Sequence[Placement], status: str
) -> dict[str, Any]:
    """``ProductionVariantSummary``."""
    workers = sum(placement.variant.name == variant.name for placement in ready)
    summary: dict[str, Any] = {
        "VariantName": variant.name,
        "DeployedImages": [
            {
                "SpecifiedImage": container.image,
                "ResolvedImage": container.image,
                "ResolutionTime": fleet.created_at,
            }
            for container in variant.containers
        ],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
        "CurrentInstanceCount": workers // len(variant.containers),
        "DesiredInstanceCount": variant.count,
    }
    if status == "Creating":
        summary["VariantStatus"] = [{"Status": "Creating", "StartTime": fleet.created_at}]
    return summary


def _teardown(endpoint: Endpoint, observed: Mapping[str, Observed]) -> Plan:
    """No routes, then no workers, then no endpoint."""
    memory = _without(_give_up_target(endpoint.memory), endpoint.memory.serving, serving=None)
    memory = _drop_unseen(memory, observed)
    result = Plan(steps=[PublishRoutes(variants=None)])
    result.steps.append(
        SaveStatus(
            endpoint_status="Deleting",
            failure_reason="",
            generation=endpoint.generation,
            config_name="",
            variants=[],
            memory=memory,
        )
    )
    _retire(result, memory, observed)
    if not memory.retired:
        result.steps.append(RemoveEndpoint())
    return result


def _drop_unseen(memory: Memory, observed: Mapping[str, Observed]) -> Memory:
    """What was retired and is known to nobody is done with."""
    kept = tuple(worker for worker in memory.retired if worker in observed)
    return msgspec.structs.replace(memory, retired=kept) if kept != memory.retired else memory


def _retire(result: Plan, memory: Memory, observed: Mapping[str, Observed]) -> None:
    for worker in memory.retired:
        if observed[worker].state in ("dead", "failed", "succeeded"):
            result.steps.append(ForgetWorker(id=worker))
            result.seconds = 0.0  # then it is seen to be gone
        else:
            result.steps.append(StopWorker(id=worker))
            result.seconds = min(result.seconds, _STOP_POLL_SECONDS)


def _merged(known: Sequence[str], added: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*known, *added]))
