"""The reconciler of bots' locales that are built: starts the job that learns, watches it, says how it ended.

A resource of the kind ``lex-build`` is the draft's locale, ``BOTID/en_US``. Whoever asks for a build writes the spec
(``definition``, and ``number``, which rises) and the status ``Building``; here it becomes ``Built`` with ``Model``, the name of
what was learned, and the ``definition`` it was learned of, or ``Failed`` with ``failureReasons``. Until then, and after a
failure, ``Model`` and ``definition`` are those of the last build that succeeded, which goes on answering.

A model is named by what is learned, so that a build which changed nothing but prompts is over at once, and a version shares
the model of the draft it was made of.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.base.settings import Home
from modelyard.control.endpoints import fleet_owner
from modelyard.control.processes import Processes
from modelyard.domain.fleet import short_id
from modelyard.domain.lex.templates import fingerprint
from modelyard.domain.text_training import ATTEMPTS, next_phase
from modelyard.runtimes.runtime import LogStream, ProcessSpec
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

KIND, VERSION_KIND = "lex-build", "lex-bot-version"
PREFIX = "lex-"
BUILDING, BUILT, FAILED = "Building", "Built", "Failed"
GRACE_SECONDS = 5.0
_POLL_SECONDS = 5.0
_LOG_GROUP = "/aws/lex/builds"
_ARCHIVE = "model.tar"


class BotBuildReconciler:
    """One pass: look, decide, act; it may be killed between any two."""

    def __init__(self, *, store: ResourceStore, processes: Processes, home: Home) -> None:
        self._store = store
        self._processes = processes
        self._home = home

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look. Raises ``VersionConflict`` and ``RuntimeUnavailable``."""
        resource = self._store.get(key)
        if resource is None:
            await self._processes.abandon(key, grace_seconds=GRACE_SECONDS)
            return float("inf")
        name = process_id(resource)
        if resource.status.get("Status") != BUILDING:
            if name in await self._processes.current():
                await self._processes.forget(name)
            return float("inf")
        training = resource.status.get("training") or {}
        if training.get("number") != resource.spec["number"]:
            if name in await self._processes.current():
                await self._processes.stop(name, grace_seconds=GRACE_SECONDS)
            resource = await self._begin(resource)
            training, name = resource.status["training"], process_id(resource)
        if (self._home.packs / training["Model"] / _ARCHIVE).exists():
            await self._end(resource, BUILT)
            return _POLL_SECONDS
        self._processes.claim(key, {name})
        process = (await self._processes.current()).get(name)
        state = process.state.value if process is not None else ""
        match next_phase(state, attempt=training["attempt"], stopping=False):
            case "start":
                await self._start(resource, training["attempt"] + bool(state))
            case "trained" if training["attempt"] < ATTEMPTS:
                await self._start(resource, training["attempt"] + 1)  # Its model was removed.
            case "trained" | "failed":
                reasons = (process.progress if process is not None else {}).get("reasons")
                why = process.reason if process is not None else ""
                await self._end(resource, FAILED, reasons or [why or "The training died."])
        return _POLL_SECONDS

    async def _begin(self, resource: Resource) -> Resource:
        """From here on the model that will be is somebody's, and is not garbage."""
        training = {
            "number": resource.spec["number"],
            "Model": model_name(resource.spec["definition"]),
            "attempt": 1,
        }
        return await self._write(resource, {"training": training})

    async def _start(self, resource: Resource, attempt: int) -> None:
        """The attempt is written down first, so that its process is known to be somebody's."""
        training = {**resource.status["training"], "attempt": attempt}
        if training != resource.status["training"]:
            resource = await self._write(resource, {"training": training})
        name, key = process_id(resource), resource.key
        self._processes.claim(key, {name})
        await self._processes.start(
            ProcessSpec(
                id=name,
                kind="job",
                log=LogStream(
                    account=key.account,
                    region=key.region,
                    group=_LOG_GROUP,
                    stream=f"{key.name}/{name}",
                ),
                payload={
                    "job": "bot-training",
                    "definition": resource.spec["definition"],
                    "target": str(self._home.packs / training["Model"] / _ARCHIVE),
                },
            )
        )

    async def _end(self, resource: Resource, status: str, reasons: list[str] | None = None) -> None:
        change: Json = {"Status": status, "failureReasons": reasons or []}
        if status == BUILT:
            change |= {
                "Model": resource.status["training"]["Model"],
                "definition": resource.spec["definition"],
            }
        await self._write(resource, change)

    async def _write(self, resource: Resource, change: Json) -> Resource:
        update = Update(
            key=resource.key, version=resource.version, status={**resource.status, **change}
        )
        (written,) = await self._store.write(update)
        return written


def process_id(resource: Resource) -> str:
    """Of its current attempt."""
    training = resource.status.get("training") or {}
    return short_id(
        fleet_owner(resource), "build", training.get("number", 0), training.get("attempt", 0)
    )


def model_name(definition: Json) -> str:
    """Of what is learned of a definition."""
    return f"{PREFIX}{fingerprint(definition)[:24]}"


def models_in_use(store: ResourceStore) -> set[str]:
    """Names of those that a draft answers with, or learns just now, and those of versions."""
    return set(_named(store))


def _named(store: ResourceStore) -> Iterator[str]:
    for build in store.list(KIND):
        for holder in (build.status, build.status.get("training") or {}):
            if holder.get("Model"):
                yield holder["Model"]
    for version in store.list(VERSION_KIND):
        locales: dict[str, Any] = version.spec.get("locales") or {}
        yield from (one["Model"] for one in locales.values() if one.get("Model"))


def is_bot(folder: Path) -> bool:
    """Whether a folder beside the installed packs holds what a bot has learned."""
    return folder.name.startswith(PREFIX) and not (folder / "pack.json").exists()
