"""Slots of an intent: create, describe, update, delete, list."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.builtin import BY_SIGNATURE
from modelyard.domain.lex.soundness import asks_without_words
from modelyard.services.lex import limits
from modelyard.services.lex.dialogue_members import CAPTURE, NOT_ACTIVE, PROMPT
from modelyard.services.lex.intents import check_settings, check_utterances
from modelyard.services.lex.kinds import FALLBACK_ID, INTENT, SLOT, SLOT_TYPE, path
from modelyard.services.lex.listing import Asked, answer, listed, rows_of
from modelyard.services.lex.parts import (
    Part,
    Place,
    absent,
    change_locale,
    check_renamed,
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
    present,
    refused_unless,
)
from modelyard.store.resources import Change, Create, Delete, Json, ResourceStore, Update

_CREATED: Members = {
    "slotName": EXECUTED,
    "description": EXECUTED,
    "slotTypeId": EXECUTED,
    "valueElicitationSetting": {
        "defaultValueSpecification": EXECUTED,
        "slotConstraint": EXECUTED,
        "promptSpecification": PROMPT,
        "sampleUtterances": EXECUTED,
        "waitAndContinueSpecification": NOT_ACTIVE,
        "slotCaptureSetting": CAPTURE,
        "slotResolutionSetting": refused_unless(
            lambda setting: setting["slotResolutionStrategy"] == "Default", "Default"
        ),
    },
    "obfuscationSetting": RECORDED,
    "botId": EXECUTED,
    "botVersion": EXECUTED,
    "localeId": EXECUTED,
    "intentId": EXECUTED,
    "multipleValuesSetting": EXECUTED,
    "subSlotSetting": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateSlot": _CREATED,
    "UpdateSlot": {"slotId": EXECUTED, **_CREATED},
}


class Slots:
    """What a bot has to know to fulfil an intent."""

    def __init__(self, *, store: ResourceStore, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def create_slot(
        self,
        call: Call,
        *,
        slot_name: str,
        value_elicitation_setting: Json,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_id: str,
        description: str | None = None,
        slot_type_id: str | None = None,
        obfuscation_setting: Json | None = None,
        multiple_values_setting: Json | None = None,
        sub_slot_setting: Json | None = None,
    ) -> Json:
        """It is asked for last, until UpdateIntent gives it a priority."""
        given = {
            "slotName": slot_name,
            "description": description,
            "slotTypeId": slot_type_id,
            "valueElicitationSetting": present(value_elicitation_setting),
            "obfuscationSetting": obfuscation_setting,
            "multipleValuesSetting": multiple_values_setting,
            "subSlotSetting": sub_slot_setting,
        }
        spec = checked("CreateSlot", present(given))
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        slot_id = new_id(self._random)
        key = key_of(call, SLOT, bot_id, locale_id, intent_id, slot_id)

        def decide() -> Sequence[Change]:
            self._check_intent(call, place, intent_id)
            known = [
                one.members for one in parts(self._store, call, place, SLOT, intent_id=intent_id)
            ]
            check_new(known, spec)
            check_type(spec, self._types(call, place))
            return (Create(key=key, spec={"slotId": slot_id, **spec, "intentId": intent_id}),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place, is_new=True)

    async def describe_slot(
        self,
        call: Call,
        *,
        slot_id: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_id: str,
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        return find_part(self._store, call, place, SLOT, intent_id, slot_id).described(place)

    async def update_slot(
        self,
        call: Call,
        *,
        slot_id: str,
        slot_name: str,
        value_elicitation_setting: Json,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_id: str,
        description: str | None = None,
        slot_type_id: str | None = None,
        obfuscation_setting: Json | None = None,
        multiple_values_setting: Json | None = None,
        sub_slot_setting: Json | None = None,
    ) -> Json:
        """Replaces all of it."""
        given = {
            "slotName": slot_name,
            "description": description,
            "slotTypeId": slot_type_id,
            "valueElicitationSetting": present(value_elicitation_setting),
            "obfuscationSetting": obfuscation_setting,
            "multipleValuesSetting": multiple_values_setting,
            "subSlotSetting": sub_slot_setting,
        }
        spec = checked("UpdateSlot", present(given))
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        key = key_of(call, SLOT, bot_id, locale_id, intent_id, slot_id)

        def decide() -> Sequence[Change]:
            found = self._store.get(key)
            if found is None:
                raise absent(call, f"the slot {slot_id} of the intent {intent_id}")
            check_renamed(self._store, call, place, SLOT, intent_id, slot_id, name=slot_name)
            check_type(spec, self._types(call, place))
            whole = {"slotId": slot_id, **spec, "intentId": intent_id}
            return (Update(key=key, version=found.version, spec=whole),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place)

    async def delete_slot(
        self,
        call: Call,
        *,
        slot_id: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_id: str,
    ) -> Json:
        """Its priority goes with it."""
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        ids = bot_id, locale_id, intent_id

        def decide() -> Sequence[Change]:
            find_part(self._store, call, place, SLOT, intent_id, slot_id)
            changes: list[Change] = [Delete(key=key_of(call, SLOT, *ids, slot_id))]
            intent = self._store.get(key_of(call, INTENT, *ids))
            priorities = intent.spec.get("slotPriorities") or () if intent is not None else ()
            kept = [one for one in priorities if one["slotId"] != slot_id]
            if intent is not None and len(kept) != len(priorities):
                spec = {**intent.spec, "slotPriorities": kept}
                changes.append(Update(key=intent.key, version=intent.version, spec=spec))
            return changes

        await change_locale(self._store, call, place, decide)
        return {}

    async def list_slots(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_id: str,
        sort_by: Json | None = None,
        filters: Sequence[Json] | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        find_part(self._store, call, place, INTENT, intent_id)
        found = listed(
            call,
            rows_of(SLOT, parts(self._store, call, place, SLOT, intent_id=intent_id), _summary),
            Asked(
                of=path(bot_id, bot_version, locale_id, intent_id),
                sort_by=sort_by,
                filters=filters,
                max_results=max_results,
                next_token=next_token,
            ),
            by="SlotName",
        )
        return answer(found, "slotSummaries", **place.shown(), intentId=intent_id)

    def _check_intent(self, call: Call, place: Place, intent_id: str) -> None:
        find_part(self._store, call, place, INTENT, intent_id)
        if intent_id == FALLBACK_ID:
            raise ValidationError("The fallback intent has no slots.")

    def _types(self, call: Call, place: Place) -> Collection[str]:
        return {one.members["slotTypeId"] for one in parts(self._store, call, place, SLOT_TYPE)}


def checked(operation: str, given: Json) -> Json:
    """The members of a slot. Raises ``Unsupported`` and ``ValidationError`` for what cannot be, whatever else there is."""
    check(operation, MEMBERS[operation], given)
    setting = given["valueElicitationSetting"]
    check_utterances([one["utterance"] for one in setting.get("sampleUtterances") or ()])
    check_settings(setting)
    if asks_without_words(given):
        raise ValidationError(
            f"The slot {given['slotName']} is required: it needs a promptSpecification to be asked for."
        )
    if not given.get("slotTypeId"):
        raise ValidationError("A slot needs a slotTypeId.")
    return given


def check_new(known: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> None:
    """Raises ``ConflictException`` and ``ServiceQuotaExceededException`` for a slot that these leave no room for."""
    if any(one["slotName"] == spec["slotName"] for one in known):
        raise taken(SLOT, spec["slotName"])
    if len(known) >= limits.SLOTS:
        raise quota(limits.SLOTS, "slots in this intent")


def check_type(spec: Mapping[str, Any], type_ids: Collection[str]) -> None:
    """Raises ``ValidationError`` for a type that there is not."""
    type_id = spec["slotTypeId"]
    if type_id in type_ids or type_id in BY_SIGNATURE:
        return
    if type_id.startswith("AMAZON."):
        raise ValidationError(
            f"Modelyard does not have the built-in slot type {type_id}; it has {', '.join(BY_SIGNATURE)}."
        )
    raise ValidationError(f"The slot type {type_id} does not exist in this locale.")


def _summary(part: Part) -> Json:
    members = part.members
    setting = members["valueElicitationSetting"]
    return present(
        {
            "slotId": members["slotId"],
            "slotName": members["slotName"],
            "description": members.get("description"),
            "slotConstraint": setting["slotConstraint"],
            "slotTypeId": members["slotTypeId"],
            "valueElicitationPromptSpecification": setting.get("promptSpecification"),
            "lastUpdatedDateTime": part.updated_at,
        }
    )
