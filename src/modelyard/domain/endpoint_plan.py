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

import msgspec

from modelyard.domain import endpoint_moves, endpoint_resize, hibernation
from modelyard.domain.endpoint_memory import Memory, cut_to, drop_unseen, remember, without
from modelyard.domain.endpoint_routes import routes
from modelyard.domain.endpoint_status import status_step
from modelyard.domain.endpoint_steps import (
    UNWATCHED,
    Endpoint,
    Plan,
    PublishRoutes,
    RemoveEndpoint,
    Rules,
    SaveStatus,
    StartWorker,
    Watch,
    add_retirement,
)
from modelyard.domain.endpoint_update import examine, final_loss, instance_counts, update
from modelyard.domain.fleet import Look, Observed, Placement, limited_reason
from modelyard.domain.rollout import Rollout


def wants_rollout(generation: int, memory: Memory) -> bool:
    """Whether this generation is still to be rolled out and its fleet is not yet known."""
    served = memory.serving.generation if memory.serving else 0
    begun = memory.target is not None and memory.target.generation == generation
    return generation > served and generation != memory.refused and not begun


def plan(
    endpoint: Endpoint,
    observed: Mapping[str, Observed],
    *,
    now: float,
    rules: Rules,
    watch: Watch = UNWATCHED,
) -> Plan:
    """Decide the next steps."""
    if endpoint.deleting:
        return _teardown(endpoint, observed)
    memory = _begin(endpoint)
    if memory.rollout is not None:
        if endpoint.proposal is not None:
            watch = UNWATCHED  # What was watched is the rollout that gives way to this one.
        return update(memory, memory.rollout, observed, now=now, rules=rules, watch=watch)
    wake_at, doze = float("inf"), float("inf")
    starts: list[Placement] = []
    ready: Sequence[Placement] = ()
    if memory.target is not None:
        look = examine(memory.target, memory, observed, now=now, rules=rules, forgiving=False)
        memory, ready = _roll_out(memory, look, rules)
        if memory.target is not None:
            starts, wake_at = look.start, look.wake_at
    if memory.serving is not None:
        memory = endpoint_resize.begin(memory, endpoint.sizing, observed, now=now)
        memory, doze = hibernation.decide(memory, endpoint.idle)
        memory, look = _serve(memory, observed, now=now, rules=rules)
        ready, starts, wake_at = look.ready, starts + look.start, min(wake_at, look.wake_at)
    result = Plan(seconds=min(doze, max(0.0, wake_at - now)))
    published = hibernation.marked(routes(memory.serving, ready, observed), endpoint.idle)
    result.steps.append(PublishRoutes(variants=published))
    memory = drop_unseen(memory, observed)
    result.steps.append(status_step(memory, ready))
    result.steps += [StartWorker(placement=placement) for placement in starts]
    add_retirement(result, memory, observed)
    return result


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
            memory = _give_up_target(memory)
            rollout = None
            if memory.serving is not None:
                blue, green = instance_counts(memory.serving), instance_counts(fleet)
                rollout = Rollout(policy=endpoint.policy, blue=blue, green=green)
            return replace(memory, target=fleet, failure="", rollout=rollout)


def _give_up_target(memory: Memory) -> Memory:
    return without(memory, memory.target, target=None, rollout=None)


def _roll_out(memory: Memory, look: Look, rules: Rules) -> tuple[Memory, Sequence[Placement]]:
    """An endpoint's first fleet fails, takes over, or goes on starting; with what of it is ready."""
    target = memory.target
    assert target is not None
    memory = remember(memory, look)
    failure = final_loss(look, rules)
    if failure:
        memory = without(memory, target, target=None, refused=target.generation, failure=failure)
        return memory, ()
    if look.is_ready:
        memory = msgspec.structs.replace(memory, serving=target, target=None, failure="")
    return memory, look.ready


def _serve(
    memory: Memory, observed: Mapping[str, Observed], *, now: float, rules: Rules
) -> tuple[Memory, Look]:
    """What serves is kept up, and a change of its size goes on; a size that it went back to is looked at as it is."""
    while True:
        fleet = memory.serving
        assert fleet is not None
        needed = hibernation.awake(fleet, memory.asleep)
        memory = cut_to(memory, fleet, needed, observed)
        look = examine(needed, memory, observed, now=now, rules=rules, forgiving=True)
        memory = endpoint_resize.follow(remember(memory, look), look, observed, rules=rules)
        if memory.serving is fleet:
            zones = rules.zones
            return endpoint_moves.begin(memory, look, observed, zones=zones, now=now), look


def _teardown(endpoint: Endpoint, observed: Mapping[str, Observed]) -> Plan:
    """No routes, then no workers, then no endpoint."""
    memory = without(_give_up_target(endpoint.memory), endpoint.memory.serving, serving=None)
    memory = drop_unseen(memory, observed)
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
    add_retirement(result, memory, observed)
    if not memory.retired:
        result.steps.append(RemoveEndpoint())
    return result
