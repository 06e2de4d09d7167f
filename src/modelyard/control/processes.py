"""What runs, as control last saw it: one listing shared by all reconcilers, and who owns which process.

A thousand endpoints must not mean a thousand listings a second. The listing is refreshed when the runtime hints at a
change; what control itself starts or forgets is entered at once, so that a pass never decides on less than it did.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from modelyard.domain.fleet import Observed
from modelyard.domain.worker_report import TAKES_ARRAYS
from modelyard.runtimes.runtime import Process, ProcessSpec, ProcessState, Runtime
from modelyard.store.resources import Key


class Processes:
    """The runtime with a memory. Raises ``RuntimeUnavailable`` where the runtime does."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[str, Process] | None = None
        self._observed: Mapping[str, Observed] = {}
        self._news: set[str] = set()
        """Of these processes the observed value is of before."""
        self._entered: dict[str, int] = {}
        self._refreshes = 0
        self._lock = asyncio.Lock()
        self._stopping: set[str] = set()
        self._owners: dict[str, Key] = {}
        self._owned: dict[Key, frozenset[str]] = {}

    async def current(self) -> Mapping[str, Process]:
        """All known processes by id; listed now if they never were."""
        if self._known is None:
            await self.refresh()
        assert self._known is not None
        return self._known

    async def observed(self) -> Mapping[str, Observed]:
        """The same as values of the domain."""
        known = await self.current()
        if self._news:
            # A copy: who looks at the one of before goes on with what it has decided upon.
            observed = dict(self._observed)
            for process_id in self._news:
                if process_id in known:
                    observed[process_id] = _observed(known[process_id])
                else:
                    observed.pop(process_id, None)
            self._observed = observed
            self._news.clear()
        return self._observed

    async def refresh(self) -> set[str]:
        """List again; the ids of those that changed, came or went."""
        async with self._lock:
            self._refreshes += 1
            number = self._refreshes
            listed = {process.id: process for process in await self._runtime.list()}
            before = self._known or {}
            # Started while the listing was under way: it may be missing from it.
            for process_id, entered in list(self._entered.items()):
                if process_id in listed or entered < number:
                    del self._entered[process_id]
                elif process_id in before:
                    listed[process_id] = before[process_id]
            self._known = listed
            self._stopping &= listed.keys()
            changed = {
                one for one, process in listed.items() if not _is_same(before.get(one), process)
            }
            changed |= before.keys() - listed.keys()
            self._news |= changed
            return changed

    async def start(self, spec: ProcessSpec) -> None:
        """Start it unless it is known; one that waits for its payload begins with it."""
        await self._runtime.start(spec)
        known = await self.current()
        state = ProcessState.STARTING if spec.prepares_for is None else ProcessState.WAITING
        before = known.get(spec.id)
        if before is not None and before.state is ProcessState.WAITING:
            assert self._known is not None
            self._known[spec.id] = replace(before, state=state)
            self._news.add(spec.id)
        if before is None:
            self._entered[spec.id] = self._refreshes
            assert self._known is not None
            self._news.add(spec.id)
            self._known[spec.id] = Process(
                id=spec.id,
                kind=spec.kind,
                pid=0,
                state=state,
                address=spec.address,
                zone=spec.zone,
            )

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        """Ask it to end, once."""
        if process_id not in self._stopping:
            await self._runtime.stop(process_id, grace_seconds=grace_seconds)
            self._stopping.add(process_id)

    async def forget(self, process_id: str) -> None:
        """Drop an ended process."""
        await self._runtime.forget(process_id)
        if self._known is not None:
            self._known.pop(process_id, None)
            self._news.add(process_id)

    async def abandon(self, owner: Key, *, grace_seconds: float) -> None:
        """The owner is gone without a word (a reset): stop what it claimed. Whatever is missed is garbage."""
        known = await self.current()
        for process_id in self._owned.get(owner, frozenset()):
            if process_id in known:
                await self.stop(process_id, grace_seconds=grace_seconds)
        self.claim(owner, ())

    async def changed(self) -> None:
        """Return when it may be worth to refresh."""
        await self._runtime.changed()

    def claim(self, owner: Key, ids: Collection[str]) -> None:
        """These processes, and no others, are ``owner``'s: it is woken when one of them changes."""
        for process_id in self._owned.pop(owner, frozenset()):
            self._owners.pop(process_id, None)
        if ids:
            self._owned[owner] = frozenset(ids)
            self._owners.update(dict.fromkeys(ids, owner))

    def owner(self, process_id: str) -> Key | None:
        """Who claimed it; None for what nobody wants any more."""
        return self._owners.get(process_id)


def _is_same(before: Process | None, now: Process) -> bool:
    """Most are the very object of the last listing."""
    return before is now or before == now


def _observed(process: Process) -> Observed:
    return Observed(
        state=process.state.value,
        address=process.address,
        reason=process.reason,
        takes_arrays=bool(process.progress.get(TAKES_ARRAYS)),
        zone=process.zone,
    )
