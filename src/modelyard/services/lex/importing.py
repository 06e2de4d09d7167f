"""What an archive of a bot is turned into: the changes that make it, by the rules of the operations that would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelyard.base.call import Call
from modelyard.base.errors import ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.builtin import FALLBACK
from modelyard.services.lex import bots, intents, limits, locales, slot_types, slots
from modelyard.services.lex.kinds import (
    BOT,
    BUILD,
    DRAFT,
    FALLBACK_ID,
    INTENT,
    LOCALE,
    SLOT,
    SLOT_TYPE,
    path,
)
from modelyard.services.lex.lexjson import BotFiles, IntentFiles, LocaleFiles
from modelyard.services.lex.parts import Place, conflict, find_bot, key_of, new_id, quota, touch
from modelyard.services.members import check, present
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.resources import Change, Create, Delete, Json, Resource, ResourceStore, Update


class Validate(Protocol):
    """An operation's input, by the service model: without what it does not know. Raises ``ServiceError`` for what it forbids."""

    def __call__(self, operation: str, given: Mapping[str, Any]) -> Json: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """``resource_id`` is the bot's, or the locale's."""

    changes: Sequence[Change]
    resource_id: str
    name: str


class Importing:
    """Reads the store; writes nothing."""

    def __init__(
        self, *, store: ResourceStore, random: RandomSource, roles: Roles, validate: Validate
    ) -> None:
        self._store = store
        self._random = random
        self._roles = roles
        self._validate = validate

    def bot(self, call: Call, asked: Json, files: BotFiles, *, overwrite: bool) -> Imported:
        """A new bot; or the draft of the one that has the name, whose versions and aliases stay. Raises ``ServiceError``."""
        if not files.members:
            raise ValidationError("The archive is not one of a bot: it has no Bot.json.")
        members = {**files.members, **asked}
        members = self._validate("CreateBot", members)
        tags, alias_tags = members.pop("botTags", None), members.pop("testBotAliasTags", None)
        check("StartImport", bots.MEMBERS["CreateBot"], members)
        self._roles.check(call, members["roleArn"])
        spec = {"botType": "Bot", **members}
        found = bots.find_by_name(self._store, call, asked["botName"])
        if found is None:
            if len(self._store.list(BOT, account=call.account, region=call.region)) >= limits.BOTS:
                raise quota(limits.BOTS, "bots")
            bot_id = new_id(self._random)
            changes = list(bots.creation(call, bot_id, spec, tags=tags, alias_tags=alias_tags))
        elif not overwrite:
            raise conflict(f"There is a bot with the name {asked['botName']} already.")
        else:
            bot_id = found.spec["botId"]
            kept = {name: found.spec[name] for name in ("botId", "tags", "versions")}
            changes = [Update(key=found.key, version=found.version, spec={**spec, **kept})]
            changes += self._clearing(call, bot_id, {_id_of(one) for one in files.locales})
        for locale in files.locales:
            place = Place(bot_id=bot_id, bot_version=DRAFT, locale_id=_id_of(locale))
            changes += self._locale(call, place, locale)
        return Imported(changes=changes, resource_id=bot_id, name=asked["botName"])

    def locale(self, call: Call, asked: Json, files: BotFiles, *, overwrite: bool) -> Imported:
        """The locale of a bot that there is. Raises ``ServiceError``."""
        if len(files.locales) != 1:
            raise ValidationError(f"The archive has {len(files.locales)} locales instead of one.")
        bot = find_bot(self._store, call, asked["botId"])
        place = Place(bot_id=asked["botId"], bot_version=DRAFT, locale_id=asked["localeId"])
        (given,) = files.locales
        said = {name: value for name, value in asked.items() if name not in ("botId", "botVersion")}
        locale = LocaleFiles(
            members={**given.members, **said}, intents=given.intents, slot_types=given.slot_types
        )
        changes: list[Change] = [touch(bot)]
        if self._store.get(key_of(call, LOCALE, place.bot_id, place.locale_id)) is not None:
            if not overwrite:
                raise conflict(f"The bot has the locale {place.locale_id} already.")
            changes += _emptied(self._store, call, place)
        elif len(_locales_of(self._store, call, place.bot_id)) >= limits.LOCALES:
            raise quota(limits.LOCALES, f"locales of the bot {place.bot_id}")
        changes += self._locale(call, place, locale)
        return Imported(changes=changes, resource_id=place.locale_id, name=str(bot.spec["botName"]))

    def _clearing(self, call: Call, bot_id: str, kept: set[str]) -> list[Change]:
        """Of all the locales that a draft has. What was built of those that come back goes on answering."""
        changes: list[Change] = []
        for one in _locales_of(self._store, call, bot_id):
            place = Place(bot_id=bot_id, bot_version=DRAFT, locale_id=one.spec["localeId"])
            changes += _emptied(self._store, call, place)
            build = key_of(call, BUILD, bot_id, place.locale_id)
            if place.locale_id not in kept and self._store.get(build) is not None:
                changes.append(Delete(key=build))
        return changes

    def _locale(self, call: Call, place: Place, files: LocaleFiles) -> list[Change]:
        locales.check_locale(place.locale_id)
        given = {**files.members, **place.shown()}
        members = self._validate("CreateBotLocale", given)
        check("StartImport", locales.MEMBERS["CreateBotLocale"], members)
        spec = {
            name: value for name, value in members.items() if name not in ("botId", "botVersion")
        }
        created, fallback = locales.creation(call, place, spec)
        changes: list[Change] = [created]
        type_ids = self._slot_types(call, place, files, changes)
        known: list[Json] = []
        for intent in files.intents:
            known.append(self._intent(call, place, intent, type_ids, known, changes))
        if not any(one.get("parentIntentSignature") == FALLBACK for one in known):
            changes.append(fallback)
        return changes

    def _slot_types(
        self, call: Call, place: Place, files: LocaleFiles, changes: list[Change]
    ) -> dict[str, str]:
        """Ids by name."""
        known: list[Json] = []
        ids: dict[str, str] = {}
        for given in files.slot_types:
            spec = self._checked(slot_types.checked, "CreateSlotType", place, given)
            slot_types.check_new(known, spec)
            known.append(spec)
            type_id = ids[spec["slotTypeName"]] = new_id(self._random)
            key = key_of(call, SLOT_TYPE, place.bot_id, place.locale_id, type_id)
            changes.append(Create(key=key, spec={"slotTypeId": type_id, **spec}))
        return ids

    def _intent(
        self,
        call: Call,
        place: Place,
        files: IntentFiles,
        type_ids: Mapping[str, str],
        known: Sequence[Json],
        changes: list[Change],
    ) -> Json:
        spec = self._checked(intents.checked, "CreateIntent", place, files.members)
        intents.check_new(known, spec)
        is_fallback = spec.get("parentIntentSignature") == FALLBACK
        if is_fallback and files.slots:
            raise ValidationError("The fallback intent has no slots.")
        intent_id = FALLBACK_ID if is_fallback else new_id(self._random)
        ids = place.bot_id, place.locale_id, intent_id
        slot_ids: dict[str, str] = {}
        made: list[Json] = []
        for given in files.slots:
            type_name = given.get("slotTypeName")
            type_id = (
                type_ids.get(type_name, type_name) if isinstance(type_name, str) else type_name
            )
            named = {name: value for name, value in given.items() if name != "slotTypeName"}
            named["slotTypeId"] = type_id
            slot = self._checked(
                slots.checked, "CreateSlot", place, {**named, "intentId": intent_id}
            )
            slots.check_new(made, slot)
            slots.check_type(slot, type_ids.values())
            made.append(slot)
            slot_id = slot_ids[slot["slotName"]] = new_id(self._random)
            whole = {"slotId": slot_id, **slot, "intentId": intent_id}
            changes.append(Create(key=key_of(call, SLOT, *ids, slot_id), spec=whole))
        priorities = [
            {"slotId": slot_ids.get(name, name), "priority": priority}
            for name, priority in files.priorities
        ]
        intents.check_priorities(priorities, set(slot_ids.values()))
        whole = {"intentId": intent_id, **spec}
        if priorities:
            shown = {**place.shown(), **whole, "slotPriorities": priorities}
            whole["slotPriorities"] = self._validate("UpdateIntent", shown)["slotPriorities"]
        changes.append(Create(key=key_of(call, INTENT, *ids), spec=whole))
        return spec

    def _checked(
        self, checked: Any, operation: str, place: Place, given: Mapping[str, Any]
    ) -> Json:
        values = self._validate(operation, {**given, **place.shown()})
        outside = (*place.shown(), "intentId")
        spec: Json = checked(
            operation, present({name: one for name, one in values.items() if name not in outside})
        )
        return spec


def _id_of(locale: LocaleFiles) -> str:
    return str(locale.members["localeId"])


def _locales_of(store: ResourceStore, call: Call, bot_id: str) -> Sequence[Resource]:
    return store.list(LOCALE, account=call.account, region=call.region, prefix=path(bot_id, ""))


def _emptied(store: ResourceStore, call: Call, place: Place) -> list[Change]:
    """A locale without what was built of it, which goes on answering."""
    return [one for one in locales.deletion(store, call, place) if one.key.kind != BUILD]
