"""The loop's watch over processes: a change that was told once is not lost."""

import asyncio

import pytest

from modelyard.base.ids import SeededRandom
from modelyard.control.loop import Loop
from modelyard.control.processes import Processes
from modelyard.runtimes.runtime import (
    LogStream,
    Process,
    ProcessSpec,
    ProcessState,
    RuntimeUnavailable,
)
from modelyard.store.resources import Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.fake_runtime import FakeRuntime
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
KEY = Key(kind="endpoint", account="1", region="r", name="e")
SPEC = ProcessSpec(
    id="w", kind="worker", log=LogStream(account="1", region="r", group="g", stream="s")
)


class Busy(FakeRuntime):
    """Does not answer the next listing."""

    is_busy = False

    async def list(self) -> list[Process]:
        if self.is_busy:
            self.is_busy = False
            raise RuntimeUnavailable("the host does not answer")
        return await super().list()


class Noting:
    def __init__(self) -> None:
        self.keys: list[Key] = []

    async def reconcile(self, key: Key) -> float:
        self.keys.append(key)
        return float("inf")


async def test_a_change_is_seen_soon_although_the_host_did_not_answer_when_it_was_told() -> None:
    clock, runtime, noting = ManualClock(), Busy(), Noting()
    processes = Processes(runtime)
    loop = Loop(
        store=MemoryResourceStore(clock=clock),
        processes=processes,
        reconcilers={KEY.kind: noting},
        clock=clock,
        random=SeededRandom(1),
    )
    await processes.start(SPEC)
    processes.claim(KEY, {SPEC.id})
    running = asyncio.create_task(loop.run())
    await settle()
    noting.keys.clear()
    runtime.is_busy = True
    runtime.become(SPEC.id, ProcessState.READY)
    await settle()
    assert noting.keys == []
    clock.advance(1.0)
    await settle()
    assert noting.keys == [KEY]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)
