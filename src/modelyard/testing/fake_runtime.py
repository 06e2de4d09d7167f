"""A runtime in memory: a fake that keeps state, does what a test tells it, and passes the conformance suite of the real one."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelyard.runtimes.runtime import Process, ProcessSpec, ProcessState, RuntimeUnavailable

STOPPED = "it was stopped"
_ENDED = (ProcessState.SUCCEEDED, ProcessState.FAILED, ProcessState.DEAD)


class FakeRuntime:
    """``Runtime`` without processes.

    A process stays ``STARTING`` until the test says otherwise with ``become`` or ``die``, or ``on_start`` does so for
    each new one. ``available`` False is a host that is down; ``drains`` False makes stopped processes linger until
    ``die``, as those do which still have answers to give.
    """

    def __init__(
        self, *, on_start: Callable[["FakeRuntime", ProcessSpec], None] | None = None
    ) -> None:
        self.available = True
        self.drains = True
        self.specs: dict[str, ProcessSpec] = {}
        self.stopping: set[str] = set()
        self._processes: dict[str, Process] = {}
        self._on_start = on_start
        self._changed = asyncio.Event()
        self._watched = False
        self._last_pid = 1000

    async def start(self, spec: ProcessSpec) -> None:
        self._reach()
        known = self._processes.get(spec.id)
        if known is not None:
            if known.state is ProcessState.WAITING and spec.prepares_for is None:
                self._begin(spec, replace(known, state=ProcessState.STARTING))
            return
        self._last_pid += 1
        is_early = spec.prepares_for is not None
        process = Process(
            id=spec.id,
            kind=spec.kind,
            pid=self._last_pid,
            state=ProcessState.WAITING if is_early else ProcessState.STARTING,
            address=spec.address,
        )
        if is_early:
            self.specs[spec.id] = spec
            self._put(process)
        else:
            self._begin(spec, process)

    def _begin(self, spec: ProcessSpec, process: Process) -> None:
        self.specs[spec.id] = spec
        self._put(process)
        if self._on_start is not None:
            self._on_start(self, spec)

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        self._reach()
        process = self._processes.get(process_id)
        if process is None or process.state in _ENDED:
            return
        self.stopping.add(process_id)
        if self.drains or grace_seconds <= 0:
            self.die(process_id, STOPPED)

    async def forget(self, process_id: str) -> None:
        self._reach()
        process = self._processes.get(process_id)
        if process is not None and process.state in _ENDED:
            del self._processes[process_id], self.specs[process_id]
            self.stopping.discard(process_id)

    async def list(self) -> list[Process]:
        self._reach()
        return list(self._processes.values())

    async def changed(self) -> None:
        """Waits also while the fake is unavailable, until something becomes of a process."""
        self._reach()
        if self._watched:
            await self._changed.wait()
        self._watched = True
        self._changed.clear()

    def become(
        self,
        process_id: str,
        state: ProcessState,
        *,
        reason: str = "",
        progress: dict[str, Any] | None = None,
    ) -> None:
        """The process reports: ready, running, failed, succeeded."""
        old = self._processes[process_id]
        self._put(replace(old, state=state, reason=reason, progress=progress or old.progress))

    def die(
        self, process_id: str, reason: str = "it was killed by SIGKILL, without output"
    ) -> None:
        """The process ends without having said so."""
        exit_code = 0 if reason == STOPPED else -9
        old = self._processes[process_id]
        self._put(replace(old, state=ProcessState.DEAD, reason=reason, exit_code=exit_code))

    def process(self, process_id: str) -> Process | None:
        """What ``list`` shows of it, also while the fake is unavailable."""
        return self._processes.get(process_id)

    def _put(self, process: Process) -> None:
        self._processes[process.id] = process
        self._changed.set()

    def _reach(self) -> None:
        if not self.available:
            raise RuntimeUnavailable("the host is not running")
