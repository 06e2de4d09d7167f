"""What every runtime does, the host's processes and the fake alike."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.clock import SystemClock
from modelyard.base.settings import Home
from modelyard.runtimes.local import LocalRuntime
from modelyard.runtimes.runtime import (
    LogStream,
    Process,
    ProcessSpec,
    ProcessState,
    Runtime,
    RuntimeUnavailable,
)
from modelyard.runtimes.zones import ZonedRuntime
from modelyard.testing.fake_runtime import FakeRuntime

pytestmark = pytest.mark.anyio

LOG = LogStream(account="1", region="r", group="g", stream="s")
HOST = textwrap.dedent(
    """
    import signal, sys, time
    from pathlib import Path
    from modelyard.base.clock import SystemClock
    from modelyard.base.settings import Home, Limits
    from modelyard.runtimes.cgroups import Cgroups
    from modelyard.runtimes.host import Host

    def main(payload, address, report):
        what = payload.get("do", "ready")
        if what == "fail":
            report("failed", "the model has no file")
            return 1
        if what == "exit":
            print("about to exit", flush=True)
            return 3
        if what == "succeed":
            report("running", progress={"rows": 1})
            report("succeeded", progress={"rows": 2})
            return 0
        if what == "starting":
            time.sleep(60)
        report("ready", progress={"seen": payload.get("seen", 0)})
        time.sleep(60)
        return 0

    home = Home(Path(sys.argv[1]))
    Host(home=home, limits=Limits(), mains={"worker": main, "job": main}, sink=lambda *_: None,
         ahead={"job": lambda what: print("prepares for", what, flush=True)},
         cgroups=Cgroups({}, 0, "off"), clock=SystemClock(), zone=sys.argv[2]).run()
    """
)


def spec(process_id: str = "a", **changes: Any) -> ProcessSpec:
    return ProcessSpec(**{"id": process_id, "kind": "worker", "log": LOG, **changes})


def behave(runtime: FakeRuntime, spec: ProcessSpec) -> None:
    """The fake's processes do what the host's do, by the same payload."""
    match spec.payload.get("do", "ready"):
        case "fail":
            runtime.become(spec.id, ProcessState.FAILED, reason="the model has no file")
        case "exit":
            runtime.die(spec.id, "it exited with status 3. Its last output: about to exit")
        case "succeed":
            runtime.become(spec.id, ProcessState.SUCCEEDED, progress={"rows": 2})
        case "ready":
            progress = {"seen": spec.payload.get("seen", 0)}
            runtime.become(spec.id, ProcessState.READY, progress=progress)


class RealHost:
    def __init__(self, home: Home, zone: str = "a") -> None:
        self.home = home
        self.zone = zone
        self.child: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = [sys.executable, "-c", HOST, str(self.home.root), self.zone]
        self.child = subprocess.Popen(command)
        runtime = LocalRuntime(self.home.zone(self.zone) / "host.sock")
        async with asyncio.timeout(60):
            while True:
                try:
                    await runtime.list()
                    break
                except RuntimeUnavailable:
                    await asyncio.sleep(0.02)
        await runtime.close()

    def end(self, how: signal.Signals) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGCONT)
        self.child.send_signal(how)
        self.child.wait(60)


def home_at(folder: Path) -> Home:
    home = Home(folder)
    home.create()
    return home


def zoned(home: Home) -> ZonedRuntime:
    return ZonedRuntime({zone: home.zone(zone) for zone in "ab"}, clock=SystemClock())


@contextlib.asynccontextmanager
async def running(runtime: LocalRuntime | ZonedRuntime, *hosts: RealHost) -> AsyncIterator[None]:
    """However it ends, nothing is left that another test would stumble over."""
    async with contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(runtime.close)
        for host in hosts:
            await host.start()
            ends.callback(host.end, signal.SIGUSR1)
        yield


@pytest.fixture(params=["local", "zoned", "fake"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    if request.param == "fake":
        yield FakeRuntime(on_start=behave)
        return
    home = home_at(tmp_path)
    hosts = [RealHost(home, zone) for zone in ("ab" if request.param == "zoned" else "a")]
    real = zoned(home) if request.param == "zoned" else LocalRuntime(home.socket("host"))
    async with running(real, *hosts):
        yield real


async def until(
    runtime: Runtime, condition: Callable[[dict[str, Process]], bool]
) -> dict[str, Process]:
    """List whenever something may have changed, until the listing is as wished."""
    async with asyncio.timeout(60):
        while True:
            await runtime.changed()
            found = {process.id: process for process in await runtime.list()}
            if condition(found):
                return found


async def test_nothing_runs_at_first(runtime: Runtime) -> None:
    assert await runtime.list() == []


async def test_a_started_process_becomes_ready(runtime: Runtime) -> None:
    await runtime.start(spec(address="unix:/x/a.sock", payload={"seen": 7}))
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)
    process = found["a"]
    assert (process.kind, process.address) == ("worker", "unix:/x/a.sock")
    assert process.progress == {"seen": 7}
    assert process.pid > 0


async def test_starting_again_changes_nothing(runtime: Runtime) -> None:
    await runtime.start(spec())
    before = await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)
    await runtime.start(spec(payload={"do": "fail"}))
    (after,) = await runtime.list()
    assert after == before["a"]


async def test_a_failed_process_says_why(runtime: Runtime) -> None:
    await runtime.start(spec(payload={"do": "fail"}))
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.FAILED)
    assert found["a"].reason == "the model has no file"


async def test_a_process_that_ends_unasked_is_dead_with_its_last_output(runtime: Runtime) -> None:
    await runtime.start(spec(payload={"do": "exit"}))
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.DEAD)
    assert found["a"].reason == "it exited with status 3. Its last output: about to exit"


async def test_a_job_succeeds_with_its_last_progress(runtime: Runtime) -> None:
    await runtime.start(spec(kind="job", payload={"do": "succeed"}))
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.SUCCEEDED)
    assert found["a"].progress == {"rows": 2}


async def test_a_process_that_waits_begins_with_its_payload_and_once(runtime: Runtime) -> None:
    early = spec(kind="job", prepares_for="text/csv")
    await runtime.start(early)
    await runtime.start(early)
    waiting = await until(runtime, lambda all_: all_["a"].state is ProcessState.WAITING)
    for _ in range(2):
        await runtime.start(spec(kind="job", payload={"do": "ready", "seen": 3}))
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)
    assert found["a"].progress == {"seen": 3}
    assert found["a"].pid == waiting["a"].pid


async def test_a_process_that_waits_is_stopped_as_any_other(runtime: Runtime) -> None:
    await runtime.start(spec(kind="job", prepares_for=""))
    await until(runtime, lambda all_: all_["a"].state is ProcessState.WAITING)
    await runtime.stop("a", grace_seconds=30)
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.DEAD)
    assert found["a"].reason == "it was stopped"
    await runtime.start(spec(kind="job"))
    (process,) = await runtime.list()
    assert process.state is ProcessState.DEAD


async def test_an_ended_process_is_not_started_again_until_it_is_forgotten(
    runtime: Runtime,
) -> None:
    await runtime.start(spec(payload={"do": "exit"}))
    await until(runtime, lambda all_: all_["a"].state is ProcessState.DEAD)
    await runtime.start(spec())
    (process,) = await runtime.list()
    assert process.state is ProcessState.DEAD

    await runtime.forget("a")
    assert await runtime.list() == []
    await runtime.start(spec())
    await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)


@pytest.mark.parametrize("do", ["ready", "starting"])
async def test_a_stopped_process_is_dead(runtime: Runtime, do: str) -> None:
    await runtime.start(spec(payload={"do": do}))
    await until(runtime, lambda all_: all_["a"].state is ProcessState(do))
    await runtime.stop("a", grace_seconds=30)
    found = await until(runtime, lambda all_: all_["a"].state is ProcessState.DEAD)
    assert found["a"].reason == "it was stopped"


async def test_stopping_or_forgetting_what_is_unknown_or_ended_does_nothing(
    runtime: Runtime,
) -> None:
    await runtime.stop("nobody", grace_seconds=1)
    await runtime.forget("nobody")
    await runtime.start(spec(payload={"do": "fail"}))
    await until(runtime, lambda all_: all_["a"].state is ProcessState.FAILED)
    await runtime.stop("a", grace_seconds=1)
    (process,) = await runtime.list()
    assert process.state is ProcessState.FAILED


async def test_a_running_process_cannot_be_forgotten(runtime: Runtime) -> None:
    await runtime.start(spec())
    await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)
    await runtime.forget("a")
    (process,) = await runtime.list()
    assert process.state is ProcessState.READY


async def test_one_hint_may_stand_for_many_changes(runtime: Runtime) -> None:
    await runtime.changed()
    for number in range(20):
        await runtime.start(spec(f"p{number}", payload={"do": "fail"}))
    found = await until(
        runtime,
        lambda all_: (
            len(all_) == 20 and all(one.state is ProcessState.FAILED for one in all_.values())
        ),
    )
    assert len({one.pid for one in found.values()}) == 20


async def test_a_fake_that_is_down_raises() -> None:
    runtime = FakeRuntime()
    runtime.available = False
    with pytest.raises(RuntimeUnavailable):
        await runtime.list()


async def test_a_host_that_is_down_raises(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path / "host.sock")
    with pytest.raises(RuntimeUnavailable):
        await runtime.list()
    with pytest.raises(RuntimeUnavailable):
        await runtime.changed()


async def test_a_connection_is_made_anew_when_the_host_was_killed(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    host, runtime = RealHost(home), LocalRuntime(home.socket("host"))
    async with running(runtime, host):
        await runtime.start(spec())
        before = await until(runtime, lambda all_: all_["a"].state is ProcessState.READY)
        host.end(signal.SIGKILL)
        with pytest.raises(RuntimeUnavailable):
            await runtime.list()
        with pytest.raises(RuntimeUnavailable):
            while True:  # Hints that were on their way may come first.
                await runtime.changed()

        await host.start()
        await runtime.changed()
        (process,) = await runtime.list()
        assert process == before["a"]
        os.kill(process.pid, 0)  # It lives.


async def test_a_process_that_waits_ends_with_its_host(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    host, runtime = RealHost(home), LocalRuntime(home.socket("host"))
    async with running(runtime, host):
        await runtime.start(spec("waits", kind="job", prepares_for="text/csv"))
        await runtime.start(
            spec("works", kind="job")
        )  # Born later, it does not hold the other's pipe.
        await until(runtime, lambda all_: all_["works"].state is ProcessState.READY)
        host.end(signal.SIGKILL)
        await host.start()
        await runtime.close()
        found = await until(runtime, lambda all_: all_["waits"].state is ProcessState.DEAD)
        assert "prepares for text/csv" in found["waits"].reason
        assert found["works"].state is ProcessState.READY


async def test_a_connection_that_ended_is_no_sign_that_the_host_is_away_now(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    host, runtime = RealHost(home), LocalRuntime(home.socket("host"))
    async with running(runtime, host):
        await runtime.changed()  # The connection of hints is made.
        host.end(signal.SIGKILL)
        await host.start()
        async with asyncio.timeout(60):
            await runtime.changed()
        assert await runtime.list() == []


async def test_a_zone_whose_host_is_away_starts_nothing_and_loses_nothing(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    a, b = RealHost(home, "a"), RealHost(home, "b")
    runtime = zoned(home)
    async with running(runtime, a, b):
        for name, zone in (("a", "a"), ("b", "b"), ("c", "b")):
            await runtime.start(spec(name, zone=zone))

        def all_ready(found: dict[str, Process]) -> bool:
            return all(one.state is ProcessState.READY for one in found.values())

        before = await until(runtime, all_ready)
        assert {name: one.zone for name, one in before.items()} == {"a": "a", "b": "b", "c": "b"}
        b.end(signal.SIGKILL)
        await until(runtime, lambda found: found == before and runtime.zones_up() == ("a",))
        with pytest.raises(RuntimeUnavailable, match="zone b"):
            await runtime.start(spec("d", zone="b"))
        await runtime.start(spec("d"))

        os.kill(before["b"].pid, signal.SIGKILL)
        found = await until(runtime, lambda all_: all_["b"].state is ProcessState.DEAD)
        assert "host of its zone was away" in found["b"].reason
        assert found["d"].zone == "a"
        await runtime.forget("b")
        await runtime.stop("c", grace_seconds=10)
        assert "b" not in {one.id for one in await runtime.list()}
        os.kill(before["c"].pid, 0)  # Nobody can tell it yet.

        told: list[tuple[str, ...]] = []
        runtime.subscribe(lambda: told.append(runtime.zones_up()))
        await b.start()
        found = await until(runtime, lambda all_: all_["c"].state is ProcessState.DEAD)
        assert found["c"].reason == "it was stopped"
        assert told == [("a", "b")]
        assert found.keys() == {"a", "c", "d"}


async def test_a_host_that_hangs_holds_up_no_other_zone(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    a, b = RealHost(home, "a"), RealHost(home, "b")
    runtime = zoned(home)
    async with running(runtime, a, b):
        await runtime.start(spec("b", zone="b"))
        await until(runtime, lambda found: found["b"].state is ProcessState.READY)
        assert b.child is not None
        b.child.send_signal(signal.SIGSTOP)
        assert [one.state for one in await runtime.list()] == [ProcessState.READY]
        assert runtime.zones_up() == ("a",)
        await runtime.start(spec("a"))
        await until(runtime, lambda found: found["a"].state is ProcessState.READY)
        b.child.send_signal(signal.SIGCONT)
        await until(runtime, lambda _: runtime.zones_up() == ("a", "b"))
