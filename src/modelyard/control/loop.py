"""The loop that keeps the world as it was asked for: looks at each resource when it, or a process of it, changed.

Level-based: a reconciler is told which resource to look at, never what happened to it. Changes of the store and of the
runtime only decide *when*; every reconciler also names the time of its next look, and a resync asks for all, so that a
missed hint costs time and nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.base.ids import RandomSource
from modelyard.control.processes import Processes
from modelyard.control.queue import Urgency, WorkQueue
from modelyard.runtimes.runtime import RuntimeUnavailable
from modelyard.store.resources import Key, ResourceStore, VersionConflict

GARBAGE = Key(kind="garbage", account="", region="", name="")
RESYNC_SECONDS = 60.0
_CONCURRENCY = 16
_CALM = 12
"""So many of them for keys that no caller waits for."""
_RETRY_SECONDS_MIN = 0.1
_RETRY_SECONDS_MAX = 60.0
_PATIENCE = 5
_HINTS_MAX = 1_000
_logger = logging.getLogger(__name__)


class Reconciler(Protocol):
    """Brings one resource closer to its spec; may be killed between any two steps."""

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look; infinity: when something changes."""


class Loop:
    """``reconcilers`` by resource kind; that of ``garbage`` looks after what no resource owns."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        processes: Processes,
        reconcilers: Mapping[str, Reconciler],
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._store = store
        self._processes = processes
        self._reconcilers = reconcilers
        self._clock = clock
        self._random = random
        self._queue = WorkQueue(clock, calm=_CALM)
        self._failures: dict[Key, int] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        self._store.subscribe(self.wake)
        self._add_all()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(), name="control.watch")
            places = asyncio.Semaphore(_CONCURRENCY)
            while True:
                await places.acquire()
                key = await self._queue.take()
                task = tasks.create_task(self._look(key), name=f"control.{key.kind}.{key.name}")
                task.add_done_callback(lambda _: places.release())

    @property
    def is_idle(self) -> bool:
        """Whether every resource was looked at since it last changed."""
        return self._queue.is_idle

    def _add_all(self) -> None:
        for kind in self._reconcilers:
            for key in self._store.versions(kind):
                self._queue.add(key, Urgency.ROUTINE)
        if GARBAGE.kind in self._reconcilers:
            self._queue.add(GARBAGE, Urgency.ROUTINE)

    def wake(self, key: Key) -> None:
        """Look at it as soon as possible: it, or something that it depends on, changed."""
        if key.kind in self._reconcilers:
            self._queue.add(key)

    def hurry(self, key: Key) -> None:
        """The same before all others: a caller waits for it."""
        if key.kind in self._reconcilers:
            self._queue.hurry(key)

    async def _look(self, key: Key) -> None:
        """One pass over one resource; its failure is its own."""
        try:
            seconds = await self._reconcilers[key.kind].reconcile(key)
        except VersionConflict:
            seconds = 0.0  # someone wrote meanwhile: read again, decide again
        except RuntimeUnavailable as error:
            seconds = self._delay(key)
            if self._failures[key] == _PATIENCE:
                _logger.warning("%s %s waits for the runtime: %s", key.kind, key.name, error)
        except Exception:
            _logger.exception("reconciling %s %s failed", key.kind, key.name)
            seconds = self._delay(key)
        else:
            self._failures.pop(key, None)
        self._queue.done(key, seconds)

    def _delay(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(_RETRY_SECONDS_MAX, _RETRY_SECONDS_MIN * 2.0 ** min(failures, 20))
        return longest * (0.5 + self._random.uniform() / 2)

    async def _watch(self) -> None:
        """Wake the owners of processes that changed; resync all now and then."""
        failures = 0
        last_resync = self._clock.monotonic()
        while True:
            try:
                if not failures:  # Else what was told last is still to be looked at.
                    await self._first(self._hints(), self._clock.sleep(RESYNC_SECONDS))
                changed = await self._processes.refresh()
                failures = 0
            except RuntimeUnavailable:
                failures += 1
                await self._clock.sleep(min(1.0, 0.05 * 2.0 ** min(failures, 10)))
                continue
            for process_id in changed:
                self._process_changed(process_id)
            if self._clock.monotonic() - last_resync >= RESYNC_SECONDS:
                last_resync = self._clock.monotonic()
                self._add_all()

    async def _hints(self) -> None:
        """Return when something may have changed; hints that are there already count as one."""
        await self._processes.changed()
        for _ in range(_HINTS_MAX):
            more = asyncio.ensure_future(self._processes.changed())
            await asyncio.sleep(0)
            if not more.done():
                more.cancel()
                await asyncio.gather(more, return_exceptions=True)
                return
            more.result()

    def _process_changed(self, process_id: str) -> None:
        owner = self._processes.owner(process_id)
        if owner is not None:
            self._queue.add(owner)
        elif GARBAGE.kind in self._reconcilers:
            self._queue.add(GARBAGE, Urgency.ROUTINE)

    async def _first(self, *awaitables: Awaitable[None]) -> None:
        """Return when the first has, with its error if it has one; the others are cancelled."""
        waits = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
