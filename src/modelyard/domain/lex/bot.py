"""A bot's locale as its conversations look at it: intents and slots by name, over ``definition``. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelyard.domain.lex.builtin import FALLBACK, INTENTS
from modelyard.domain.lex.session import Json, Slots, scalar, several


class Bot:
    """Reads a compiled definition (``domain.lex.definition``)."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self._definition = definition
        self._intents: dict[str, Json] = {one["intentName"]: one for one in definition["intents"]}
        self.fallback: str | None = next(
            (
                name
                for name, one in self._intents.items()
                if one.get("parentIntentSignature") == FALLBACK
            ),
            None,
        )

    @property
    def id(self) -> str:
        return str(self._definition["botId"])

    @property
    def name(self) -> str:
        return str(self._definition.get("botName", ""))

    @property
    def version(self) -> str:
        return str(self._definition["botVersion"])

    @property
    def locale(self) -> str:
        return str(self._definition["localeId"])

    @property
    def threshold(self) -> float:
        """Below this score an interpretation is no answer: the fallback stands before it."""
        return float(self._definition.get("nluIntentConfidenceThreshold", 0.4))

    @property
    def idle_seconds(self) -> float:
        """A session that nobody used for so long is over."""
        return float(self._definition.get("idleSessionTTLInSeconds", 300))

    @property
    def intents(self) -> Collection[str]:
        """Their names."""
        return self._intents.keys()

    def has(self, intent: str) -> bool:
        return intent in self._intents

    def intent(self, name: str) -> Json:
        """The members of an intent."""
        return self._intents[name]

    def slots(self, intent: str) -> dict[str, Json]:
        """Of an intent, by name, in the order in which they are asked for."""
        return {one["slotName"]: one for one in self._intents[intent].get("slots") or ()}

    def empty_slots(self, intent: str) -> Slots:
        return dict.fromkeys(self.slots(intent))

    def is_open(self, intent: str, contexts: Collection[str]) -> bool:
        """Whether all its input contexts are active."""
        needed = self._intents[intent].get("inputContexts") or ()
        return all(one["name"] in contexts for one in needed)

    def says_exactly(self, intent: str, text: str) -> bool:
        """Whether the text is one of the intent's utterances, word for word."""
        members = self._intents[intent]
        own = [one["utterance"] for one in members.get("sampleUtterances") or ()]
        own += INTENTS.get(members.get("parentIntentSignature", ""), ())
        return plain(text) in {plain(one) for one in own}


def plain(text: str) -> str:
    """A text without what does not tell two utterances apart."""
    return " ".join(text.casefold().strip(" .!?").split())


def takes_several(slot: Mapping[str, Any]) -> bool:
    """Whether a slot may have more than one value."""
    return bool((slot.get("multipleValuesSetting") or {}).get("allowMultipleValues"))


def is_required(slot: Mapping[str, Any]) -> bool:
    return bool(elicitation(slot).get("slotConstraint") == "Required")


def elicitation(slot: Mapping[str, Any]) -> Json:
    """``valueElicitationSetting``."""
    return dict(slot.get("valueElicitationSetting") or {})


def filled(slot: Mapping[str, Any], values: Sequence[Json]) -> Json | None:
    """What was understood, as the value of this slot: all of it where it takes several, else the first."""
    if not values:
        return None
    return several(values) if takes_several(slot) else scalar(values[0])
