"""The compiled definition of a bot's locale: all that is needed to train what it understands and to lead its conversations.

One JSON object, in the member names of AWS's Describe operations, without times and without what was not given::

    {"botId": "ABCDEFGHIJ", "botName": "Pizzeria", "botVersion": "DRAFT", "localeId": "en_US",
     "idleSessionTTLInSeconds": 300, "nluIntentConfidenceThreshold": 0.4,
     "intents": [
       {"intentId": "…", "intentName": "OrderPizza", "sampleUtterances": [{"utterance": "a {size} pizza please"}],
        "parentIntentSignature"?, "intentDisplayName"?, "description"?, "dialogCodeHook"?, "fulfillmentCodeHook"?,
        "intentConfirmationSetting"?, "intentClosingSetting"?, "initialResponseSetting"?, "inputContexts"?,
        "outputContexts"?, "slotPriorities": [{"priority": 1, "slotId": "…"}],
        "slots": [
          {"slotId": "…", "slotName": "size", "slotTypeId": "a slotTypeId below, or AMAZON.Number",
           "valueElicitationSetting": {"slotConstraint": "Required", "promptSpecification": {…}, …},
           "description"?, "obfuscationSetting"?, "multipleValuesSetting"?}]}],
     "slotTypes": [
       {"slotTypeId": "…", "slotTypeName": "PizzaSize", "slotTypeValues"?: [{"sampleValue": {"value": "small"},
        "synonyms"?: [{"value": "little"}]}], "valueSelectionSetting"?, "parentSlotTypeSignature"?, "description"?}]}

There is always one intent with the ``parentIntentSignature`` AMAZON.FallbackIntent. Intents and slot types stand in the order
of their names, the slots of an intent in that of their priorities (what has none comes last, by name), so that
the same bot is always the same definition.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

_BOT = ("botId", "botName", "idleSessionTTLInSeconds")
_LOCALE = ("localeId", "nluIntentConfidenceThreshold")
_PLACE = ("botId", "botVersion", "localeId", "intentId")
"""Said once, by what stands around."""


def compile_definition(
    *,
    bot: Mapping[str, Any],
    locale: Mapping[str, Any],
    intents: Iterable[Mapping[str, Any]],
    slots: Iterable[Mapping[str, Any]],
    slot_types: Iterable[Mapping[str, Any]],
    bot_version: str = "DRAFT",
) -> Json:
    """Of the members of each as they are described; a slot is known to be of an intent by its ``intentId``."""
    of_intent: dict[str, list[Mapping[str, Any]]] = {}
    for slot in slots:
        of_intent.setdefault(slot["intentId"], []).append(slot)
    return {
        **{name: bot[name] for name in _BOT},
        "botVersion": bot_version,
        **{name: locale[name] for name in _LOCALE},
        "intents": [
            _intent(one, of_intent.get(one["intentId"], ()))
            for one in sorted(intents, key=lambda one: str(one["intentName"]))
        ],
        "slotTypes": [
            _without_place(one)
            for one in sorted(slot_types, key=lambda one: str(one["slotTypeName"]))
        ],
    }


def of_version(definition: Mapping[str, Any], bot_version: str) -> Json:
    """The same, as a version of this number."""
    return {**definition, "botVersion": bot_version}


def _intent(intent: Mapping[str, Any], slots: Iterable[Mapping[str, Any]]) -> Json:
    priorities = sorted(
        intent.get("slotPriorities") or (), key=lambda one: (one["priority"], one["slotId"])
    )
    place = {one["slotId"]: number for number, one in enumerate(priorities)}
    ordered = sorted(
        slots, key=lambda one: (place.get(one["slotId"], len(place)), str(one["slotName"]))
    )
    return {
        "intentId": intent["intentId"],
        **_without_place(intent),
        "sampleUtterances": list(intent.get("sampleUtterances") or ()),
        "slotPriorities": priorities,
        "slots": [_without_place(one) for one in ordered],
    }


def _without_place(described: Mapping[str, Any]) -> Json:
    return {
        name: value for name, value in described.items() if name not in _PLACE and value is not None
    }
