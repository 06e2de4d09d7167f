"""Exports and imports: what goes out comes in again as it was; what is hostile or wrong comes in as nothing."""

import io
import sys
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.base.errors import ServiceError
from modelyard.services.lex import archive
from modelyard.services.lex.archive import BadArchive, pack, unpack
from modelyard.services.lex.kinds import BOT, INTENT, LOCALE
from modelyard.services.lex.lexjson import read
from modelyard.services.lex.resolving import resolve

pytestmark = pytest.mark.anyio
ROLE = "arn:aws:iam::123456789012:role/other"
MANIFEST = {"metaData": {"schemaVersion": "1", "fileFormat": "LexJson", "resourceType": "BOT"}}


def _bot(name: str) -> dict[str, Any]:
    return {
        "botImportSpecification": {
            "botName": name, "roleArn": ROLE, "dataPrivacy": {"childDirected": False}
        }
    }  # fmt: skip


async def _rich_bot(world: Any) -> dict[str, str]:
    """With something of everything."""
    place: dict[str, str] = await world.make_bot()
    size = await world.call(
        "CreateSlotType",
        **place,
        slot_type_name="Size",
        slot_type_values=[{"sampleValue": {"value": "small"}, "synonyms": [{"value": "little"}]}],
        value_selection_setting={"resolutionStrategy": "TopResolution"},
    )
    order = (await world.call("ListIntents", **place))["intentSummaries"][1]["intentId"]
    of_intent = {**place, "intent_id": order}
    said = {"messageGroups": [{"message": {"plainTextMessage": {"value": "Well?"}}}]}
    card = {"title": "Sizes", "buttons": [{"text": "Small", "value": "small"}]}
    prompt = {
        "messageGroups": [{"message": {"imageResponseCard": card}, "variations": []}],
        "maxRetries": 2,
    }
    ask = {
        "slotConstraint": "Required",
        "promptSpecification": prompt,
        "sampleUtterances": [{"utterance": "{size} please"}],
    }
    slot = await world.call(
        "CreateSlot", **of_intent, slot_name="size", slot_type_id=size["slotTypeId"],
        value_elicitation_setting=ask,
    )  # fmt: skip
    step = {
        "dialogAction": {"type": "EndConversation"},
        "sessionAttributes": {"active": "kept", "messageGroups": "kept"},
    }
    await world.call(
        "UpdateIntent",
        **of_intent,
        intent_name="Order",
        sample_utterances=[{"utterance": "a {size} pizza"}],
        dialog_code_hook={"enabled": False},
        intent_confirmation_setting={
            "promptSpecification": {**said, "maxRetries": 1}, "active": True
        },
        intent_closing_setting={"closingResponse": said, "active": True, "nextStep": step},
        output_contexts=[{"name": "ordered", "timeToLiveInSeconds": 60, "turnsToLive": 5}],
        slot_priorities=[{"priority": 1, "slotId": slot["slotId"]}],
    )  # fmt: skip
    return place


def _without_ids(value: Any) -> Any:
    """Of files, what an import keeps."""
    if isinstance(value, dict):
        return {name: _without_ids(one) for name, one in value.items() if name != "identifier"}
    return [_without_ids(one) for one in value] if isinstance(value, list) else value


async def test_what_was_exported_is_imported_as_it_was(world: Any) -> None:
    place = await _rich_bot(world)
    of_bot = {"botExportSpecification": {"botId": place["bot_id"], "botVersion": "DRAFT"}}
    data = await world.export(**of_bot)
    assert data == await world.export(**of_bot)
    names = set(unpack(data))
    top = "Pizzeria/BotLocales/en_US"
    assert names == {
        "Manifest.json",
        "Pizzeria/Bot.json",
        f"{top}/BotLocale.json",
        f"{top}/SlotTypes/Size/SlotType.json",
        f"{top}/Intents/FallbackIntent/Intent.json",
        f"{top}/Intents/Order/Intent.json",
        f"{top}/Intents/Order/Slots/count/Slot.json",
        f"{top}/Intents/Order/Slots/size/Slot.json",
    }

    files = unpack(data)
    assert files["Pizzeria/Bot.json"]["version"] == "DRAFT"
    assert files[f"{top}/BotLocale.json"]["name"] == "English (US)"

    done = await world.bring(data, **_bot("Copy"))

    assert done["importStatus"] == "Completed", done
    assert done["importedResourceName"] == "Copy"
    copied = {**place, "bot_id": done["importedResourceId"]}
    again = await world.export(
        botExportSpecification={"botId": copied["bot_id"], "botVersion": "DRAFT"}
    )
    renamed = {name.replace("Copy/", "Pizzeria/", 1): one for name, one in unpack(again).items()}
    renamed["Pizzeria/Bot.json"]["name"] = "Pizzeria"
    assert _without_ids(renamed) == _without_ids(unpack(data))
    intents = (await world.call("ListIntents", **copied))["intentSummaries"]
    order = await world.call("DescribeIntent", **copied, intent_id=intents[1]["intentId"])
    assert order["intentClosingSetting"]["nextStep"]["sessionAttributes"] == {
        "active": "kept",
        "messageGroups": "kept",
    }
    (listed,) = (await world.call("ListImports", bot_id=copied["bot_id"]))["importSummaries"]
    assert listed["importedResourceType"] == "Bot"


async def test_a_version_is_exported_as_it_was_frozen(world: Any) -> None:
    place = await _rich_bot(world)
    bot = {"botId": place["bot_id"]}
    draft = await world.export(botExportSpecification={**bot, "botVersion": "DRAFT"})
    await world.build(place)
    await world.call(
        "CreateBotVersion",
        bot_id=place["bot_id"],
        bot_version_locale_specification={"en_US": {"sourceBotVersion": "DRAFT"}},
    )
    await world.call("UpdateBotLocale", **place, nlu_intent_confidence_threshold=0.9)

    frozen = await world.export(botExportSpecification={**bot, "botVersion": "1"})

    files = unpack(frozen)
    assert files["Pizzeria/Bot.json"]["version"] == "1"
    files["Pizzeria/Bot.json"]["version"] = "DRAFT"
    assert files == unpack(draft)


async def test_overwriting_keeps_the_bot_its_aliases_and_what_was_built(world: Any) -> None:
    place = await _rich_bot(world)
    bot_id = place["bot_id"]
    data = await world.export(botExportSpecification={"botId": bot_id, "botVersion": "DRAFT"})
    await world.build(place)
    alias = await world.call("CreateBotAlias", bot_id=bot_id, bot_alias_name="live")
    await world.call("CreateIntent", **place, intent_name="Extra")
    refused = await world.bring(data, **_bot("Pizzeria"))
    assert refused["importStatus"] == "Failed"
    assert "Pizzeria already" in refused["failureReasons"][0]

    done = await world.bring(data, "Overwrite", **_bot("Pizzeria"))

    assert (done["importStatus"], done["importedResourceId"]) == ("Completed", bot_id)
    names = [
        one["intentName"] for one in (await world.call("ListIntents", **place))["intentSummaries"]
    ]
    assert names == ["FallbackIntent", "Order"]
    assert await world.status(place) == "NotBuilt"
    await world.call("DescribeBotAlias", bot_id=bot_id, bot_alias_id=alias["botAliasId"])
    answers = resolve(world.store, world.account, world.region, bot_id, "TSTALIASID", "en_US")
    assert answers.model == "model-1"


async def test_a_locale_comes_into_a_bot_that_there_is(world: Any) -> None:
    place = await _rich_bot(world)
    of_locale = {"botId": place["bot_id"], "botVersion": "DRAFT", "localeId": "en_US"}
    data = await world.export(botLocaleExportSpecification=of_locale)
    assert unpack(data)["Manifest.json"]["metaData"]["resourceType"] == "BOT_LOCALE"
    britain = {**of_locale, "localeId": "en_GB", "nluIntentConfidenceThreshold": 0.7}

    done = await world.bring(data, botLocaleImportSpecification=britain)

    assert (done["importStatus"], done["importedResourceId"]) == ("Completed", "en_GB"), done
    about = await world.call("DescribeBotLocale", **{**place, "locale_id": "en_GB"})
    assert (about["intentsCount"], about["nluIntentConfidenceThreshold"]) == (2, 0.7)


async def test_an_import_is_started_once_and_needs_an_upload(world: Any) -> None:
    made = await world.call("CreateUploadUrl")
    start = {"import_id": made["importId"], "merge_strategy": "Overwrite"}
    with pytest.raises(ServiceError, match="Nothing was put"):
        await world.call("StartImport", **start, resource_specification=_bot("B"))
    with pytest.raises(ServiceError) as unknown:
        await world.call("DescribeImport", import_id=made["importId"])
    assert unknown.value.code == "ResourceNotFoundException"
    done = await world.bring(b"no zip", **_bot("B"))
    assert done["importStatus"] == "Failed"
    with pytest.raises(ServiceError) as twice:
        await world.call(
            "StartImport",
            **{**start, "import_id": done["importId"]},
            resource_specification=_bot("B"),
        )
    assert twice.value.code == "ConflictException"
    await world.call("DeleteImport", import_id=done["importId"])
    assert (await world.call("ListImports"))["importSummaries"] == []


def _files(**changes: Any) -> dict[str, Any]:
    top = "B/BotLocales/en_US"
    files: dict[str, Any] = {
        "Manifest.json": MANIFEST,
        "B/Bot.json": {"name": "B", "idleSessionTTLInSeconds": 300},
        f"{top}/BotLocale.json": {"identifier": "en_US", "nluConfidenceThreshold": 0.4},
        f"{top}/Intents/I/Intent.json": {
            "name": "I", "sampleUtterances": [{"utterance": "go to {city}"}],
            "intentClosingSetting": None,
            "slotPriorities": [{"slotName": "city", "priority": 1}],
        },
        f"{top}/Intents/I/Slots/city/Slot.json": {
            "name": "city", "slotTypeName": "AMAZON.City", "slotConstraint": "Optional",
            "slotValueElicitationSetting": {
                "promptSpecification": {
                    "messageGroupList": [{"message": {"plainTextMessage": {"value": "Where?"}}}],
                    "maxRetries": 2,
                }
            },
        },
        f"{top}/SlotTypes/T/SlotType.json": {
            "name": "T", "slotTypeValues": [{"sampleValue": {"value": "a"}, "synonyms": None}],
            "valueSelectionStrategy": "ORIGINAL_VALUE",
        },
    }  # fmt: skip
    for name, value in changes.items():
        path = {"intent": f"{top}/Intents/I/Intent.json", "locale": f"{top}/BotLocale.json",
                "slot": f"{top}/Intents/I/Slots/city/Slot.json"}.get(name, name)  # fmt: skip
        files[path] = {**files[path], **value} if isinstance(value, dict) else value
    return files


async def test_an_archive_as_awss_guide_shows_it_is_imported(world: Any) -> None:
    done = await world.bring(pack(_files()), **_bot("B"))

    assert done["importStatus"] == "Completed", done
    place = {"bot_id": done["importedResourceId"], "bot_version": "DRAFT", "locale_id": "en_US"}
    intent = (await world.call("ListIntents", **place))["intentSummaries"][1]["intentId"]
    (slot,) = (await world.call("ListSlots", **place, intent_id=intent))["slotSummaries"]
    assert (slot["slotTypeId"], slot["slotConstraint"]) == ("AMAZON.City", "Optional")
    assert slot["valueElicitationPromptSpecification"]["maxRetries"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Manifest.json": 3}, "Manifest.json"),
        ({"Manifest.json": {"metaData": {"fileFormat": "TSV"}}}, "TSV"),
        ({"intent": {"name": "x" * 101}}, "less than or equal to 100"),
        ({"intent": {"name": None}}, "must not be null"),
        ({"intent": {"sampleUtterances": "go"}}, "sampleUtterances"),
        ({"intent": {"sampleUtterances": [{"utterance": " "}]}}, "it is empty"),
        ({"intent": {"slotPriorities": [{"slotName": "gone", "priority": 1}]}}, "gone"),
        ({"intent": {"slotPriorities": [{"slotName": "city", "priority": 101}]}}, "100"),
        ({"intent": {"slotPriorities": [3]}}, "slotPriorities"),
        ({"intent": {"kendraConfiguration": {"kendraIndex": "arn:aws:kendra:us-east-1:123456789012:index/i"}}},
         "kendraConfiguration"),
        ({"locale": {"identifier": "de_DE"}}, "de_DE"),
        ({"locale": {"identifier": ["en_US"]}}, "does not understand"),
        ({"slot": {"slotTypeName": "Gone"}}, "Gone does not exist"),
        ({"slot": {"slotTypeName": ["Gone"]}}, "slotTypeId"),
        ({"B/Bot.json": {"idleSessionTTLInSeconds": 1}}, "greater than or equal to 60"),
    ],
)  # fmt: skip
async def test_what_no_operation_would_take_no_import_takes(
    world: Any, changes: dict[str, Any], said: str
) -> None:
    files = _files(**changes)

    done = await world.bring(pack(files), **_bot("B"))

    assert done["importStatus"] == "Failed"
    assert said in done["failureReasons"][0]
    for kind in (BOT, LOCALE, INTENT):
        assert list(world.store.list(kind)) == []


def _zip(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files:
            made.writestr(name, data)
    return out.getvalue()


def _lying(data: bytes, size: int) -> bytes:
    """The same archive, whose directory says another size of its only file."""
    place = data.rindex(b"PK\x01\x02") + 24
    return data[:place] + size.to_bytes(4, "little") + data[place + 4 :]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a readable zip"),
        (b"PK\x03\x04" + bytes(100), "not a readable zip"),
        (_zip(("../evil.json", b"{}")), "outside"),
        (_zip(("/etc/evil.json", b"{}")), "outside"),
        (_zip(("B/..\\evil.json", b"{}")), "outside"),
        (_zip(("a.json", b"{")), "not JSON"),
        (_zip(("a.json", b"\xff")), "not JSON"),
        (_zip(("a.json", b"[" * 200_000)), "not JSON"),
        (_lying(_zip(("a.json", b'"' + b"0" * 5_000 + b'"')), 10), "a.json"),
        (_zip(("bomb.json", bytes(archive.UNPACKED_BYTES + 1))), "unpacks to more"),
        (_lying(_zip(("a.json", b"{}")), 0xFFFF_0000), "unpacks to more"),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_before_it_is_unpacked(data: bytes, said: str) -> None:
    with pytest.raises(BadArchive, match=said):
        unpack(data)


def test_an_archive_of_very_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ARCHIVE_FILES", 3)
    with pytest.raises(BadArchive, match="more than 3 files"):
        unpack(_zip(*((f"{number}.json", b"{}") for number in range(4))))


def test_json_that_is_nested_too_deep_is_refused() -> None:
    deep: Any = {}
    for _ in range(sys.getrecursionlimit()):
        deep = {"a": deep}
    files = _files()
    files["B/BotLocales/en_US/Intents/I/Intent.json"] = {"name": "I", "a": deep}
    with pytest.raises(BadArchive, match="too deep"):
        read(files)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["name", "identifier", "slotPriorities", "slotName", "priority", "metaData", "fileFormat",
             "slotValueElicitationSetting", "valueSelectionSetting", "valueSelectionStrategy", "messageGroupsList"]
        ),
        inner, max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(_files())), _JSON)
def test_any_json_is_read_or_refused(name: str, value: Any) -> None:
    files = {**_files(), name: value}
    try:
        read(files)
    except BadArchive as error:
        assert str(error)
