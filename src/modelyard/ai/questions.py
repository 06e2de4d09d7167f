"""What an AI service asks of a hosted model, and what comes back: one question holds a batch of items.

Both travel as msgpack. An item is what one document needs (``{"text": …}``), a finding what the engine says of it; an item
that cannot be answered has an error of its own and spoils no other.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

CONTENT_TYPE = "application/x-modelyard-question"
ITEMS_LIMIT = 1_000
"""Items of one question."""

Item = dict[str, Any]
Result = dict[str, Any]


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``task`` is one that the engine serves; ``options`` hold for all items."""

    task: str
    items: list[Item]
    options: dict[str, Any] = {}


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one item: ``result``, or in ``error`` why there is none."""

    result: Result = {}
    error: str = ""


class QuestionError(Exception):
    """Bytes that are no question; the text says why."""


_encoder = msgspec.msgpack.Encoder()
_question = msgspec.msgpack.Decoder(Question)
_findings = msgspec.msgpack.Decoder(list[Finding])


def encode_question(question: Question) -> bytes:
    """The body of a request to a hosted model."""
    return _encoder.encode(question)


def decode_question(body: bytes) -> Question:
    """Raises ``QuestionError``."""
    try:
        question = _question.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise QuestionError(f"The body is no question: {error}") from error
    if len(question.items) > ITEMS_LIMIT:
        raise QuestionError(
            f"A question has at most {ITEMS_LIMIT} items, this one has {len(question.items)}."
        )
    return question


def encode_findings(findings: Sequence[Finding]) -> bytes:
    """The body of an answer, in the order of the items."""
    return _encoder.encode(findings)


def decode_findings(body: bytes) -> list[Finding]:
    """Raises ``msgspec.MsgspecError`` for what is no answer."""
    return _findings.decode(body)
