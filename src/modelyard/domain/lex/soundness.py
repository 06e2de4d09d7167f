"""What of a bot's settings no conversation could follow. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.domain.lex.bot import elicitation, is_required
from modelyard.domain.lex.conditions import BadCondition, parse

REASONS_MAX = 20
MESSAGE_KINDS = ("plainTextMessage", "customPayload", "ssmlMessage", "imageResponseCard")


def faults(settings: Any) -> Iterator[str]:
    """Of one intent's or slot's settings, seen without the rest of the bot; in sentences for whoever wrote them."""
    if isinstance(settings, list):
        for one in settings:
            yield from faults(one)
        return
    if not isinstance(settings, Mapping):
        return
    for name, value in settings.items():
        if name == "messageGroups":
            yield from _messages(value)
        elif name == "expressionString":
            yield from _condition(value)
        elif name == "sessionAttributes":
            continue  # The user's own names.
        else:
            yield from _step(value) if name.lower().endswith("nextstep") else ()
            yield from faults(value)


def _messages(groups: Any) -> Iterator[str]:
    for group in groups:
        for message in (group["message"], *(group.get("variations") or ())):
            kinds = [name for name in MESSAGE_KINDS if message.get(name)]
            if len(kinds) != 1:
                yield f"A message is one of {', '.join(MESSAGE_KINDS)}; one here is {len(kinds)} of them."


def _condition(expression: str) -> Iterator[str]:
    try:
        parse(expression)
    except BadCondition as error:
        yield f"The condition {expression!r} cannot be used: {error}"


def _step(step: Mapping[str, Any]) -> Iterator[str]:
    action = step.get("dialogAction") or {}
    if action.get("type") == "ElicitSlot" and not action.get("slotToElicit"):
        yield "A next step ElicitSlot needs a slotToElicit."
    if action.get("type") == "StartIntent" and not (step.get("intent") or {}).get("name"):
        yield "A next step StartIntent needs the name of an intent."


def lost(definition: Mapping[str, Any]) -> Sequence[str]:
    """Where a compiled definition leads to what it has not, or asks without words: reasons for which it cannot be built."""
    slots = {
        one["intentName"]: {slot["slotName"] for slot in one["slots"]}
        for one in definition["intents"]
    }
    found = [
        reason
        for one in definition["intents"]
        for step in _steps(one)
        for reason in _led_astray(step, one["intentName"], slots)
    ]
    found += [
        f"The slot {slot['slotName']} of the intent {one['intentName']} is required and has no promptSpecification to ask for it."
        for one in definition["intents"]
        for slot in one["slots"]
        if asks_without_words(slot)
    ]
    return found[:REASONS_MAX]


def asks_without_words(slot: Mapping[str, Any]) -> bool:
    """Whether a slot has to be asked for and nothing says how."""
    return is_required(slot) and not elicitation(slot).get("promptSpecification")


def _led_astray(
    step: Mapping[str, Any], within: str, slots: Mapping[str, set[str]]
) -> Iterator[str]:
    name = (step.get("intent") or {}).get("name") or within
    if name not in slots:
        yield f"The intent {within} leads to the intent {name}, which does not exist."
        return
    slot = (step.get("dialogAction") or {}).get("slotToElicit")
    if slot and slot not in slots[name]:
        yield f"The intent {within} asks for the slot {slot}, which the intent {name} does not have."


def _steps(settings: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(settings, list):
        for one in settings:
            yield from _steps(one)
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            if name == "sessionAttributes":
                continue
            if name.lower().endswith("nextstep"):
                yield value
            yield from _steps(value)
