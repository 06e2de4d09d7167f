"""Bots as the files of an archive in AWS's layout (``LexJson``), and back. Pure.

::

    Manifest.json
    Pizzeria/Bot.json
    Pizzeria/BotLocales/en_US/BotLocale.json
    Pizzeria/BotLocales/en_US/SlotTypes/Size/SlotType.json
    Pizzeria/BotLocales/en_US/Intents/OrderPizza/Intent.json
    Pizzeria/BotLocales/en_US/Intents/OrderPizza/Slots/size/Slot.json

The files name things that the API identifies: a slot names its type, a priority its slot. Some members have other names than in
the API (``messageGroupsList``, ``isActive``), and what is absent may be null.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.services.lex.archive import BadArchive, Files
from modelyard.services.members import present

Json = dict[str, Any]
BOT_RESOURCE, LOCALE_RESOURCE = "BOT", "BOT_LOCALE"
_TO_FILE = {
    "messageGroups": "messageGroupsList",
    "active": "isActive",
    "buttons": "buttonsList",
}
_TO_API = {
    **{name: api for api, name in _TO_FILE.items()},
    "messageGroupList": "messageGroups",
    "allowMutlipleValues": "allowMultipleValues",  # So AWS's own guide spells it.
}
_OF_USERS = ("sessionAttributes",)
"""Names within are users' own."""
_STRATEGIES = {"ORIGINAL_VALUE": "OriginalValue", "TOP_RESOLUTION": "TopResolution"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentFiles:
    """``members`` are those of CreateIntent; ``priorities`` by the slot's name."""

    members: Json
    slots: Sequence[Json] = ()
    priorities: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocaleFiles:
    """Slots have ``slotTypeName`` instead of ``slotTypeId``."""

    members: Json
    intents: Sequence[IntentFiles] = ()
    slot_types: Sequence[Json] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BotFiles:
    """``members`` are the bot's, where the archive is of one."""

    members: Json = field(default_factory=dict)
    locales: Sequence[LocaleFiles] = ()


def write(
    bot: Mapping[str, Any],
    locales: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    *,
    resource: str,
) -> Files:
    """Of a bot with its version, and of each locale its members and its definition (``domain.lex.definition``)."""
    name = bot["botName"]
    files: Files = {
        "Manifest.json": {
            "metaData": {
                "schemaVersion": "1",
                "fileFormat": "LexJson",
                "resourceType": resource,
            }
        }
    }
    if resource == BOT_RESOURCE:
        files[f"{name}/Bot.json"] = {
            "name": name,
            "version": bot["version"],
            "identifier": bot["botId"],
            **_picked(bot, "description", "dataPrivacy", "idleSessionTTLInSeconds"),
        }
    for members, definition in locales:
        folder = f"{name}/BotLocales/{members['localeId']}"
        files[f"{folder}/BotLocale.json"] = {
            "name": members["localeName"],
            "identifier": members["localeId"],
            "nluConfidenceThreshold": members["nluIntentConfidenceThreshold"],
            **{
                key: value
                for key, value in members.items()
                if key not in ("localeId", "localeName", "nluIntentConfidenceThreshold")
            },
        }
        files |= dict(_of_locale(folder, definition))
    return files


def _of_locale(folder: str, definition: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    types = {one["slotTypeId"]: one["slotTypeName"] for one in definition["slotTypes"]}
    for one in definition["slotTypes"]:
        shown = _to_file(one, "slotType")
        setting = shown.get("valueSelectionSetting") or {}
        names = {api: name for name, api in _STRATEGIES.items()}
        if setting.get("resolutionStrategy") in names:
            setting["resolutionStrategy"] = names[setting["resolutionStrategy"]]
        yield f"{folder}/SlotTypes/{one['slotTypeName']}/SlotType.json", shown
    for one in definition["intents"]:
        place = f"{folder}/Intents/{one['intentName']}"
        slots = {slot["slotId"]: slot["slotName"] for slot in one["slots"]}
        shown = _to_file({name: value for name, value in one.items() if name != "slots"}, "intent")
        shown["slotPriorities"] = [
            {"priority": each["priority"], "slotName": slots[each["slotId"]]}
            for each in one["slotPriorities"]
        ]
        yield f"{place}/Intent.json", shown
        for slot in one["slots"]:
            shown = _to_file(slot, "slot")
            type_id = shown.pop("slotTypeId")
            shown["slotTypeName"] = types.get(type_id, type_id)
            yield f"{place}/Slots/{slot['slotName']}/Slot.json", shown


def read(files: Files) -> BotFiles:
    """Raises ``BadArchive``. What the members may be is for others to say."""
    try:
        return _read(files)
    except RecursionError:
        raise BadArchive("The archive's JSON is nested too deep.") from None


def _read(files: Files) -> BotFiles:
    manifest = _object(files.get("Manifest.json", files.get("manifest.json")), "Manifest.json")
    about = _object(
        manifest.get("metaData") or manifest.get("metadata"), "metaData in Manifest.json"
    )
    if about.get("fileFormat") != "LexJson":
        raise BadArchive(
            f"Manifest.json says the fileFormat {about.get('fileFormat')}, not LexJson."
        )
    bots = [name for name in files if name.count("/") == 1 and name.endswith("/Bot.json")]
    tops = {name.partition("/")[0] for name in files if "/BotLocales/" in name} | {
        name.partition("/")[0] for name in bots
    }
    if len(tops) != 1:
        raise BadArchive("The archive has to hold one folder, that of the bot.")
    (top,) = tops
    members: Json = {}
    if bots:
        shown = _object(files[bots[0]], bots[0])
        members = {
            "botName": shown.get("name"),
            **_picked(shown, "description", "dataPrivacy", "idleSessionTTLInSeconds"),
        }
    prefix = f"{top}/BotLocales/"
    names = sorted(
        {name[len(prefix) :].partition("/")[0] for name in files if name.startswith(prefix)}
    )
    return BotFiles(members=members, locales=[_locale(files, f"{prefix}{name}") for name in names])


def _locale(files: Files, folder: str) -> LocaleFiles:
    name = f"{folder}/BotLocale.json"
    shown = _to_api(_object(files.get(name), name))
    shown["localeId"] = shown.pop("identifier", None) or folder.rpartition("/")[2]
    shown["nluIntentConfidenceThreshold"] = shown.pop("nluConfidenceThreshold", None)
    for other in ("name", "version"):
        shown.pop(other, None)
    return LocaleFiles(
        members=present(shown),
        intents=[
            _intent(files, one) for one in _found(files, f"{folder}/Intents/", "/Intent.json")
        ],
        slot_types=[
            _slot_type(_object(files[one], one))
            for one in _found(files, f"{folder}/SlotTypes/", "/SlotType.json")
        ],
    )


def _found(files: Files, prefix: str, suffix: str) -> Sequence[str]:
    """Names of the files of this name in the folders of a folder."""
    return sorted(
        name
        for name in files
        if name.startswith(prefix)
        and name.endswith(suffix)
        and "/" not in name[len(prefix) : -len(suffix)]
    )


def _intent(files: Files, name: str) -> IntentFiles:
    shown = _to_api(_object(files[name], name))
    members = _named(shown, "intent")
    priorities = members.pop("slotPriorities", ())
    folder = name.removesuffix("Intent.json")
    return IntentFiles(
        members=members,
        slots=[
            _slot(_object(files[one], one))
            for one in _found(files, f"{folder}Slots/", "/Slot.json")
        ],
        priorities=[
            (str(one.get("slotName")), one.get("priority"))
            for one in _objects(priorities, f"slotPriorities in {name}")
        ],
    )


def _slot(given: Json) -> Json:
    """Older archives say in other members what newer ones say in ``valueElicitationSetting``."""
    members = _named(_to_api(given), "slot")
    older = members.pop("slotValueElicitationSetting", None)
    constraint = members.pop("slotConstraint", None)
    default = members.pop("defaultValueSpec", None)
    if isinstance(older, dict) and "valueElicitationSetting" not in members:
        utterances = older.pop("sampleValueElicitingUtterances", None)
        members["valueElicitationSetting"] = present(
            {
                **older,
                "slotConstraint": constraint,
                "sampleUtterances": utterances,
                "defaultValueSpecification": default,
            }
        )
    return members


def _slot_type(given: Json) -> Json:
    members = _named(_to_api(given), "slotType")
    older = members.pop("valueSelectionStrategy", None)
    if older is not None and "valueSelectionSetting" not in members:
        members["valueSelectionSetting"] = {"resolutionStrategy": older}
    setting = members.get("valueSelectionSetting")
    if isinstance(setting, dict) and "resolutionStrategy" in setting:
        strategy = str(setting["resolutionStrategy"])
        setting["resolutionStrategy"] = _STRATEGIES.get(strategy, strategy)
    return members


def _to_file(members: Mapping[str, Any], noun: str) -> Json:
    """``intentName`` becomes ``name``, ``intentId`` ``identifier``."""
    names = {f"{noun}Name": "name", f"{noun}Id": "identifier"}
    shown: Json = _renamed(dict(members), _TO_FILE)
    return {names.get(name, name): value for name, value in shown.items()}


def _to_api(shown: Json) -> Json:
    """Without what is null."""
    renamed: Json = _renamed(shown, _TO_API)
    return renamed


def _named(members: Json, noun: str) -> Json:
    rest = {
        name: value
        for name, value in members.items()
        if name not in ("name", "identifier", "version")
    }
    return present({f"{noun}Name": members.get("name"), **rest})


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        names.get(name, name): one if name in _OF_USERS else _renamed(one, names)
        for name, one in value.items()
        if one is not None
    }


def _picked(values: Mapping[str, Any], *names: str) -> Json:
    return {name: values[name] for name in names if values.get(name) is not None}


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise BadArchive(f"The archive has no {what}, or it is not a JSON object.")
    return value


def _objects(value: Any, what: str) -> Sequence[Json]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, dict) for one in value):
        raise BadArchive(f"The {what} are not a list of JSON objects.")
    return list(value)
