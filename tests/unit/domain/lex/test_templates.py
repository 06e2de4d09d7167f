"""What nothing can be learned of is said in sentences; what is learned depends on nothing else."""

from typing import Any

import pytest

from modelyard.domain.lex.templates import Part, faults, fingerprint, learned, parts_of
from modelyard.testing.pizzeria import definition

Json = dict[str, Any]


def changed(**intents: Json) -> Json:
    """The pizzeria, with some of its intents' members replaced."""
    pizzeria = definition()
    for one in pizzeria["intents"]:
        one.update(intents.get(one["intentName"], {}))
    return pizzeria


def test_a_template_is_words_and_slots() -> None:
    assert parts_of("  a {Size} pizza,{ Topping }") == (
        Part("a"),
        Part("Size", is_slot=True),
        Part("pizza,"),
        Part("Topping", is_slot=True),
    )


def test_a_good_definition_has_no_faults() -> None:
    assert faults(definition()) == []


def test_an_intent_that_only_others_lead_to_needs_no_utterances() -> None:
    assert faults(changed(Track={"sampleUtterances": []})) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            changed(**{name: {"sampleUtterances": []} for name in ("Track", "Cancel", "Order", "Book")}),
            "No intent has sample utterances",
        ),
        (changed(Track={"sampleUtterances": [{"utterance": "see {Nothing}"}]}), "names the slot Nothing"),
        (changed(Cancel={"sampleUtterances": [{"utterance": "Where is my order"}]}), "says the same"),
        (changed(Cancel={"slots": [{"slotName": "X", "slotTypeId": "AMAZON.Odd"}]}), "AMAZON.Odd, which is not supported"),
        (changed(Cancel={"slots": [{"slotName": "X", "slotTypeId": "NOWHERE"}]}), "NOWHERE, which does not exist"),
        (changed(Track={"parentIntentSignature": "AMAZON.KendraSearchIntent"}), "KendraSearchIntent, which is not supported"),
        (definition() | {"intents": definition()["intents"][:1]}, "no intent but the fallback"),
        (definition() | {"slotTypes": [{"slotTypeId": "SIZE", "slotTypeName": "Size"}]}, "The slot type Size has no values"),
        (
            definition() | {"slotTypes": [{
                "slotTypeId": "SIZE", "slotTypeName": "Size", "parentSlotTypeSignature": "AMAZON.AlphaNumeric",
                "valueSelectionSetting": {"regexFilter": {"pattern": "(a+)+"}}}]},
            "The pattern of the slot type Size",
        ),
    ],
)  # fmt: skip
def test_faults_are_said_so_that_they_can_be_mended(bad: Json, reason: str) -> None:
    assert any(reason in one for one in faults(bad)), faults(bad)


def test_what_is_learned_does_not_depend_on_prompts_or_order() -> None:
    other = definition() | {"botVersion": "7", "botName": "Renamed"}
    other["intents"] = list(reversed(other["intents"]))
    other["intents"][0]["description"] = "another"
    assert learned(other) == learned(definition())
    assert fingerprint(other) == fingerprint(definition())
    assert fingerprint(changed(Track={"slots": []})) != fingerprint(definition())
