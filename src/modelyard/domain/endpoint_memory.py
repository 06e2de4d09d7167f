"""What the reconciler of endpoints remembers from one pass to the next, and how that changes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.domain.fleet import (
    FIRST_ATTEMPT,
    Fleet,
    Look,
    Observed,
    Resize,
    Slot,
    Slots,
    heirs,
    placements,
)
from modelyard.domain.rollout import Rollout


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the reconciler keeps in the endpoint's status from one pass to the next.

    ``retired`` are ids of workers that are to be stopped and forgotten; ``refused`` is the last generation that
    could not be rolled out, with its ``failure``. ``sized`` is the revision of the last change in place that was taken up,
    ``resize`` what is left of it. ``asleep`` are the variants of ``serving`` that hibernate.
    """

    serving: Fleet | None = None
    target: Fleet | None = None
    slots: Slots = {}
    retired: tuple[str, ...] = ()
    refused: int = 0
    failure: str = ""
    rollout: Rollout | None = None
    sized: int = 0
    resize: Resize | None = None
    asleep: tuple[str, ...] = ()


def without(memory: Memory, fleet: Fleet | None, **changes: Any) -> Memory:
    """Retire all workers of a fleet and drop their slots."""
    if fleet is None:
        return msgspec.structs.replace(memory, **changes)
    gone = [*placements(fleet, memory.slots), *heirs(fleet, memory.slots)]
    names = {placement.slot for placement in gone}
    return msgspec.structs.replace(
        memory,
        retired=merged(memory.retired, [placement.id for placement in gone]),
        slots={name: slot for name, slot in memory.slots.items() if name not in names},
        **changes,
    )


def remember(memory: Memory, look: Look) -> Memory:
    return msgspec.structs.replace(
        memory, slots=look.slots, retired=merged(memory.retired, look.retired)
    )


def cut_to(memory: Memory, whole: Fleet, now: Fleet, observed: Mapping[str, Observed]) -> Memory:
    """Retire what a fleet has beyond its present size; should it grow again, under new ids."""
    needed = {placement.slot for placement in placements(now, memory.slots)}
    gone = [
        placement
        for placement in (*placements(whole, memory.slots), *heirs(whole, memory.slots))
        if placement.slot not in needed and placement.id in observed
    ]
    if not gone:
        return memory
    slots = dict(memory.slots)
    for placement in gone:
        slot = memory.slots.get(placement.slot, FIRST_ATTEMPT)
        slots[placement.slot] = Slot(attempt=slot.attempt + (2 if slot.move else 1))
    retired = merged(memory.retired, [placement.id for placement in gone])
    return msgspec.structs.replace(memory, slots=slots, retired=retired)


def drop_unseen(memory: Memory, observed: Mapping[str, Observed]) -> Memory:
    """What was retired and is known to nobody is done with."""
    kept = tuple(worker for worker in memory.retired if worker in observed)
    return msgspec.structs.replace(memory, retired=kept) if kept != memory.retired else memory


def merged(known: Sequence[str], added: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*known, *added]))
