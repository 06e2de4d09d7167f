"""Trained models as hosted ones: who uses one, that it is hosted while somebody does, and asking it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.ai.catalogue import Ready
from modelyard.ai.questions import Finding
from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.text_training import MULTI_LABEL
from modelyard.services.comprehend.trained_models import (
    CLASSIFIER,
    ENDPOINT_KIND,
    MODEL_KINDS,
    RECOGNISER,
    ModelKind,
    find_model,
    kind_of,
    trained_model,
    user_of,
)
from modelyard.services.hosted_models import HostedModels
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

logger = logging.getLogger(__name__)
CLASSES_MAX = 1_000


class CustomModels:
    """Those of every account; endpoints and jobs of one model share its workers."""

    def __init__(self, *, store: ResourceStore, models: HostedModels) -> None:
        self._store = store
        self._models = models

    async def resume(self) -> None:
        """Host what is used, and nothing else: control may have died before it saw to that."""
        for model in [one for kind in MODEL_KINDS for one in self._store.list(kind.kind)]:
            ready = trained_model(model)
            try:
                if ready is not None and user_of(self._store, model.key):
                    await self._models.wish(ready)
                elif ready is not None:
                    await self._models.forget(ready.pack.name)
            except ServiceError as error:  # Who asks it says so to its caller.
                logger.warning("%s is not hosted: %s", model.key.name, error)

    def hold(self, arn: str, call: Call, kind: ModelKind | None = None) -> Update:
        """To be written with what names the model, which so is not deleted meanwhile. Raises ``ServiceError``."""
        model, _ = self._find(arn, call, kind)
        return Update(key=model.key, version=model.version)

    async def wish(self, arn: str, call: Call) -> None:
        """Have it hosted, without waiting for it. Raises ``ServiceError``."""
        await self._models.wish(self._find(arn, call)[1])

    async def release(self, arn: str, call: Call) -> None:
        """Nothing is hosted that nobody uses; who comes meanwhile has it hosted again."""
        try:
            model, ready = self._find(arn, call)
        except ServiceError:
            return  # Its deletion has seen to it.
        if not user_of(self._store, model.key):
            await self._models.forget(ready.pack.name)
            if user_of(self._store, model.key):
                await self._models.wish(ready)

    def state(self, arn: str, call: Call) -> tuple[str, str]:
        """``CREATING``, ``IN_SERVICE`` or ``FAILED``, and why it failed."""
        return self._models.state(self._find(arn, call)[1])

    def endpoint(self, arn: str, call: Call, kind: ModelKind | None = None) -> Resource:
        """Of this ARN, and with a model of the kind. Raises ``ResourceNotFoundException``."""
        parsed = Arn.parse(arn)
        type, _, name = parsed.resource.partition("/")
        found = None
        if (parsed.account, parsed.region) == (call.account, call.region):
            found = self._store.get(
                Key(kind=ENDPOINT_KIND, account=call.account, region=call.region, name=name)
            )
        if found is not None:
            own = endpoint_kind(found.spec["ModelArn"])
            if own.endpoint_type == type and kind in (None, own):
                return found
        raise ServiceError(
            "ResourceNotFoundException", f"The specified resource was not found: {arn}.", status=404
        )

    async def classify(self, arn: str, texts: Sequence[str], call: Call) -> list[Json | str]:
        """Of each text its classes or labels, or why there are none. Raises ``ServiceError``."""
        model, _ = self._find(arn, call, CLASSIFIER)
        mode = model.spec["Mode"]
        findings = await self._ask(arn, texts, call, CLASSIFIER)
        return [one.error or classified(one.result, mode) for one in findings]

    async def recognise(self, arn: str, texts: Sequence[str], call: Call) -> list[Finding]:
        """Of each text its entities. Raises ``ServiceError``."""
        return await self._ask(arn, texts, call, RECOGNISER)

    async def _ask(
        self, arn: str, texts: Sequence[str], call: Call, kind: ModelKind
    ) -> list[Finding]:
        _, ready = self._find(arn, call, kind)
        return await self._models.ask_pack(
            call, ready, kind.task, [{"text": text} for text in texts]
        )

    def _find(self, arn: str, call: Call, kind: ModelKind | None = None) -> tuple[Resource, Ready]:
        if not any(f":{one.arn_type}/" in arn for one in MODEL_KINDS):
            raise ServiceError(
                "InvalidRequestException",
                "Modelyard hosts document classifiers and entity recognizers only.",
            )
        found = find_model(self._store, call, arn, kind)
        ready = trained_model(found)
        if ready is None:
            raise ServiceError(
                "ResourceUnavailableException",
                f"The model {arn} is not trained: {kind_of(found.key).describe} says why.",
                status=404,
            )
        return found, ready


def endpoint_kind(model_arn: str) -> ModelKind:
    """Of the model that an endpoint serves."""
    (found,) = (one for one in MODEL_KINDS if f":{one.arn_type}/" in model_arn)
    return found


def arn_of_endpoint(key: Key, model_arn: str) -> str:
    """``…:document-classifier-endpoint/NAME`` or ``…:entity-recognizer-endpoint/NAME``."""
    resource = f"{endpoint_kind(model_arn).endpoint_type}/{key.name}"
    return str(Arn(service="comprehend", region=key.region, account=key.account, resource=resource))


def classified(result: Mapping[str, Any], mode: str) -> Json:
    """``Classes``, which exclude each other, or ``Labels``; the likeliest first."""
    shown = [{"Name": name, "Score": score} for name, score in result["scores"][:CLASSES_MAX]]
    return {"Labels" if mode == MULTI_LABEL else "Classes": shown}
