"""What a function, or a caller, may ask for."""

from typing import Any

import msgspec
import pytest

from modelyard.domain.lex.bot import Bot
from modelyard.domain.lex.code_hooks import ANSWER_BYTES, BadAnswer, read_answer
from modelyard.testing.bots import pizzeria

BOT = Bot(pizzeria())
DELEGATE = {"dialogAction": {"type": "Delegate"}, "intent": {"name": "OrderPizza"}}


def with_state(**members: Any) -> bytes:
    return msgspec.json.encode({"sessionState": {**DELEGATE, **members}})


def with_slots(slots: Any) -> bytes:
    return with_state(intent={"name": "OrderPizza", "slots": slots})


def with_messages(*messages: Any) -> bytes:
    return msgspec.json.encode({"sessionState": DELEGATE, "messages": messages})


CONTEXT = {
    "name": "c",
    "timeToLive": {"timeToLiveInSeconds": 5, "turnsToLive": 1},
    "contextAttributes": {},
}


def test_an_answer_is_read_with_the_slots_that_it_leaves_out_as_empty() -> None:
    answer = read_answer(
        BOT,
        with_slots({"size": {"value": {"interpretedValue": "small"}}, "topping": None}),
        now=0.0,
    )
    assert answer.state.intent is not None
    value = {"originalValue": "small", "interpretedValue": "small", "resolvedValues": ["small"]}
    assert answer.state.intent.slots == {
        "size": {"shape": "Scalar", "value": value},
        "topping": None,
        "note": None,
    }
    assert answer.state.attributes is None, "what is not said stays as it is"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not in Lex V2's form"),
        (b"null", "not in Lex V2's form"),
        (b'"hello"', "not in Lex V2's form"),
        (b"{}", "sessionState"),
        (b"[" * 100_000, "not in Lex V2's form"),
        (b"\xff\xfe", "not in Lex V2's form"),
        (b" " * (ANSWER_BYTES + 1), "more than"),
        (b'{"sessionState": {}}', "no dialogAction"),
        (b'{"sessionState": {"dialogAction": {"type": "None"}}}', "type None"),
        (b'{"sessionState": {"dialogAction": {"type": "Dance"}}}', "Dance"),
        (b'{"sessionState": {"dialogAction": {"type": "Close"}}}', "needs an intent"),
        (with_state(intent={"name": "Nothing"}), "no intent Nothing"),
        (with_state(intent={"name": "OrderPizza", "state": "Happy"}), "Happy"),
        (with_state(dialogAction={"type": "ElicitSlot", "slotToElicit": "colour"}), "colour"),
        (with_state(dialogAction={"type": "ElicitSlot"}), "slotToElicit"),
        (with_state(sessionAttributes={"n": 1}), "Expected `str`"),
        (with_state(sessionAttributes={"n": "x" * 60_000}), "larger than"),
        (with_state(activeContexts=[{"name": "c"}]), "timeToLive"),
        (with_state(activeContexts=[CONTEXT] * 21), "length <= 20"),
        (with_slots({"colour": None}), "no slot colour"),
        (with_slots({"size": {"value": {}}}), "interpretedValue"),
        (with_slots({"size": {"shape": "List", "values": [{"value": {"interpretedValue": "x"}}]}}), "shape Scalar"),
        (with_slots({"size": "large"}), "Expected `object"),
        (with_slots({"topping": {"value": {"interpretedValue": "ham"}}}), "shape List"),
        (with_slots({"size": {"shape": "Composite", "subSlots": {"a": {}}}}), "composite"),
        (with_messages({"contentType": "PlainText"}), "no content"),
        (with_messages({"contentType": "PlainText", "content": "x" * 1025}), "length <= 1024"),
        (with_messages({"contentType": "ImageResponseCard"}), "no imageResponseCard"),
        (with_messages(*[{"contentType": "SSML", "content": "x"}] * 11), "length <= 10"),
    ],
)  # fmt: skip
def test_what_no_function_should_answer_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        read_answer(BOT, body, now=0.0)
