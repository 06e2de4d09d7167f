"""Bots that are built in real jobs: through a killed control, anew after a change, and not where nothing can be learned."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

ROLE = "arn:aws:iam::123456789012:role/lex-bot"
_ENDED = ("Built", "Failed")


def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 200
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


def words(text: str) -> dict[str, Any]:
    return {"messageGroups": [{"message": {"plainTextMessage": {"value": text}}}]}


class Bot:
    """One locale with what a test puts into it."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.lex = platform.client("lexv2-models")
        self.runtime = platform.client("lexv2-runtime")
        made = self.lex.create_bot(
            botName=name,
            roleArn=ROLE,
            dataPrivacy={"childDirected": False},
            idleSessionTTLInSeconds=300,
        )
        self.place = {"botId": made["botId"], "botVersion": "DRAFT", "localeId": "en_US"}
        self.lex.create_bot_locale(**self.place, nluIntentConfidenceThreshold=0.4)

    def intent(self, name: str, *utterances: str, **more: Any) -> str:
        said = [{"utterance": one} for one in utterances]
        made = self.lex.create_intent(**self.place, intentName=name, sampleUtterances=said, **more)
        return str(made["intentId"])

    def build(self) -> None:
        assert self.lex.build_bot_locale(**self.place)["botLocaleStatus"] == "Building"

    def hear(self, text: str, session: str) -> Any:
        """What the draft answers."""
        return self.runtime.recognize_text(
            botId=self.place["botId"],
            botAliasId="TSTALIASID",
            localeId="en_US",
            sessionId=session,
            text=text,
        )

    def say(self, text: str, session: str) -> Any:
        """The likeliest interpretation."""
        return self.hear(text, session)["interpretations"][0]

    def built(self) -> Any:
        return until(
            lambda: self.lex.describe_bot_locale(**self.place),
            lambda seen: seen["botLocaleStatus"] in _ENDED,
        )


def kill_control(platform: Platform) -> None:
    """Return when another one answers."""

    def pid() -> int:
        return int(json.loads(platform.home.process_table.read_text()).get("control", 0))

    before = pid()
    os.kill(before, signal.SIGKILL)
    until(pid, lambda now: now not in (0, before))
    until(lambda: command("status", home=platform.home.root).returncode, lambda code: code == 0)


def learned(platform: Platform) -> set[str]:
    """Names of all models that bots have learned."""
    return {one.parent.name for one in platform.home.packs.glob("lex-*/model.tar")}


@pytest.fixture
def bot(platform: Platform, request: pytest.FixtureRequest) -> Bot:
    return Bot(platform, request.node.name[:40].replace("[", "-").replace("]", ""))


def test_a_build_ends_though_control_is_killed_and_a_version_keeps_its_model(
    platform: Platform, bot: Bot
) -> None:
    bot.intent("Open", "when do you open", "opening hours")
    where = bot.intent("Where", "where are you", "what is your address")
    before = learned(platform)
    bot.build()
    kill_control(platform)
    assert bot.built()["botLocaleStatus"] == "Built"
    (first,) = learned(platform) - before
    opening = bot.say("when are you open", "s1")
    assert opening["intent"]["name"] == "Open" and opening["nluConfidence"]["score"] > 0.4
    assert bot.say("how do i find you", "s2")["intent"]["name"] == "FallbackIntent"
    version = bot.lex.create_bot_version(
        botId=bot.place["botId"],
        botVersionLocaleSpecification={"en_US": {"sourceBotVersion": "DRAFT"}},
    )
    until(
        lambda: bot.lex.describe_bot_version(
            botId=bot.place["botId"], botVersion=version["botVersion"]
        )["botStatus"],
        lambda status: status == "Available",
    )
    bot.lex.update_intent(
        **bot.place,
        intentId=where,
        intentName="Where",
        sampleUtterances=[{"utterance": "how do I find you"}],
    )
    bot.build()
    assert bot.built()["botLocaleStatus"] == "Built"
    assert len(learned(platform) - before) == 2 and first in learned(platform)
    assert bot.say("how do i find you", "s3")["intent"]["name"] == "Where"


def test_a_build_that_cannot_be_says_why_and_an_intent_may_lead_to_one_without_words(
    bot: Bot,
) -> None:
    bot.intent("Thanks", intentClosingSetting={"closingResponse": words("Thank you.")})
    bot.build()
    seen = bot.built()
    assert seen["botLocaleStatus"] == "Failed"
    assert any("No intent has sample utterances" in one for one in seen["failureReasons"])
    thanks = {"dialogAction": {"type": "StartIntent"}, "intent": {"name": "Thanks"}}
    bot.intent("Open", "when do you open", intentClosingSetting={"nextStep": thanks})
    again = bot.intent("Again", "When do you open?")
    bot.build()
    assert any("says the same as" in one for one in bot.built()["failureReasons"])
    bot.lex.delete_intent(**bot.place, intentId=again)
    bot.build()
    assert bot.built()["botLocaleStatus"] == "Built"
    # Nobody can ask for the intent without utterances; another leads to it.
    assert bot.say("thanks", "s1")["intent"]["name"] == "FallbackIntent"
    answer = bot.hear("when do you open", "s2")
    assert answer["sessionState"]["intent"]["name"] == "Thanks"
    assert [one["content"] for one in answer["messages"]] == ["Thank you."]


def test_a_bot_of_built_in_intents_is_built_of_what_is_said_for_them(bot: Bot) -> None:
    bot.intent("Stop", parentIntentSignature="AMAZON.StopIntent")
    bot.intent("Help", "I am lost", parentIntentSignature="AMAZON.HelpIntent")
    bot.build()
    assert bot.built()["botLocaleStatus"] == "Built"
