"""A worker that runs somebody's code tries every way out, for real; what it may not have, it does not get."""

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home
from modelyard.runtimes import keeper
from modelyard.runtimes.addresses import worker_address
from modelyard.runtimes.isolation import Isolation, open_isolation
from modelyard.runtimes.local import LocalRuntime
from modelyard.runtimes.runtime import (
    Caps,
    LogStream,
    Process,
    ProcessSpec,
    ProcessState,
    RuntimeUnavailable,
)
from modelyard.testing import escapes

pytestmark = pytest.mark.anyio
LOG = LogStream(account="1", region="r", group="g", stream="s")
SECONDS = 60.0
OPEN_OUTSIDE = (
    escapes.reads_the_credentials,
    escapes.reads_another_models_artifact,
    escapes.sees_processes_of_the_platform,
    escapes.connects_to_the_platforms_sockets,
    escapes.sees_shared_memory_of_others,
    escapes.attaches_system_v_memory_of_others,
)
SECRET = "very-secret-value"
HOST = textwrap.dedent(
    """
    import json, os, socket, sys, time
    from pathlib import Path
    from modelyard.base.clock import SystemClock
    from modelyard.base.settings import Home, Limits
    from modelyard.runtimes.cgroups import open_cgroups
    from modelyard.runtimes.host import Host
    from modelyard.runtimes.isolation import open_isolation
    from modelyard.runtimes.sandbox import View
    from modelyard.testing import escapes

    def view(payload, report):
        folder = Path(payload["artifact"])
        return View(model=folder, binds=((folder, folder),))

    def main(payload, address, report):
        match payload["do"]:
            case "escape":
                report("ready", progress={"escaped": escapes.attempt_all(payload["targets"])})
            case "bomb":
                count = 0
                try:
                    while count < 500:
                        if os.fork() == 0:
                            time.sleep(60)
                            os._exit(0)
                        count += 1
                except OSError:
                    pass
                report("ready", progress={"forked": count})
            case "memory":
                report("ready")
                held = []
                while True:
                    held.append(bytearray(16 << 20))
            case "orphan":
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(60)
                report("ready")
            case "hold":
                report("ready")
            case "scan":
                import re
                pattern = re.compile(b"model" + b"yard-secret-[0-9a-f]{32}")
                found = 0
                with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
                    for line in maps:
                        place, rights = line.split()[:2]
                        low, high = (int(end, 16) for end in place.split("-"))
                        if rights.startswith("rw"):
                            try:
                                memory.seek(low)
                                found += len(pattern.findall(memory.read(high - low)))
                            except (OSError, OverflowError):
                                continue
                report("ready", progress={"found": found, "own": len(payload["own"])})
            case "lie":
                report("ready", "x" * 30_000, {"frameworks": ["os"], "much": "y" * 10_000})
            case "hang":
                import signal
                report("ready")
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                sum(range(10**12))
            case "listen":
                listener = socket.socket(fileno=int(address.removeprefix("fd:")))
                report("ready", progress={"uid": os.getuid(), "pid": os.getpid(), "files": os.listdir("/opt/ml/model")})
                while True:
                    peer, _ = listener.accept()
                    peer.sendall(b"hello")
                    peer.close()
        time.sleep(60)
        return 0

    home = Home(Path(sys.argv[1]))
    Host(home=home, limits=Limits(), mains={"worker": main}, views={"worker": view}, sink=lambda *_: None,
         cgroups=open_cgroups(home.root), isolation=open_isolation(home.root, home.run / "sandbox", sys.argv[2]),
         clock=SystemClock()).run()
    """
)


@pytest.fixture(scope="module")
def isolation(tmp_path_factory: pytest.TempPathFactory) -> Isolation:
    folder = tmp_path_factory.mktemp("probe")
    found = open_isolation(folder, folder / "sandbox", "auto")
    if found.reason:
        pytest.skip(f"this machine does not allow it: {found.reason}")
    return found


@dataclass
class Machine:
    """A host, and a little world around it that its workers should not see."""

    home: Home
    child: subprocess.Popen[bytes]
    mode: str = "auto"

    def begin(self) -> None:
        environment = {name: os.environ[name] for name in keeper.ENVIRONMENT if name in os.environ}
        self.child = subprocess.Popen(
            [sys.executable, "-c", HOST, str(self.home.root), self.mode], env=environment
        )

    async def connect(self) -> LocalRuntime:
        runtime = LocalRuntime(self.home.socket("host"))
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await runtime.list()
                    return runtime
                except RuntimeUnavailable:
                    await asyncio.sleep(0.02)

    @property
    def artifact(self) -> Path:
        return self.home.artifacts / "mine"


@pytest.fixture
def machine(tmp_path: Path, isolation: Isolation) -> Iterator[Machine]:
    yield from _machine(tmp_path, "auto")


@pytest.fixture
def open_machine(tmp_path: Path) -> Iterator[Machine]:
    yield from _machine(tmp_path, "off")


def _machine(tmp_path: Path, mode: str) -> Iterator[Machine]:
    home = Home(tmp_path / "home")
    home.create()
    for path in (home.credentials, home.sealing_key, home.state):
        path.write_text(SECRET)
    for name in ("mine", "theirs"):
        (home.artifacts / name).mkdir()
        (home.artifacts / name / "model.txt").write_text(SECRET)
    machine = Machine(home, None, mode)  # type: ignore[arg-type]  # begin sets it
    machine.begin()
    yield machine
    machine.child.send_signal(signal.SIGUSR1)
    machine.child.wait(SECONDS)


def spec(machine: Machine, do: str, **changes: Any) -> ProcessSpec:
    payload = {"do": do, "artifact": str(machine.artifact), **changes.pop("payload", {})}
    address = worker_address(machine.home, do)
    return ProcessSpec(
        **{
            "id": do,
            "kind": "worker",
            "log": LOG,
            "address": address,
            "payload": payload,
            **changes,
        }
    )


async def until(runtime: LocalRuntime, process_id: str, done: Callable[[Process], bool]) -> Process:
    async with asyncio.timeout(SECONDS):
        while True:
            await runtime.changed()
            found = {process.id: process for process in await runtime.list()}
            if process_id in found and done(found[process_id]):
                return found[process_id]


def is_settled(process: Process) -> bool:
    return process.state is not ProcessState.STARTING


def has_ended(process: Process) -> bool:
    return process.state in (ProcessState.DEAD, ProcessState.FAILED)


@pytest.mark.parametrize("alone", [True, False], ids=["without network", "with network"])
async def test_no_way_out_is_open(machine: Machine, alone: bool) -> None:
    runtime = await machine.connect()
    with ExitStack() as world:
        listener = world.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = world.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0modelyard-test-{os.getpid()}")
        abstract.listen()
        shared = Path("/dev/shm", f"modelyard-test-{os.getpid()}")
        shared.write_text(SECRET)
        world.callback(shared.unlink)
        key = 0x4D000000 | os.getpid()
        segment = ctypes.CDLL(None).shmget(key, 4096, 0o1666)
        world.callback(lambda: ctypes.CDLL(None).shmctl(segment, 0, None))
        targets = {
            "home": str(machine.home.root),
            "own_artifact": str(machine.artifact / "model.txt"),
            "other_artifact": str(machine.home.artifacts / "theirs" / "model.txt"),
            "user_home": str(Path.home()),
            "host": machine.child.pid,
            "sockets": [str(machine.home.socket("host"))],
            "port": listener.getsockname()[1],
            "abstract": f"modelyard-test-{os.getpid()}",
            "shared": shared.name,
            "shared_key": key,
            "secret": SECRET,
            "network": not alone,
        }
        outside = [way(targets) for way in OPEN_OUTSIDE]
        assert all(outside), "the attempts work where there is no wall"
        await runtime.start(
            spec(machine, "escape", payload={"targets": targets}, network_isolation=alone)
        )
        process = await until(runtime, "escape", is_settled)
    assert process.reason == ""
    assert process.progress == {"escaped": {}}
    await runtime.close()


async def test_a_worker_is_reached_by_its_socket_and_adopted_by_the_next_host(
    machine: Machine,
) -> None:
    runtime = await machine.connect()
    await runtime.start(spec(machine, "listen", network_isolation=True))
    before = await until(runtime, "listen", is_settled)
    assert before.progress["files"] == ["model.txt"]
    assert before.progress["pid"] == 1
    assert before.progress["uid"] == (os.getuid() or 1000)

    machine.child.kill()
    machine.child.wait(SECONDS)
    await runtime.close()
    machine.begin()
    runtime = await machine.connect()
    (after,) = await runtime.list()
    assert after == before
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(before.address.removeprefix("unix:"))
        assert client.recv(5) == b"hello"
    await runtime.stop("listen", grace_seconds=30)
    ended = await until(runtime, "listen", has_ended)
    assert ended.reason == "it was stopped"
    await runtime.close()


async def test_all_that_a_worker_started_ends_with_it(machine: Machine) -> None:
    runtime = await machine.connect()
    await runtime.start(spec(machine, "orphan"))
    process = await until(runtime, "orphan", is_settled)
    family = _family(process.pid)
    assert len(family) == 3
    os.kill(process.pid, signal.SIGKILL)
    ended = await until(runtime, "orphan", has_ended)
    assert "SIGKILL" in ended.reason
    async with asyncio.timeout(SECONDS):
        while any(Path(f"/proc/{pid}/stat").exists() for pid in family):
            await asyncio.sleep(0.01)
    await runtime.close()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


async def test_a_worker_that_never_returns_is_ended_by_its_alarm(machine: Machine) -> None:
    runtime = await machine.connect()
    await runtime.start(spec(machine, "hang"))
    ended = await until(runtime, "hang", has_ended)
    assert "did not return from predict" in ended.reason
    await runtime.close()


async def test_a_fork_bomb_stops_at_the_limit(machine: Machine) -> None:
    runtime = await machine.connect()
    await runtime.start(spec(machine, "bomb", caps=Caps(processes=40)))
    process = await until(runtime, "bomb", is_settled)
    assert 10 < process.progress["forked"] < 40
    await runtime.close()


async def test_memory_beyond_the_limit_ends_the_worker_by_name(machine: Machine) -> None:
    if not (Path("/sys/fs/cgroup").exists() and os.getuid() == 0):
        pytest.skip("control groups are not writable here")
    runtime = await machine.connect()
    await runtime.start(spec(machine, "memory", caps=Caps(memory_bytes=200 << 20)))
    ended = await until(runtime, "memory", has_ended)
    assert "used more than its 200 MiB of memory" in ended.reason
    await runtime.close()


async def test_what_a_worker_reports_is_bounded(machine: Machine) -> None:
    runtime = await machine.connect()
    await runtime.start(spec(machine, "lie"))
    process = await until(runtime, "lie", is_settled)
    assert len(process.reason) <= keeper.REASON_CHARACTERS
    await runtime.close()


async def test_no_worker_finds_what_another_was_told(machine: Machine) -> None:
    """All are forked from one process, whose memory they inherit."""
    runtime = await machine.connect()
    for number in range(5):
        told = {"environment": {"TOKEN": "modelyard-secret-" + os.urandom(16).hex()}, "do": "hold"}
        await runtime.start(spec(machine, f"hold{number}", payload=told))
        await until(runtime, f"hold{number}", is_settled)
    await runtime.start(spec(machine, "scan", payload={"own": "x"}))
    process = await until(runtime, "scan", is_settled)
    assert process.progress == {"found": 0, "own": 1}
    await runtime.close()


async def test_network_isolation_is_refused_where_it_cannot_be_had(open_machine: Machine) -> None:
    runtime = await open_machine.connect()
    await runtime.start(spec(open_machine, "listen", network_isolation=True))
    process = await until(runtime, "listen", has_ended)
    assert process.state is ProcessState.FAILED
    assert "EnableNetworkIsolation cannot be had" in process.reason
    assert "--isolation off" in process.reason
    await runtime.close()


def test_what_is_required_and_cannot_be_had_is_refused() -> None:
    required = Isolation(mode="require", ground=None, reason="the kernel says no")
    assert "the kernel says no" in required.refusal(needs_network_isolation=False)
    optional = Isolation(mode="auto", ground=None, reason="the kernel says no")
    assert optional.refusal(needs_network_isolation=False) == ""
    assert json.dumps(optional.refusal(needs_network_isolation=True))
