"""TranslateDocument; and what jobs ask of a document as well."""

import asyncio
from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.services.members import EXECUTED, Members, check, present
from modelyard.services.metering import Metering
from modelyard.services.translate.formats import FORMATS, Document, read_document, sample
from modelyard.services.translate.translator import (
    DETECTED_CHARACTERS,
    SETTINGS,
    UNIT,
    Asker,
    Translator,
    at_once,
)
from modelyard.services.translate.word_documents import BadDocument
from modelyard.store.resources import Json

DOCUMENT_BYTES = 100 * 1024
CHARACTERS_MAX = 1_000_000
"""Of any document: a packed one of few bytes may hold more."""
MEMBERS: Mapping[str, Members] = {
    "TranslateDocument": {
        "Document": {"Content": EXECUTED, "ContentType": EXECUTED},
        "SourceLanguageCode": EXECUTED,
        "TargetLanguageCode": EXECUTED,
        "TerminologyNames": EXECUTED,
        "Settings": SETTINGS,
    },
}
_LOW_CONFIDENCE = "DetectedLanguageLowConfidenceException"


class Documents:
    """Documents, one at a time."""

    def __init__(self, *, translator: Translator, metering: Metering) -> None:
        self._translator = translator
        self._metering = metering

    async def translate_document(
        self,
        call: Call,
        *,
        document: Json,
        source_language_code: str,
        target_language_code: str,
        terminology_names: Sequence[str] | None = None,
        settings: Json | None = None,
    ) -> Json:
        given = {"Document": present(document), "Settings": settings}
        check("TranslateDocument", MEMBERS["TranslateDocument"], given)
        data = bytes(document["Content"])
        check_content_type("TranslateDocument", document["ContentType"])
        if len(data) > DOCUMENT_BYTES:
            raise ServiceError(
                "LimitExceededException",
                f"The document has {len(data)} bytes; {DOCUMENT_BYTES} are accepted.",
            )
        ask = at_once(call)
        found = await read(data, document["ContentType"])
        source = await source_of(self._translator, ask, source_language_code, found)
        self._translator.check_pair(source, target_language_code)
        applied = await self._translator.terms(
            call, terminology_names, source, target_language_code
        )
        parts = await self._translator.translate(
            ask, source, target_language_code, found.sentences, applied
        )
        written = await asyncio.to_thread(found.write, parts)
        self._metering.meter(
            call, usage_type="TranslateDocument", quantity=found.characters, unit=UNIT
        )
        return present(
            {
                "TranslatedDocument": {"Content": written},
                "SourceLanguageCode": source,
                "TargetLanguageCode": target_language_code,
                "AppliedTerminologies": [one.shown() for one in applied] or None,
            }
        )


def check_content_type(operation: str, content_type: str) -> None:
    """Raises ``Unsupported``."""
    if content_type not in FORMATS:
        raise Unsupported(
            f"Modelyard does not execute {operation} with ContentType {content_type}; accepted are {', '.join(FORMATS)}."
        )


async def read(data: bytes, content_type: str) -> Document:
    """Raises ``ServiceError`` for what is no such document, or too long."""
    try:
        document = await asyncio.to_thread(read_document, data, content_type)
    except BadDocument as error:
        raise ServiceError(
            "InvalidRequestException", f"The document cannot be translated. {error}"
        ) from None
    if document.characters > CHARACTERS_MAX:
        raise ServiceError(
            "LimitExceededException", f"The document has more than {CHARACTERS_MAX} characters."
        )
    return document


async def source_of(translator: Translator, ask: Asker, code: str, document: Document) -> str:
    """Of ``auto`` the language that is found. Raises ``ServiceError``."""
    text = sample(document, DETECTED_CHARACTERS)
    try:
        return await ask(lambda call: translator.source_of(call, code, text))
    except ServiceError as error:
        if error.code != _LOW_CONFIDENCE:
            raise
        raise ServiceError("InvalidRequestException", error.message) from None
