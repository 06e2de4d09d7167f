"""Another weight or count for what serves: a change in place, without another fleet. Pure.

Weights only publish routes anew. A smaller count ends the last replicas, a larger one starts more beside those that serve: these
never pause. Replicas that cannot be started send the change back: to the counts and weights from before it.
"""

from collections.abc import Mapping

import msgspec

from modelyard.domain.endpoint_memory import Memory, cut_to
from modelyard.domain.endpoint_steps import Rules, Sizing
from modelyard.domain.fleet import (
    Capacity,
    Fleet,
    Look,
    Observed,
    Resize,
    Slot,
    describe_loss,
    placements,
)


def begin(
    memory: Memory, sizing: Sizing | None, observed: Mapping[str, Observed], *, now: float
) -> Memory:
    """Take up a change that is new; one that is on its way gives way to it."""
    serving = memory.serving
    if sizing is None or serving is None or sizing.revision <= memory.sized:
        return memory
    resize = Resize(before=capacities(serving), since=now)
    memory = msgspec.structs.replace(memory, sized=sizing.revision, resize=resize, failure="")
    return _sized(memory, serving, sizing.capacities, observed)


def follow(memory: Memory, look: Look, observed: Mapping[str, Observed], *, rules: Rules) -> Memory:
    """Done when every replica is ready; back when one of the new ones cannot be."""
    resize, serving = memory.resize, memory.serving
    assert serving is not None
    if resize is None:
        return memory
    if resize.back:
        return memory if memory.retired else msgspec.structs.replace(memory, resize=None)
    reason = _failure(look, resize, rules)
    if reason:
        resize = msgspec.structs.replace(resize, back=reason)
        memory = msgspec.structs.replace(memory, resize=resize, failure=reason)
        return _sized(memory, serving, resize.before, observed)
    is_there = _is_there(memory, serving, look, resize)
    return msgspec.structs.replace(memory, resize=None) if is_there else memory


def _is_there(memory: Memory, serving: Fleet, look: Look, resize: Resize) -> bool:
    """Every replica is ready, but for those of a shadow that was not resized: its death holds up nothing."""
    ready = {placement.id for placement in look.ready}
    return all(
        place.id in ready
        or (place.variant.shadow and resize.before[place.variant.name].count == place.variant.count)
        for place in placements(serving, memory.slots)
    )


def capacities(fleet: Fleet) -> dict[str, Capacity]:
    return {one.name: Capacity(count=one.count, weight=one.weight) for one in fleet.variants}


def _failure(look: Look, resize: Resize, rules: Rules) -> str:
    """Why a replica that the change asked for cannot be; one that served before is started again and again."""
    for loss in look.losses:
        place = loss.placement
        is_new = place.replica >= resize.before[place.variant.name].count
        if is_new and (loss.deterministic or loss.deaths >= rules.restart_attempts):
            return describe_loss(loss)
    return ""


def _sized(
    memory: Memory,
    whole: Fleet,
    wanted: Mapping[str, Capacity],
    observed: Mapping[str, Observed],
) -> Memory:
    variants = [
        msgspec.structs.replace(one, count=size.count, weight=size.weight)
        if (size := wanted.get(one.name))
        else one
        for one in whole.variants
    ]
    now = msgspec.structs.replace(whole, variants=tuple(variants))
    memory = cut_to(memory, whole, now, observed)
    kept = {placement.slot for placement in placements(now, memory.slots)}
    # Should it grow again, deaths of long ago delay nothing.
    fresh = {
        name: slot if name in kept else Slot(attempt=slot.attempt)
        for name, slot in memory.slots.items()
    }
    return msgspec.structs.replace(memory, serving=now, slots=fresh)
