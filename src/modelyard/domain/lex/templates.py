"""Sample utterances as templates, and what of a bot's definition nothing can be learned of. Pure.

A template is what a user may say, with slots in braces: "I want a {Size} pizza".
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.domain.lex.builtin import BY_SIGNATURE, FALLBACK, INTENTS
from modelyard.domain.lex.pattern import BadPattern
from modelyard.domain.lex.recognisers import recogniser_of
from modelyard.domain.lex.vocabulary import words_of

LEARNER = "1"
"""Of ``ai.lex``: what another version learns of the same definition is another model."""
UTTERANCES_MAX = 30_000
VALUES_MAX = 100_000
"""Of all custom slot types together, synonyms included."""
REASONS_MAX = 20
_PART = re.compile(r"\{([^{}]*)\}")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Words, or the name of a slot."""

    text: str
    is_slot: bool = False


def parts_of(utterance: str) -> tuple[Part, ...]:
    """In order; blanks at the edges of words do not count."""
    parts: list[Part] = []
    for place, piece in enumerate(_PART.split(utterance)):
        if place % 2:
            parts.append(Part(piece.strip(), is_slot=True))
        elif piece.strip():
            parts.append(Part(piece.strip()))
    return tuple(parts)


def utterances_of(intent: Json) -> tuple[str, ...]:
    """An intent's own, and those that its built-in parent has."""
    own = tuple(one["utterance"] for one in intent.get("sampleUtterances") or ())
    return (*own, *INTENTS.get(intent.get("parentIntentSignature") or "", ()))


def is_fallback(intent: Json) -> bool:
    """The intent for what no other understands."""
    return intent.get("parentIntentSignature") == FALLBACK


def learned(definition: Json) -> dict[str, Any]:
    """That of a definition which what is understood depends on: no prompts, ids, descriptions or order."""
    used = {slot["slotTypeId"] for one in definition["intents"] for slot in one.get("slots") or ()}
    intents = [
        {
            "intentName": one["intentName"],
            "utterances": sorted(set(utterances_of(one))),
            "slots": [_slot(slot) for slot in one.get("slots") or ()],
        }
        for one in definition["intents"]
        if not is_fallback(one)
    ]
    types = [
        {name: one[name] for name in _TYPE_MEMBERS if one.get(name)}
        for one in definition.get("slotTypes") or ()
        if one["slotTypeId"] in used
    ]
    return {
        "localeId": definition["localeId"],
        "intents": sorted(intents, key=lambda one: str(one["intentName"])),
        "slotTypes": sorted(types, key=lambda one: str(one["slotTypeId"])),
    }


_TYPE_MEMBERS = (
    "slotTypeId", "slotTypeName", "slotTypeValues", "valueSelectionSetting", "parentSlotTypeSignature",
)  # fmt: skip


def _slot(slot: Json) -> dict[str, Any]:
    setting = slot.get("valueElicitationSetting") or {}
    samples = [one["utterance"] for one in setting.get("sampleUtterances") or ()]
    return {
        "slotName": slot["slotName"],
        "slotTypeId": slot["slotTypeId"],
        "utterances": sorted(set(samples)),
    }


def fingerprint(definition: Json) -> str:
    """The same for definitions of which the same is learned."""
    data = json.dumps([LEARNER, learned(definition)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(data.encode()).hexdigest()


def faults(definition: Json) -> list[str]:
    """Why nothing can be learned of a definition, in sentences for whoever wrote it; none: it can be built."""
    found = [*_type_faults(definition), *_intent_faults(definition), *_conflicts(definition)]
    return found[:REASONS_MAX]


def _type_faults(definition: Json) -> Iterator[str]:
    types = {one["slotTypeId"]: one for one in definition.get("slotTypes") or ()}
    count = 0
    for one in types.values():
        name = one["slotTypeName"]
        for value in one.get("slotTypeValues") or ():
            count += 1 + len(value.get("synonyms") or ())
        parent = one.get("parentSlotTypeSignature")
        if parent and parent not in BY_SIGNATURE:
            yield f"The slot type {name} extends {parent}, which is not supported here."
            continue
        try:
            recogniser_of(one["slotTypeId"], one, definition["localeId"])
        except BadPattern as error:
            yield f"The pattern of the slot type {name} cannot be used: {error}"
        if not parent and not one.get("slotTypeValues"):
            yield f"The slot type {name} has no values."
    if count > VALUES_MAX:
        yield f"The slot types have {count} values and synonyms; at most {VALUES_MAX} are allowed."
    for intent in definition["intents"]:
        for slot in intent.get("slots") or ():
            kind = slot["slotTypeId"]
            if kind not in types and kind not in BY_SIGNATURE:
                why = "is not supported here" if kind.startswith("AMAZON.") else "does not exist"
                yield (
                    f"The slot {slot['slotName']} of the intent {intent['intentName']} has the slot type {kind}, which {why}."
                )


def _intent_faults(definition: Json) -> Iterator[str]:
    """An intent without utterances is none: others lead to it."""
    intents = [one for one in definition["intents"] if not is_fallback(one)]
    if not intents:
        yield "The bot has no intent but the fallback: create an intent with sample utterances."
    elif not any(parts_of(said) for one in intents for said in utterances_of(one)):
        yield "No intent has sample utterances, so none would ever be recognised: add some to at least one."
    count = 0
    for intent in intents:
        name, parent = intent["intentName"], intent.get("parentIntentSignature")
        if parent and parent not in INTENTS:
            yield f"The intent {name} extends {parent}, which is not supported here."
            continue
        utterances = utterances_of(intent)
        count += len(utterances)
        slots = {one["slotName"] for one in intent.get("slots") or ()}
        for utterance in utterances:
            for part in parts_of(utterance):
                if part.is_slot and part.text not in slots:
                    yield (
                        f"The utterance {utterance!r} of the intent {name} names the slot {part.text}, "
                        "which the intent does not have."
                    )
    if count > UTTERANCES_MAX:
        yield f"The intents have {count} sample utterances; at most {UTTERANCES_MAX} are allowed."


def _conflicts(definition: Json) -> Iterator[str]:
    """What is said for two intents: nobody could tell which is meant."""
    seen: dict[str, tuple[str, str]] = {}
    for intent in definition["intents"]:
        types = {one["slotName"]: one["slotTypeId"] for one in intent.get("slots") or ()}
        name = intent["intentName"]
        for utterance in utterances_of(intent):
            key = _shape(parts_of(utterance), types)
            other, first = seen.setdefault(key, (name, utterance))
            if other != name and key:
                yield (
                    f"The utterance {utterance!r} of the intent {name} says the same as {first!r} of the intent {other}: "
                    "remove one of them."
                )


def _shape(parts: Sequence[Part], types: Mapping[str, str]) -> str:
    """Without marks, in small letters, and with the types of slots."""
    return " ".join(
        f"{{{types.get(part.text, part.text)}}}"
        if part.is_slot
        else " ".join(word.text for word in words_of(part.text) if word.text[0].isalnum())
        for part in parts
    )
