"""The hosts of several zones as one runtime: what happens between its questions and their answers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.runtimes.runtime import LogStream, Process, ProcessSpec, ProcessState
from modelyard.runtimes.zones import ZonedRuntime
from modelyard.testing.clock import ManualClock
from modelyard.testing.fake_runtime import FakeRuntime

pytestmark = pytest.mark.anyio
SPEC = ProcessSpec(
    id="a", kind="worker", log=LogStream(account="1", region="r", group="g", stream="s")
)


class Slow(FakeRuntime):
    """Its listing is on its way until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def list(self) -> Sequence[Process]:  # type: ignore[override]
        found = await super().list()
        self.listed.set()
        await self.may_answer.wait()
        return found


async def test_what_is_started_while_a_listing_is_on_its_way_is_stopped_when_it_is_to_be(
    tmp_path: Path,
) -> None:
    host = Slow()
    runtime = ZonedRuntime({"a": tmp_path}, clock=ManualClock())
    runtime._hosts = {"a": host}  # type: ignore[dict-item]
    listing = asyncio.create_task(runtime.list())
    await host.listed.wait()
    await runtime.start(SPEC)
    host.may_answer.set()
    await listing
    await runtime.stop("a", grace_seconds=0)
    stopped = host.process("a")
    assert stopped is not None and stopped.state is ProcessState.DEAD
