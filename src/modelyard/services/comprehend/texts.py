"""Which texts Comprehend takes: its limits, in UTF-8 bytes, and the words of its refusals."""

from collections.abc import Sequence

from modelyard.base.errors import ServiceError

SHORT_BYTES, LONG_BYTES = 5_000, 100_000
"""DetectSentiment, DetectSyntax and every document of a batch; all the others."""
BATCH_MAX = 25


_BLANK = "The text is empty or blank."
_NOT_TEXT = "The text holds half of a surrogate pair, which UTF-8 cannot express."


def _size(text: str) -> int | None:
    """In bytes; None for what JSON can write and UTF-8 cannot."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def check_size(text: str, limit: int) -> None:
    """Raises ``TextSizeLimitExceededException``, and ``InvalidRequestException`` for what is no text, or none but white space."""
    size = _size(text)
    if size is None:
        raise ServiceError("InvalidRequestException", _NOT_TEXT)
    if not text.strip():
        raise ServiceError("InvalidRequestException", _BLANK)
    if size > limit:
        raise ServiceError(
            "TextSizeLimitExceededException",
            f"Input text size exceeds limit. Max length of request text allowed is {limit} bytes while in this request "
            f"the text size is {size} bytes",
        )


def check_batch(texts: Sequence[str]) -> None:
    """Raises ``BatchSizeLimitExceededException``."""
    if len(texts) > BATCH_MAX:
        raise ServiceError(
            "BatchSizeLimitExceededException",
            f"The number of documents in the request exceeds the limit: at most {BATCH_MAX}, this request has {len(texts)}.",
        )


def batch_fault(text: str) -> tuple[str, str] | None:
    """Code and message of what is wrong with one document of a batch."""
    if not text.strip():
        return "INVALID_REQUEST", _BLANK
    size = _size(text)
    if size is None:
        return "INVALID_REQUEST", _NOT_TEXT
    if size > SHORT_BYTES:
        return (
            "TEXT_SIZE_LIMIT_EXCEEDED",
            f"Input document size exceeds limit. Max length of a document is {SHORT_BYTES} bytes, this one has {size}.",
        )
    return None
