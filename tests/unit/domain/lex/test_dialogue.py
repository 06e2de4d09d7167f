"""What a bot says and asks next: each point of Lex V2's dialogue, on a small pizzeria."""

from typing import Any

import pytest

from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.lex.dialogue import Turn
from modelyard.domain.lex.states import applied, read_state
from modelyard.testing.bots import (
    CLOSING,
    CONFIRMATION,
    Conversation,
    definition,
    fallback,
    intent,
    opening,
    order,
    pizzeria,
    prompt,
    said,
    slot,
    words,
)

Json = dict[str, Any]


def state(turn: Turn) -> tuple[str, str, str]:
    """The action, the intent, its state."""
    known = turn.session.intent
    return turn.session.action.type, known.name if known else "", known.state if known else ""


def value(turn: Turn, name: str) -> Any:
    known = turn.session.intent
    assert known is not None
    found = known.slots[name]
    if found is None:
        return None
    if found["shape"] == "List":
        return [one["value"]["interpretedValue"] for one in found["values"]]
    return found["value"]["interpretedValue"]


def branches(condition: str, step: Json, response: Json | None = None) -> Json:
    one = {"name": "one", "condition": {"expressionString": condition}, "nextStep": step}
    if response:
        one["response"] = response
    return {"active": True, "conditionalBranches": [one], "defaultBranch": {}}


def step(kind: str, **members: Any) -> Json:
    action = {"type": kind}
    if "slot" in members:
        action["slotToElicit"] = members.pop("slot")
    return {"dialogAction": action, **members}


def test_an_intent_goes_from_its_first_words_to_its_closing_response() -> None:
    talk = Conversation(pizzeria())
    turn = talk.say("i want a pizza")
    assert (said(turn), state(turn)) == (
        ["Which size?"],
        ("ElicitSlot", "OrderPizza", "InProgress"),
    )
    assert said(talk.say("large")) == ["Which topping?"]
    turn = talk.say("cheese and ham")
    assert (said(turn), state(turn)[0]) == (["A large pizza with cheese,ham?"], "ConfirmIntent")
    assert value(turn, "topping") == ["cheese", "ham"]
    turn = talk.say("yes")
    assert said(turn) == ["Enjoy it!"], "the variation that knows all that it names"
    assert state(turn) == ("Close", "OrderPizza", "ReadyForFulfillment")
    assert turn.session.intent is not None
    assert turn.session.intent.confirmation == "Confirmed"


def test_slots_of_the_first_utterance_are_not_asked_for() -> None:
    turn = Conversation(pizzeria()).say("a large pizza with ham")
    assert said(turn) == ["A large pizza with ham?"]


def test_a_slot_is_asked_for_as_often_as_its_retries_allow_and_then_the_fallback_answers() -> None:
    talk = Conversation(pizzeria())
    talk.say("pizza")
    turn = talk.say("hm")
    assert (said(turn), turn.session.misses) == (["Which size?"], 1)
    turn = talk.say("hm")
    assert said(turn) == ["Pardon?"]
    assert state(turn) == ("Close", "FallbackIntent", "ReadyForFulfillment")


def test_an_answer_in_between_takes_the_misses_back() -> None:
    talk = Conversation(pizzeria())
    for text in ("pizza", "hm", "large", "hm"):
        turn = talk.say(text)
    assert (state(turn)[0], turn.session.misses, value(turn, "size")) == ("ElicitSlot", 1, "large")


def test_messages_in_order_go_through_their_variations_with_the_retries() -> None:
    ordered = prompt("Size?", "The size, please?", retries=2, messageSelectionStrategy="Ordered")
    talk = Conversation(pizzeria(slots=[slot("size", "SIZE", promptSpecification=ordered)]))
    heard = [said(talk.say(text)) for text in ("pizza", "hm", "hm")]
    assert heard == [["Size?"], ["The size, please?"], ["The size, please?"]]


def test_chance_chooses_a_variation() -> None:
    talk = Conversation(pizzeria())
    talk.chance = 0.99
    assert said(talk.say("pizza")) == ["What size exactly?"]


def test_a_no_declines() -> None:
    talk = Conversation(pizzeria())
    talk.say("large pizza with ham")
    turn = talk.say("no")
    assert (said(turn), state(turn)) == (["Then not."], ("Close", "OrderPizza", "Failed"))
    assert turn.session.intent is not None
    assert turn.session.intent.confirmation == "Denied"
    assert turn.session.contexts == (), "nothing was ordered"


def test_a_correction_instead_of_yes_or_no_is_asked_about_again() -> None:
    talk = Conversation(pizzeria())
    talk.say("large pizza with ham")
    turn = talk.say("a small pizza rather")
    assert (said(turn), state(turn)[0]) == (["A small pizza with ham?"], "ConfirmIntent")


def test_neither_yes_nor_no_is_a_miss() -> None:
    talk = Conversation(pizzeria())
    talk.say("large pizza with ham")
    assert said(talk.say("hm")) == ["A large pizza with ham?"]
    assert said(talk.say("hm")) == ["Pardon?"]


def test_another_intent_interrupts_the_question_for_a_slot_and_one_for_yes() -> None:
    talk = Conversation(pizzeria())
    for opening_words in ("pizza", "large pizza with ham"):
        talk.say(opening_words)
        turn = talk.say("when do you open")
        assert (said(turn), state(turn)[1]) == (["At ten."], "OpeningHours")


def test_more_than_was_asked_for_is_kept() -> None:
    talk = Conversation(pizzeria())
    talk.say("pizza")
    turn = talk.say("a large pizza with cheese please")
    assert (value(turn, "size"), value(turn, "topping")) == ("large", ["cheese"])


def test_what_nobody_understands_is_the_fallbacks() -> None:
    turn = Conversation(pizzeria()).say("hm")
    assert (said(turn), state(turn)[1]) == (["Pardon?"], "FallbackIntent")
    (only,) = turn.interpretations
    assert "nluConfidence" not in only


def test_interpretations_begin_with_the_sessions_intent_and_name_the_fallback_at_the_threshold() -> (
    None
):
    turn = Conversation(pizzeria()).say("pizza open")
    shown = [
        (one["intent"]["name"], one.get("nluConfidence", {}).get("score"))
        for one in turn.interpretations
    ]
    assert shown == [("OrderPizza", 0.9), ("OpeningHours", 0.8), ("FallbackIntent", None)]
    strict = {**pizzeria(), "nluIntentConfidenceThreshold": 0.85}
    turn = Conversation(strict).say("pizza open")
    assert [one["intent"]["name"] for one in turn.interpretations] == [
        "OrderPizza",
        "FallbackIntent",
        "OpeningHours",
    ]


def test_optional_slots_are_taken_and_not_asked_for() -> None:
    bot = pizzeria(slots=[slot("size", "SIZE", required=False), slot("topping", "TOPPING")])
    turn = Conversation(bot).say("pizza")
    assert said(turn) == ["Which topping?"]


@pytest.mark.parametrize(
    ("default", "expected"), [("large", "large"), ("[usual]", "small"), ("#diet.size", "tiny")]
)
def test_a_default_comes_from_a_text_an_attribute_or_a_context(default: str, expected: str) -> None:
    given = {"defaultValueList": [{"defaultValue": "#none.x"}, {"defaultValue": default}]}
    bot = pizzeria(slots=[slot("size", "SIZE", defaultValueSpecification=given)])
    talk = Conversation(bot)
    context = {
        "name": "diet",
        "timeToLive": {"timeToLiveInSeconds": 60, "turnsToLive": 5},
        "contextAttributes": {"size": "tiny"},
    }
    talk.put({"sessionAttributes": {"usual": "small"}, "activeContexts": [context]})
    turn = talk.say("pizza")
    assert (state(turn)[0], value(turn, "size")) == ("ConfirmIntent", expected)
    assert value(talk.say("a large pizza"), "size") == "large", "what is said goes before it"


def test_a_context_lives_as_many_turns_as_it_has_and_no_longer_than_its_seconds() -> None:
    reorder = intent("Reorder", "again", inputContexts=[{"name": "ordered"}])
    bot = definition(fallback(), order(intentConfirmationSetting={}), reorder, opening())

    def ordered() -> Conversation:
        talk = Conversation(bot)
        talk._model.INTENTS = {**talk._model.INTENTS, "again": "Reorder"}  # type: ignore[misc]
        (context,) = talk.say("large pizza with ham").session.contexts
        assert (context.name, context.turns) == ("ordered", 2)
        assert context.attributes == {"size": "large", "topping": "ham"}
        return talk

    talk = ordered()
    assert state(talk.say("again"))[1] == "Reorder"
    talk.say("open")
    assert state(talk.say("again"))[1] == "FallbackIntent", "its two turns are over"
    talk = ordered()
    talk.now += 61
    turn = talk.say("again")
    assert (state(turn)[1], turn.session.contexts) == ("FallbackIntent", ())


def test_messages_name_slots_session_attributes_and_request_attributes() -> None:
    closing = {"closingResponse": words("{size} for [user] at ((shop)), {note}[gone]")}
    talk = Conversation(pizzeria(intentClosingSetting=closing, intentConfirmationSetting={}))
    talk.put({"sessionAttributes": {"user": "Ada"}})
    assert said(talk.say("large pizza with ham", shop="No 1")) == ["large for Ada at No 1, "]


def test_an_initial_response_is_said_before_the_first_question() -> None:
    talk = Conversation(pizzeria(initialResponseSetting={"initialResponse": words("Welcome!")}))
    assert said(talk.say("pizza")) == ["Welcome!", "Which size?"]


def test_a_confirmation_that_is_not_active_is_not_asked_for() -> None:
    talk = Conversation(pizzeria(intentConfirmationSetting={**CONFIRMATION, "active": False}))
    assert state(talk.say("large pizza with ham"))[0] == "Close"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({}, "ReadyForFulfillment"),
        ({"enabled": False}, "ReadyForFulfillment"),
        ({"enabled": False, "active": True}, "Fulfilled"),
        (
            {
                "enabled": False,
                "postFulfillmentStatusSpecification": {"successResponse": words("Done.")},
            },
            "Fulfilled",
        ),
    ],
)
def test_without_a_function_an_intent_is_ready_or_by_its_own_settings_fulfilled(
    setting: Json, expected: str
) -> None:
    bot = pizzeria(intentConfirmationSetting={}, fulfillmentCodeHook=setting)
    turn = Conversation(bot).say("large pizza with ham")
    assert state(turn) == ("Close", "OrderPizza", expected)


def test_paths_lead_to_other_slots_other_intents_and_values() -> None:
    away = step("StartIntent", intent={"name": "OpeningHours"})
    capture = {"captureConditional": branches('{size} = "LARGE"', away, words("None left."))}
    bot = pizzeria(slots=[slot("size", "SIZE", slotCaptureSetting=capture)])
    talk = Conversation(bot)
    talk.say("pizza")
    turn = talk.say("large")
    assert (said(turn), state(turn)[1]) == (["None left.", "At ten."], "OpeningHours")
    talk.say("pizza")
    assert state(talk.say("small"))[0] == "ConfirmIntent", "the default branch goes on"


def test_a_step_sets_slots_and_attributes_and_may_keep_silent() -> None:
    ask = step(
        "ElicitSlot",
        slot="topping",
        intent={"slots": {"size": {"value": {"interpretedValue": "small"}}}},
        sessionAttributes={"cook": "Bob"},
    )
    ask["dialogAction"]["suppressNextMessage"] = True
    talk = Conversation(pizzeria(initialResponseSetting={"nextStep": ask}))
    turn = talk.say("pizza")
    assert (said(turn), value(turn, "size"), turn.session.attributes) == (
        [],
        "small",
        {"cook": "Bob"},
    )
    assert turn.session.action.slot == "topping"
    assert said(talk.say("ham")) == ["A small pizza with ham?"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ElicitIntent", ("ElicitIntent", "", "")),
        ("ConfirmIntent", ("ConfirmIntent", "OrderPizza", "InProgress")),
        ("FulfillIntent", ("Close", "OrderPizza", "ReadyForFulfillment")),
        ("CloseIntent", ("Close", "OrderPizza", "InProgress")),
        ("EndConversation", ("Close", "OrderPizza", "InProgress")),
        ("InvokeDialogCodeHook", ("ElicitSlot", "OrderPizza", "InProgress")),
    ],
)
def test_each_kind_of_next_step_leads_where_it_says(
    kind: str, expected: tuple[str, str, str]
) -> None:
    talk = Conversation(pizzeria(initialResponseSetting={"nextStep": step(kind)}))
    assert state(talk.say("pizza")) == expected


def test_a_slot_that_was_never_understood_may_have_a_way_on() -> None:
    failure = {"failureResponse": words("Large it is."), "failureNextStep": step(
        "ConfirmIntent", intent={"slots": {"size": {"value": {"interpretedValue": "large"}}}})}  # fmt: skip
    talk = Conversation(pizzeria(slots=[slot("size", "SIZE", slotCaptureSetting=failure)]))
    for text in ("pizza", "hm"):
        talk.say(text)
    turn = talk.say("hm")
    assert said(turn) == ["Large it is.", "A large pizza with ?"]


def test_paths_in_a_circle_are_refused() -> None:
    round_about = step("StartIntent", intent={"name": "OrderPizza"})
    talk = Conversation(pizzeria(initialResponseSetting={"nextStep": round_about}))
    with pytest.raises(ValidationError, match="circle"):
        talk.say("pizza")
    assert talk.session.intent is None, "the turn has not happened"


def test_a_condition_that_is_not_executed_is_refused() -> None:
    unknown = branches('fn.LENGTH({size}) = "3"', step("ElicitIntent"))
    talk = Conversation(pizzeria(initialResponseSetting={"conditional": unknown}))
    with pytest.raises(ValidationError, match=r"does not execute fn\.LENGTH"):
        talk.say("pizza")


# Code hooks.


def answer(kind: str, event: Json, *messages: str, **changes: Any) -> Json:
    """What a function answers: the event's intent, changed; ``slot`` is the slot to elicit."""
    action = {"type": kind}
    if "slot" in changes:
        action["slotToElicit"] = changes.pop("slot")
    changed = {**event["sessionState"]["intent"], **changes}
    return {
        "sessionState": {"dialogAction": action, "intent": changed},
        "messages": [{"contentType": "PlainText", "content": one} for one in messages],
    }


HOOKED: Json = {"dialogCodeHook": {"enabled": True}, "fulfillmentCodeHook": {"enabled": True}}


def test_a_function_is_called_each_turn_and_for_the_fulfilment() -> None:
    def function(event: Json) -> Json:
        if event["invocationSource"] == "FulfillmentCodeHook":
            return answer("Close", event, "Baked.", state="Fulfilled")
        return answer("Delegate", event)

    talk = Conversation(pizzeria(**HOOKED), function)
    for text in ("pizza", "hm", "large", "ham", "yes"):
        turn = talk.say(text)
    assert (said(turn), state(turn)) == (["Baked."], ("Close", "OrderPizza", "Fulfilled"))
    assert [one["invocationSource"] for one in talk.events] == [
        *["DialogCodeHook"] * 5,
        "FulfillmentCodeHook",
    ]
    proposed = [
        one["proposedNextState"]["dialogAction"].get("slotToElicit") for one in talk.events[:5]
    ]
    assert proposed == ["size", "size", "topping", None, None]
    first = talk.events[0]
    assert first["bot"] == {
        "id": "PIZZABOT01", "name": "Pizzeria", "localeId": "en_US", "version": "DRAFT",
        "aliasId": "TSTALIASID", "aliasName": "TestBotAlias",
    }  # fmt: skip
    assert (first["messageVersion"], first["inputMode"]) == ("1.0", "Text")
    assert (first["inputTranscript"], first["sessionId"]) == ("pizza", "s-1")
    assert first["sessionState"]["intent"]["slots"] == {"size": None, "topping": None, "note": None}
    assert first["interpretations"][0]["nluConfidence"] == 0.9


def test_a_function_may_refuse_a_value_and_ask_again() -> None:
    def function(event: Json) -> Json:
        slots = event["sessionState"]["intent"]["slots"]
        if slots["size"] and slots["size"]["value"]["interpretedValue"] == "small":
            return answer(
                "ElicitSlot", event, "No small ones.", slot="size", slots={**slots, "size": None}
            )
        return answer("Delegate", event)

    talk = Conversation(pizzeria(dialogCodeHook={"enabled": True}), function)
    turn = talk.say("a small pizza with ham")
    assert (said(turn), value(turn, "size"), value(turn, "topping")) == (
        ["No small ones."],
        None,
        ["ham"],
    )
    assert said(talk.say("large")) == ["A large pizza with ham?"]


def test_a_function_asks_with_the_bots_own_words_where_it_has_none() -> None:
    def function(event: Json) -> Json:
        return answer("ElicitSlot", event, slot="note")

    turn = Conversation(pizzeria(dialogCodeHook={"enabled": True}), function).say("pizza")
    assert (said(turn), turn.session.action.slot) == (["Which note?"], "note")


def test_a_function_sets_attributes_contexts_and_another_intent() -> None:
    def function(event: Json) -> Json:
        context = {
            "name": "vip",
            "timeToLive": {"timeToLiveInSeconds": 60, "turnsToLive": 1},
            "contextAttributes": {},
        }
        return {
            "sessionState": {
                "dialogAction": {"type": "ConfirmIntent"},
                "intent": {"name": "OrderPizza", "slots": {}},
                "sessionAttributes": {"user": "Ada"},
                "activeContexts": [context],
            },
            "messages": [{"contentType": "PlainText", "content": "A pizza instead?"}],
            "requestAttributes": {"mood": "good"},
        }

    bot = definition(fallback(), opening(dialogCodeHook={"enabled": True}), order())
    turn = Conversation(bot, function).say("open")
    assert (said(turn), state(turn)[:2]) == (["A pizza instead?"], ("ConfirmIntent", "OrderPizza"))
    assert turn.session.attributes == {"user": "Ada"}
    assert [(one.name, one.turns) for one in turn.session.contexts] == [("vip", 1)]
    assert turn.request_attributes == {"mood": "good"}


def test_a_denial_is_shown_to_the_function_which_may_take_it_back() -> None:
    def function(event: Json) -> Json:
        if event["sessionState"]["intent"]["confirmationState"] == "Denied":
            return answer("ElicitSlot", event, "Which one then?", slot="size")
        return answer("Delegate", event)

    talk = Conversation(pizzeria(dialogCodeHook={"enabled": True}), function)
    talk.say("large pizza with ham")
    assert said(talk.say("no")) == ["Which one then?"]
    assert said(talk.say("small")) == ["A small pizza with ham?"]
    assert state(talk.say("yes"))[2] == "ReadyForFulfillment"


def test_points_with_hooks_of_their_own_call_only_there_and_go_where_they_say() -> None:
    hook = {
        "enableCodeHookInvocation": True,
        "active": True,
        "invocationLabel": "size-known",
        "postCodeHookSpecification": {
            "successResponse": words("Checked."),
            "failureResponse": words("The shop is closed."),
            "failureNextStep": step("EndConversation"),
        },
    }
    fine = True

    def function(event: Json) -> Json | Exception:
        return answer("Delegate", event) if fine else RuntimeError("boom")

    bot = pizzeria(
        dialogCodeHook={"enabled": True},
        slots=[slot("size", "SIZE", slotCaptureSetting={"codeHook": hook})],
    )
    talk = Conversation(bot, function)
    talk.say("pizza")
    assert talk.events == []
    assert said(talk.say("large")) == ["Checked.", "A large pizza with ?"]
    assert [one["invocationLabel"] for one in talk.events] == ["size-known"]
    fine = False
    for text in ("open", "pizza"):
        talk.say(text)
    turn = talk.say("large")
    assert (said(turn), state(turn)) == (["The shop is closed."], ("Close", "OrderPizza", "Failed"))


@pytest.mark.parametrize(
    ("failure", "member"), [(RuntimeError("boom"), "failure"), (TimeoutError("slow"), "timeout")]
)
def test_a_failed_fulfilment_goes_the_bots_way_or_is_the_callers_error(
    failure: Exception, member: str
) -> None:
    post = {f"{member}Response": words("Sorry.")}
    ready = {"enabled": True, "postFulfillmentStatusSpecification": post}
    talk = Conversation(
        pizzeria(intentConfirmationSetting={}, fulfillmentCodeHook=ready), lambda _: failure
    )
    turn = talk.say("large pizza with ham")
    assert (said(turn), state(turn)) == (["Sorry."], ("Close", "OrderPizza", "Failed"))
    bare = pizzeria(intentConfirmationSetting={}, fulfillmentCodeHook={"enabled": True})
    with pytest.raises(ServiceError, match=str(failure)) as caught:
        Conversation(bare, lambda _: failure).say("large pizza with ham")
    assert (caught.value.code, caught.value.status) == ("DependencyFailedException", 424)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("Delegate", {}, (["Done.", "Enjoy it!"], "Fulfilled")),
        ("Close", {"state": "Fulfilled"}, (["Done.", "Enjoy it!"], "Fulfilled")),
        ("Close", {"state": "Failed"}, (["Sorry."], "Failed")),
    ],
)
def test_without_words_of_the_function_the_bots_own_are_said(
    kind: str, changes: Json, expected: tuple[list[str], str]
) -> None:
    post = {"successResponse": words("Done."), "failureResponse": words("Sorry.")}
    bot = pizzeria(
        intentConfirmationSetting={},
        intentClosingSetting=CLOSING,
        fulfillmentCodeHook={"enabled": True, "postFulfillmentStatusSpecification": post},
    )
    talk = Conversation(bot, lambda event: answer(kind, event, **changes))
    turn = talk.say("large pizza with ham")
    assert (said(turn), state(turn)[2]) == expected


def test_a_fulfilment_that_empties_a_slot_has_it_asked_for_again() -> None:
    def function(event: Json) -> Json:
        slots = {**event["sessionState"]["intent"]["slots"], "topping": None}
        return answer("Delegate", event, "Out of ham.", slots=slots)

    bot = pizzeria(intentConfirmationSetting={}, fulfillmentCodeHook={"enabled": True})
    turn = Conversation(bot, function).say("large pizza with ham")
    assert said(turn) == ["Out of ham.", "Which topping?"]
    assert state(turn) == ("ElicitSlot", "OrderPizza", "InProgress")
    assert value(turn, "size") == "large"


# A state that somebody sets.


def test_a_state_that_is_put_has_its_question_asked() -> None:
    talk = Conversation(pizzeria())
    wanted = {"name": "OrderPizza", "slots": {"size": {"value": {"interpretedValue": "large"}}}}
    turn = talk.put(
        {"dialogAction": {"type": "ElicitSlot", "slotToElicit": "topping"}, "intent": wanted}
    )
    assert (said(turn), value(turn, "size")) == (["Which topping?"], "large")
    assert said(talk.say("ham")) == ["A large pizza with ham?"]


def test_a_state_that_is_delegated_goes_its_course() -> None:
    turn = Conversation(pizzeria()).put(
        {"dialogAction": {"type": "Delegate"}, "intent": {"name": "OrderPizza"}}
    )
    assert said(turn) == ["Which size?"]


def test_a_state_that_is_sent_back_as_it_was_told_does_not_take_the_misses_back() -> None:
    talk = Conversation(pizzeria())
    talk.say("pizza")
    turn = talk.say("hm")
    told = turn.session.shown(now=talk.now, request_id="r-1")
    talk.session = applied(turn.session, read_state(talk.bot, told, now=talk.now))
    assert said(talk.say("hm")) == ["Pardon?"]


def test_messages_that_are_put_stand_for_the_question() -> None:
    message = {"contentType": "PlainText", "content": "Really?"}
    turn = Conversation(pizzeria()).put(
        {"dialogAction": {"type": "ConfirmIntent"}, "intent": {"name": "OrderPizza"}}, message
    )
    assert turn.messages == [message]


def test_an_intent_that_the_bot_no_longer_has_is_forgotten() -> None:
    talk = Conversation(pizzeria())
    talk.say("pizza")
    talk.bot = Conversation(definition(fallback(), opening())).bot
    assert state(talk.say("open"))[1] == "OpeningHours"
