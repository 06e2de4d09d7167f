"""A bot that asks for four numbers, each of which is an answer to any of its questions: so a turn that happens twice is seen."""

from typing import Any

NAMES = ("First", "Second", "Third", "Fourth")
_UTTERANCES = ("let us count", "start counting", "count with me", "count from {First}")


def build(lex: Any) -> str:
    """Its id, when its draft is built; ``lex`` is a client of the models API."""
    bot = lex.create_bot(
        botName="Counter",
        roleArn="arn:aws:iam::123456789012:role/counter",
        dataPrivacy={"childDirected": False},
        idleSessionTTLInSeconds=300,
    )["botId"]
    draft = {"botId": bot, "botVersion": "DRAFT", "localeId": "en_US"}
    lex.create_bot_locale(**draft, nluIntentConfidenceThreshold=0.4)
    said = [{"utterance": text} for text in _UTTERANCES]
    members = {"intentName": "Count", "sampleUtterances": said}
    intent = {**draft, "intentId": lex.create_intent(**draft, **members)["intentId"]}
    slots = [
        lex.create_slot(
            **intent,
            slotName=name,
            slotTypeId="AMAZON.Number",
            valueElicitationSetting={
                "slotConstraint": "Required",
                "promptSpecification": {**_words(f"{name}?"), "maxRetries": 1},
            },
        )["slotId"]
        for name in NAMES
    ]
    priorities = [{"priority": number, "slotId": slot} for number, slot in enumerate(slots, 1)]
    lex.update_intent(**intent, **members, slotPriorities=priorities)
    lex.build_bot_locale(**draft)
    lex.get_waiter("bot_locale_built").wait(**draft, WaiterConfig={"Delay": 1, "MaxAttempts": 200})
    return str(bot)


def numbers(answer: Any) -> list[str | None]:
    """The value of each slot, in the order in which they are asked for; None for those that nobody has told yet."""
    slots = answer["sessionState"]["intent"]["slots"]
    return [slots[name] and slots[name]["value"]["interpretedValue"] for name in NAMES]


def _words(text: str) -> dict[str, Any]:
    return {"messageGroups": [{"message": {"plainTextMessage": {"value": text}}}]}
