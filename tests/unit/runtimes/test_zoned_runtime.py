"""The hosts of several zones as one runtime: what happens between its questions and their answers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.runtimes import zones
from modelyard.runtimes.runtime import (
    LogStream,
    Process,
    ProcessSpec,
    ProcessState,
    RuntimeUnavailable,
)
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


async def test_a_host_that_was_away_and_kept_its_connections_is_looked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped for a while, say: it has nothing to announce when it goes on."""

    class Silent(Slow):
        async def changed(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(zones, "PATIENCE_SECONDS", 0.01)
    clock, host = ManualClock(), Silent()
    runtime = ZonedRuntime({"a": tmp_path}, clock=clock)
    runtime._hosts = {"a": host}  # type: ignore[dict-item]
    changed = asyncio.create_task(runtime.changed())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeUnavailable):
        await runtime.list()
    async with asyncio.timeout(2):
        await changed
        looking = asyncio.create_task(runtime.changed())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(zones.PROBE_SECONDS)
        await looking
    host.may_answer.set()
    assert await runtime.list() == []
    assert runtime.zones_up() == ("a",)
    monkeypatch.setattr(runtime, "_hosts", {})
    await runtime.close()


async def test_a_host_that_cannot_start_one_process_now_is_not_away(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b'{"error": "No space left on device"}\n')
        writer.close()

    server = await asyncio.start_unix_server(refuse, tmp_path / "host.sock")
    async with server:
        runtime = ZonedRuntime({"a": tmp_path}, clock=ManualClock())
        with pytest.raises(RuntimeUnavailable, match="No space left"):
            await runtime.start(SPEC)
        assert runtime.zones_up() == ("a",)
        await runtime.close()
