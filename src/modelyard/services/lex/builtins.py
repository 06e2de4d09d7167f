"""The built-in intents and slot types that bots may use."""

from collections.abc import Mapping

from modelyard.base.call import Call
from modelyard.domain.lex.builtin import INTENTS, SLOT_TYPES
from modelyard.services.lex.listing import Asked, Row, answer, listed
from modelyard.services.lex.locales import check_locale
from modelyard.store.resources import Json

_INTENTS: Mapping[str, str] = {
    "AMAZON.FallbackIntent": "What the user says that no other intent understands.",
    "AMAZON.CancelIntent": "The user wants to give up what was begun.",
    "AMAZON.HelpIntent": "The user asks for help.",
    "AMAZON.RepeatIntent": "The user wants to hear the last message again.",
    "AMAZON.StartOverIntent": "The user wants to begin anew.",
    "AMAZON.StopIntent": "The user wants to end.",
}


class BuiltIns:
    """Only those that are executed are listed."""

    async def list_built_in_intents(
        self,
        call: Call,
        *,
        locale_id: str,
        sort_by: Json | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        check_locale(locale_id)
        rows = (
            Row(
                name=signature,
                summary={"intentSignature": signature, "description": _INTENTS[signature]},
            )
            for signature in INTENTS
        )
        asked = Asked(
            of=locale_id, sort_by=sort_by, max_results=max_results or _PAGE, next_token=next_token
        )
        found = listed(call, rows, asked, by="IntentSignature")
        return answer(found, "builtInIntentSummaries", localeId=locale_id)

    async def list_built_in_slot_types(
        self,
        call: Call,
        *,
        locale_id: str,
        sort_by: Json | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        check_locale(locale_id)
        rows = (
            Row(
                name=one.signature,
                summary={"slotTypeSignature": one.signature, "description": one.description},
            )
            for one in SLOT_TYPES
        )
        asked = Asked(
            of=locale_id, sort_by=sort_by, max_results=max_results or _PAGE, next_token=next_token
        )
        found = listed(call, rows, asked, by="SlotTypeSignature")
        return answer(found, "builtInSlotTypeSummaries", localeId=locale_id)


_PAGE = 20
