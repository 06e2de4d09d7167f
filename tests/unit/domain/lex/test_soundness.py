"""What of a bot's settings no conversation could follow."""

from typing import Any

import pytest

from modelyard.domain.lex.soundness import faults, lost

TEXT = {"plainTextMessage": {"value": "Well?"}}


def _said(*messages: dict[str, Any]) -> dict[str, Any]:
    first, *others = messages
    groups = [{"message": TEXT}, {"message": first, "variations": others}]
    return {"intentClosingSetting": {"closingResponse": {"messageGroups": groups}}}


def _branch(expression: str) -> dict[str, Any]:
    branch = {"name": "b", "condition": {"expressionString": expression}, "nextStep": {}}
    conditional = {"active": True, "conditionalBranches": [branch], "defaultBranch": {}}
    return {"slotCaptureSetting": {"captureConditional": conditional}}


def _next(kind: str, **more: Any) -> dict[str, Any]:
    return {"initialResponseSetting": {"nextStep": {"dialogAction": {"type": kind, **more}}}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (_said({}), "is 0 of them"),
        (_said(TEXT, {**TEXT, "ssmlMessage": {"value": "<speak/>"}}), "is 2 of them"),
        (_branch("{size} ="), "'{size} =' cannot be used"),
        (_branch('fn.LENGTH({size}) > "a"'), "cannot be used"),
        (_next("ElicitSlot"), "slotToElicit"),
        (_next("StartIntent"), "name of an intent"),
    ],
)
def test_what_nobody_could_follow_is_found(settings: dict[str, Any], said: str) -> None:
    (fault,) = faults(settings)

    assert said in fault


@pytest.mark.parametrize(
    "settings",
    [
        {},
        _said(TEXT, TEXT),
        _branch('{size} = "large"'),
        _next("ElicitSlot", slotToElicit="size"),
        _next("EndConversation"),
        {"nextStep": {"sessionAttributes": {"expressionString": "{", "messageGroups": "x"}}},
    ],
)
def test_what_can_be_followed_passes(settings: dict[str, Any]) -> None:
    assert list(faults(settings)) == []


def _bot(step: dict[str, Any]) -> dict[str, Any]:
    setting = {"slotCaptureSetting": {"captureNextStep": step}}
    slot = {"slotName": "size", "valueElicitationSetting": setting}
    return {
        "intents": [
            {"intentName": "Order", "slots": [slot]},
            {"intentName": "Pay", "slots": [{"slotName": "card"}]},
        ]
    }


@pytest.mark.parametrize(
    ("step", "reasons"),
    [
        ({"dialogAction": {"type": "ElicitSlot", "slotToElicit": "size"}}, []),
        ({"dialogAction": {"type": "ElicitSlot", "slotToElicit": "card"}, "intent": {"name": "Pay"}}, []),
        ({"dialogAction": {"type": "EndConversation"}, "intent": {}}, []),
        ({"dialogAction": {"type": "ElicitSlot", "slotToElicit": "card"}},
         ["The intent Order asks for the slot card, which the intent Order does not have."]),
        ({"dialogAction": {"type": "StartIntent"}, "intent": {"name": "Go"}},
         ["The intent Order leads to the intent Go, which does not exist."]),
    ],
)  # fmt: skip
def test_a_step_leads_to_what_the_bot_has(step: dict[str, Any], reasons: list[str]) -> None:
    assert list(lost(_bot(step))) == reasons


def _asked(constraint: str, **setting: Any) -> dict[str, Any]:
    slot = {
        "slotName": "size",
        "valueElicitationSetting": {"slotConstraint": constraint, **setting},
    }
    return {"intents": [{"intentName": "Order", "slots": [slot]}]}


def test_a_required_slot_has_words_to_ask_for_it() -> None:
    prompt = {"messageGroups": [{"message": TEXT}], "maxRetries": 1}
    assert list(lost(_asked("Required"))) == [
        "The slot size of the intent Order is required and has no promptSpecification to ask for it."
    ]
    assert list(lost(_asked("Required", promptSpecification=prompt))) == []
    assert list(lost(_asked("Optional"))) == []
