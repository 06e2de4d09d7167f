"""Lex V2's runtime: RecognizeText, RecognizeUtterance for texts, PutSession, GetSession, DeleteSession."""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.domain.lex.understanding import TEXT_CHARACTERS
from modelyard.services.lex.turns import Kept, Said, Turns
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, present
from modelyard.services.metering import Metering
from modelyard.store.lex_sessions import SessionKey
from modelyard.store.resources import Json

TEXT_TYPE = "text/plain; charset=utf-8"
UNPACKED_BYTES = 262_144
"""Of a header that comes packed."""
USAGE_TYPE, UNIT = "TextRequest", "Request"
_STATE: Members = {
    "dialogAction": {
        "type": EXECUTED,
        "slotToElicit": EXECUTED,
        "slotElicitationStyle": RECORDED,
        "subSlotToElicit": REFUSED,
    },
    "intent": EXECUTED,
    "activeContexts": EXECUTED,
    "sessionAttributes": EXECUTED,
    "originatingRequestId": RECORDED,
    "runtimeHints": RECORDED,
}
_PLACE: Members = dict.fromkeys(("botId", "botAliasId", "localeId", "sessionId"), EXECUTED)
MEMBERS: Mapping[str, Members] = {
    "RecognizeText": {
        **_PLACE,
        "text": EXECUTED,
        "sessionState": _STATE,
        "requestAttributes": EXECUTED,
    },
    "RecognizeUtterance": {
        **_PLACE,
        "sessionState": EXECUTED,
        "requestAttributes": EXECUTED,
        "requestContentType": EXECUTED,
        "responseContentType": EXECUTED,
        "inputStream": EXECUTED,
    },
    "PutSession": {
        **_PLACE,
        "messages": EXECUTED,
        "sessionState": _STATE,
        "requestAttributes": EXECUTED,
        "responseContentType": EXECUTED,
    },
    "GetSession": _PLACE,
    "DeleteSession": _PLACE,
}


class Conversations:
    """What users' programs call."""

    def __init__(self, *, turns: Turns, metering: Metering, clock: Clock) -> None:
        self._turns = turns
        self._metering = metering
        self._clock = clock

    async def recognize_text(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_alias_id: str,
        locale_id: str,
        session_id: str,
        text: str,
        session_state: Json | None = None,
        request_attributes: dict[str, str] | None = None,
    ) -> Json:
        check("RecognizeText", MEMBERS["RecognizeText"], present({"sessionState": session_state}))
        key = _key(call, bot_id, bot_alias_id, locale_id, session_id)
        said = Said(
            text=text, state=session_state, request_attributes=dict(request_attributes or {})
        )
        kept = await self._turns.hear(call, key, said, meter=lambda: self._meter(call))
        return {**self._shown(kept), "sessionId": session_id}

    async def recognize_utterance(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_alias_id: str,
        locale_id: str,
        session_id: str,
        request_content_type: str,
        session_state: str | None = None,
        request_attributes: str | None = None,
        response_content_type: str | None = None,
        input_stream: bytes | None = None,
    ) -> Json:
        """Speech is refused; a text goes the way of RecognizeText, with packed headers."""
        _check_is_text("RecognizeUtterance", "requestContentType", request_content_type)
        _check_is_text("RecognizeUtterance", "responseContentType", response_content_type)
        key = _key(call, bot_id, bot_alias_id, locale_id, session_id)
        text = _text(input_stream or b"")
        said = Said(
            text=text,
            state=_unpacked("x-amz-lex-session-state", session_state),
            request_attributes=_strings(
                _unpacked("x-amz-lex-request-attributes", request_attributes)
            ),
        )
        kept = await self._turns.hear(call, key, said, meter=lambda: self._meter(call))
        shown = {name: _packed(value) for name, value in self._shown(kept).items()}
        return {
            **shown,
            "inputMode": "Text",
            "contentType": response_content_type or TEXT_TYPE,
            "inputTranscript": _packed(text),
            "sessionId": session_id,
        }

    async def put_session(
        self,
        call: Call,
        *,
        bot_id: str,
        bot_alias_id: str,
        locale_id: str,
        session_id: str,
        session_state: Json,
        messages: Sequence[Json] | None = None,
        request_attributes: dict[str, str] | None = None,
        response_content_type: str | None = None,
    ) -> Json:
        check("PutSession", MEMBERS["PutSession"], {"sessionState": session_state})
        _check_is_text("PutSession", "responseContentType", response_content_type)
        key = _key(call, bot_id, bot_alias_id, locale_id, session_id)
        said = Said(
            state=session_state,
            messages=list(messages or ()),
            request_attributes=dict(request_attributes or {}),
        )
        shown = self._shown(await self._turns.put(call, key, said))
        shown.pop("interpretations")
        return {
            **{name: _packed(value) for name, value in shown.items()},
            "contentType": response_content_type or TEXT_TYPE,
            "sessionId": session_id,
        }

    async def get_session(
        self, call: Call, *, bot_id: str, bot_alias_id: str, locale_id: str, session_id: str
    ) -> Json:
        key = _key(call, bot_id, bot_alias_id, locale_id, session_id)
        shown = self._shown(await self._turns.find(key))
        shown.pop("requestAttributes", None)
        return {**shown, "sessionId": session_id}

    async def delete_session(
        self, call: Call, *, bot_id: str, bot_alias_id: str, locale_id: str, session_id: str
    ) -> Json:
        await self._turns.delete(_key(call, bot_id, bot_alias_id, locale_id, session_id))
        return {
            "botId": bot_id,
            "botAliasId": bot_alias_id,
            "localeId": locale_id,
            "sessionId": session_id,
        }

    def _shown(self, kept: Kept) -> Json:
        state = kept.session.shown(now=self._clock.now(), request_id=kept.request_id)
        return present(
            {
                "messages": kept.messages or None,
                "sessionState": state,
                "interpretations": kept.interpretations,
                "requestAttributes": kept.request_attributes or None,
            }
        )

    def _meter(self, call: Call) -> None:
        self._metering.meter(call, usage_type=USAGE_TYPE, quantity=1, unit=UNIT)


def _key(call: Call, bot: str, alias: str, locale: str, session: str) -> SessionKey:
    return SessionKey(
        account=call.account, region=call.region, bot=bot, alias=alias, locale=locale, id=session
    )


def _check_is_text(operation: str, member: str, given: str | None) -> None:
    if given is not None and not given.lower().startswith("text/plain"):
        raise Unsupported(
            f"Modelyard does not execute {operation} with {member} {given} yet (accepted: {TEXT_TYPE}): "
            "it neither hears nor speaks."
        )


def _text(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ValidationError(f"inputStream is no text in UTF-8: {error}") from None
    if not 1 <= len(text) <= TEXT_CHARACTERS:
        raise ValidationError(
            f"A text has 1 to {TEXT_CHARACTERS} characters, this one has {len(text)}."
        )
    return text


def _packed(value: Any) -> str:
    """gzip, then base64, as Lex puts values into headers."""
    packer = zlib.compressobj(wbits=31)
    raw = packer.compress(json.dumps(value, separators=(",", ":")).encode()) + packer.flush()
    return base64.b64encode(raw).decode()


def _unpacked(header: str, value: str | None) -> Json | None:
    """Raises ``ValidationError``."""
    if not value:
        return None
    try:
        unpacker = zlib.decompressobj(wbits=31)
        raw = unpacker.decompress(base64.b64decode(value, validate=True), UNPACKED_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValidationError(f"{header} is cut off, or has more than {UNPACKED_BYTES} bytes.")
        found = json.loads(raw)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise ValidationError(f"{header} has to be JSON, in gzip, in base64: {error}") from None
    if not isinstance(found, dict):
        raise ValidationError(f"{header} has to be an object.")
    return found


def _strings(found: Json | None) -> dict[str, str]:
    for name, value in (found or {}).items():
        if not isinstance(value, str):
            raise ValidationError(f"x-amz-lex-request-attributes: {name} has to be a text.")
    return dict(found or {})
