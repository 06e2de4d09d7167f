"""What bots have learned as hosted models: asking one, and that none is hosted that nobody uses any more."""

import asyncio
import functools
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from modelyard.ai.catalogue import Licence, Pack, Ready
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.lex.understanding import (
    TASK,
    Heard,
    Understanding,
    item_of,
    understanding_of,
)
from modelyard.services.hosted_models import ACCOUNT, REGION, HostedModels
from modelyard.services.lex.kinds import BUILD, VERSION
from modelyard.services.sagemaker.endpoints import KIND as ENDPOINT
from modelyard.store.resources import Key, ResourceStore

logger = logging.getLogger(__name__)
PREFIX = "lex-"
LOOK_SECONDS = 60.0


class BuiltModels:
    """Those of every account; bots that have learned the same share one."""

    def __init__(self, *, store: ResourceStore, models: HostedModels) -> None:
        self._store = store
        self._models = models
        self._changed = asyncio.Event()
        store.subscribe(self._notice)

    def _notice(self, key: Key) -> None:
        if key.kind in (BUILD, VERSION):
            self._changed.set()

    async def understand(
        self, call: Call, model: str, heard: Sequence[Heard]
    ) -> list[Understanding]:
        """Ask a model by its name; it is hosted first where nobody has asked it before. Raises ``ServiceError``."""
        items = [item_of(one) for one in heard]
        findings = await self._models.ask_pack(call, ready_model(model), TASK, items)
        for finding in findings:
            if finding.error:
                raise ValidationError(finding.error)
        return [understanding_of(finding.result) for finding in findings]

    async def run(self) -> None:
        """Let go what no draft and no version uses: after each change, and now and then."""
        while True:
            self._changed.clear()
            used = set(self._used())
            for name in self._hosted():
                if name not in used:
                    await self._forget(name)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _used(self) -> Iterable[str]:
        for build in self._store.list(BUILD):
            if build.status.get("Model"):
                yield build.status["Model"]
        for version in self._store.list(VERSION):
            yield from (one["Model"] for one in version.spec["locales"].values())

    def _hosted(self) -> list[str]:
        endpoints = self._store.list(ENDPOINT, account=ACCOUNT, region=REGION)
        return [one.key.name for one in endpoints if one.key.name.startswith(PREFIX)]

    async def _forget(self, name: str) -> None:
        try:
            await self._models.forget(name)
        except ServiceError as error:  # It is looked at again.
            logger.warning("%s is still hosted: %s", name, error)


@functools.lru_cache(maxsize=1024)
def ready_model(name: str) -> Ready:
    """What can be hosted of a model that was built."""
    pack = Pack(
        name=name,
        version="1",
        title="What a bot has learned",
        engine="lex",
        licence=Licence(code="Apache-2.0", weights="the user's own"),
        serves=(),
    )
    return Ready(pack=pack, archive=Path(name), key=f"{name}-1")
