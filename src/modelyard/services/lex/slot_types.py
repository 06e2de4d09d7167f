"""Slot types of a locale: create, describe, update, delete, list."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.builtin import ALPHANUMERIC, BY_SIGNATURE
from modelyard.domain.lex.pattern import BadPattern, compile_pattern
from modelyard.services.lex import limits
from modelyard.services.lex.kinds import SLOT, SLOT_TYPE, path
from modelyard.services.lex.listing import Asked, answer, listed, rows_of
from modelyard.services.lex.parts import (
    Part,
    Place,
    absent,
    change_locale,
    check_renamed,
    conflict,
    find_part,
    key_of,
    new_id,
    parts,
    quota,
    taken,
)
from modelyard.services.members import (
    EXECUTED,
    RECORDED,
    REFUSED,
    Members,
    check,
    only,
    present,
)
from modelyard.store.resources import Change, Create, Delete, Json, ResourceStore, Update

_CREATED: Members = {
    "slotTypeName": EXECUTED,
    "description": EXECUTED,
    "slotTypeValues": EXECUTED,
    "valueSelectionSetting": {
        "resolutionStrategy": only("OriginalValue", "TopResolution"),
        "regexFilter": EXECUTED,
        "advancedRecognitionSetting": RECORDED,
    },
    "parentSlotTypeSignature": EXECUTED,
    "botId": EXECUTED,
    "botVersion": EXECUTED,
    "localeId": EXECUTED,
    "externalSourceSetting": REFUSED,
    "compositeSlotTypeSetting": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateSlotType": _CREATED,
    "UpdateSlotType": {"slotTypeId": EXECUTED, **_CREATED},
}
_SUMMARY = ("slotTypeId", "slotTypeName", "description", "parentSlotTypeSignature")


class SlotTypes:
    """The values that slots may have."""

    def __init__(self, *, store: ResourceStore, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def create_slot_type(
        self,
        call: Call,
        *,
        slot_type_name: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        description: str | None = None,
        slot_type_values: Sequence[Json] | None = None,
        value_selection_setting: Json | None = None,
        parent_slot_type_signature: str | None = None,
        external_source_setting: Json | None = None,
        composite_slot_type_setting: Json | None = None,
    ) -> Json:
        given = {
            "slotTypeName": slot_type_name,
            "description": description,
            "slotTypeValues": slot_type_values,
            "valueSelectionSetting": value_selection_setting,
            "parentSlotTypeSignature": parent_slot_type_signature,
            "externalSourceSetting": external_source_setting,
            "compositeSlotTypeSetting": composite_slot_type_setting,
        }
        spec = checked("CreateSlotType", present(given))
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        type_id = new_id(self._random)
        key = key_of(call, SLOT_TYPE, bot_id, locale_id, type_id)

        def decide() -> Sequence[Change]:
            known = [one.members for one in parts(self._store, call, place, SLOT_TYPE)]
            check_new(known, spec)
            return (Create(key=key, spec={"slotTypeId": type_id, **spec}),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place, is_new=True)

    async def describe_slot_type(
        self, call: Call, *, slot_type_id: str, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        return find_part(self._store, call, place, SLOT_TYPE, slot_type_id).described(place)

    async def update_slot_type(
        self,
        call: Call,
        *,
        slot_type_id: str,
        slot_type_name: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        description: str | None = None,
        slot_type_values: Sequence[Json] | None = None,
        value_selection_setting: Json | None = None,
        parent_slot_type_signature: str | None = None,
        external_source_setting: Json | None = None,
        composite_slot_type_setting: Json | None = None,
    ) -> Json:
        """Replaces all of it."""
        given = {
            "slotTypeName": slot_type_name,
            "description": description,
            "slotTypeValues": slot_type_values,
            "valueSelectionSetting": value_selection_setting,
            "parentSlotTypeSignature": parent_slot_type_signature,
            "externalSourceSetting": external_source_setting,
            "compositeSlotTypeSetting": composite_slot_type_setting,
        }
        spec = checked("UpdateSlotType", present(given))
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        key = key_of(call, SLOT_TYPE, bot_id, locale_id, slot_type_id)

        def decide() -> Sequence[Change]:
            found = self._store.get(key)
            if found is None:
                raise absent(call, f"the slot type {slot_type_id} of the locale {locale_id}")
            check_renamed(self._store, call, place, SLOT_TYPE, slot_type_id, name=slot_type_name)
            others = [
                one.members
                for one in parts(self._store, call, place, SLOT_TYPE)
                if one.members["slotTypeId"] != slot_type_id
            ]
            _check_values(others, spec)
            whole = {"slotTypeId": slot_type_id, **spec}
            return (Update(key=key, version=found.version, spec=whole),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place)

    async def delete_slot_type(
        self,
        call: Call,
        *,
        slot_type_id: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        skip_resource_in_use_check: bool | None = None,
    ) -> Json:
        """One that slots are of is in use."""
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)

        def decide() -> Sequence[Change]:
            find_part(self._store, call, place, SLOT_TYPE, slot_type_id)
            users = [
                one.members["slotName"]
                for one in parts(self._store, call, place, SLOT)
                if one.members["slotTypeId"] == slot_type_id
            ]
            if users and not skip_resource_in_use_check:
                raise conflict(
                    f"The slot type is in use by the slots {', '.join(users[:10])}: "
                    "delete or change them first, or set skipResourceInUseCheck."
                )
            return (Delete(key=key_of(call, SLOT_TYPE, bot_id, locale_id, slot_type_id)),)

        await change_locale(self._store, call, place, decide)
        return {}

    async def list_slot_types(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        sort_by: Json | None = None,
        filters: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        found = listed(
            call,
            rows_of(SLOT_TYPE, parts(self._store, call, place, SLOT_TYPE), _summarised),
            Asked(
                of=path(bot_id, bot_version, locale_id),
                sort_by=sort_by,
                filters=filters,
                max_results=max_results,
                next_token=next_token,
            ),
            by="SlotTypeName",
        )
        return answer(found, "slotTypeSummaries", **place.shown())


def checked(operation: str, given: Json) -> Json:
    """The members of a slot type. Raises ``Unsupported`` and ``ValidationError`` for what cannot be."""
    check(operation, MEMBERS[operation], given)
    parent = given.get("parentSlotTypeSignature")
    setting = given.get("valueSelectionSetting") or {}
    if parent and parent not in BY_SIGNATURE:
        raise ValidationError(
            f"Modelyard does not have the built-in slot type {parent}; it has {', '.join(BY_SIGNATURE)}."
        )
    if not parent and not setting:
        raise ValidationError("A custom slot type needs a valueSelectionSetting.")
    if setting.get("regexFilter") and parent != ALPHANUMERIC:
        raise ValidationError(f"A regexFilter is for slot types whose parent is {ALPHANUMERIC}.")
    _check_pattern(setting)
    if parent and given.get("slotTypeValues") and setting.get("regexFilter"):
        raise ValidationError("A slot type has a regexFilter or slotTypeValues, not both.")
    if setting.get("resolutionStrategy") == "TopResolution" and not given.get("slotTypeValues"):
        raise ValidationError("The resolutionStrategy TopResolution needs slotTypeValues.")
    known: set[str] = set()
    for one in given.get("slotTypeValues") or ():
        value = (one.get("sampleValue") or {}).get("value")
        if not value or not value.strip():
            raise ValidationError("Each of the slotTypeValues needs a sampleValue.")
        if value.casefold() in known:
            raise ValidationError(f"The value '{value}' stands in slotTypeValues twice.")
        known.add(value.casefold())
    return given


def check_new(known: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> None:
    """Raises ``ConflictException`` and ``ServiceQuotaExceededException`` for a type that these leave no room for."""
    if any(one["slotTypeName"] == spec["slotTypeName"] for one in known):
        raise taken(SLOT_TYPE, spec["slotTypeName"])
    if len(known) >= limits.SLOT_TYPES:
        raise quota(limits.SLOT_TYPES, "slot types in this locale")
    _check_values(known, spec)


def _check_values(others: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> None:
    count = sum(
        1 + len(value.get("synonyms") or ())
        for one in (*others, spec)
        for value in one.get("slotTypeValues") or ()
    )
    if count > limits.VALUES:
        raise quota(limits.VALUES, "values and synonyms in this locale")


def _category(members: Mapping[str, Any]) -> str:
    return "Extended" if members.get("parentSlotTypeSignature") else "Custom"


def _check_pattern(setting: Json) -> None:
    """Raises ``ValidationError`` for a pattern that no build could use."""
    pattern = (setting.get("regexFilter") or {}).get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except BadPattern as error:
            raise ValidationError(f"The regexFilter cannot be used: {error}") from None


def _summarised(part: Part) -> Json:
    return {
        **{name: part.members[name] for name in _SUMMARY if name in part.members},
        "slotTypeCategory": _category(part.members),
        "lastUpdatedDateTime": part.updated_at,
    }
