"""What a bot says: one message of each group, with values of slots and attributes put in. Pure; chance is a parameter."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.domain.lex.session import Json

MESSAGES_MAX = 10
CONTENT_MAX = 1024
_REFERENCE = re.compile(r"\{([^{}\s]+)\}|\[([^\[\]]+)\]|\(\(([^()]+)\)\)")
Lookup = Callable[[str, str], str | None]
"""Of a kind (``slot``, ``session``, ``request``) and a name, the value; None where there is none."""


def say(
    spec: Mapping[str, Any] | None, lookup: Lookup, chance: float, *, attempt: int | None = None
) -> list[Json]:
    """The messages of a response or a prompt. ``attempt`` counts from 0 how often a prompt was said before.

    Of a message and its variations, one whose references all have values is taken before one with gaps.
    """
    if not spec:
        return []
    ordered = spec.get("messageSelectionStrategy") == "Ordered" and attempt is not None
    said = []
    for group in spec.get("messageGroups") or ():
        choices = [group["message"], *(group.get("variations") or ())]
        whole = [one for one in choices if not _gaps(one, lookup)] or choices
        number = min(attempt or 0, len(whole) - 1) if ordered else int(chance * len(whole))
        said.append(_shown(whole[min(number, len(whole) - 1)], lookup))
    return said[:MESSAGES_MAX]


def fill(text: str, lookup: Lookup) -> str:
    """``{slot}``, ``[session attribute]`` and ``((request attribute))`` as their values; without one, as nothing."""
    return _REFERENCE.sub(lambda found: _value(found, lookup) or "", text)


def _value(found: re.Match[str], lookup: Lookup) -> str | None:
    slot, session, request = found.groups()
    if slot is not None:
        return lookup("slot", slot)
    if session is not None:
        return lookup("session", session)
    return lookup("request", request)


def _texts(message: Mapping[str, Any]) -> list[str]:
    texts = [
        message[kind]["value"]
        for kind in ("plainTextMessage", "ssmlMessage", "customPayload")
        if message.get(kind)
    ]
    card = message.get("imageResponseCard") or {}
    return texts + [card[name] for name in ("title", "subtitle") if card.get(name)]


def _gaps(message: Mapping[str, Any], lookup: Lookup) -> bool:
    if message.get("customPayload"):
        return False  # JSON has braces of its own.
    return any(
        _value(found, lookup) is None
        for text in _texts(message)
        for found in _REFERENCE.finditer(text)
    )


def _shown(message: Mapping[str, Any], lookup: Lookup) -> Json:
    if message.get("plainTextMessage"):
        text = fill(message["plainTextMessage"]["value"], lookup)
        return {"contentType": "PlainText", "content": _cut(text)}
    if message.get("ssmlMessage"):
        text = fill(message["ssmlMessage"]["value"], lookup)
        return {"contentType": "SSML", "content": _cut(text)}
    if message.get("customPayload"):
        text = _fill_known(message["customPayload"]["value"], lookup)
        return {"contentType": "CustomPayload", "content": _cut(text)}
    return {
        "contentType": "ImageResponseCard",
        "imageResponseCard": _card(message["imageResponseCard"], lookup),
    }


def _fill_known(text: str, lookup: Lookup) -> str:
    return _REFERENCE.sub(
        lambda found: found[0] if (value := _value(found, lookup)) is None else value, text
    )


def _card(card: Mapping[str, Any], lookup: Lookup) -> Json:
    shown = dict(card)
    for name in ("title", "subtitle"):
        if shown.get(name):
            shown[name] = fill(shown[name], lookup)[:250] or " "
    return shown


def _cut(text: str) -> str:
    """Within AWS's bound, and never empty: what has only gaps is a blank."""
    return text[:CONTENT_MAX] or " "
