"""Control is killed when a turn is on the disk and its answer has not left: the client's repeat is no second turn."""

import sqlite3
from pathlib import Path
from typing import Any

from modelyard.testing.losses import PATIENT
from modelyard.testing.platform import running_platform

NAMES = ("First", "Second", "Third", "Fourth")


def words(text: str) -> dict[str, Any]:
    return {"messageGroups": [{"message": {"plainTextMessage": {"value": text}}}]}


def built(lex: Any) -> str:
    """A bot that asks for four numbers, each of which is an answer to any of its questions."""
    bot = lex.create_bot(
        botName="Counter",
        roleArn="arn:aws:iam::123456789012:role/counter",
        dataPrivacy={"childDirected": False},
        idleSessionTTLInSeconds=300,
    )["botId"]
    draft = {"botId": bot, "botVersion": "DRAFT", "localeId": "en_US"}
    lex.create_bot_locale(**draft, nluIntentConfidenceThreshold=0.4)
    said = [{"utterance": text} for text in ("let us count", "start counting", "count with me")]
    members = {"intentName": "Count", "sampleUtterances": said}
    intent = {**draft, "intentId": lex.create_intent(**draft, **members)["intentId"]}
    slots = [
        lex.create_slot(
            **intent,
            slotName=name,
            slotTypeId="AMAZON.Number",
            valueElicitationSetting={
                "slotConstraint": "Required",
                "promptSpecification": {**words(f"{name}?"), "maxRetries": 1},
            },
        )["slotId"]
        for name in NAMES
    ]
    priorities = [{"priority": number, "slotId": slot} for number, slot in enumerate(slots, 1)]
    lex.update_intent(**intent, **members, slotPriorities=priorities)
    lex.build_bot_locale(**draft)
    lex.get_waiter("bot_locale_built").wait(**draft, WaiterConfig={"Delay": 1, "MaxAttempts": 200})
    return str(bot)


def test_each_turn_happens_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    # Every second turn of each control's life is its last.
    with running_platform(
        home, environment={"MODELYARD_FAILPOINTS": "lex.after-put=2"}
    ) as platform:
        session = {
            "botId": built(platform.client("lexv2-models")),
            "botAliasId": "TSTALIASID",
            "localeId": "en_US",
            "sessionId": "s-1",
        }
        runtime = platform.client("lexv2-runtime", retries=PATIENT)
        for text in ("start counting", "1", "2", "3", "4"):
            answer = runtime.recognize_text(**session, text=text)
        died = (home / "logs" / "control.log").read_text().count("Started server process") - 1
    slots = answer["sessionState"]["intent"]["slots"]
    assert [slots[name]["value"]["interpretedValue"] for name in NAMES] == ["1", "2", "3", "4"]
    assert answer["sessionState"]["intent"]["state"] == "ReadyForFulfillment"
    assert died >= 2
    connection = sqlite3.connect(home / "usage.db")
    (used,) = connection.execute("SELECT quantity, requests FROM used").fetchall()
    connection.close()
    assert used == (5.0, 5)
