"""Intents of a locale: create, describe, update, delete, list."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.lex.builtin import FALLBACK, INTENTS
from modelyard.domain.lex.soundness import faults
from modelyard.domain.lex.utterances import fault_of
from modelyard.services.lex import limits
from modelyard.services.lex.dialogue_members import CLOSING, CONFIRMATION, FULFILMENT, INITIAL
from modelyard.services.lex.kinds import FALLBACK_ID, INTENT, SLOT, path
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
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, present
from modelyard.store.resources import Change, Create, Delete, Json, ResourceStore, Update

_CREATED: Members = {
    "intentName": EXECUTED,
    "intentDisplayName": RECORDED,
    "description": EXECUTED,
    "parentIntentSignature": EXECUTED,
    "sampleUtterances": EXECUTED,
    "dialogCodeHook": EXECUTED,
    "fulfillmentCodeHook": FULFILMENT,
    "intentConfirmationSetting": CONFIRMATION,
    "intentClosingSetting": CLOSING,
    "inputContexts": EXECUTED,
    "outputContexts": EXECUTED,
    "kendraConfiguration": REFUSED,
    "botId": EXECUTED,
    "botVersion": EXECUTED,
    "localeId": EXECUTED,
    "initialResponseSetting": INITIAL,
    "qnAIntentConfiguration": REFUSED,
    "qInConnectIntentConfiguration": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateIntent": _CREATED,
    "UpdateIntent": {"intentId": EXECUTED, **_CREATED, "slotPriorities": EXECUTED},
}
_SUMMARY = (
    "intentId",
    "intentName",
    "intentDisplayName",
    "description",
    "parentIntentSignature",
    "inputContexts",
    "outputContexts",
)


class Intents:
    """What users of a bot may want."""

    def __init__(self, *, store: ResourceStore, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def create_intent(
        self,
        call: Call,
        *,
        intent_name: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_display_name: str | None = None,
        description: str | None = None,
        parent_intent_signature: str | None = None,
        sample_utterances: Sequence[Json] | None = None,
        dialog_code_hook: Json | None = None,
        fulfillment_code_hook: Json | None = None,
        intent_confirmation_setting: Json | None = None,
        intent_closing_setting: Json | None = None,
        input_contexts: Sequence[Json] | None = None,
        output_contexts: Sequence[Json] | None = None,
        kendra_configuration: Json | None = None,
        initial_response_setting: Json | None = None,
        qn_a_intent_configuration: Json | None = None,
        q_in_connect_intent_configuration: Json | None = None,
    ) -> Json:
        given = {
            "intentName": intent_name,
            "intentDisplayName": intent_display_name,
            "description": description,
            "parentIntentSignature": parent_intent_signature,
            "sampleUtterances": sample_utterances,
            "dialogCodeHook": dialog_code_hook,
            "fulfillmentCodeHook": fulfillment_code_hook,
            "intentConfirmationSetting": intent_confirmation_setting,
            "intentClosingSetting": intent_closing_setting,
            "inputContexts": input_contexts,
            "outputContexts": output_contexts,
            "kendraConfiguration": kendra_configuration,
            "initialResponseSetting": initial_response_setting,
            "qnAIntentConfiguration": qn_a_intent_configuration,
            "qInConnectIntentConfiguration": q_in_connect_intent_configuration,
        }
        spec = checked("CreateIntent", present(given))
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        intent_id = new_id(self._random)
        key = key_of(call, INTENT, bot_id, locale_id, intent_id)

        def decide() -> Sequence[Change]:
            known = [one.members for one in parts(self._store, call, place, INTENT)]
            check_new(known, spec)
            return (Create(key=key, spec={"intentId": intent_id, **spec}),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place, is_new=True)

    async def describe_intent(
        self, call: Call, *, intent_id: str, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        return find_part(self._store, call, place, INTENT, intent_id).described(place)

    async def update_intent(
        self,
        call: Call,
        *,
        intent_id: str,
        intent_name: str,
        bot_id: str,
        bot_version: str,
        locale_id: str,
        intent_display_name: str | None = None,
        description: str | None = None,
        parent_intent_signature: str | None = None,
        sample_utterances: Sequence[Json] | None = None,
        dialog_code_hook: Json | None = None,
        fulfillment_code_hook: Json | None = None,
        slot_priorities: Sequence[Json] | None = None,
        intent_confirmation_setting: Json | None = None,
        intent_closing_setting: Json | None = None,
        input_contexts: Sequence[Json] | None = None,
        output_contexts: Sequence[Json] | None = None,
        kendra_configuration: Json | None = None,
        initial_response_setting: Json | None = None,
        qn_a_intent_configuration: Json | None = None,
        q_in_connect_intent_configuration: Json | None = None,
    ) -> Json:
        """Replaces all of it, the priorities of its slots too; the slots themselves stay."""
        given = {
            "intentName": intent_name,
            "intentDisplayName": intent_display_name,
            "description": description,
            "parentIntentSignature": parent_intent_signature,
            "sampleUtterances": sample_utterances,
            "dialogCodeHook": dialog_code_hook,
            "fulfillmentCodeHook": fulfillment_code_hook,
            "slotPriorities": slot_priorities,
            "intentConfirmationSetting": intent_confirmation_setting,
            "intentClosingSetting": intent_closing_setting,
            "inputContexts": input_contexts,
            "outputContexts": output_contexts,
            "kendraConfiguration": kendra_configuration,
            "initialResponseSetting": initial_response_setting,
            "qnAIntentConfiguration": qn_a_intent_configuration,
            "qInConnectIntentConfiguration": q_in_connect_intent_configuration,
        }
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)
        spec = checked("UpdateIntent", present(given))
        key = key_of(call, INTENT, bot_id, locale_id, intent_id)

        def decide() -> Sequence[Change]:
            found = self._store.get(key)
            if found is None:
                raise absent(call, f"the intent {intent_id} of the locale {locale_id}")
            _check_parent(found.spec, spec)
            check_renamed(self._store, call, place, INTENT, intent_id, name=intent_name)
            slots = parts(self._store, call, place, SLOT, intent_id=intent_id)
            check_priorities(slot_priorities or (), {one.members["slotId"] for one in slots})
            whole = {"intentId": intent_id, **spec}
            return (Update(key=key, version=found.version, spec=whole),)

        written = await change_locale(self._store, call, place, decide)
        return Part.of(written).described(place)

    async def delete_intent(
        self, call: Call, *, intent_id: str, bot_id: str, bot_version: str, locale_id: str
    ) -> Json:
        """With its slots. The fallback intent stays."""
        place = Place(bot_id=bot_id, bot_version=bot_version, locale_id=locale_id)

        def decide() -> Sequence[Change]:
            find_part(self._store, call, place, INTENT, intent_id)
            if intent_id == FALLBACK_ID:
                raise ServiceError(
                    "PreconditionFailedException",
                    "The fallback intent cannot be deleted: every locale has one.",
                    status=412,
                )
            slots = parts(self._store, call, place, SLOT, intent_id=intent_id)
            ids = bot_id, locale_id, intent_id
            gone = [key_of(call, SLOT, *ids, one.members["slotId"]) for one in slots]
            return (
                Delete(key=key_of(call, INTENT, *ids)),
                *(Delete(key=one) for one in gone),
            )

        await change_locale(self._store, call, place, decide)
        return {}

    async def list_intents(
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
            rows_of(INTENT, parts(self._store, call, place, INTENT), _summarised),
            Asked(
                of=path(bot_id, bot_version, locale_id),
                sort_by=sort_by,
                filters=filters,
                max_results=max_results,
                next_token=next_token,
            ),
            by="IntentName",
        )
        return answer(found, "intentSummaries", **place.shown())


def checked(operation: str, given: Json) -> Json:
    """The members of an intent. Raises ``Unsupported`` and ``ValidationError`` for what cannot be, whatever else there is."""
    check(operation, MEMBERS[operation], given)
    parent = given.get("parentIntentSignature")
    utterances = [one["utterance"] for one in given.get("sampleUtterances") or ()]
    if parent and parent not in INTENTS:
        raise ValidationError(
            f"Modelyard does not have the built-in intent {parent}; it has {', '.join(INTENTS)}."
        )
    if not parent and f"AMAZON.{given['intentName']}" in INTENTS:
        raise ValidationError(
            "The specified intent name conflicts with a built-in intent name. Please use a different name."
        )
    if parent == FALLBACK and utterances:
        raise ValidationError("The fallback intent has no sample utterances.")
    check_utterances(utterances)
    check_settings(given)
    return given


def check_settings(given: Json) -> None:
    """Raises ``ValidationError`` for the first that no conversation could follow."""
    for fault in faults(given):
        raise ValidationError(fault)


def check_utterances(utterances: Sequence[str]) -> None:
    """Raises ``ValidationError`` for one that is malformed or comes twice, ``ServiceQuotaExceededException`` for too many."""
    if len(utterances) > limits.UTTERANCES:
        raise quota(limits.UTTERANCES, "sample utterances in this intent")
    known = set()
    for one in utterances:
        fault = fault_of(one)
        if fault:
            raise ValidationError(f"The sample utterance '{one[:100]}' is not valid: {fault}.")
        if one in known:
            raise ValidationError(f"The sample utterance '{one}' stands there twice.")
        known.add(one)


def check_new(known: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> None:
    """Raises ``ConflictException`` and ``ServiceQuotaExceededException`` for an intent that these leave no room for."""
    if any(one["intentName"] == spec["intentName"] for one in known):
        raise taken(INTENT, spec["intentName"])
    parent = spec.get("parentIntentSignature")
    if parent and any(one.get("parentIntentSignature") == parent for one in known):
        raise conflict(f"The locale has an intent of the kind {parent} already.")
    if len(known) >= limits.INTENTS:
        raise quota(limits.INTENTS, "intents in this locale")


def check_priorities(priorities: Sequence[Mapping[str, Any]], slot_ids: set[str]) -> None:
    """Raises ``ValidationError``: each slot has one priority at most, and each priority one slot."""
    ids = [one["slotId"] for one in priorities]
    unknown = [one for one in ids if one not in slot_ids]
    if unknown:
        raise ValidationError(
            f"slotPriorities names slots that the intent has not: {', '.join(unknown[:10])}."
        )
    for values, of_what in ((ids, "slot"), ([one["priority"] for one in priorities], "priority")):
        if len(set(values)) != len(values):
            raise ValidationError(f"slotPriorities names a {of_what} twice.")


def _check_parent(before: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    if before.get("parentIntentSignature") != spec.get("parentIntentSignature"):
        raise ValidationError("The parentIntentSignature of an intent cannot be changed.")


def _summarised(part: Part) -> Json:
    shown = {name: part.members[name] for name in _SUMMARY if name in part.members}
    return {**shown, "lastUpdatedDateTime": part.updated_at}
