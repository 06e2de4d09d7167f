"""One turn of a conversation on its way: the session as it changes, what was said, and the small steps that change it. Pure.

``dialogue`` decides which of the steps are taken.
"""

from typing import Any

import msgspec

from modelyard.base.errors import ValidationError
from modelyard.domain.lex import messages as texts
from modelyard.domain.lex.bot import Bot, elicitation, filled, is_required
from modelyard.domain.lex.code_hooks import HookAnswer, Place
from modelyard.domain.lex.session import (
    CONTEXT_ATTRIBUTES_MAX,
    Action,
    Context,
    Intent,
    Json,
    Session,
    Slots,
    alive,
    constant,
    interpreted,
    with_contexts,
)

STEPS_MAX = 50
"""Of one turn: a bot whose paths lead in a circle is refused instead of followed for ever."""
DONE = ("Fulfilled", "ReadyForFulfillment")


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Of one turn. ``chance``, in [0, 1), chooses between variations of messages."""

    now: float
    chance: float
    place: Place
    request_attributes: dict[str, str] = {}


class Progress:
    """Begins with the session as it was; what it names that the bot no longer has is forgotten."""

    def __init__(self, bot: Bot, session: Session, situation: Situation) -> None:
        known = session.intent if session.intent and bot.has(session.intent.name) else None
        self.bot = bot
        self.situation = situation
        self.intent = known
        self.action = session.action if known else Action()
        self._asked = (known.name, session.action.slot) if known else None
        self.misses = session.misses
        self.contexts = alive(session.contexts, situation.now)
        self.request_attributes = dict(situation.request_attributes)
        self.messages: list[Json] = []
        self._hints = session.hints
        self._attributes = dict(session.attributes)
        self._steps = 0
        self._is_silent = False

    def session(self) -> Session:
        return Session(
            intent=self.intent,
            action=self.action,
            contexts=self.contexts,
            attributes=self._attributes,
            misses=self.misses,
            hints=self._hints,
        )

    @property
    def known(self) -> Intent:
        """The intent, at a point where there is one."""
        assert self.intent is not None, "the conversation is about no intent"
        return self.intent

    def setting(self, name: str) -> Json:
        """Of the intent."""
        return dict(self.bot.intent(self.known.name).get(name) or {})

    def count(self) -> None:
        """Another step. Raises ``ValidationError`` where there are too many."""
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise ValidationError(
                f"The bot's paths lead in a circle: {STEPS_MAX} steps without a question to the user."
            )

    # The intent and its slots.

    def begin(self, name: str, slots: Slots) -> None:
        self.intent = Intent(name=name, slots=self._with_defaults(name, slots))
        self.misses = 0

    def change(self, **changes: Any) -> None:
        self.intent = msgspec.structs.replace(self.known, **changes)

    def fill(self, values: Slots) -> None:
        self.change(slots={**self.known.slots, **values})

    def proposed(self) -> Action:
        """What comes next if nobody has another wish."""
        intent = self.known
        for name, slot in self.bot.slots(intent.name).items():
            if is_required(slot) and not intent.slots.get(name):
                return Action(type="ElicitSlot", slot=name)
        setting = self.setting("intentConfirmationSetting")
        is_asked = setting.get("promptSpecification") and setting.get("active", True) is not False
        if is_asked and intent.confirmation == "None":
            return Action(type="ConfirmIntent")
        return Action(type="Close")

    def _with_defaults(self, intent: str, slots: Slots) -> Slots:
        whole = dict(slots)
        for name, slot in self.bot.slots(intent).items():
            if whole.get(name):
                continue
            given = elicitation(slot).get("defaultValueSpecification") or {}
            values = (
                self._default(one["defaultValue"]) for one in given.get("defaultValueList") or ()
            )
            value = next((one for one in values if one), None)
            if value:
                whole[name] = filled(slot, [constant(value)])
        return whole

    def _default(self, text: str) -> str | None:
        """``#context.attribute`` and ``[session attribute]``, where they are there, or the text itself."""
        if text.startswith("#"):
            context, _, attribute = text[1:].partition(".")
            found = {one.name: one.attributes for one in self.contexts}
            return found.get(context, {}).get(attribute)
        if text.startswith("[") and text.endswith("]"):
            return self._attributes.get(text[1:-1])
        return text

    # Questions, and the end.

    def ask_slot(self, name: str, *, is_said: bool = False, style: str = "") -> None:
        """``is_said``: somebody else has found words for it."""
        slot = self.bot.slots(self.known.name).get(name)
        if slot is None:
            raise ValidationError(f"The bot asks for the slot {name}, which its intent lacks.")
        if self._asked != (self.known.name, name):
            self.misses = 0
        if not is_said:
            self.say(elicitation(slot).get("promptSpecification"), attempt=self.misses)
        denied = self.known.confirmation == "Denied"  # What is asked anew is not declined any more.
        self.change(state="InProgress", confirmation="None" if denied else self.known.confirmation)
        self.action = Action(type="ElicitSlot", slot=name, style=style)

    def ask_confirmation(self, *, is_said: bool = False) -> None:
        if self._asked != (self.known.name, ""):
            self.misses = 0
        if not is_said:
            setting = self.setting("intentConfirmationSetting")
            self.say(setting.get("promptSpecification"), attempt=self.misses)
        self.change(state="InProgress", confirmation="None")
        self.action = Action(type="ConfirmIntent")

    def elicit_intent(self) -> None:
        self.intent = None
        self.misses = 0
        self.action = Action(type="ElicitIntent")

    def end(self) -> None:
        """The intent is over; what it leaves behind are its output contexts, if it was fulfilled or can be."""
        self.action = Action(type="Close")
        self.misses = 0
        intent = self.intent
        if intent is None or intent.state not in DONE:
            return
        values = {name: interpreted(slot) for name, slot in intent.slots.items()}
        said = [(name, value[: texts.CONTENT_MAX]) for name, value in values.items() if value]
        new = [
            Context(
                name=one["name"],
                expires_at=self.situation.now + one["timeToLiveInSeconds"],
                turns=one["turnsToLive"],
                attributes=dict(said[:CONTEXT_ATTRIBUTES_MAX]),
            )
            for one in self.bot.intent(intent.name).get("outputContexts") or ()
        ]
        self.contexts = with_contexts(self.contexts, new)

    # Words.

    def say(self, spec: Json | None, *, attempt: int | None = None) -> None:
        if spec and self._is_silent:
            self._is_silent = False
            return
        self.messages += texts.say(spec, self.lookup, self.situation.chance, attempt=attempt)

    def suppress(self, is_silent: bool) -> None:
        """The next message is not said."""
        self._is_silent = is_silent

    def lookup(self, kind: str, name: str) -> str | None:
        """For messages and conditions (``messages.Lookup``)."""
        if kind == "slot":
            return interpreted(self.intent.slots.get(name)) if self.intent else None
        if kind == "session":
            return self._attributes.get(name)
        if kind == "request":
            return self.request_attributes.get(name)
        return self.situation.place.transcript if name == "inputTranscript" else "Text"

    # What others set.

    def set(self, step: Json) -> None:
        """What a step of the bot sets: attributes, another intent, values of slots."""
        for name, value in (step.get("sessionAttributes") or {}).items():
            self._attributes[name] = texts.fill(value, self.lookup)
        wanted = step.get("intent") or {}
        name = wanted.get("name")
        if name and (self.intent is None or name != self.intent.name):
            if not self.bot.has(name):
                raise ValidationError(f"The bot leads to the intent {name}, which it lacks.")
            self.intent = Intent(name=name, slots=self.bot.empty_slots(name))
            self.misses = 0
        if self.intent is None:
            return
        known = self.bot.slots(self.intent.name)
        for slot, given in (wanted.get("slots") or {}).items():
            if slot in known:
                self.fill({slot: _overridden(known[slot], given)})

    def apply(self, answer: HookAnswer) -> None:
        """What a code hook wants, but for where the conversation goes."""
        state = answer.state
        if state.intent is not None:
            if self.intent is None or state.intent.name != self.intent.name:
                self.misses = 0
            self.intent = state.intent
        self._attributes = self._attributes if state.attributes is None else state.attributes
        self.contexts = self.contexts if state.contexts is None else state.contexts
        self._hints = self._hints if state.hints is None else state.hints
        if answer.request_attributes is not None:
            self.request_attributes = answer.request_attributes


def _overridden(slot: Json, given: Json) -> Json | None:
    """A value that a step of the bot sets; None empties the slot."""
    one = given.get("value")
    values = given.get("values") or ([{"value": one}] if one else [])
    read = [constant(each["value"]["interpretedValue"]) for each in values if each.get("value")]
    return filled(slot, read)
