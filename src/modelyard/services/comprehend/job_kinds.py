"""Comprehend's asynchronous jobs: what kinds there are, and what each says of a document. Pure."""

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
    """``name`` as in ``StartSentimentDetectionJob``; ``task`` None: personal data, which takes two models."""

    name: str
    arn_type: str
    label: str
    task: Task | None
    usage_type: str
    limit: int = JOB_BYTES

    @property
    def properties(self) -> str:
        """The member that describes a job."""
        return f"{self.name}JobProperties"


LANGUAGE_JOB = JobKind(
    name="DominantLanguageDetection",
    arn_type="dominant-language-detection-job",
    label="LANGUAGE",
    task=LANGUAGE,
    usage_type=LANGUAGE.usage_type,
)
ENTITIES_JOB = JobKind(
    name="EntitiesDetection",
    arn_type="entities-detection-job",
    label="NER",
    task=ENTITIES,
    usage_type=ENTITIES.usage_type,
)
KEY_PHRASES_JOB = JobKind(
    name="KeyPhrasesDetection",
    arn_type="key-phrases-detection-job",
    label="KP",
    task=KEY_PHRASES,
    usage_type=KEY_PHRASES.usage_type,
)
SENTIMENT_JOB = JobKind(
    name="SentimentDetection",
    arn_type="sentiment-detection-job",
    label="SENTIMENT",
    task=SENTIMENT,
    usage_type=SENTIMENT.usage_type,
    limit=SHORT_BYTES,
)
PII_JOB = JobKind(
    name="PiiEntitiesDetection",
    arn_type="pii-entities-detection-job",
    label="PII",
    task=None,
    usage_type="DetectPiiEntities",
)
KINDS: Mapping[str, JobKind] = {
    kind.name: kind
    for kind in (LANGUAGE_JOB, ENTITIES_JOB, KEY_PHRASES_JOB, SENTIMENT_JOB, PII_JOB)
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
