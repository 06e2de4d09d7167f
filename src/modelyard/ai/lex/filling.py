"""The slots of an intent, filled from a text: what the tagger marks, read by the recognisers, and what they find besides."""

from collections.abc import Iterator, Sequence
from datetime import date

from modelyard.ai.lex.bot import Intent, Reading
from modelyard.ai.lex.model import BotModel
from modelyard.ai.lex.tagger import Tagged
from modelyard.domain.lex.matches import Match
from modelyard.domain.lex.understanding import SlotValue

Place = tuple[int, int]


def fill(
    model: BotModel, intent: Intent, reading: Reading, marked: Sequence[Tagged], today: date
) -> dict[str, SlotValue]:
    """By the slot's name, in the order of the slots. ``marked`` is what the tagger says of the intent."""
    kinds = {slot.name: slot.kind for slot in intent.slots}
    found: dict[str, SlotValue] = {}
    taken: list[Place] = []
    for tagged in marked:
        if tagged.slot in found:
            continue
        kind = kinds[tagged.slot]
        begin, end = reading.words[tagged.first].begin, reading.words[tagged.last].end
        if model.bot.recognisers[kind].is_open:
            begin, end = _without(_others(model, intent, reading, kind), begin, end)
        place = _place(
            reading.matches.get(kind, ()), begin, end, model.bot.recognisers[kind].is_open
        )
        if place is None or _overlaps(place, taken):
            continue
        value = model.bot.recognisers[kind].value_of(reading.text, *place, today)
        if value is not None:
            found[tagged.slot] = value
            taken.append(place)
    for name, place in _besides(intent, reading, found, taken):
        value = model.bot.recognisers[kinds[name]].value_of(reading.text, *place, today)
        if value is not None:
            found[name] = value
            taken.append(place)
    return {name: found[name] for name in kinds if name in found}


def _place(matches: Sequence[Match], begin: int, end: int, is_open: bool) -> Place | None:
    """What is marked, made as wide or as narrow as what was recognised there."""
    here = [one for one in matches if one.begin < end and begin < one.end]
    best = max(here, key=lambda one: (not one.is_weak, one.end - one.begin), default=None)
    if best is None:
        return (begin, end) if is_open else None
    is_inside = begin <= best.begin and best.end <= end
    return (begin, end) if is_open and is_inside else (best.begin, best.end)


def _others(model: BotModel, intent: Intent, reading: Reading, kind: str) -> list[Place]:
    """What can be nothing but a value of another of the intent's slots: a date, a number."""
    own = [(one.begin, one.end) for one in reading.matches.get(kind, ())]
    return [
        (one.begin, one.end)
        for other in intent.kinds
        if other != kind and not model.bot.recognisers[other].is_open
        for one in reading.matches.get(other, ())
        if not one.is_weak and not _overlaps((one.begin, one.end), own)
    ]


def _without(others: Sequence[Place], begin: int, end: int) -> Place:
    """What is marked, without what others have at its edges; all of it where nothing would be left."""
    first, last = begin, end
    for other_begin, other_end in others:
        if other_begin <= first < other_end:
            first = other_end
        elif other_begin < last <= other_end:
            last = other_begin
    return (first, last) if first < last else (begin, end)


def _overlaps(place: Place, taken: Sequence[Place]) -> bool:
    return any(place[0] < end and begin < place[1] for begin, end in taken)


def _besides(
    intent: Intent, reading: Reading, found: dict[str, SlotValue], taken: Sequence[Place]
) -> Iterator[tuple[str, Place]]:
    """What was recognised but not marked, where only one slot can mean it and it can mean nothing else."""
    kinds = [slot.kind for slot in intent.slots]
    claimed = list(taken)
    for slot in intent.slots:
        if slot.name in found or kinds.count(slot.kind) > 1:
            continue
        others = [
            (one.begin, one.end)
            for kind in set(kinds) - {slot.kind}
            for one in reading.matches.get(kind, ())
            if not one.is_weak
        ]
        free = [
            (one.begin, one.end)
            for one in reading.matches.get(slot.kind, ())
            if not one.is_weak and not _overlaps((one.begin, one.end), [*claimed, *others])
        ]
        if len(free) == 1:
            claimed.append(free[0])
            yield slot.name, free[0]
