"""Code hooks: the event that a bot's Lambda function gets, in Lex V2's form, and what its answer may be. Pure."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.lex.bot import Bot
from modelyard.domain.lex.session import Action, Json
from modelyard.domain.lex.states import BadState, State, check_attributes, read_state

ANSWER_BYTES = 256 * 1024
MESSAGES_MAX = 10
Source = Literal["DialogCodeHook", "FulfillmentCodeHook"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a turn is held: what the function is told of it beside the state."""

    session_id: str
    alias_id: str
    alias_name: str
    transcript: str
    request_id: str


class HookCall(msgspec.Struct, frozen=True, kw_only=True):
    """The dialogue stops here until somebody has called the function."""

    event: Json


class HookFailed(msgspec.Struct, frozen=True, kw_only=True):
    """The function gave no answer that can be used; ``error`` is for a bot that has no way on from there."""

    error: ServiceError
    is_timeout: bool = False


class HookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the function wants."""

    state: State
    messages: list[Json] = []
    request_attributes: dict[str, str] | None = None

    @property
    def action(self) -> Action:
        """Where it wants the conversation to go."""
        return self.state.action or Action(type="Delegate")

    @property
    def kind(self) -> str:
        return self.action.type


HookOutcome = HookAnswer | HookFailed


class BadAnswer(Exception):
    """What a function answered and Lex cannot use; the text says why."""


Content = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=250)]


class _Button(msgspec.Struct, kw_only=True):
    text: Short
    value: Short


class _Card(msgspec.Struct, kw_only=True, omit_defaults=True):
    title: Title
    subtitle: Title | None = None
    imageUrl: Title | None = None
    buttons: Annotated[list[_Button], msgspec.Meta(max_length=5)] | None = None


class _Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    contentType: Literal["CustomPayload", "ImageResponseCard", "PlainText", "SSML"]
    content: Content | None = None
    imageResponseCard: _Card | None = None


class _Answer(msgspec.Struct, kw_only=True):
    sessionState: Json
    messages: Annotated[list[_Message], msgspec.Meta(max_length=MESSAGES_MAX)] | None = None
    requestAttributes: dict[str, str] | None = None


def event(
    *,
    bot: Bot,
    place: Place,
    source: Source,
    state: Mapping[str, Any],
    interpretations: Collection[Json],
    details: Mapping[str, Any],
) -> Json:
    """What Lambda is given. ``details`` are ``requestAttributes``, ``proposedNextState``, ``invocationLabel``, those that are."""
    intent = state.get("intent") or {}
    return {
        "messageVersion": "1.0",
        "invocationSource": source,
        "inputMode": "Text",
        "responseContentType": "text/plain; charset=utf-8",
        "sessionId": place.session_id,
        "inputTranscript": place.transcript,
        "bot": {
            "id": bot.id,
            "name": bot.name,
            "localeId": bot.locale,
            "version": bot.version,
            "aliasId": place.alias_id,
            "aliasName": place.alias_name,
        },
        "interpretations": [_with_plain_score(one) for one in interpretations],
        "sessionState": dict(state),
        "transcriptions": [
            {
                "transcription": place.transcript,
                "transcriptionConfidence": 1.0,
                "resolvedContext": {"intent": intent.get("name")},
                "resolvedSlots": {
                    name: slot for name, slot in (intent.get("slots") or {}).items() if slot
                },
            }
        ]
        if place.transcript
        else [],
        **{name: value for name, value in details.items() if value},
    }


def _with_plain_score(interpretation: Json) -> Json:
    """A function gets the score as a number, where the API has an object."""
    if "nluConfidence" not in interpretation:
        return interpretation
    return {**interpretation, "nluConfidence": interpretation["nluConfidence"]["score"]}


def read_answer(bot: Bot, body: bytes, *, now: float) -> HookAnswer:
    """Raises ``BadAnswer``."""
    if len(body) > ANSWER_BYTES:
        raise BadAnswer(f"it has more than {ANSWER_BYTES} bytes")
    try:
        raw = msgspec.json.decode(body, type=_Answer)
        state = read_state(bot, raw.sessionState, now=now)
        check_attributes("requestAttributes", raw.requestAttributes)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"it is not in Lex V2's form: {error}") from None
    except BadState as error:
        raise BadAnswer(str(error)) from None
    if state.action is None:
        raise BadAnswer("its sessionState has no dialogAction")
    if state.action.type == "None":
        raise BadAnswer("its dialogAction has the type None")
    for message in raw.messages or ():
        _check_message(message)
    return HookAnswer(
        state=state,
        messages=[msgspec.to_builtins(one) for one in raw.messages or ()],
        request_attributes=raw.requestAttributes,
    )


def _check_message(message: _Message) -> None:
    is_card = message.contentType == "ImageResponseCard"
    if is_card and message.imageResponseCard is None:
        raise BadAnswer("a message of the type ImageResponseCard has no imageResponseCard")
    if not is_card and message.content is None:
        raise BadAnswer(f"a message of the type {message.contentType} has no content")
