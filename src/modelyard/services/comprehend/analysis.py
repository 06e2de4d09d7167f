"""What Comprehend asks of models: its tasks, and how the findings of two of them become personal data."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelyard.ai.catalogue import NotServed
from modelyard.ai.questions import Finding
from modelyard.base.call import Call
from modelyard.services.comprehend import shapes
from modelyard.services.comprehend.texts import LONG_BYTES, SHORT_BYTES
from modelyard.services.hosted_models import HostedModels, unsupported_language
from modelyard.store.resources import Json

SERVICE = "comprehend"
UNIT = "Unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a model is asked, how large a text may be, and what it is metered as."""

    name: str
    usage_type: str
    shape: Callable[[str, Finding], Json]
    limit: int = LONG_BYTES


LANGUAGE = Task(
    name="dominant-language", usage_type="DetectDominantLanguage", shape=shapes.languages
)
SENTIMENT = Task(
    name="sentiment", usage_type="DetectSentiment", shape=shapes.sentiment, limit=SHORT_BYTES
)
ENTITIES = Task(name="entities", usage_type="DetectEntities", shape=shapes.entities)
KEY_PHRASES = Task(name="key-phrases", usage_type="DetectKeyPhrases", shape=shapes.key_phrases)
CUSTOM_ENTITIES = Task(name="recognise", usage_type="DetectCustomEntities", shape=shapes.entities)
"""Of a recogniser that the user trained."""
SYNTAX = Task(name="syntax", usage_type="DetectSyntax", shape=shapes.syntax, limit=SHORT_BYTES)
PATTERNS, NAMES = "pii-patterns", "pii-names"
"""Personal data with a form, and the names that need a model."""


async def ask(
    models: HostedModels, call: Call, task: str, language: str, texts: Sequence[str]
) -> Sequence[Finding]:
    """A finding for each text. Raises ``ServiceError``."""
    try:
        return await models.ask(call, SERVICE, task, language, [{"text": text} for text in texts])
    except NotServed as error:
        raise unsupported_language(error, language) from None


async def personal_data(
    models: HostedModels, call: Call, language: str, texts: Sequence[str]
) -> list[list[shapes.Datum]]:
    """Of each text, what has a form and who is named; both models are asked at once."""
    patterns, names = await asyncio.gather(
        ask(models, call, PATTERNS, language, texts), ask(models, call, NAMES, language, texts)
    )
    return [
        shapes.personal_data(of_form, named) for of_form, named in zip(patterns, names, strict=True)
    ]
