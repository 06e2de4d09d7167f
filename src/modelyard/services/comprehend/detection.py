"""Detect… and BatchDetect…: check, ask the model that serves the task and language, shape its findings, meter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.ai.catalogue import ANY, NotServed
from modelyard.ai.questions import Finding
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.comprehend import shapes
from modelyard.services.comprehend.texts import (
    LONG_BYTES,
    SHORT_BYTES,
    batch_fault,
    check_batch,
    check_size,
)
from modelyard.services.hosted_models import HostedModels, unsupported_language
from modelyard.services.members import EXECUTED, Members
from modelyard.store.resources import Json

SERVICE = "comprehend"
_TEXT: Members = {"Text": EXECUTED, "LanguageCode": EXECUTED}
_TEXTS: Members = {"TextList": EXECUTED, "LanguageCode": EXECUTED}
MEMBERS: Mapping[str, Members] = {
    "DetectDominantLanguage": {"Text": EXECUTED},
    "DetectSentiment": _TEXT,
    "BatchDetectDominantLanguage": {"TextList": EXECUTED},
    "BatchDetectSentiment": _TEXTS,
}
Shape = Callable[[str, Finding], Json]


class Detection:
    """What is detected in one text, or in up to 25 at once."""

    def __init__(self, *, models: HostedModels) -> None:
        self._models = models

    async def detect_dominant_language(self, call: Call, *, text: str) -> Json:
        return await self._one(call, "dominant-language", ANY, text, LONG_BYTES, shapes.languages)

    async def batch_detect_dominant_language(self, call: Call, *, text_list: Sequence[str]) -> Json:
        return await self._batch(call, "dominant-language", ANY, text_list, shapes.languages)

    async def detect_sentiment(self, call: Call, *, text: str, language_code: str) -> Json:
        return await self._one(
            call, "sentiment", language_code, text, SHORT_BYTES, shapes.sentiment
        )

    async def batch_detect_sentiment(
        self, call: Call, *, text_list: Sequence[str], language_code: str
    ) -> Json:
        return await self._batch(call, "sentiment", language_code, text_list, shapes.sentiment)

    async def _one(
        self, call: Call, task: str, language: str, text: str, limit: int, shape: Shape
    ) -> Json:
        check_size(text, limit)
        (finding,) = await self._ask(call, task, language, [text])
        if finding.error:
            raise ServiceError("InvalidRequestException", finding.error)
        return shape(text, finding)

    async def _batch(
        self, call: Call, task: str, language: str, texts: Sequence[str], shape: Shape
    ) -> Json:
        """All good documents are one question; a bad one has an error of its own."""
        check_batch(texts)
        faults = {place: fault for place, text in enumerate(texts) if (fault := batch_fault(text))}
        good = [place for place in range(len(texts)) if place not in faults]
        findings = await self._ask(call, task, language, [texts[place] for place in good])
        results: list[Json] = []
        for place, finding in zip(good, findings, strict=True):
            if finding.error:
                faults[place] = "INVALID_REQUEST", finding.error
            else:
                results.append({"Index": place, **shape(texts[place], finding)})
        return {
            "ResultList": results,
            "ErrorList": [
                {"Index": place, "ErrorCode": code, "ErrorMessage": message}
                for place, (code, message) in sorted(faults.items())
            ],
        }

    async def _ask(
        self, call: Call, task: str, language: str, texts: Sequence[str]
    ) -> Sequence[Finding]:
        items: list[dict[str, Any]] = [{"text": text} for text in texts]
        try:
            return await self._models.ask(call, SERVICE, task, language, items)
        except NotServed as error:
            raise unsupported_language(error, language) from None
