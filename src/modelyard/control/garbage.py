"""What belongs to nobody any more: stray processes, artifacts, journals, routes, keys. Looks now and then, and removes.

Only what no resource names is touched, and of files only what has not changed for a while, so that a fleet
which is being planned at the same moment keeps what it has just pinned.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.base.clock import Clock
from modelyard.base.settings import Home, Limits
from modelyard.control.bot_builds import KIND as BOT_BUILD
from modelyard.control.bot_builds import is_bot, models_in_use
from modelyard.control.bot_builds import process_id as build_id
from modelyard.control.endpoints import endpoint_memory, fleet_owner, worker_ids
from modelyard.control.fleets import pin_folder
from modelyard.control.keys import KeyPublisher
from modelyard.control.processes import Processes
from modelyard.control.routes import RoutePublisher
from modelyard.control.text_training import KINDS as TRAINED
from modelyard.control.text_training import is_trained, process_id
from modelyard.control.transform_jobs import job_folder, job_memory, process_ids
from modelyard.domain.fleet import Fleet
from modelyard.runtimes.runtime import ProcessState
from modelyard.store.digests import Digests
from modelyard.store.resources import Key, Resource, ResourceStore

PERIOD_SECONDS = 60.0
_MIN_AGE_SECONDS = 600.0
_TRASH = ".trash-"
_ENDED = (ProcessState.DEAD, ProcessState.FAILED, ProcessState.SUCCEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """What must stay because of one resource: processes by id, artifacts by content key, journals' folders."""

    processes: frozenset[str]
    artifacts: frozenset[str]
    journals: frozenset[Path] = frozenset()


def _of_endpoint(endpoint: Resource) -> _Needs:
    memory = endpoint_memory(endpoint)
    return _Needs(
        processes=frozenset(worker_ids(memory)),
        artifacts=_artifacts(memory.serving) | _artifacts(memory.target),
    )


def _artifacts(fleet: Fleet | None) -> frozenset[str]:
    return frozenset(
        data.key
        for variant in (fleet.variants if fleet is not None else ())
        for container in variant.containers
        for data in (container.data, container.code)
        if data.key
    )


class GarbageCollector:
    """A reconciler without a resource of its own."""

    def __init__(  # noqa: PLR0913 - what it looks after
        self,
        *,
        store: ResourceStore,
        processes: Processes,
        routes: RoutePublisher,
        keys: KeyPublisher,
        clock: Clock,
        home: Home,
        limits: Limits,
    ) -> None:
        self._store = store
        self._keys = keys
        self._endpoints = Digests(store, "endpoint", _of_endpoint)
        self._jobs = Digests(store, "transform-job", self._of_job)
        self._processes = processes
        self._routes = routes
        self._clock = clock
        self._home = home
        self._limits = limits

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look."""
        await self._sweep_processes()
        trash = list(self._sweep_folders())
        await asyncio.to_thread(_remove, trash)
        await self._keys.publish_keys()
        return PERIOD_SECONDS

    async def _sweep_processes(self) -> None:
        """And the routes of endpoints that exist no more."""
        # Read after the listing: whatever is started is saved in a status before.
        known = dict(await self._processes.current())
        endpoints = self._endpoints.all()
        await self._routes.retain(endpoints.keys())
        wanted: set[str] = set()
        for needs in (*endpoints.values(), *self._jobs.all().values()):
            wanted |= needs.processes
        wanted |= {process_id(one) for kind in TRAINED for one in self._store.list(kind)}
        wanted |= {build_id(one) for one in self._store.list(BOT_BUILD)}
        for process in known.values():
            if process.id in wanted:
                continue
            if process.state in _ENDED:
                await self._processes.forget(process.id)
            else:
                await self._processes.stop(process.id, grace_seconds=self._limits.drain_seconds)

    def _sweep_folders(self) -> Iterator[Path]:
        """Rename what nobody uses, without a pause between the look and the rename."""
        artifacts, journals = self._used()
        # Of what is in them each is a folder by itself: one that is being filled keeps no other, nor goes with them.
        parents = (pin_folder(self._home, ""), self._home.fetched)
        inner = [folder for parent in parents for folder in _folders(parent)]
        for folder in (*_folders(self._home.artifacts), *inner):
            if folder.name.startswith(_TRASH):
                yield folder  # of a predecessor that was killed
            elif folder not in parents and not folder.name.startswith(artifacts):
                yield from self._trashed(folder)
        trained = {one.spec["Model"] for kind in TRAINED for one in self._store.list(kind)}
        trained |= models_in_use(self._store)
        for folder in _folders(self._home.packs):
            if folder.name.startswith(_TRASH):
                yield folder
            elif (is_trained(folder) or is_bot(folder)) and folder.name not in trained:
                yield from self._trashed(folder)
        for folder in _folders(self._home.jobs):
            if folder.name.startswith(_TRASH):
                yield folder
            elif folder not in journals:
                yield from self._trashed(folder)

    def _used(self) -> tuple[tuple[str, ...], set[Path]]:
        """Content keys and journal folders that resources name."""
        artifacts: set[str] = set()
        journals: set[Path] = set()
        for needs in (*self._endpoints.all().values(), *self._jobs.all().values()):
            artifacts |= needs.artifacts
            journals |= needs.journals
        return tuple(artifacts), journals

    def _of_job(self, job: Resource) -> "_Needs":
        memory = job_memory(job)
        return _Needs(
            processes=frozenset(process_ids(memory, fleet_owner(job))),
            artifacts=_artifacts(memory.fleet),
            journals=frozenset() if memory.outcome else frozenset({job_folder(self._home, job)}),
        )

    def _trashed(self, folder: Path) -> Iterator[Path]:
        newest = max(
            path.stat(follow_symlinks=False).st_ctime for path in (folder, *folder.iterdir())
        )
        if self._clock.now() - newest < _MIN_AGE_SECONDS:
            return
        trash = folder.with_name(f"{_TRASH}{folder.name}")
        os.replace(folder, trash)
        yield trash


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
