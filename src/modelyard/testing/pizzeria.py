"""A bot that has something of everything to learn: intents, slots of custom and of built-in types, codes and names."""

from typing import Any

Json = dict[str, Any]
_UTTERANCES = {
    "Order": (
        "I want a pizza", "I want a {Size} pizza", "order a {Size} {Topping} pizza",
        "can I get {Count} {Size} pizzas with {Topping}", "a {Topping} pizza please",
        "I would like a pizza for {When}", "deliver a {Size} pizza at {Hour}",
    ),
    "Cancel": ("cancel my order", "I want to cancel", "please cancel the order", "stop my order"),
    "Track": ("where is my order", "where is my pizza", "track my order {Code}", "when will my pizza arrive"),
    "Book": (
        "book a table", "book a table for {People}", "reserve a table in {City} on {When}",
        "I need a table for {People} people on {When} at {Hour}", "my name is {Name} and I want to reserve a table",
    ),
}  # fmt: skip
_SLOTS = {
    "Order": {
        "Size": "SIZE", "Topping": "TOPPING", "Count": "AMAZON.Number", "When": "AMAZON.Date", "Hour": "AMAZON.Time",
    },
    "Cancel": {},
    "Track": {"Code": "AMAZON.AlphaNumeric"},
    "Book": {
        "People": "AMAZON.Number", "City": "AMAZON.City", "When": "AMAZON.Date", "Hour": "AMAZON.Time",
        "Name": "AMAZON.FirstName",
    },
}  # fmt: skip
_SIZES = (("small", "little"), ("medium", "normal"), ("large", "big", "extra large"))
_TOPPINGS = (("pepperoni",), ("margherita", "plain"), ("mushroom", "mushrooms"), ("ham and pineapple", "hawaiian"))  # fmt: skip


def definition() -> Json:
    """As ``domain.lex.definition`` makes it, but for the members that nothing is learned of."""
    fallback = {"intentName": "Unclear", "parentIntentSignature": "AMAZON.FallbackIntent"}
    return {
        "botId": "PIZZABOT02",
        "botName": "Pizzeria",
        "botVersion": "DRAFT",
        "localeId": "en_US",
        "nluIntentConfidenceThreshold": 0.4,
        "idleSessionTTLInSeconds": 300,
        "intents": [
            {**fallback, "sampleUtterances": [], "slots": []},
            *(
                {
                    "intentName": name,
                    "sampleUtterances": [{"utterance": one} for one in utterances],
                    "slots": [
                        {"slotName": slot, "slotTypeId": kind}
                        for slot, kind in _SLOTS[name].items()
                    ],
                }
                for name, utterances in _UTTERANCES.items()
            ),
        ],
        "slotTypes": [
            _slot_type("SIZE", _SIZES, "TopResolution"),
            _slot_type("TOPPING", _TOPPINGS, "OriginalValue"),
        ],
    }


def _slot_type(name: str, values: tuple[tuple[str, ...], ...], strategy: str) -> Json:
    return {
        "slotTypeId": name,
        "slotTypeName": name.capitalize(),
        "slotTypeValues": [
            {
                "sampleValue": {"value": first},
                "synonyms": [{"value": one} for one in others],
            }
            for first, *others in values
        ],
        "valueSelectionSetting": {"resolutionStrategy": strategy},
    }
