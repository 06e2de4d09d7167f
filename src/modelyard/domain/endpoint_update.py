"""One look at an update: how far each fleet is needed, one decision, traffic by the shares of both. Pure."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from modelyard.domain import rollout as rollouts
from modelyard.domain.endpoint_memory import Memory, cut_to, drop_unseen, remember, without
from modelyard.domain.endpoint_routes import resized, routes, shared_routes, whole_replicas
from modelyard.domain.endpoint_status import status_step
from modelyard.domain.endpoint_steps import (
    Plan,
    PublishRoutes,
    Rules,
    StartWorker,
    TryFleet,
    Watch,
    add_retirement,
)
from modelyard.domain.fleet import (
    Fleet,
    Look,
    Observed,
    describe_loss,
    limited_reason,
    look_at,
    short_id,
)
from modelyard.domain.rollout import Outcome, Rollout
from modelyard.domain.routes import RolloutRoute


def update(
    memory: Memory,
    rollout: Rollout,
    observed: Mapping[str, Observed],
    *,
    now: float,
    rules: Rules,
    watch: Watch,
) -> Plan:
    """One look at an update: both fleets as far as they are needed, one decision, traffic by the shares of both."""
    blue, green = memory.serving, memory.target
    assert blue is not None
    assert green is not None
    extent = rollouts.extent(rollout)
    blue_now, green_now = resized(blue, extent.blue), resized(green, extent.green)
    memory = cut_to(cut_to(memory, blue, blue_now, observed), green, green_now, observed)
    look = examine(green_now, memory, observed, now=now, rules=rules, forgiving=rollout.shifted)
    memory = remember(memory, look)
    old = examine(blue_now, memory, observed, now=now, rules=rules, forgiving=True)
    memory = remember(memory, old)
    facts = rollouts.Facts(
        watched=watch.seconds,
        green_ready=_ready(rollout, green_now, look),
        blue_ready=whole_replicas(old.ready),
        ringing=watch.ringing,
        failure=final_loss(look, rules, shadows=not _has_shifted(rollout)),
        blue_failure=final_loss(old, rules, shadows=False),
        hold=watch.hold,
        go=watch.go,
        abort=watch.abort,
        passed=watch.passed,
        trusted=watch.trusted,
        measured=watch.measured,
        tried=watch.tried,
    )
    after, outcome = rollouts.advance(rollout, facts)
    memory = _decided(memory, after, outcome, facts.blue_failure)
    if (
        memory.rollout is None
    ):  # It is over: the fleet that serves is looked at as it is from now on.
        assert memory.serving is not None
        old = examine(memory.serving, memory, observed, now=now, rules=rules, forgiving=True)
        memory, starts = remember(memory, old), old.start
        variants = routes(memory.serving, old.ready, observed)
    else:
        starts = [*look.start, *old.start]
        parts = ((blue_now, old.ready), (green_now, look.ready))
        is_tested = not after.policy.tests or after.tried is not None
        early = bool(after.policy.header[0]) and not after.back and is_tested
        variants = shared_routes(*parts, rollouts.extent(after), observed, early=early)
    moved = msgspec.structs.replace(after, elapsed=rollout.elapsed, baked=rollout.baked) != rollout
    wake_at = min(look.wake_at, old.wake_at, now + rollouts.seconds_left(after))
    result = Plan(seconds=0.0 if moved else max(0.0, wake_at - now))
    result.steps.append(PublishRoutes(variants=variants, rollout=_entered(memory)))
    memory = drop_unseen(memory, observed)
    saved = status_step(memory, old.ready, look.ready)
    result.steps.append(replace(saved, ended=after if memory.rollout is None else None))
    result.steps += [StartWorker(placement=placement) for placement in starts]
    if memory.rollout is not None and rollouts.wants_test(after, facts.green_ready):
        found = routes(green_now, look.ready, observed) or ()
        takers = tuple(route for route in found if not route.shadow)
        result.steps.append(TryFleet(rollout=rollout_id(green), variants=takers))
    add_retirement(result, memory, observed)
    return result


def _entered(memory: Memory) -> RolloutRoute | None:
    green = memory.target
    if green is None or memory.rollout is None:
        return None
    header, value = memory.rollout.policy.header
    return RolloutRoute(id=rollout_id(green), green=green.generation, header=header, value=value)


def rollout_id(green: Fleet) -> str:
    """No two rollouts have the same, not even those of endpoints that bear the same name one after the other."""
    return short_id("rollout", green.owner, green.generation)


def _decided(memory: Memory, after: Rollout, outcome: Outcome, blue_failure: str) -> Memory:
    blue, green = memory.serving, memory.target
    assert green is not None
    match outcome:
        case "promoted":
            return without(memory, blue, serving=green, target=None, rollout=None, failure="")
        case "rolled-back":
            return without(
                memory,
                green,
                target=None,
                rollout=None,
                refused=green.generation,
                failure=limited_reason(after.back),
            )
        case _:
            failure = limited_reason(blue_failure) if outcome == "rollback-failed" else ""
            return msgspec.structs.replace(memory, rollout=after, failure=failure)


def _has_shifted(rollout: Rollout) -> bool:
    return rollout.shifted or rollout.stage > 0


def _ready(rollout: Rollout, green: Fleet, look: Look) -> dict[str, int]:
    """Green's whole replicas; none before its shadow is ready too. Once it takes traffic, its shadow may come and go."""
    ready = whole_replicas(look.ready)
    shadows = {variant.name: variant.count for variant in green.variants if variant.shadow}
    if not _has_shifted(rollout) and any(ready.get(n, 0) < count for n, count in shadows.items()):
        return {}
    return ready


def instance_counts(fleet: Fleet) -> dict[str, int]:
    """Of what takes traffic: a shadow is there whole, or not at all."""
    return {variant.name: variant.count for variant in fleet.variants if not variant.shadow}


def examine(
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
        zones=rules.zones,
    )


def final_loss(look: Look, rules: Rules, *, shadows: bool = True) -> str:
    """Why the fleet cannot be; without ``shadows`` nothing that a shadow suffers counts."""
    for loss in look.losses:
        if loss.placement.variant.shadow and not shadows:
            continue
        if loss.deterministic or loss.deaths >= rules.restart_attempts:
            return describe_loss(loss)
    return ""
