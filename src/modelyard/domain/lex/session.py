"""What is remembered of a conversation between two turns: the intent with its slots, what was asked, contexts, attributes. Pure.

Slots are in AWS's form: ``{"shape": "Scalar", "value": {"originalValue", "interpretedValue", "resolvedValues"}}``, or with the
shape ``List`` and ``values``; None for one that is not filled.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Slots = dict[str, Json | None]
ActionType = Literal["Close", "ConfirmIntent", "Delegate", "ElicitIntent", "ElicitSlot", "None"]
IntentState = Literal[
    "Failed", "Fulfilled", "InProgress", "ReadyForFulfillment", "Waiting", "FulfillmentInProgress"
]
Confirmation = Literal["Confirmed", "Denied", "None"]
CONTEXTS_MAX = 20
CONTEXT_ATTRIBUTES_MAX = 10


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """The intent that the conversation is about."""

    name: str
    slots: Slots = {}
    state: IntentState = "InProgress"
    confirmation: Confirmation = "None"

    def shown(self) -> Json:
        """In AWS's member names."""
        return {
            "name": self.name,
            "slots": self.slots,
            "state": self.state,
            "confirmationState": self.confirmation,
        }


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the bot waits for. ``style`` is the ``slotElicitationStyle``, which is of speech alone: it is echoed."""

    type: ActionType = "None"
    slot: str = ""
    style: str = ""

    def shown(self) -> Json:
        """In AWS's member names."""
        told: Json = {"type": self.type}
        if self.slot:
            told["slotToElicit"] = self.slot
        if self.style:
            told["slotElicitationStyle"] = self.style
        return told


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One that is active until ``expires_at`` (epoch seconds), for ``turns`` more turns."""

    name: str
    expires_at: float
    turns: int
    attributes: dict[str, str] = {}

    def shown(self, now: float) -> Json:
        """In AWS's member names."""
        seconds = max(1, math.ceil(self.expires_at - now))
        return {
            "name": self.name,
            "timeToLive": {"timeToLiveInSeconds": seconds, "turnsToLive": self.turns},
            "contextAttributes": self.attributes,
        }


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``misses`` are the answers to the last question, in a row, that were not understood."""

    intent: Intent | None = None
    action: Action = Action()
    contexts: tuple[Context, ...] = ()
    attributes: dict[str, str] = {}
    misses: int = 0
    hints: Json = {}
    """``runtimeHints``, which are for speech: kept and echoed."""

    def shown(self, *, now: float, request_id: str) -> Json:
        """``sessionState`` of an answer."""
        state: Json = {
            "dialogAction": self.action.shown(),
            "activeContexts": [one.shown(now) for one in self.contexts],
            "sessionAttributes": self.attributes,
            "originatingRequestId": request_id,
        }
        if self.intent is not None:
            state["intent"] = self.intent.shown()
        if self.hints:
            state["runtimeHints"] = self.hints
        return state


def alive(contexts: Iterable[Context], now: float) -> tuple[Context, ...]:
    """Those whose seconds are not over."""
    return tuple(one for one in contexts if one.expires_at > now and one.turns > 0)


def aged(contexts: Iterable[Context], older: Iterable[str]) -> tuple[Context, ...]:
    """A turn later. ``older`` were active before it; what it activated itself has all its turns before it."""
    names = set(older)
    turned = (
        msgspec.structs.replace(one, turns=one.turns - 1) if one.name in names else one
        for one in contexts
    )
    return tuple(one for one in turned if one.turns > 0)


def with_contexts(contexts: Iterable[Context], new: Iterable[Context]) -> tuple[Context, ...]:
    """The new ones replace those of their name; the oldest go where there are too many."""
    named = {one.name: one for one in contexts}
    for one in new:
        named.pop(one.name, None)
        named[one.name] = one
    return tuple(named.values())[-CONTEXTS_MAX:]


def read_contexts(given: Iterable[Mapping[str, Any]], now: float) -> tuple[Context, ...]:
    """``activeContexts`` in AWS's member names."""
    return tuple(
        Context(
            name=one["name"],
            expires_at=now + one["timeToLive"]["timeToLiveInSeconds"],
            turns=one["timeToLive"]["turnsToLive"],
            attributes=dict(one.get("contextAttributes") or {}),
        )
        for one in given
    )


def interpreted(slot: Mapping[str, Any] | None) -> str | None:
    """The value of a slot as messages and conditions show it; of several values, all of them with commas between."""
    if not slot:
        return None
    if slot.get("shape") == "List":
        values = [interpreted(one) for one in slot.get("values") or ()]
        return ",".join(one for one in values if one) or None
    value: str | None = (slot.get("value") or {}).get("interpretedValue")
    return value


def scalar(value: Mapping[str, Any]) -> Json:
    """A slot of one value."""
    return {"shape": "Scalar", "value": dict(value)}


def several(values: Iterable[Mapping[str, Any]]) -> Json:
    """A slot of several values."""
    return {"shape": "List", "values": [scalar(one) for one in values]}


def constant(text: str) -> Json:
    """A value that nobody said: a default, or one that a path of the bot sets."""
    return {"interpretedValue": text, "originalValue": text, "resolvedValues": [text]}
