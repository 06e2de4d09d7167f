"""A Lex conversation whatever anybody does: users, callers that set its state, functions that answer anything, time that passes.

Every turn ends in a state that AWS's model allows and that can go on; what was said for a slot stays until somebody says
otherwise; nobody is asked the same question for ever.
"""

from typing import Any

import botocore.session
from botocore.validate import ParamValidator
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.base.errors import ServiceError
from modelyard.domain.lex.code_hooks import BadAnswer
from modelyard.domain.lex.session import Session
from modelyard.domain.lex.states import BadState
from modelyard.testing.bots import (
    Conversation,
    definition,
    fallback,
    opening,
    order,
    prompt,
    slot,
    words,
)

Json = dict[str, Any]
MODEL = botocore.session.get_session().get_service_model("lexv2-runtime")
ANSWER = MODEL.shape_for("RecognizeTextResponse")
RETRIES = 2
WORDS = st.sampled_from(
    ["pizza", "a large pizza", "open", "small", "large", "ham", "cheese and ham", "yes", "no", "hm", "pizza open", " "]
)  # fmt: skip
VALUE = st.builds(
    lambda text: {"shape": "Scalar", "value": {"interpretedValue": text}},
    st.sampled_from(["small", "x"]),
)
SLOTS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.none() | VALUE,
        "topping": st.none() | st.builds(lambda one: {"shape": "List", "values": [one]}, VALUE),
        "colour": VALUE,
    },
)
INTENTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["OrderPizza", "OpeningHours", "FallbackIntent", "Nothing"])},
    optional={
        "slots": SLOTS,
        "state": st.sampled_from(["Failed", "Fulfilled", "InProgress", "ReadyForFulfillment", "Waiting"]),
        "confirmationState": st.sampled_from(["Confirmed", "Denied", "None"]),
    },
)  # fmt: skip
ACTIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["Close", "ConfirmIntent", "Delegate", "ElicitIntent", "ElicitSlot", "None"])},
    optional={"slotToElicit": st.sampled_from(["size", "topping", "note", "colour"])},
)  # fmt: skip
STATES = st.fixed_dictionaries(
    {"dialogAction": ACTIONS},
    optional={
        "intent": INTENTS,
        "sessionAttributes": st.dictionaries(st.sampled_from(["user", "x"]), st.text(max_size=5)),
    },
)
MESSAGES = st.lists(
    st.just({"contentType": "PlainText", "content": "Says the function."}), max_size=2
)
HOOK_ANSWERS = st.fixed_dictionaries({"sessionState": STATES, "messages": MESSAGES})
OUTCOMES = st.one_of(
    st.just("delegate"),
    st.just("delegate"),
    HOOK_ANSWERS,
    st.sampled_from([RuntimeError("boom"), TimeoutError("slow")]),
)
NEXT_STEPS = st.none() | st.sampled_from(
    ["ElicitIntent", "ConfirmIntent", "FulfillIntent", "CloseIntent", "EndConversation", "InvokeDialogCodeHook",
     "StartIntent"]
)  # fmt: skip


def path(name: str, kind: str | None) -> Json:
    return {f"{name}NextStep": {"dialogAction": {"type": kind}}} if kind else {}


@st.composite
def bots(draw: st.DrawFn) -> Json:
    """Some with functions, some with paths of their own."""
    capture = path("capture", draw(NEXT_STEPS)) | path("failure", draw(NEXT_STEPS))
    size = slot(
        "size",
        "SIZE",
        promptSpecification=prompt("Size?", retries=RETRIES),
        slotCaptureSetting=capture,
    )
    confirmation = {"promptSpecification": prompt("{size}?", retries=RETRIES)}
    confirmation |= path("confirmation", draw(NEXT_STEPS)) | path("declination", draw(NEXT_STEPS))
    hooked = {"enabled": draw(st.booleans())}
    post = {"failureResponse": words("Sorry.")} if draw(st.booleans()) else {}
    ordering = order(
        slots=[size, slot("topping", "TOPPING", several=True), slot("note", "NOTE", required=False)],
        intentConfirmationSetting=draw(st.sampled_from([{}, confirmation])),
        dialogCodeHook=hooked,
        fulfillmentCodeHook={"enabled": draw(st.booleans()), "postFulfillmentStatusSpecification": post},
    )  # fmt: skip
    return definition(fallback(dialogCodeHook=hooked), opening(), ordering)


class DialogueMachine(RuleBasedStateMachine):
    @initialize(bot=bots(), outcomes=st.lists(OUTCOMES, min_size=1, max_size=4))
    def begin(self, bot: Json, outcomes: list[Any]) -> None:
        self.outcomes = outcomes
        self.calls = 0
        self.talk = Conversation(bot, self.function)
        self.again = 0

    def function(self, event: Json) -> Json | Exception:
        self.calls += 1
        outcome = self.outcomes[self.calls % len(self.outcomes)]
        if outcome == "delegate":
            intent = event["sessionState"]["intent"]
            return {"sessionState": {"dialogAction": {"type": "Delegate"}, "intent": intent}}
        assert isinstance(outcome, dict | Exception)
        return outcome

    def attempt(self, act: Any) -> None:
        """A turn, or a refusal that has changed nothing."""
        before = self.talk.session
        try:
            turn = act()
            shown = {
                "messages": turn.messages,
                "interpretations": turn.interpretations,
                "sessionState": turn.session.shown(now=self.talk.now, request_id="r-1"),
            }
            faults = ParamValidator().validate(without_empty(shown), ANSWER)
            assert not faults.has_errors(), faults.generate_report()
        except (ServiceError, BadAnswer, BadState):
            assert self.talk.session == before

    def check_slots(self, before: Session) -> None:
        """What was said for a slot of an intent is there as long as the intent goes on."""
        after = self.talk.session
        intents = (before.intent, after.intent)
        asked = before.action.type in ("ElicitSlot", "ConfirmIntent")
        if asked and intents[0] and intents[1] and intents[0].name == intents[1].name:
            kept = {name for name, one in intents[0].slots.items() if one}
            assert all(intents[1].slots[name] for name in kept), "a slot was lost"

    @rule(text=WORDS)
    def say(self, text: str) -> None:
        before, calls = self.talk.session, self.calls
        self.attempt(lambda: self.talk.say(text))
        if self.calls == calls:
            self.check_slots(before)
        after = self.talk.session
        is_same = before.action == after.action and after.misses > before.misses
        self.again = self.again + 1 if is_same else 0
        assert self.again <= RETRIES, "asked more often than the prompt allows"

    @rule()
    def go_on(self) -> None:
        """A user who says what is asked for."""
        action = self.talk.session.action
        fitting = {"size": "large", "topping": "cheese and ham"}
        yes = "yes" if action.type == "ConfirmIntent" else "pizza"
        self.say(fitting.get(action.slot, yes))

    @rule(state=STATES, messages=MESSAGES)
    def put(self, state: Json, messages: list[Json]) -> None:
        self.attempt(lambda: self.talk.put(state, *messages))
        self.again = 0

    @rule(seconds=st.sampled_from([1, 100]), chance=st.floats(0, 0.999))
    def time_passes(self, seconds: int, chance: float) -> None:
        self.talk.now += seconds
        self.talk.chance = chance

    @invariant()
    def the_state_is_legal(self) -> None:
        if not hasattr(self, "talk"):
            return
        session = self.talk.session
        if session.action.type in ("ElicitSlot", "ConfirmIntent"):
            assert session.intent is not None
            assert session.intent.state == "InProgress"
        if session.action.type == "ElicitSlot":
            assert session.action.slot in self.talk.bot.slots(session.intent.name)  # type: ignore[union-attr]
        if session.intent is not None:
            assert session.intent.slots.keys() == self.talk.bot.slots(session.intent.name).keys()
        assert all(one.turns > 0 for one in session.contexts)
        assert session.misses <= RETRIES


def without_empty(value: Any) -> Any:
    """Without slots that are not filled, which botocore does not let a caller send."""
    if isinstance(value, dict):
        return {name: without_empty(one) for name, one in value.items() if one is not None}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


DialogueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestDialogue = DialogueMachine.TestCase
