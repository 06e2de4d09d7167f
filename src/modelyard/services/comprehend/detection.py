"""Detect… and BatchDetect…: check, ask the model that serves the task and language, shape its findings, meter."""

from collections.abc import Mapping, Sequence

from modelyard.ai.catalogue import ANY
from modelyard.ai.questions import Finding
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.usage import text_units_of_all
from modelyard.services.comprehend import shapes
from modelyard.services.comprehend.analysis import (
    CUSTOM_ENTITIES,
    ENTITIES,
    KEY_PHRASES,
    LANGUAGE,
    SENTIMENT,
    SYNTAX,
    UNIT,
    Task,
    ask,
    personal_data,
)
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.texts import (
    LONG_BYTES,
    batch_fault,
    check_batch,
    check_size,
)
from modelyard.services.comprehend.trained_models import RECOGNISER
from modelyard.services.hosted_models import HostedModels
from modelyard.services.members import EXECUTED, REFUSED, Members, check
from modelyard.services.metering import Metering
from modelyard.store.resources import Json

_TEXT: Members = {"Text": EXECUTED, "LanguageCode": EXECUTED}
_TEXTS: Members = {"TextList": EXECUTED, "LanguageCode": EXECUTED}
MEMBERS: Mapping[str, Members] = {
    "DetectDominantLanguage": {"Text": EXECUTED},
    "DetectSentiment": _TEXT,
    "DetectEntities": {
        **_TEXT, "EndpointArn": EXECUTED, "Bytes": REFUSED, "DocumentReaderConfig": REFUSED
    },
    "DetectKeyPhrases": _TEXT,
    "DetectSyntax": _TEXT,
    "DetectPiiEntities": _TEXT,
    "ContainsPiiEntities": _TEXT,
    "BatchDetectDominantLanguage": {"TextList": EXECUTED},
    "BatchDetectSentiment": _TEXTS,
    "BatchDetectEntities": _TEXTS,
    "BatchDetectKeyPhrases": _TEXTS,
    "BatchDetectSyntax": _TEXTS,
}  # fmt: skip


class Detection:
    """What is detected in one text, or in up to 25 at once."""

    def __init__(self, *, models: HostedModels, custom: CustomModels, metering: Metering) -> None:
        self._models = models
        self._custom = custom
        self._metering = metering

    async def detect_dominant_language(self, call: Call, *, text: str) -> Json:
        return await self._one(call, LANGUAGE, ANY, text)

    async def detect_sentiment(self, call: Call, *, text: str, language_code: str) -> Json:
        return await self._one(call, SENTIMENT, language_code, text)

    async def detect_entities(
        self,
        call: Call,
        *,
        text: str | None = None,
        language_code: str | None = None,
        endpoint_arn: str | None = None,
        bytes: bytes | None = None,
        document_reader_config: Json | None = None,
    ) -> Json:
        given = {"Bytes": bytes, "DocumentReaderConfig": document_reader_config}
        check("DetectEntities", MEMBERS["DetectEntities"], given)
        if text and endpoint_arn:
            return await self._custom_entities(call, endpoint_arn, text)
        if not text or not language_code:
            raise ServiceError(
                "InvalidRequestException",
                "DetectEntities needs a Text, and a LanguageCode or an EndpointArn.",
            )
        return await self._one(call, ENTITIES, language_code, text)

    async def _custom_entities(self, call: Call, endpoint_arn: str, text: str) -> Json:
        """Whatever the language: the recogniser's is the one it was trained on."""
        check_size(text, CUSTOM_ENTITIES.limit)
        model = self._custom.endpoint(endpoint_arn, call, RECOGNISER).spec["ModelArn"]
        (finding,) = await self._custom.recognise(model, [text], call)
        return self._shaped(call, CUSTOM_ENTITIES, text, finding)

    async def detect_key_phrases(self, call: Call, *, text: str, language_code: str) -> Json:
        return await self._one(call, KEY_PHRASES, language_code, text)

    async def detect_syntax(self, call: Call, *, text: str, language_code: str) -> Json:
        return await self._one(call, SYNTAX, language_code, text)

    async def detect_pii_entities(self, call: Call, *, text: str, language_code: str) -> Json:
        check_size(text, LONG_BYTES)
        (found,) = await personal_data(self._models, call, language_code, [text])
        self._meter(call, "DetectPiiEntities", [text])
        return shapes.pii_entities(found)

    async def contains_pii_entities(self, call: Call, *, text: str, language_code: str) -> Json:
        check_size(text, LONG_BYTES)
        (found,) = await personal_data(self._models, call, language_code, [text])
        self._meter(call, "ContainsPiiEntities", [text])
        return shapes.pii_labels(found)

    async def batch_detect_dominant_language(self, call: Call, *, text_list: Sequence[str]) -> Json:
        return await self._batch(call, LANGUAGE, ANY, text_list)

    async def batch_detect_sentiment(
        self, call: Call, *, text_list: Sequence[str], language_code: str
    ) -> Json:
        return await self._batch(call, SENTIMENT, language_code, text_list)

    async def batch_detect_entities(
        self, call: Call, *, text_list: Sequence[str], language_code: str
    ) -> Json:
        return await self._batch(call, ENTITIES, language_code, text_list)

    async def batch_detect_key_phrases(
        self, call: Call, *, text_list: Sequence[str], language_code: str
    ) -> Json:
        return await self._batch(call, KEY_PHRASES, language_code, text_list)

    async def batch_detect_syntax(
        self, call: Call, *, text_list: Sequence[str], language_code: str
    ) -> Json:
        return await self._batch(call, SYNTAX, language_code, text_list)

    async def _one(self, call: Call, task: Task, language: str, text: str) -> Json:
        check_size(text, task.limit)
        (finding,) = await ask(self._models, call, task.name, language, [text])
        return self._shaped(call, task, text, finding)

    def _shaped(self, call: Call, task: Task, text: str, finding: Finding) -> Json:
        if finding.error:
            raise ServiceError("InvalidRequestException", finding.error)
        self._meter(call, task.usage_type, [text])
        return task.shape(text, finding)

    async def _batch(self, call: Call, task: Task, language: str, texts: Sequence[str]) -> Json:
        """All good documents are one question; a bad one has an error of its own."""
        check_batch(texts)
        faults = {place: fault for place, text in enumerate(texts) if (fault := batch_fault(text))}
        good = [place for place in range(len(texts)) if place not in faults]
        findings = await ask(
            self._models, call, task.name, language, [texts[place] for place in good]
        )
        results: list[Json] = []
        for place, finding in zip(good, findings, strict=True):
            if finding.error:
                faults[place] = "INVALID_REQUEST", finding.error
            else:
                results.append({"Index": place, **task.shape(texts[place], finding)})
        if results:
            self._meter(call, task.usage_type, [texts[one["Index"]] for one in results])
        return {
            "ResultList": results,
            "ErrorList": [
                {"Index": place, "ErrorCode": code, "ErrorMessage": message}
                for place, (code, message) in sorted(faults.items())
            ],
        }

    def _meter(self, call: Call, usage_type: str, texts: Sequence[str]) -> None:
        units = text_units_of_all(texts)
        self._metering.meter(call, usage_type=usage_type, quantity=units, unit=UNIT)
