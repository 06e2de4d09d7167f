"""Comprehend's asynchronous jobs: what kinds there are, and what each says of a document. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from modelyard.services.comprehend import shapes
from modelyard.services.comprehend.analysis import (
    ENTITIES,
    KEY_PHRASES,
    LANGUAGE,
    SENTIMENT,
    Task,
)
from modelyard.services.comprehend.texts import SHORT_BYTES
from modelyard.store.resources import Json

JOB_BYTES = 1_000_000
"""The largest document of a job, but for those about sentiment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """``name`` as in ``StartSentimentDetectionJob``; ``task`` None: it takes more than one model, or a trained one,
    and ``metered`` says as what it counts.

    ``file`` is what the output's archive has inside; None: the output is no archive, but a file for each of the input.
    """

    name: str
    label: str
    task: Task | None
    metered: str = ""
    limit: int = JOB_BYTES
    file: str | None = "output"

    @property
    def properties(self) -> str:
        """The member that describes a job."""
        return f"{self.name}JobProperties"

    @property
    def arn_type(self) -> str:
        """``sentiment-detection-job``."""
        return "-".join(re.findall("[A-Z][a-z]+", f"{self.name}Job")).lower()

    @property
    def usage_type(self) -> str:
        """What is metered."""
        return self.metered if self.task is None else self.task.usage_type


LANGUAGE_JOB = JobKind(name="DominantLanguageDetection", label="LANGUAGE", task=LANGUAGE)
ENTITIES_JOB = JobKind(name="EntitiesDetection", label="NER", task=ENTITIES)
KEY_PHRASES_JOB = JobKind(name="KeyPhrasesDetection", label="KP", task=KEY_PHRASES)
SENTIMENT_JOB = JobKind(
    name="SentimentDetection", label="SENTIMENT", task=SENTIMENT, limit=SHORT_BYTES
)
PII_JOB = JobKind(
    name="PiiEntitiesDetection", label="PII", task=None, metered="DetectPiiEntities", file=None
)
CLASSIFICATION_JOB = JobKind(
    name="DocumentClassification",
    label="CLN",
    task=None,
    metered="ClassifyDocument",
    file="predictions.jsonl",
)
TOPICS_JOB = JobKind(
    name="TopicsDetection", label="TOPICS", task=None, metered="StartTopicsDetectionJob"
)
KINDS: Mapping[str, JobKind] = {
    kind.name: kind
    for kind in (
        LANGUAGE_JOB,
        ENTITIES_JOB,
        KEY_PHRASES_JOB,
        SENTIMENT_JOB,
        PII_JOB,
        CLASSIFICATION_JOB,
        TOPICS_JOB,
    )
}


def redacted(text: str, found: Collection[shapes.Datum], config: Json) -> str:
    """The text with what was found masked, or replaced by its kind, of the kinds that ``config`` names."""
    kinds = set(config.get("PiiEntityTypes") or ["ALL"])
    mask = config.get("MaskCharacter") or "*"
    pieces, place = [], 0
    for kind, begin, end, _ in sorted(found, key=lambda datum: datum[1]):
        if "ALL" not in kinds and kind not in kinds:
            continue
        is_masked = config.get("MaskMode") == "MASK"
        pieces += [text[place:begin], mask * (end - begin) if is_masked else f"[{kind}]"]
        place = end
    return "".join([*pieces, text[place:]])
