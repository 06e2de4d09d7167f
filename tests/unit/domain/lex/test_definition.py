"""What a locale's definition holds, and in which order."""

import random
from typing import Any

from modelyard.domain.lex.definition import compile_definition, of_version

BOT = {
    "botId": "BOT0000001",
    "botName": "Pizzeria",
    "idleSessionTTLInSeconds": 300,
    "roleArn": "arn:aws:iam::123456789012:role/lex",
}
LOCALE = {"localeId": "en_US", "nluIntentConfidenceThreshold": 0.4, "description": "American"}
PLACE = {"botId": "BOT0000001", "botVersion": "DRAFT", "localeId": "en_US"}
ORDER = {
    **PLACE,
    "intentId": "INTENT0001",
    "intentName": "OrderPizza",
    "sampleUtterances": [{"utterance": "a {size} pizza"}],
    "slotPriorities": [
        {"priority": 2, "slotId": "SLOT000001"},
        {"priority": 1, "slotId": "SLOT000002"},
    ],
    "description": None,
}
FALLBACK = {
    "intentId": "FALLBCKINT",
    "intentName": "FallbackIntent",
    "parentIntentSignature": "AMAZON.FallbackIntent",
}


def _slot(number: int, name: str) -> dict[str, Any]:
    return {
        **PLACE,
        "intentId": "INTENT0001",
        "slotId": f"SLOT00000{number}",
        "slotName": name,
        "slotTypeId": "AMAZON.Number",
        "valueElicitationSetting": {"slotConstraint": "Required"},
    }


SLOTS = [_slot(3, "zeal"), _slot(1, "size"), _slot(2, "count"), _slot(4, "age")]
SIZES = {**PLACE, "slotTypeId": "TYPE000001", "slotTypeName": "Size"}
CRUSTS = {**PLACE, "slotTypeId": "TYPE000002", "slotTypeName": "Crust"}


def test_a_definition_says_each_thing_once_and_nothing_that_was_not_given() -> None:
    compiled = compile_definition(
        bot=BOT, locale=LOCALE, intents=[ORDER, FALLBACK], slots=SLOTS, slot_types=[SIZES, CRUSTS]
    )

    assert {name: compiled[name] for name in compiled if name not in ("intents", "slotTypes")} == {
        **PLACE,
        "botName": "Pizzeria",
        "idleSessionTTLInSeconds": 300,
        "nluIntentConfidenceThreshold": 0.4,
    }
    fallback, order = compiled["intents"]
    assert fallback == {**FALLBACK, "sampleUtterances": [], "slotPriorities": [], "slots": []}
    assert order.keys() == {
        "intentId",
        "intentName",
        "sampleUtterances",
        "slotPriorities",
        "slots",
    }
    assert order["slots"][0] == {
        name: value for name, value in SLOTS[2].items() if name not in PLACE and name != "intentId"
    }
    assert [one["slotTypeName"] for one in compiled["slotTypes"]] == ["Crust", "Size"]


def test_slots_stand_by_priority_and_then_by_name() -> None:
    compiled = compile_definition(
        bot=BOT, locale=LOCALE, intents=[ORDER], slots=SLOTS, slot_types=[]
    )

    names = [one["slotName"] for one in compiled["intents"][0]["slots"]]

    assert names == ["count", "size", "age", "zeal"]


def test_the_order_of_what_is_given_makes_no_difference() -> None:
    shuffled = random.Random(6)
    definitions = []
    for _ in range(5):
        parts = {
            "intents": [ORDER, FALLBACK],
            "slots": list(SLOTS),
            "slot_types": [SIZES, CRUSTS],
        }
        for part in parts.values():
            shuffled.shuffle(part)
        definitions.append(compile_definition(bot=BOT, locale=LOCALE, **parts))

    assert all(one == definitions[0] for one in definitions)


def test_a_version_is_the_same_definition_with_its_number() -> None:
    draft = compile_definition(bot=BOT, locale=LOCALE, intents=[ORDER], slots=[], slot_types=[])

    assert of_version(draft, "3") == {**draft, "botVersion": "3"}
    assert draft["botVersion"] == "DRAFT"
