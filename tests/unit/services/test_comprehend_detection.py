"""Comprehend's façade over models that answer what the test says: offsets, batches, errors, metering."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from modelyard.ai.catalogue import NotServed
from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.services.comprehend.custom_models import CustomModels
from modelyard.services.comprehend.detection import Detection
from modelyard.services.metering import Metering
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ANSWERS: Mapping[str, Any] = {
    "sentiment": {"scores": {"POSITIVE": 0.1, "NEGATIVE": 0.7, "NEUTRAL": 0.2, "MIXED": 0.0}},
    "dominant-language": {"languages": [["en", 0.9], ["nl", 0.1]]},
    "entities": {"entities": [["PERSON", 2, 5, 0.9]]},
    "key-phrases": {"phrases": [[2, 5, 0.8]]},
    "syntax": {"tokens": [["SYM", 0, 1, 0.5], ["NOUN", 2, 5, 0.6]]},
    "pii-patterns": {"entities": [["PIN", 0, 1, 0.95]]},
    "pii-names": {"entities": [["PERSON", 2, 5, 0.9], ["PERSON", 0, 3, 0.9], ["DATE", 6, 7, 1.0]]},
}
TEXT = "😀 Ann 2"


class Models:
    """Answers each text alike; a text of its own is refused by the model."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def ask(
        self, call: Call, service: str, task: str, language: str, items: Sequence[Item]
    ) -> list[Finding]:
        if language not in ("en", "*"):
            raise NotServed(["en"])
        self.asked.append((task, len(items)))
        return [
            Finding(error="odd") if item["text"] == "odd" else Finding(result=ANSWERS[task])
            for item in items
        ]


class Recorded:
    def __init__(self) -> None:
        self.used: list[Usage] = []

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.used.append(usage)


class World:
    def __init__(self) -> None:
        self.models, self.recorded = Models(), Recorded()
        metering = Metering(usage=self.recorded, clock=ManualClock())
        custom = CustomModels(
            store=MemoryResourceStore(clock=ManualClock()),
            models=self.models,  # type: ignore[arg-type]
        )
        self.detection = Detection(models=self.models, custom=custom, metering=metering)  # type: ignore[arg-type]

    def do(self, operation: str, **given: Any) -> Any:
        principal = Principal(kind="root", arn="", id="1", account="1")
        call = Call(
            principal=principal, account="1", region="r", action=f"comprehend:{operation}", request_id="q", deadline=9.0
        )  # fmt: skip
        return asyncio.run(getattr(self.detection, operation)(call, **given))

    @property
    def units(self) -> list[tuple[str, float]]:
        return [(one.usage_type, one.quantity) for one in self.recorded.used]


def test_each_answer_has_awss_shape() -> None:
    world = World()
    given = {"text": TEXT, "language_code": "en"}
    assert world.do("detect_sentiment", **given)["Sentiment"] == "NEGATIVE"
    assert world.do("detect_dominant_language", text=TEXT)["Languages"][1] == {
        "LanguageCode": "nl",
        "Score": 0.1,
    }
    (entity,) = world.do("detect_entities", **given)["Entities"]
    assert (entity["Type"], entity["Text"], entity["BeginOffset"]) == ("PERSON", "Ann", 2)
    assert world.do("detect_key_phrases", **given)["KeyPhrases"][0]["Text"] == "Ann"
    tokens = world.do("detect_syntax", **given)["SyntaxTokens"]
    assert [(one["TokenId"], one["Text"]) for one in tokens] == [(1, "😀"), (2, "Ann")]
    found = world.do("detect_pii_entities", **given)["Entities"]
    assert [(one["Type"], one["BeginOffset"]) for one in found] == [("PIN", 0), ("NAME", 2)]
    labels = world.do("contains_pii_entities", **given)["Labels"]
    assert labels == [{"Name": "PIN", "Score": 0.95}, {"Name": "NAME", "Score": 0.9}]
    assert [units for _, units in world.units] == [3.0] * 7


def test_a_batch_is_one_question_with_the_errors_beside_the_results() -> None:
    world = World()
    texts = ["a", "", "é" * 2501, "odd", "b" * 401, "\udfff"]
    found = world.do("batch_detect_entities", text_list=texts, language_code="en")
    assert [one["Index"] for one in found["ResultList"]] == [0, 4]
    assert [(one["Index"], one["ErrorCode"]) for one in found["ErrorList"]] == [
        (1, "INVALID_REQUEST"),
        (2, "TEXT_SIZE_LIMIT_EXCEEDED"),
        (3, "INVALID_REQUEST"),
        (5, "INVALID_REQUEST"),
    ]
    assert world.models.asked == [("entities", 3)]
    assert world.units == [("DetectEntities", 8.0)]


def test_a_batch_without_a_good_document_costs_nothing() -> None:
    world = World()
    found = world.do("batch_detect_sentiment", text_list=["x" * 5001], language_code="en")
    assert found["ResultList"] == [] and len(found["ErrorList"]) == 1
    assert world.units == []


@pytest.mark.parametrize(
    ("operation", "given", "code"),
    [
        ("detect_sentiment", {"text": "x" * 5001, "language_code": "en"}, "TextSizeLimitExceededException"),
        ("detect_entities", {"text": "x" * 100_001, "language_code": "en"}, "TextSizeLimitExceededException"),
        ("detect_entities", {"text": "x"}, "InvalidRequestException"),
        ("detect_entities", {"bytes": b"x"}, "UnsupportedOperation"),
        ("detect_entities", {"text": "odd", "language_code": "en"}, "InvalidRequestException"),
        ("detect_entities", {"text": "\ud800", "language_code": "en"}, "InvalidRequestException"),
        ("detect_key_phrases", {"text": "x", "language_code": "de"}, "UnsupportedLanguageException"),
        ("detect_pii_entities", {"text": "x", "language_code": "es"}, "UnsupportedLanguageException"),
        ("batch_detect_syntax", {"text_list": ["x"] * 26, "language_code": "en"}, "BatchSizeLimitExceededException"),
    ],
)  # fmt: skip
def test_bad_input_costs_nothing_and_gets_awss_error(operation: str, given: Any, code: str) -> None:
    world = World()
    with pytest.raises(ServiceError) as caught:
        world.do(operation, **given)
    assert caught.value.code == code
    assert world.units == []
