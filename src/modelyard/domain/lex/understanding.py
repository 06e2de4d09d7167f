"""What is asked of a built bot, and what it says: the one contract between the dialogue and the bot's model.

A question is an item of the task ``understand`` (``ai.questions``)::

    {"text": "a large one for tomorrow", "elicit": {"slot": "Size", "slotType": "ABCDEFGHIJ"} | None, "today": "2026-11-28"}

``elicit`` names the slot that the user was just asked for, and its type: the id of a custom type, or ``AMAZON.…``. ``today``
is the caller's date, by which "tomorrow" is read; the model has no clock. The answer, a finding's result::

    {"interpretations": [{"intent": "OrderPizza", "score": 0.93,
                          "slots": {"Size": {"originalValue": "large", "interpretedValue": "large", …}}}],
     "elicited": None | {"originalValue": …, "interpretedValue": …, "resolvedValues": […]},
     "yesNo": None | "Yes" | "No"}

- ``interpretations``: at most five, the likeliest first; the fallback intent is never among them. ``score`` is the chance that
  the intent is the right one; what is foreign to the bot scores low for every intent, so that whoever compares with the
  bot's threshold falls back. ``slots`` has only those that were found.
- ``elicited``: how the whole text reads as an answer to the question for that slot; None where it is none.
- ``interpretedValue`` is None for a time such as "at five", of which ``resolvedValues`` has both readings; and nothing else.
- ``yesNo``: how the text reads as an answer to a question of yes or no.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

TASK = "understand"
INTERPRETATIONS_MAX = 5
TEXT_CHARACTERS = 1_024


class SlotValue(msgspec.Struct, frozen=True, kw_only=True):
    """A slot's value as the runtime shows it."""

    originalValue: str
    interpretedValue: str | None
    resolvedValues: tuple[str, ...] = ()


class Interpretation(msgspec.Struct, frozen=True, kw_only=True):
    """One intent that the text may stand for."""

    intent: str
    score: float
    slots: dict[str, SlotValue] = {}


class Understanding(msgspec.Struct, frozen=True, kw_only=True):
    """All that was understood."""

    interpretations: tuple[Interpretation, ...] = ()
    elicited: SlotValue | None = None
    yesNo: Literal["Yes", "No"] | None = None


class Elicit(msgspec.Struct, frozen=True, kw_only=True):
    """The slot that was asked for."""

    slot: str
    slotType: str


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A question."""

    text: str
    today: str
    elicit: Elicit | None = None


def item_of(heard: Heard) -> dict[str, Any]:
    """As it travels."""
    item: dict[str, Any] = msgspec.to_builtins(heard)
    return item


def heard_of(item: Mapping[str, Any]) -> Heard:
    """Raises ``msgspec.ValidationError`` for what is no question."""
    return msgspec.convert(item, Heard)


def understanding_of(result: Mapping[str, Any]) -> Understanding:
    """Of a finding's result. Raises ``msgspec.ValidationError``."""
    return msgspec.convert(result, Understanding)
