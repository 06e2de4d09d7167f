"""A bot that takes orders for pizza, made with boto3 alone, and everything that is said of it."""

import io
import json
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/lex-pizza"
BOT = {
    "roleArn": ROLE,
    "dataPrivacy": {"childDirected": False},
    "idleSessionTTLInSeconds": 300,
}


def _prompt(text: str) -> dict[str, Any]:
    return {
        "messageGroups": [{"message": {"plainTextMessage": {"value": text}}}],
        "maxRetries": 2,
        "allowInterrupt": True,
    }


def _said(*texts: str) -> list[dict[str, str]]:
    return [{"utterance": one} for one in texts]


class Pizzeria:
    """A bot with one locale, an intent, two slots and a slot type."""

    def __init__(self, lex: Any, name: str) -> None:
        self.lex = lex
        self.bot_id = lex.create_bot(botName=name, **BOT)["botId"]
        self.place = {"botId": self.bot_id, "botVersion": "DRAFT", "localeId": "en_US"}
        lex.create_bot_locale(**self.place, nluIntentConfidenceThreshold=0.4)
        self.type_id = lex.create_slot_type(
            **self.place,
            slotTypeName="Size",
            slotTypeValues=[
                {"sampleValue": {"value": "small"}, "synonyms": [{"value": "little"}]},
                {"sampleValue": {"value": "large"}},
            ],
            valueSelectionSetting={"resolutionStrategy": "TopResolution"},
        )["slotTypeId"]
        self.intent = {
            "intentName": "OrderPizza",
            "sampleUtterances": _said("I want a pizza", "a {size} pizza", "{count} {size} pizzas"),
            "intentConfirmationSetting": {
                "promptSpecification": _prompt("{count} {size}, right?"),
                "declinationResponse": {"messageGroups": _prompt("No.")["messageGroups"]},
            },
            "intentClosingSetting": {
                "closingResponse": {"messageGroups": _prompt("Enjoy!")["messageGroups"]},
                "active": True,
            },
        }
        self.intent_id = lex.create_intent(**self.place, **self.intent)["intentId"]
        self.of_intent = {**self.place, "intentId": self.intent_id}
        self.slots = {
            name: lex.create_slot(
                **self.of_intent,
                slotName=name,
                slotTypeId=type_id,
                valueElicitationSetting={
                    "slotConstraint": "Required",
                    "promptSpecification": _prompt(f"Which {name}?"),
                },
            )["slotId"]
            for name, type_id in (("count", "AMAZON.Number"), ("size", self.type_id))
        }
        priorities = [
            {"priority": number, "slotId": self.slots[name]}
            for number, name in enumerate(("size", "count"), 1)
        ]
        lex.update_intent(**self.of_intent, **self.intent, slotPriorities=priorities)


@pytest.fixture(scope="module")
def lex(platform: Platform) -> Any:
    return platform.client("lexv2-models")


@pytest.fixture(scope="module")
def pizzeria(lex: Any) -> Iterator[Pizzeria]:
    made = Pizzeria(lex, "RomanPizza")
    yield made
    lex.delete_bot(botId=made.bot_id, skipResourceInUseCheck=True)


def test_a_bot_is_described_as_it_was_made(pizzeria: Pizzeria) -> None:
    lex, place = pizzeria.lex, pizzeria.place

    bot = lex.describe_bot(botId=pizzeria.bot_id)
    assert (bot["botStatus"], bot["botName"], bot["botType"]) == ("Available", "RomanPizza", "Bot")
    locale = lex.describe_bot_locale(**place)
    assert (locale["botLocaleStatus"], locale["localeName"]) == ("NotBuilt", "English (US)")
    assert (locale["intentsCount"], locale["slotTypesCount"]) == (2, 1)
    intent = lex.describe_intent(**pizzeria.of_intent)
    assert {name: intent[name] for name in pizzeria.intent} == pizzeria.intent
    assert [one["slotId"] for one in intent["slotPriorities"]] == [
        pizzeria.slots["size"],
        pizzeria.slots["count"],
    ]
    slot = lex.describe_slot(**pizzeria.of_intent, slotId=pizzeria.slots["count"])
    assert (slot["slotTypeId"], slot["intentId"]) == ("AMAZON.Number", pizzeria.intent_id)
    described = lex.describe_slot_type(**place, slotTypeId=pizzeria.type_id)
    assert described["slotTypeValues"][0]["synonyms"] == [{"value": "little"}]
    fallback = lex.describe_intent(**place, intentId="FALLBCKINT")
    assert fallback["parentIntentSignature"] == "AMAZON.FallbackIntent"
    alias = lex.describe_bot_alias(botId=pizzeria.bot_id, botAliasId="TSTALIASID")
    assert (alias["botAliasName"], alias["botVersion"]) == ("TestBotAlias", "DRAFT")


def test_lists_are_filtered_sorted_and_paged(pizzeria: Pizzeria) -> None:
    lex, place = pizzeria.lex, pizzeria.place

    names = [one["intentName"] for one in lex.list_intents(**place)["intentSummaries"]]
    assert names == ["FallbackIntent", "OrderPizza"]
    backwards = {"attribute": "IntentName", "order": "Descending"}
    first = lex.list_intents(**place, sortBy=backwards, maxResults=1)
    assert [one["intentName"] for one in first["intentSummaries"]] == ["OrderPizza"]
    second = lex.list_intents(**place, sortBy=backwards, maxResults=1, nextToken=first["nextToken"])
    assert [one["intentName"] for one in second["intentSummaries"]] == ["FallbackIntent"]
    assert "nextToken" not in second
    with pytest.raises(lex.exceptions.ValidationException, match="token"):
        lex.list_slot_types(**place, nextToken=first["nextToken"])
    contains = [{"name": "IntentName", "values": ["pizza"], "operator": "CO"}]
    assert len(lex.list_intents(**place, filters=contains)["intentSummaries"]) == 1
    equals = [{"name": "BotName", "values": ["RomanPizza"], "operator": "EQ"}]
    (found,) = lex.list_bots(filters=equals)["botSummaries"]
    assert found["botId"] == pizzeria.bot_id
    slots = lex.list_slots(**pizzeria.of_intent)["slotSummaries"]
    assert [one["slotName"] for one in slots] == ["count", "size"]
    (locale,) = lex.list_bot_locales(botId=pizzeria.bot_id, botVersion="DRAFT")[
        "botLocaleSummaries"
    ]
    assert locale["localeId"] == "en_US"
    types = lex.list_built_in_slot_types(localeId="en_GB")["builtInSlotTypeSummaries"]
    assert "AMAZON.Date" in [one["slotTypeSignature"] for one in types]
    intents = lex.list_built_in_intents(localeId="en_GB")["builtInIntentSummaries"]
    assert "AMAZON.FallbackIntent" in [one["intentSignature"] for one in intents]


def test_tags_are_kept_with_bots_and_aliases(pizzeria: Pizzeria) -> None:
    lex = pizzeria.lex
    arn = f"arn:aws:lex:us-east-1:123456789012:bot/{pizzeria.bot_id}"
    for one in (arn, f"{arn.replace(':bot/', ':bot-alias/')}/TSTALIASID"):
        lex.tag_resource(resourceARN=one, tags={"team": "food", "stage": "test"})
        lex.untag_resource(resourceARN=one, tagKeys=["stage"])
        assert lex.list_tags_for_resource(resourceARN=one)["tags"] == {"team": "food"}
    with pytest.raises(lex.exceptions.ResourceNotFoundException):
        lex.list_tags_for_resource(resourceARN=arn[:-10] + "NOSUCHBOT1")


def _built(pizzeria: Pizzeria) -> dict[str, Any]:
    """The locale, once its build is over."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        about: dict[str, Any] = pizzeria.lex.describe_bot_locale(**pizzeria.place)
        if about["botLocaleStatus"] != "Building":
            return about
        time.sleep(0.2)
    raise AssertionError("The build did not end.")


def test_a_bot_is_built_frozen_changed_and_built_anew(pizzeria: Pizzeria) -> None:
    lex, place, bot = pizzeria.lex, pizzeria.place, {"botId": pizzeria.bot_id}
    assert lex.build_bot_locale(**place)["botLocaleStatus"] == "Building"
    about = _built(pizzeria)
    assert about["botLocaleStatus"] == "Built", about
    assert "failureReasons" not in about
    made = lex.create_bot_version(
        **bot, botVersionLocaleSpecification={"en_US": {"sourceBotVersion": "DRAFT"}}
    )
    number = made["botVersion"]
    alias = lex.create_bot_alias(
        **bot,
        botAliasName="live",
        botVersion=number,
        botAliasLocaleSettings={"en_US": {"enabled": True}},
    )["botAliasId"]
    frozen = {**place, "botVersion": number}
    before = lex.describe_intent(**{**pizzeria.of_intent, **frozen})
    priorities = lex.describe_intent(**pizzeria.of_intent)["slotPriorities"]

    changed = {**pizzeria.intent, "sampleUtterances": _said("feed me {toppings}")}
    lex.update_intent(**pizzeria.of_intent, **changed, slotPriorities=priorities)

    assert lex.describe_bot_locale(**place)["botLocaleStatus"] == "NotBuilt"
    lex.build_bot_locale(**place)
    about = _built(pizzeria)
    assert about["botLocaleStatus"] == "Failed"
    assert "toppings" in " ".join(about["failureReasons"])
    again = lex.describe_intent(**{**pizzeria.of_intent, **frozen})
    assert {**again, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}
    assert lex.describe_bot_locale(**frozen)["botLocaleStatus"] == "Built"
    with pytest.raises(lex.exceptions.ConflictException, match="live"):
        lex.delete_bot_version(**bot, botVersion=number)
    versions = lex.list_bot_versions(**bot)["botVersionSummaries"]
    assert [one["botVersion"] for one in versions] == [number, "DRAFT"]
    aliases = lex.list_bot_aliases(**bot)["botAliasSummaries"]
    assert [one["botAliasName"] for one in aliases] == ["TestBotAlias", "live"]
    lex.update_intent(**pizzeria.of_intent, **pizzeria.intent, slotPriorities=priorities)
    lex.delete_bot_alias(**bot, botAliasId=alias)
    lex.delete_bot_version(**bot, botVersion=number)


def test_an_exported_bot_is_imported_from_its_own_archive(pizzeria: Pizzeria) -> None:
    lex = pizzeria.lex
    specification = {"botExportSpecification": {"botId": pizzeria.bot_id, "botVersion": "DRAFT"}}
    export = lex.create_export(resourceSpecification=specification, fileFormat="LexJson")
    lex.get_waiter("bot_export_completed").wait(exportId=export["exportId"])
    about = lex.describe_export(exportId=export["exportId"])
    with urllib.request.urlopen(about["downloadUrl"], timeout=60) as answer:
        data = answer.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        order = json.loads(
            archive.read("RomanPizza/BotLocales/en_US/Intents/OrderPizza/Intent.json")
        )
    assert [one["slotName"] for one in order["slotPriorities"]] == ["size", "count"]

    copy = _import(lex, data, "Copy")

    assert copy["importStatus"] == "Completed", copy
    place = {**pizzeria.place, "botId": copy["importedResourceId"]}
    (intent,) = lex.list_intents(
        **place, filters=[{"name": "IntentName", "values": ["Order"], "operator": "CO"}]
    )["intentSummaries"]
    copied = lex.describe_intent(**place, intentId=intent["intentId"])
    assert {name: copied[name] for name in pizzeria.intent} == pizzeria.intent
    failed = _import(lex, data, "Copy")
    assert failed["importStatus"] == "Failed"
    assert "Copy already" in failed["failureReasons"][0]
    hostile = io.BytesIO()
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("../../etc/Bot.json", "{}")
    assert "outside" in _import(lex, hostile.getvalue(), "Evil")["failureReasons"][0]
    lex.delete_export(exportId=export["exportId"])
    lex.delete_bot(botId=copy["importedResourceId"])


def _import(lex: Any, data: bytes, name: str) -> dict[str, Any]:
    made = lex.create_upload_url()
    request = urllib.request.Request(made["uploadUrl"], data=data, method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    specification = {
        "botName": name,
        "roleArn": ROLE,
        "dataPrivacy": {"childDirected": False},
    }
    lex.start_import(
        importId=made["importId"],
        resourceSpecification={"botImportSpecification": specification},
        mergeStrategy="FailOnConflict",
    )
    done: dict[str, Any] = lex.describe_import(importId=made["importId"])
    return done


Refused = Callable[[Pizzeria], Any]
_LOCALE = {"botVersion": "DRAFT", "nluIntentConfidenceThreshold": 0.4}
REFUSALS: dict[str, tuple[str, int, str, Refused]] = {
    "a name that is taken": (
        "ConflictException", 409, "RomanPizza already",
        lambda p: p.lex.create_bot(botName="RomanPizza", **BOT),
    ),
    "a name that is too long": (
        "ValidationException", 400, "less than or equal to 100",
        lambda p: p.lex.create_bot(botName="a" * 101, **BOT),
    ),
    "a bot that there is not, described": (
        "ResourceNotFoundException", 404, "does not exist",
        lambda p: p.lex.describe_bot(botId="NOSUCHBOT1"),
    ),
    "a bot that there is not, deleted": (
        "PreconditionFailedException", 412, "does not exist",
        lambda p: p.lex.delete_bot(botId="NOSUCHBOT1"),
    ),
    "a bot that there is not, listed": (
        "ValidationException", 400, "does not exist",
        lambda p: p.lex.list_bot_aliases(botId="NOSUCHBOT1"),
    ),
    "a language that is not understood": (
        "ValidationException", 400, "en_US",
        lambda p: p.lex.create_bot_locale(botId=p.bot_id, localeId="de_DE", **_LOCALE),
    ),
    "a locale that is there": (
        "ConflictException", 409, "already",
        lambda p: p.lex.create_bot_locale(botId=p.bot_id, localeId="en_US", **_LOCALE),
    ),
    "an empty utterance": (
        "ValidationException", 400, "it is empty",
        lambda p: p.lex.create_intent(**p.place, intentName="X", sampleUtterances=_said("a", "")),
    ),
    "a malformed utterance": (
        "ValidationException", 400, "in braces",
        lambda p: p.lex.create_intent(**p.place, intentName="X", sampleUtterances=_said("{a b}")),
    ),
    "an utterance twice": (
        "ValidationException", 400, "twice",
        lambda p: p.lex.create_intent(**p.place, intentName="X", sampleUtterances=_said("a", "a")),
    ),
    "a condition that cannot be read": (
        "ValidationException", 400, "cannot be used",
        lambda p: p.lex.create_intent(
            **p.place, intentName="X",
            initialResponseSetting={"conditional": {
                "active": True,
                "conditionalBranches": [
                    {"name": "b", "condition": {"expressionString": "{size} ="}, "nextStep": {}}
                ],
                "defaultBranch": {},
            }},
        ),
    ),
    "an intent whose name is taken": (
        "ConflictException", 409, "OrderPizza already",
        lambda p: p.lex.create_intent(**p.place, intentName="OrderPizza"),
    ),
    "an intent with a built-in one's name": (
        "ValidationException", 400, "built-in",
        lambda p: p.lex.create_intent(**p.place, intentName="HelpIntent"),
    ),
    "a second fallback intent": (
        "ConflictException", 409, "FallbackIntent",
        lambda p: p.lex.create_intent(
            **p.place, intentName="Other", parentIntentSignature="AMAZON.FallbackIntent"
        ),
    ),
    "the end of the fallback intent": (
        "PreconditionFailedException", 412, "fallback",
        lambda p: p.lex.delete_intent(**p.place, intentId="FALLBCKINT"),
    ),
    "priorities of slots that there are not": (
        "ValidationException", 400, "NOSUCHSLOT",
        lambda p: p.lex.update_intent(
            **p.of_intent, **p.intent, slotPriorities=[{"priority": 1, "slotId": "NOSUCHSLOT"}]
        ),
    ),
    "one priority for two slots": (
        "ValidationException", 400, "priority twice",
        lambda p: p.lex.update_intent(
            **p.of_intent, **p.intent,
            slotPriorities=[{"priority": 1, "slotId": one} for one in p.slots.values()],
        ),
    ),
    "a slot of an unknown type": (
        "ValidationException", 400, "NOSUCHTYPE",
        lambda p: p.lex.create_slot(
            **p.of_intent, slotName="x", slotTypeId="NOSUCHTYPE",
            valueElicitationSetting={"slotConstraint": "Optional"},
        ),
    ),
    "a required slot that nothing asks for": (
        "ValidationException", 400, "promptSpecification",
        lambda p: p.lex.create_slot(
            **p.of_intent, slotName="x", slotTypeId="AMAZON.Number",
            valueElicitationSetting={"slotConstraint": "Required"},
        ),
    ),
    "a slot type in use": (
        "ConflictException", 409, "in use by the slots size",
        lambda p: p.lex.delete_slot_type(**p.place, slotTypeId=p.type_id),
    ),
    "a value twice": (
        "ValidationException", 400, "twice",
        lambda p: p.lex.create_slot_type(
            **p.place, slotTypeName="T",
            slotTypeValues=[{"sampleValue": {"value": one}} for one in ("a", "A")],
            valueSelectionSetting={"resolutionStrategy": "OriginalValue"},
        ),
    ),
    "a pattern without a bound": (
        "ValidationException", 400, "counted repeats",
        lambda p: p.lex.create_slot_type(
            **p.place, slotTypeName="T", parentSlotTypeSignature="AMAZON.AlphaNumeric",
            valueSelectionSetting={
                "resolutionStrategy": "OriginalValue", "regexFilter": {"pattern": "[A-Z]+"},
            },
        ),
    ),
    "a member that is not executed": (
        "UnsupportedOperation", 501, "kendraConfiguration",
        lambda p: p.lex.create_intent(
            **p.place, intentName="X",
            kendraConfiguration={"kendraIndex": "arn:aws:kendra:us-east-1:123456789012:index/i"},
        ),
    ),
    "a version of what is not built": (
        "PreconditionFailedException", 412, "build it first",
        lambda p: p.lex.create_bot_version(
            botId=p.bot_id, botVersionLocaleSpecification={"en_US": {"sourceBotVersion": "DRAFT"}}
        ),
    ),
    "an alias of a version that there is not": (
        "PreconditionFailedException", 412, "the version 7",
        lambda p: p.lex.create_bot_alias(botId=p.bot_id, botAliasName="live", botVersion="7"),
    ),
    "the end of the test alias": (
        "PreconditionFailedException", 412, "test alias",
        lambda p: p.lex.delete_bot_alias(botId=p.bot_id, botAliasId="TSTALIASID"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_is_refused_with_awss_error(pizzeria: Pizzeria, name: str) -> None:
    code, status, said, refused = REFUSALS[name]

    with pytest.raises(ClientError, match=said) as caught:
        refused(pizzeria)

    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
