"""From a draft to what applications talk to: builds, versions, aliases; and what happens when two change a bot at once."""

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from modelyard.base.errors import ServiceError
from modelyard.services import registry
from modelyard.services.lex.kinds import ALIAS, BOT, BOT_NAME, BUILD, INTENT, LOCALE, SLOT
from modelyard.services.lex.resolving import resolve

pytestmark = pytest.mark.anyio
ANSWERED = ("CreateBot", "ListBots", "CreateUploadUrl", "ListImports", "ListExports")
"""Name nothing that could be missing."""
DRAFT = {"en_US": {"sourceBotVersion": "DRAFT"}}


async def _code(refused: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        await refused
    return caught.value.code


async def test_a_locale_is_built_as_long_as_nothing_changes(world: Any) -> None:
    place = await world.make_bot()
    assert await world.status(place) == "NotBuilt"
    assert (await world.call("BuildBotLocale", **place))["botLocaleStatus"] == "Building"
    assert await world.status(place) == "Building"
    assert await _code(world.call("BuildBotLocale", **place)) == "ConflictException"
    await world.train()
    assert await world.status(place) == "Built"
    intents = await world.call("ListIntents", **place)
    order = intents["intentSummaries"][1]["intentId"]
    renamed = {**place, "intent_id": order, "intent_name": "Buy"}
    said = {"sample_utterances": [{"utterance": "{count} pizzas"}]}

    await world.call("UpdateIntent", **renamed, **said)
    assert await world.status(place) == "NotBuilt"
    await world.call("UpdateIntent", **{**renamed, "intent_name": "Order"}, **said)
    assert await world.status(place) == "Built"


async def test_a_failed_build_says_why_and_leaves_the_one_before_it_at_work(world: Any) -> None:
    place = await world.make_bot()
    await world.build(place)
    await world.call("CreateIntent", **place, intent_name="Other")

    await world.build(place, "Nothing is said for Other.")

    about = await world.call("DescribeBotLocale", **place)
    assert about["botLocaleStatus"] == "Failed"
    assert about["failureReasons"] == ["Nothing is said for Other."]
    answers = resolve(
        world.store, world.account, world.region, place["bot_id"], "TSTALIASID", "en_US"
    )
    assert answers.model == "model-1"
    assert list(answers.bot.intents) == ["FallbackIntent", "Order"]


async def test_a_bot_that_leads_nowhere_fails_without_being_trained(world: Any) -> None:
    place = await world.make_bot()
    await world.build(place)
    step = {"dialogAction": {"type": "StartIntent"}, "intent": {"name": "Gone"}}
    await world.call(
        "CreateIntent", **place, intent_name="Lost", initial_response_setting={"nextStep": step}
    )

    await world.call("BuildBotLocale", **place)

    about = await world.call("DescribeBotLocale", **place)
    assert about["botLocaleStatus"] == "Failed"
    assert about["failureReasons"] == [
        "The intent Lost leads to the intent Gone, which does not exist."
    ]
    (build,) = world.builds()
    assert build.status["Model"] == "model-1"


async def test_a_version_stays_as_it_was_whatever_becomes_of_the_draft(world: Any) -> None:
    place = await world.make_bot()
    bot = {"bot_id": place["bot_id"]}
    assert (
        await _code(world.call("CreateBotVersion", **bot, bot_version_locale_specification=DRAFT))
        == "PreconditionFailedException"
    )
    await world.build(place)
    made = await world.call("CreateBotVersion", **bot, bot_version_locale_specification=DRAFT)
    assert made["botVersion"] == "1"
    frozen = {**place, "bot_version": "1"}
    drafts = {"DRAFT": place, "1": frozen}
    seen = {
        name: [
            await world.call("DescribeIntent", **where, intent_id=one["intentId"])
            for one in (await world.call("ListIntents", **where))["intentSummaries"]
        ]
        for name, where in drafts.items()
    }
    assert [{**one, "botVersion": "1"} for one in seen["DRAFT"]] == seen["1"]
    alias = await world.call("CreateBotAlias", **bot, bot_alias_name="live", bot_version="1")

    await world.call("DeleteIntent", **place, intent_id=seen["1"][1]["intentId"])
    await world.call("UpdateBotLocale", **place, nlu_intent_confidence_threshold=0.9)
    await world.call("DeleteBotLocale", **place)

    (slot,) = (
        await world.call("ListSlots", **frozen, intent_id=seen["1"][1]["intentId"])
    )["slotSummaries"]  # fmt: skip
    assert slot["slotName"] == "count"
    about = await world.call("DescribeBotLocale", **frozen)
    assert (about["botLocaleStatus"], about["nluIntentConfidenceThreshold"]) == ("Built", 0.4)
    answers = resolve(
        world.store, world.account, world.region, place["bot_id"], alias["botAliasId"], "en_US"
    )
    assert (answers.model, answers.bot.version) == ("model-1", "1")
    assert (
        await _code(world.call("DeleteBotVersion", **bot, bot_version="1")) == "ConflictException"
    )


async def test_versions_are_counted_on_after_a_deletion_and_listed_with_the_draft(
    world: Any,
) -> None:
    place = await world.make_bot()
    bot = {"bot_id": place["bot_id"]}
    await world.build(place)
    for _ in range(2):
        await world.call("CreateBotVersion", **bot, bot_version_locale_specification=DRAFT)
    await world.call("DeleteBotVersion", **bot, bot_version="2")
    await world.call("CreateBotVersion", **bot, bot_version_locale_specification=DRAFT)

    listed = await world.call("ListBotVersions", **bot)

    numbers = [one["botVersion"] for one in listed["botVersionSummaries"]]
    assert numbers == ["1", "3", "DRAFT"]


async def test_an_alias_moves_from_version_to_version_and_remembers_it(world: Any) -> None:
    place = await world.make_bot()
    bot = {"bot_id": place["bot_id"]}
    await world.build(place)
    for _ in range(2):
        await world.call("CreateBotVersion", **bot, bot_version_locale_specification=DRAFT)
    alias = await world.call("CreateBotAlias", **bot, bot_alias_name="live", bot_version="1")
    named = {**bot, "bot_alias_id": alias["botAliasId"], "bot_alias_name": "live"}
    world.clock.advance(10)

    await world.call("UpdateBotAlias", **named, bot_version="2")
    assert await _code(world.call("UpdateBotAlias", **named, bot_version="DRAFT")) == (
        "ValidationException"
    )

    about = await world.call("DescribeBotAlias", **bot, bot_alias_id=alias["botAliasId"])
    assert about["botAliasHistoryEvents"] == [
        {"botVersion": "1", "startDate": 1_000.0, "endDate": 1_010.0},
        {"botVersion": "2", "startDate": 1_010.0},
    ]


async def test_of_two_intents_of_one_name_one_is_made(world: Any) -> None:
    place = await world.make_bot()

    results = await asyncio.gather(
        *(world.call("CreateIntent", **place, intent_name="Help_me") for _ in range(5)),
        return_exceptions=True,
    )

    codes = [one.code for one in results if isinstance(one, ServiceError)]
    assert codes == ["ConflictException"] * 4
    intents = (await world.call("ListIntents", **place))["intentSummaries"]
    assert len(intents) == 3


async def test_of_two_bots_of_one_name_one_is_made(world: Any) -> None:
    results = await asyncio.gather(
        *(world.call("CreateBot", bot_name="Same", **world.bot_members) for _ in range(5)),
        return_exceptions=True,
    )

    codes = [one.code for one in results if isinstance(one, ServiceError)]
    assert codes == ["ConflictException"] * 4
    assert len(world.store.list(BOT)) == 1


async def test_a_bots_name_is_free_again_when_it_changes_or_goes(world: Any) -> None:
    first = await world.call("CreateBot", bot_name="One", **world.bot_members)
    await world.call("UpdateBot", bot_id=first["botId"], bot_name="Two", **world.bot_members)
    second = await world.call("CreateBot", bot_name="One", **world.bot_members)
    assert (
        await _code(
            world.call("UpdateBot", bot_id=second["botId"], bot_name="Two", **world.bot_members)
        )
        == "ConflictException"
    )
    await world.call("DeleteBot", bot_id=first["botId"])
    await world.call("UpdateBot", bot_id=second["botId"], bot_name="Two", **world.bot_members)


async def test_a_bot_goes_with_all_that_belongs_to_it_even_what_is_made_meanwhile(
    world: Any,
) -> None:
    place = await world.make_bot()
    kept = await world.make_bot("Kept")
    await world.build(place)
    await world.call("CreateBotAlias", bot_id=place["bot_id"], bot_alias_name="live")
    gone = {"bot_id": place["bot_id"]}
    assert await _code(world.call("DeleteBot", **gone)) == "ConflictException"

    await asyncio.gather(
        world.call("CreateIntent", **place, intent_name="Late"),
        world.call("CreateBotAlias", **gone, bot_alias_name="late"),
        world.call("DeleteBot", **gone, skip_resource_in_use_check=True),
        world.call("CreateBotLocale", **{**place, "locale_id": "en_GB"},
                   nlu_intent_confidence_threshold=0.4),
        return_exceptions=True,
    )  # fmt: skip

    for kind in (BOT, BOT_NAME, LOCALE, INTENT, SLOT, ALIAS, BUILD):
        names = [one.key.name for one in world.store.list(kind)]
        assert all(one.startswith(kept["bot_id"]) or one == "Kept" for one in names), names


async def test_a_deleted_slot_takes_its_priority_along(world: Any) -> None:
    place = await world.make_bot()
    order = (await world.call("ListIntents", **place))["intentSummaries"][1]["intentId"]
    of_intent = {**place, "intent_id": order}
    (slot,) = (await world.call("ListSlots", **of_intent))["slotSummaries"]
    await world.call(
        "UpdateIntent",
        **of_intent,
        intent_name="Order",
        slot_priorities=[{"priority": 1, "slotId": slot["slotId"]}],
    )

    await world.call("DeleteSlot", **of_intent, slot_id=slot["slotId"])

    assert (await world.call("DescribeIntent", **of_intent))["slotPriorities"] == []


@pytest.mark.parametrize(
    "operation",
    [
        name
        for names in registry.LEX_MODELS.values()
        for name in names
        if name not in ANSWERED and "BuiltIn" not in name
    ],
)
async def test_what_is_not_there_is_answered_with_an_error_that_the_operation_has(
    world: Any, operation: str
) -> None:
    given = members_of(operation)
    if operation == "StartImport":
        given["resource_specification"] = {
            "botImportSpecification": {"botName": "B", "roleArn": "r", "dataPrivacy": {}}
        }
    code = await _code(world.call(operation, **given))
    assert code in modelled_errors(operation)


async def test_each_built_in_intent_is_listed_with_a_description(world: Any) -> None:
    listed = await world.call("ListBuiltInIntents", locale_id="en_GB")
    assert all(one["description"] for one in listed["builtInIntentSummaries"])


@functools.cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("lexv2-models")


def modelled_errors(operation: str) -> Iterator[str]:
    """Codes that the service model gives to an operation."""
    service = _model()
    for shape in service.operation_model(operation).error_shapes:
        yield shape.name


def members_of(operation: str) -> dict[str, Any]:
    """A value for each required member, such as it might be for a bot that is gone."""
    service = _model()
    shape = service.operation_model(operation).input_shape
    return {xform_name(name): _VALUES[name] for name in shape.required_members}


_VALUES: dict[str, Any] = {
    "botId": "NOSUCHBOT1",
    "botVersion": "DRAFT",
    "localeId": "en_US",
    "intentId": "NOSUCHINT1",
    "slotId": "NOSUCHSLT1",
    "slotTypeId": "NOSUCHTYP1",
    "botAliasId": "NOSUCHALI1",
    "botName": "Gone",
    "intentName": "Gone",
    "slotName": "Gone",
    "slotTypeName": "Gone",
    "botAliasName": "Gone",
    "roleArn": "arn:aws:iam::123456789012:role/lex-bot",
    "dataPrivacy": {"childDirected": False},
    "idleSessionTTLInSeconds": 60,
    "nluIntentConfidenceThreshold": 0.5,
    "valueElicitationSetting": {"slotConstraint": "Optional"},
    "botVersionLocaleSpecification": {"en_US": {"sourceBotVersion": "DRAFT"}},
    "resourceARN": "arn:aws:lex:us-east-1:123456789012:bot/NOSUCHBOT1",
    "tags": {},
    "tagKeys": [],
    "exportId": "NOSUCHEXP1",
    "importId": "NOSUCHIMP1",
    "resourceSpecification": {
        "botExportSpecification": {"botId": "NOSUCHBOT1", "botVersion": "DRAFT"}
    },
    "fileFormat": "LexJson",
    "mergeStrategy": "Overwrite",
}
