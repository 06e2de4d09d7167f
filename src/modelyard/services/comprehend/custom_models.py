"""Trained classifiers as hosted models: who uses one, that it is hosted while somebody does, and asking it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.ai.catalogue import Ready
from modelyard.ai.classifier import TASK
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.text_training import MULTI_LABEL
from modelyard.services.comprehend.classifiers import (
    KIND,
    find_classifier,
    trained_model,
    user_of,
)
from modelyard.services.hosted_models import HostedModels
from modelyard.store.resources import Json, Resource, ResourceStore, Update

logger = logging.getLogger(__name__)
CLASSES_MAX = 1_000


class CustomModels:
    """Those of every account; endpoints and jobs of one classifier share its workers."""

    def __init__(self, *, store: ResourceStore, models: HostedModels) -> None:
        self._store = store
        self._models = models

    async def resume(self) -> None:
        """Host what is used, and nothing else: control may have died before it saw to that."""
        for classifier in self._store.list(KIND):
            ready = trained_model(classifier)
            try:
                if ready is not None and user_of(self._store, classifier.key):
                    await self._models.wish(ready)
                elif ready is not None:
                    await self._models.forget(ready.pack.name)
            except ServiceError as error:  # Who asks it says so to its caller.
                logger.warning("%s is not hosted: %s", classifier.key.name, error)

    def hold(self, arn: str, call: Call) -> Update:
        """To be written with what names the classifier, which so is not deleted meanwhile. Raises ``ServiceError``."""
        classifier, _ = self._find(arn, call)
        return Update(key=classifier.key, version=classifier.version)

    async def wish(self, arn: str, call: Call) -> None:
        """Have it hosted, without waiting for it. Raises ``ServiceError``."""
        await self._models.wish(self._find(arn, call)[1])

    async def release(self, arn: str, call: Call) -> None:
        """Nothing is hosted that nobody uses; who comes meanwhile has it hosted again."""
        try:
            classifier, ready = self._find(arn, call)
        except ServiceError:
            return  # Its deletion has seen to it.
        if not user_of(self._store, classifier.key):
            await self._models.forget(ready.pack.name)
            if user_of(self._store, classifier.key):
                await self._models.wish(ready)

    def state(self, arn: str, call: Call) -> tuple[str, str]:
        """``CREATING``, ``IN_SERVICE`` or ``FAILED``, and why it failed."""
        return self._models.state(self._find(arn, call)[1])

    async def classify(self, arn: str, texts: Sequence[str], call: Call) -> list[Json | str]:
        """Of each text its classes or labels, or why there are none. Raises ``ServiceError``."""
        classifier, ready = self._find(arn, call)
        items = [{"text": text} for text in texts]
        findings = await self._models.ask_pack(call, ready, TASK, items)
        mode = classifier.spec["Mode"]
        return [one.error or classified(one.result, mode) for one in findings]

    def _find(self, arn: str, call: Call) -> tuple[Resource, Ready]:
        if ":document-classifier/" not in arn:
            raise ServiceError(
                "InvalidRequestException", "Modelyard hosts document classifiers only."
            )
        found = find_classifier(self._store, call, arn)
        ready = trained_model(found)
        if ready is None:
            raise ServiceError(
                "ResourceUnavailableException",
                f"The classifier {arn} is not trained: DescribeDocumentClassifier says why.",
                status=404,
            )
        return found, ready


def classified(result: Mapping[str, Any], mode: str) -> Json:
    """``Classes``, which exclude each other, or ``Labels``; the likeliest first."""
    shown = [{"Name": name, "Score": score} for name, score in result["scores"][:CLASSES_MAX]]
    return {"Labels" if mode == MULTI_LABEL else "Classes": shown}
