"""Replicas that lie unevenly over the zones move, one at a time: the next starts there before this one ends. Pure.

After the loss of a zone its replicas run in the others; when it is back, they do not stay there, or the next loss would
cost all of them. Nothing moves while anything else of the fleet changes.
"""

from collections.abc import Mapping, Sequence

import msgspec

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import FIRST_ATTEMPT, Look, Observed, heirs, homes_of, placements
from modelyard.domain.zones import unevenness

SETTLED_SECONDS = 10.0
"""A replica that has started, or failed to move, stays for so long at least."""


def begin(
    memory: Memory,
    look: Look,
    observed: Mapping[str, Observed],
    *,
    zones: Sequence[str],
    now: float,
) -> Memory:
    """Let the first replica move that should; ``look.wake_at`` says when one may that has not settled yet."""
    fleet = memory.serving
    if fleet is None or len(zones) < 2 or not look.is_ready or memory.resize is not None:
        return memory
    if memory.retired or any(heirs(fleet, memory.slots)):
        return memory
    found = unevenness(zones, homes_of(fleet, memory.slots, observed))
    if found is None:
        return memory
    place, zone = found
    slots = dict(memory.slots)
    for placement in placements(fleet, slots):
        if (placement.variant.name, placement.replica) != place:
            continue
        slot = slots.get(placement.slot, FIRST_ATTEMPT)
        settled_at = slot.start_at + SETTLED_SECONDS
        if slot.start_at <= now < settled_at:  # It starts later only by a clock that was set back.
            look.wake_at = min(look.wake_at, settled_at)
            return memory
        slots[placement.slot] = msgspec.structs.replace(slot, move=zone)
    look.wake_at = now
    return msgspec.structs.replace(memory, slots=slots)
