"""States of a session that somebody outside asks for: a caller in ``sessionState``, or a code hook in its answer. Pure.

Both have one form, and are checked alike: against AWS's shapes, and against the bot, whose intents and slots they name.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from modelyard.domain.lex.bot import Bot, takes_several
from modelyard.domain.lex.session import (
    CONTEXT_ATTRIBUTES_MAX,
    CONTEXTS_MAX,
    Action,
    ActionType,
    Confirmation,
    Context,
    Intent,
    IntentState,
    Json,
    Session,
    Slots,
    read_contexts,
    with_contexts,
)

ATTRIBUTES_BYTES = 24_576
"""Of all session attributes together, as JSON; of request attributes too."""
HINTS_BYTES = 8_192
SLOT_BYTES = 16_384
"""Of all slots of an intent together, as JSON."""


class BadState(Exception):
    """A state that the bot cannot be in; the text says why."""


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Filled = Annotated[str, msgspec.Meta(min_length=1)]


class _Value(msgspec.Struct, kw_only=True, omit_defaults=True):
    interpretedValue: Filled
    originalValue: Filled | None = None
    resolvedValues: list[str] | None = None


class _Slot(msgspec.Struct, kw_only=True, omit_defaults=True):
    shape: Literal["Scalar", "List", "Composite"] | None = None
    value: _Value | None = None
    values: list["_Slot"] | None = None
    subSlots: dict[str, Any] | None = None


class _Intent(msgspec.Struct, kw_only=True):
    name: Name
    slots: dict[str, _Slot | None] | None = None
    state: IntentState | None = None
    confirmationState: Confirmation | None = None


class _Action(msgspec.Struct, kw_only=True):
    type: ActionType
    slotToElicit: str | None = None
    slotElicitationStyle: Literal["Default", "SpellByLetter", "SpellByWord"] | None = None
    subSlotToElicit: Any = None


class _TimeToLive(msgspec.Struct, kw_only=True):
    timeToLiveInSeconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    turnsToLive: Annotated[int, msgspec.Meta(ge=1, le=20)]


class _Context(msgspec.Struct, kw_only=True):
    name: Name
    timeToLive: _TimeToLive
    contextAttributes: (
        Annotated[dict[str, str], msgspec.Meta(max_length=CONTEXT_ATTRIBUTES_MAX)] | None
    ) = None


class _State(msgspec.Struct, kw_only=True):
    dialogAction: _Action | None = None
    intent: _Intent | None = None
    activeContexts: Annotated[list[_Context], msgspec.Meta(max_length=CONTEXTS_MAX)] | None = None
    sessionAttributes: dict[str, str] | None = None
    runtimeHints: Json | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; None where nothing was said, and what is stays."""

    action: Action | None = None
    intent: Intent | None = None
    contexts: tuple[Context, ...] | None = None
    attributes: dict[str, str] | None = None
    hints: Json | None = None


def read_state(bot: Bot, given: Any, *, now: float) -> State:
    """Raises ``BadState``."""
    try:
        raw = msgspec.convert(given, _State)
    except msgspec.ValidationError as error:
        raise BadState(f"sessionState: {error}") from None
    _check_size("sessionAttributes", raw.sessionAttributes, ATTRIBUTES_BYTES)
    _check_size("runtimeHints", raw.runtimeHints, HINTS_BYTES)
    intent = _intent(bot, raw.intent) if raw.intent is not None else None
    contexts = raw.activeContexts
    return State(
        action=_action(bot, raw.dialogAction, intent) if raw.dialogAction is not None else None,
        intent=intent,
        contexts=None if contexts is None else _contexts(contexts, now),
        attributes=raw.sessionAttributes,
        hints=raw.runtimeHints,
    )


def applied(session: Session, state: State) -> Session:
    """The session as the state wants it. What was asked about one intent is no question about another.

    A caller that sends back what it was told changes nothing: the misses go on.
    """
    moved = state.intent is not None and (
        session.intent is None or session.intent.name != state.intent.name
    )
    action = Action() if moved and state.action is None else state.action
    is_other = moved or (action is not None and action != session.action)
    changes: Json = {
        "contexts": state.contexts,
        "attributes": state.attributes,
        "hints": state.hints,
        "intent": state.intent,
        "action": action,
        "misses": 0 if is_other else None,
    }
    return msgspec.structs.replace(
        session, **{name: value for name, value in changes.items() if value is not None}
    )


def check_attributes(name: str, attributes: Mapping[str, str] | None) -> None:
    """Raises ``BadState`` for what is too large to be kept."""
    _check_size(name, attributes, ATTRIBUTES_BYTES)


def _check_size(name: str, value: Any, limit: int) -> None:
    if value and len(msgspec.json.encode(value)) > limit:
        raise BadState(f"{name} is larger than {limit} bytes.")


def _contexts(contexts: Iterable[_Context], now: float) -> tuple[Context, ...]:
    given = [msgspec.to_builtins(one) for one in contexts]
    return with_contexts((), read_contexts(given, now))


def _intent(bot: Bot, raw: _Intent) -> Intent:
    if not bot.has(raw.name):
        raise BadState(f"The bot has no intent {raw.name}.")
    known = bot.slots(raw.name)
    slots: Slots = bot.empty_slots(raw.name)
    for name, slot in (raw.slots or {}).items():
        if name not in known:
            raise BadState(f"The intent {raw.name} has no slot {name}.")
        slots[name] = _slot(name, slot, takes_several(known[name]))
    _check_size(f"slots of {raw.name}", slots, SLOT_BYTES)
    return Intent(
        name=raw.name,
        slots=slots,
        state=raw.state or "InProgress",
        confirmation=raw.confirmationState or "None",
    )


def _slot(name: str, raw: _Slot | None, is_list: bool) -> Json | None:
    if raw is None or (raw.value is None and not raw.values and not raw.subSlots):
        return None
    if raw.subSlots or raw.shape == "Composite":
        raise BadState(f"The slot {name}: Modelyard does not execute composite slots yet.")
    shape = raw.shape or ("List" if raw.values else "Scalar")
    if (shape == "List") != is_list:
        raise BadState(f"The slot {name} has the shape {'List' if is_list else 'Scalar'}.")
    if not is_list:
        if raw.value is None:
            raise BadState(f"The slot {name} needs a value.")
        return {"shape": "Scalar", "value": _value(raw.value)}
    values = [one.value for one in raw.values or ()] or [raw.value]
    shown = [{"shape": "Scalar", "value": _value(one)} for one in values if one is not None]
    if not shown or None in values:
        raise BadState(f"The slot {name} needs values that are scalars.")
    return {"shape": "List", "values": shown}


def _value(raw: _Value) -> Json:
    return {
        "originalValue": raw.originalValue or raw.interpretedValue,
        "interpretedValue": raw.interpretedValue,
        "resolvedValues": [raw.interpretedValue]
        if raw.resolvedValues is None
        else raw.resolvedValues,
    }


def _action(bot: Bot, raw: _Action, intent: Intent | None) -> Action:
    if raw.subSlotToElicit is not None:
        raise BadState("Modelyard does not execute composite slots yet (subSlotToElicit).")
    if raw.type in ("ElicitSlot", "ConfirmIntent", "Close", "Delegate") and intent is None:
        raise BadState(f"The dialogAction {raw.type} needs an intent.")
    if raw.type != "ElicitSlot":
        return Action(type=raw.type)
    if intent is None or raw.slotToElicit not in bot.slots(intent.name):
        raise BadState(f"slotToElicit has to name a slot of the intent, not {raw.slotToElicit}.")
    return Action(type=raw.type, slot=raw.slotToElicit, style=raw.slotElicitationStyle or "")
