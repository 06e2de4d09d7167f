"""What an utterance may have meant: what the bot's model understood, against the bot and the contexts that are active. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from modelyard.domain.lex.bot import Bot, filled, takes_several
from modelyard.domain.lex.session import Intent, Json, Session, Slots
from modelyard.domain.lex.understanding import (
    INTERPRETATIONS_MAX,
    Elicit,
    Heard,
    SlotValue,
    Understanding,
)

PARTS_MAX = 10
"""Values of one answer."""
_BETWEEN = re.compile(r"\s*[,;&]\s*(?:and\b)?|\s+and\s+", re.IGNORECASE)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One intent that the user may have meant. The fallback has no score."""

    intent: str
    slots: Slots
    score: float | None = None


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """What a user said. ``elicited`` are its values as the answer to the question for a slot; best candidates first."""

    text: str
    candidates: tuple[Candidate, ...]
    elicited: tuple[Json, ...] = ()
    yes_no: str | None = None

    @property
    def best(self) -> Candidate | None:
        return self.candidates[0] if self.candidates else None


def questions(bot: Bot, session: Session, text: str, today: str) -> list[Heard]:
    """What the model is asked about an utterance: the whole, then its parts where it may be several values."""
    intent, action = session.intent, session.action
    slot = bot.slots(intent.name).get(action.slot) if intent and bot.has(intent.name) else None
    if action.type != "ElicitSlot" or slot is None:
        return [Heard(text=text, today=today)]
    elicit = Elicit(slot=action.slot, slotType=slot["slotTypeId"])
    pieces = _parts(text) if takes_several(slot) else []
    return [Heard(text=one, today=today, elicit=elicit) for one in (text, *pieces)]


def _parts(text: str) -> list[str]:
    """What stands between commas and ands. Empty for a single one."""
    found = [one.strip() for one in _BETWEEN.split(text) if one.strip()]
    return found[:PARTS_MAX] if len(found) > 1 else []


def read_utterance(
    bot: Bot, contexts: Collection[str], text: str, answers: Sequence[Understanding]
) -> Utterance:
    """Intents whose contexts are not active are no candidates. The fallback stands where scores go below the threshold.

    ``answers`` are those to ``questions``. Of an answer in parts all have to be values, or none is taken for one.
    """
    understood, *of_parts = answers
    sure: list[Candidate] = []
    unsure: list[Candidate] = []
    for one in understood.interpretations:
        if bot.has(one.intent) and one.intent != bot.fallback and bot.is_open(one.intent, contexts):
            slots = _slots(bot, one.intent, one.slots)
            candidate = Candidate(intent=one.intent, score=one.score, slots=slots)
            (sure if one.score >= bot.threshold else unsure).append(candidate)
    fallback = [Candidate(intent=bot.fallback, slots={})] if bot.fallback else []
    return Utterance(
        text=text,
        candidates=tuple([*sure, *fallback, *unsure][:INTERPRETATIONS_MAX]),
        elicited=_elicited(understood, of_parts),
        yes_no=understood.yesNo,
    )


def _slots(bot: Bot, intent: str, found: Mapping[str, SlotValue]) -> Slots:
    slots = bot.empty_slots(intent)
    for name, slot in bot.slots(intent).items():
        value = _value(found.get(name))
        slots[name] = filled(slot, [value] if value else [])
    return slots


def _elicited(understood: Understanding, of_parts: Sequence[Understanding]) -> tuple[Json, ...]:
    values = [_value(one.elicited) for one in of_parts or (understood,)]
    return () if None in values else tuple(one for one in values if one)


def _value(found: SlotValue | None) -> Json | None:
    """None for what may mean two things, such as "at five": it has to be asked for again."""
    if found is None or not found.interpretedValue:
        return None
    return {
        "originalValue": found.originalValue or found.interpretedValue,
        "interpretedValue": found.interpretedValue,
        "resolvedValues": list(found.resolvedValues) or [found.interpretedValue],
    }


def interpretations(intent: Intent | None, candidates: Collection[Candidate]) -> list[Json]:
    """Of an answer: the intent that the session is about, as it is now, and what else was possible."""
    scores = {one.intent: one.score for one in candidates}
    shown = [_interpretation(intent.shown(), scores.get(intent.name))] if intent else []
    shown += [
        _interpretation(Intent(name=one.intent, slots=one.slots).shown(), one.score)
        for one in candidates
        if intent is None or one.intent != intent.name
    ]
    return shown[:INTERPRETATIONS_MAX]


def _interpretation(intent: Json, score: float | None) -> Json:
    shown: Json = {"intent": intent, "interpretationSource": "Lex"}
    if score is not None:
        shown["nluConfidence"] = {"score": score}
    return shown
