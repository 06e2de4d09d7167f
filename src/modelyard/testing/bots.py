"""Small bots as their compiled definitions, and a model that understands them by their words alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.lex.bot import Bot
from modelyard.domain.lex.candidates import questions, read_utterance
from modelyard.domain.lex.code_hooks import HookFailed, HookOutcome, Place, read_answer
from modelyard.domain.lex.dialogue import Talk, Turn, converse, put
from modelyard.domain.lex.progress import Situation
from modelyard.domain.lex.session import Session, alive
from modelyard.domain.lex.states import read_state
from modelyard.domain.lex.understanding import (
    Heard,
    Interpretation,
    SlotValue,
    Understanding,
)

Json = dict[str, Any]


def words(*texts: str) -> Json:
    """A response of one message, which has variations where there are more texts."""
    first, *others = ({"plainTextMessage": {"value": text}} for text in texts)
    return {"messageGroups": [{"message": first, "variations": others}]}


def prompt(*texts: str, retries: int = 1, **members: Any) -> Json:
    return {**words(*texts), "maxRetries": retries, **members}


def slot(
    name: str, kind: str, *, required: bool = True, several: bool = False, **members: Any
) -> Json:
    """``members`` are those of its ``valueElicitationSetting``."""
    setting = {
        "slotConstraint": "Required" if required else "Optional",
        "promptSpecification": prompt(f"Which {name}?", f"What {name} exactly?"),
        **members,
    }
    return {
        "slotId": f"SLOT{name.upper()[:6]:0<6}",
        "slotName": name,
        "slotTypeId": kind,
        "valueElicitationSetting": setting,
        "multipleValuesSetting": {"allowMultipleValues": several},
    }


def intent(name: str, *utterances: str, slots: Sequence[Json] = (), **members: Any) -> Json:
    return {
        "intentId": f"INTENT{name.upper()[:4]:0<4}",
        "intentName": name,
        "sampleUtterances": [{"utterance": one} for one in utterances],
        "slots": list(slots),
        "slotPriorities": [
            {"priority": number, "slotId": one["slotId"]} for number, one in enumerate(slots, 1)
        ],
        **members,
    }


def fallback(**members: Any) -> Json:
    return intent("FallbackIntent", parentIntentSignature="AMAZON.FallbackIntent", **members)


def definition(*intents: Json, **members: Any) -> Json:
    return {
        "botId": "PIZZABOT01",
        "botName": "Pizzeria",
        "botVersion": "DRAFT",
        "localeId": "en_US",
        "idleSessionTTLInSeconds": 300,
        "nluIntentConfidenceThreshold": 0.4,
        "intents": list(intents),
        "slotTypes": [],
        **members,
    }


CONFIRMATION = {
    "promptSpecification": prompt("A {size} pizza with {topping}?"),
    "declinationResponse": words("Then not."),
}
CLOSING = {"closingResponse": words("Enjoy your {size} pizza, [user]!", "Enjoy it!")}


def order(**members: Any) -> Json:
    """An intent with a size (small, large), toppings (cheese, ham), and a note that nobody asks for."""
    given: Json = {
        "slots": [
            slot("size", "SIZE"),
            slot("topping", "TOPPING", several=True),
            slot("note", "NOTE", required=False),
        ],
        "intentConfirmationSetting": CONFIRMATION,
        "intentClosingSetting": CLOSING,
        "outputContexts": [{"name": "ordered", "timeToLiveInSeconds": 60, "turnsToLive": 2}],
    }
    return intent("OrderPizza", "i want a pizza", **{**given, **members})


def opening(**members: Any) -> Json:
    return intent(
        "OpeningHours",
        "when do you open",
        **{"intentClosingSetting": {"closingResponse": words("At ten.")}, **members},
    )


def pizzeria(**members: Any) -> Json:
    """``members`` are those of the intent OrderPizza."""
    unheard = fallback(intentClosingSetting={"closingResponse": words("Pardon?")})
    return definition(unheard, opening(), order(**members))


class KeywordModel:
    """Knows intents and values of slots by words: no more than a test needs to steer a conversation."""

    INTENTS: Mapping[str, str] = {"pizza": "OrderPizza", "open": "OpeningHours"}
    VALUES: Mapping[str, tuple[str, ...]] = {
        "SIZE": ("small", "large"),
        "TOPPING": ("cheese", "ham"),
    }
    SLOTS: Mapping[str, str] = {"size": "SIZE", "topping": "TOPPING"}

    def understand(self, heard: Heard) -> Understanding:
        said = re.findall(r"[a-z]+", heard.text.lower())
        named = [name for word, name in self.INTENTS.items() if word in said]
        slots = {
            name: value
            for name, kind in self.SLOTS.items()
            if (value := self._value(kind, said)) is not None
        }
        yes_no = {("yes",): "Yes", ("no",): "No"}.get(tuple(said))
        elicited = self._value(heard.elicit.slotType, said) if heard.elicit else None
        return Understanding(
            interpretations=tuple(
                Interpretation(
                    intent=name,
                    score=0.9 - number / 10,
                    slots=slots if name == "OrderPizza" else {},
                )
                for number, name in enumerate(named)
            ),
            elicited=elicited if len(said) == 1 else None,
            yesNo=yes_no,  # type: ignore[arg-type]  # one of the two
        )

    def _value(self, kind: str, said: Sequence[str]) -> SlotValue | None:
        for one in self.VALUES.get(kind, ()):
            if one in said:
                return SlotValue(originalValue=one, interpretedValue=one, resolvedValues=(one,))
        return None


Function = Callable[[Json], Json | Exception]
"""A code hook: what it answers to an event, or how it fails."""


class Conversation:
    """One session with a bot, without processes: what is said goes through the model and the dialogue manager."""

    def __init__(self, definition: Json, function: Function | None = None) -> None:
        self.bot = Bot(definition)
        self.session = Session()
        self.now = 1_700_000_000.0
        self.chance = 0.0
        self.events: list[Json] = []
        self._function = function
        self._model = KeywordModel()

    def say(self, text: str, **request_attributes: str) -> Turn:
        asked = questions(self.bot, self.session, text, "2026-11-28")
        answers = [self._model.understand(one) for one in asked]
        contexts = [one.name for one in alive(self.session.contexts, self.now)]
        said = read_utterance(self.bot, contexts, text, answers)
        return self._run(
            converse(self.bot, self.session, self._situation(text, request_attributes), said)
        )

    def put(self, state: Json, *messages: Json) -> Turn:
        read = read_state(self.bot, state, now=self.now)
        return self._run(put(self.bot, self.session, self._situation("", {}), read, list(messages)))

    def _situation(self, text: str, request_attributes: dict[str, str]) -> Situation:
        place = Place(
            session_id="s-1",
            alias_id="TSTALIASID",
            alias_name="TestBotAlias",
            transcript=text,
            request_id="r-1",
        )
        return Situation(
            now=self.now, chance=self.chance, place=place, request_attributes=request_attributes
        )

    def _run(self, talk: Talk) -> Turn:
        try:
            call = next(talk)
            while True:
                call = talk.send(self._outcome(call.event))
        except StopIteration as done:
            turn: Turn = done.value
        self.session = turn.session
        return turn

    def _outcome(self, event: Json) -> HookOutcome:
        self.events.append(event)
        assert self._function is not None, "the bot calls a function, and there is none"
        answer = self._function(event)
        if isinstance(answer, Exception):
            error = ServiceError("DependencyFailedException", str(answer), status=424)
            return HookFailed(error=error, is_timeout=isinstance(answer, TimeoutError))
        return read_answer(self.bot, msgspec.json.encode(answer), now=self.now)


def said(turn: Turn) -> list[str]:
    """The texts of a turn's messages."""
    return [one["content"] for one in turn.messages]
