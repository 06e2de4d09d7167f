"""The reconciler of models that users train on their texts: starts the job that trains one, watches it, says how it ended."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.settings import Home
from modelyard.control.endpoints import fleet_owner
from modelyard.control.processes import Processes
from modelyard.domain.fleet import short_id
from modelyard.domain.text_training import next_phase
from modelyard.runtimes.runtime import LogStream, ProcessSpec
from modelyard.store.resources import Delete, Json, Key, Resource, ResourceStore, Update

_LOG_GROUPS = {
    "comprehend-classifier": "/aws/comprehend/DocumentClassifiers",
    "comprehend-recogniser": "/aws/comprehend/EntityRecognizers",
}
KINDS = tuple(_LOG_GROUPS)
PREFIX = "custom-"
GRACE_SECONDS = 5.0
_POLL_SECONDS = 5.0
_ENDED = ("TRAINED", "TRAINED_WITH_WARNING", "IN_ERROR", "STOPPED")


class TextTrainingReconciler:
    """One pass: look, decide, act; it may be killed between any two."""

    def __init__(
        self, *, store: ResourceStore, processes: Processes, clock: Clock, home: Home
    ) -> None:
        self._store = store
        self._processes = processes
        self._clock = clock
        self._home = home

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look. Raises ``VersionConflict`` and ``RuntimeUnavailable``."""
        resource = self._store.get(key)
        if resource is None:
            await self._processes.abandon(key, grace_seconds=GRACE_SECONDS)
            return float("inf")
        attempt = resource.status.get("attempt", 0)
        name = process_id(resource)
        if resource.status["Status"] == "DELETING":
            folder = self._home.packs / resource.spec["Model"]
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            await self._store.write(Delete(key=key, version=resource.version))
            return float("inf")
        if resource.status["Status"] in _ENDED:
            if name in await self._processes.current():
                await self._processes.forget(name)
            return float("inf")
        self._processes.claim(key, {name})
        process = (await self._processes.current()).get(name)
        state = process.state.value if process is not None else ""
        phase = next_phase(
            state, attempt=attempt, stopping=resource.status["Status"] == "STOP_REQUESTED"
        )
        match phase:
            case "start":
                await self._start(resource, attempt + bool(state or not attempt))
            case "stop":
                await self._processes.stop(name, grace_seconds=GRACE_SECONDS)
            case "trained":
                assert process is not None
                warnings = " ".join((process.progress or {}).get("warnings", ()))
                status = "TRAINED_WITH_WARNING" if warnings else "TRAINED"
                more = {"Message": warnings} if warnings else {}
                await self._end(resource, status, progress=process.progress, **more)
            case "failed":
                reason = process.reason if process is not None else ""
                await self._end(resource, "IN_ERROR", Message=reason or "The training died.")
            case "stopped":
                await self._end(resource, "STOPPED")
        return _POLL_SECONDS

    async def _start(self, resource: Resource, attempt: int) -> None:
        """The attempt is written down first, so that its process is known to be somebody's."""
        started = {"Status": "TRAINING", "attempt": attempt}
        began = resource.status.get("TrainingStartTime", self._clock.now())
        resource = await self._write(resource, {**started, "TrainingStartTime": began})
        name = process_id(resource)
        self._processes.claim(resource.key, {name})
        key = resource.key
        await self._processes.start(
            ProcessSpec(
                id=name,
                kind="job",
                log=LogStream(
                    account=key.account,
                    region=key.region,
                    group=_LOG_GROUPS[key.kind],
                    stream=f"{key.name}/{name}",
                ),
                payload={
                    "job": "text-training",
                    "kind": key.kind,
                    "objects": str(self._home.objects),
                    "external_s3": str(self._home.external_s3),
                    "fetched": str(self._home.fetched),
                    "spec": resource.spec,
                    "target": str(self._home.packs / resource.spec["Model"] / "model.tar"),
                },
            )
        )

    async def _end(self, resource: Resource, status: str, **more: Any) -> None:
        now = self._clock.now()
        times: Json = {"EndTime": now}
        if status.startswith("TRAINED"):
            times["TrainingEndTime"] = now
        await self._write(resource, {"Status": status, **times, **more})

    async def _write(self, resource: Resource, change: Json) -> Resource:
        update = Update(
            key=resource.key, version=resource.version, status={**resource.status, **change}
        )
        (written,) = await self._store.write(update)
        return written


def process_id(resource: Resource) -> str:
    """Of its current attempt."""
    return short_id(fleet_owner(resource), "training", resource.status.get("attempt", 0))


def is_trained(folder: Path) -> bool:
    """Whether a folder beside the installed packs holds a model that was trained here."""
    return folder.name.startswith(PREFIX) and not (folder / "pack.json").exists()
