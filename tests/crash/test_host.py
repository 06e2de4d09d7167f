"""The host and its workers for real: killed, adopted, hung, flooded with output, drained."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home
from modelyard.runtimes.addresses import worker_address
from modelyard.runtimes.cgroups import open_cgroups
from modelyard.transport import frames

SECONDS = 60.0
ROWS = frames.encode_meta(frames.RequestMeta(content_type="text/csv"))
HOST = textwrap.dedent(
    """
    import json, logging, os, subprocess, sys, time
    from pathlib import Path
    from modelyard.base.clock import SystemClock
    from modelyard.base.settings import Home, Limits
    from modelyard.runtimes.cgroups import open_cgroups
    from modelyard.runtimes.host import Host
    from modelyard.worker import main as worker, predictor, server

    predictor.MARGIN_SECONDS = 0.2
    server.DRAIN_SECONDS = 1.0
    home = Home(Path(sys.argv[1]))
    limits = Limits(**json.loads(sys.argv[2]))

    class Scripted:
        row_wise = True

        def __init__(self, executed):
            self.executed = executed

        def predict(self, batch):
            codes = batch.array[:, 0]
            for code in codes.astype(int).tolist():
                match code:
                    case -1:
                        print("a last word", flush=True)
                        os._exit(3)
                    case -2:
                        sum(range(10**12))  # in C, without a look at signals
                    case -3:
                        for _ in range(500):
                            print("x" * 99_999)
                    case -4:
                        os.kill(os.getpid(), 11)
                    case -5:
                        child = subprocess.Popen(["sleep", "1000"])
                        print("grandchild", child.pid, flush=True)
                    case -6:
                        bytearray(1 << 30)
                    case _:
                        print("row", code)
                        time.sleep(0.001)
                        with open(self.executed, "a") as file:
                            file.write(f"{code}\\n")
            return codes * 2

    def load(payload):
        if "wait_for" in payload:
            while not os.path.exists(payload["wait_for"]):
                time.sleep(0.01)
        return Scripted(payload["executed"])

    def sink(stream, events):
        with (home.root / "lines").open("a") as file:
            for _, text in events:
                file.write(f"{stream.stream} {text}\\n")

    cgroups = open_cgroups(home.root)
    worker.load_model = load
    logging.basicConfig(level="INFO")
    Host(home=home, limits=limits, mains={"worker": worker.main}, sink=sink,
         cgroups=cgroups, clock=SystemClock()).run()
    cgroups.close()
    """
)


class RunningHost:
    """A host in a process of its own, and a client of it."""

    def __init__(self, home: Home, **limits: Any) -> None:
        self.home = home
        self.limits = limits
        self.callers: list[Caller] = []
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", HOST, str(self.home.root), json.dumps(self.limits)]
        self.process = subprocess.Popen(command)
        eventually(self._connect)

    def _connect(self) -> bool:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        try:
            self.socket.connect(str(self.home.socket("host")))
        except OSError:
            self.socket.close()
            return False
        self.lines = self.socket.makefile("rb")
        return True

    def ask(self, **request: Any) -> dict[str, Any]:
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self.lines.readline())
        return answer

    def worker(self, name: str, *, memory: int = 0, **payload: Any) -> str:
        """Start a worker of the scripted model, with at most ``memory`` bytes; its address."""
        address = worker_address(self.home, name)
        limits = {"payload_bytes": 1 << 20, "invocation_seconds": 30.0}
        body = {
            "executed": str(self.home.root / f"{name}.executed"),
            "limits": limits,
            "queue": 1000,
            "max_batch": 4,
            **payload,
        }
        log = {"account": "1", "region": "r", "group": "g", "stream": name}
        spec = {
            "id": name,
            "kind": "worker",
            "address": address,
            "payload": body,
            "log": log,
            "caps": {"cpus": 1.0, "memory_bytes": memory},
        }
        assert self.ask(op="start", spec=spec) == {"ok": True}
        return address

    def caller(self, address: str) -> "Caller":
        self.callers.append(Caller(address))
        return self.callers[-1]

    def process_of(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.ask(op="list")["processes"] if one["id"] == name]
        return dict(found)

    def until(self, name: str, state: str) -> dict[str, Any]:
        eventually(lambda: self.process_of(name)["state"] == state)
        return self.process_of(name)

    def logged(self, name: str) -> list[str]:
        path = self.home.root / "lines"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line[len(name) + 1 :] for line in lines if line.startswith(name + " ")]

    def has_noted(self, name: str) -> bool:
        """Whether it is on disk that all that was printed is read."""
        printed = (self.home.logs / "raw" / f"{name}.log").stat().st_size
        place = (self.home.processes / f"{name}.offset").read_bytes()[:8]
        return int.from_bytes(place, "little") == printed

    def end(self, how: signal.Signals) -> None:
        self.lines.close()
        self.socket.close()
        self.process.send_signal(how)
        self.process.wait(SECONDS)


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def has_gone(pid: int) -> bool:
    """Whether it has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # Also of one that goes while it is read.
        return True


class Caller:
    """One connection to a worker."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(address.removeprefix("unix:"))
        self.decoder = frames.FrameDecoder(limit=1 << 30)
        self.frames: list[frames.Frame] = []
        self.hello = self.next()

    def send(self, request_id: int, body: str) -> None:
        frame = frames.encode_frame(
            frames.REQUEST, request_id, number=20_000, meta=ROWS, body=body.encode()
        )
        self.socket.sendall(frame)

    def next(self) -> frames.Frame:
        """Raises ``EOFError`` when the worker has gone."""
        while not self.frames:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self.frames += self.decoder.feed(data)
        return self.frames.pop(0)

    def ask(self, body: str) -> tuple[int, str]:
        self.send(1, body)
        frame = self.next()
        return frame.number, frame.body.decode()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[..., RunningHost]]:
    started: list[RunningHost] = []

    def start(**limits: Any) -> RunningHost:
        home = Home(tmp_path / "home")
        home.create()
        started.append(RunningHost(home, **{"drain_seconds": 5.0, **limits}))
        return started[-1]

    yield start
    for host in started:
        for caller in host.callers:
            caller.socket.close()
        if host.process.poll() is None:
            host.end(signal.SIGUSR1)


def test_workers_outlive_a_killed_host_and_are_adopted(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts()
    caller_address = host.worker("a")
    before = host.until("a", "ready")
    caller = host.caller(caller_address)
    host.end(signal.SIGKILL)
    assert caller.ask("21") == (200, "42.0\n")

    host.start()
    assert host.process_of("a") == before
    assert caller.ask("4") == (200, "8.0\n")
    assert host.ask(op="stop", id="a", grace=10) == {"ok": True}
    assert host.until("a", "dead")["reason"] == "it was stopped"
    host.ask(op="forget", id="a")
    assert [path.name for path in host.home.run.rglob("*") if path.name.startswith("a.")] == []
    assert list((host.home.logs / "raw").iterdir()) == []


def test_a_worker_that_gets_ready_without_its_host_is_ready_for_the_next(
    hosts: Callable[..., RunningHost], tmp_path: Path
) -> None:
    host = hosts()
    early, late = tmp_path / "early", tmp_path / "late"
    host.worker("early", wait_for=str(early))
    host.worker("late", wait_for=str(late))
    state = host.home.processes / "early.state"
    eventually(state.exists)
    eventually((host.home.processes / "late.state").exists)
    host.end(signal.SIGKILL)
    early.touch()
    eventually(lambda: json.loads(state.read_bytes())["state"] == "ready")

    host.start()
    assert host.process_of("early")["state"] == "ready"
    assert host.process_of("late")["state"] == "starting"
    late.touch()
    host.until("late", "ready")


def test_what_died_while_the_host_was_down_is_dead_with_its_last_words(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts()
    address = host.worker("a")
    host.until("a", "ready")
    host.end(signal.SIGKILL)
    caller = host.caller(address)
    caller.send(1, "-1")
    with pytest.raises(EOFError):
        caller.next()

    host.start()
    process = host.until("a", "dead")
    assert process["reason"].startswith("it ended")
    assert process["reason"].endswith("a last word")


def test_an_exit_and_a_crash_say_how_and_what_was_printed_last(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts()
    for name, code in (("exits", "-1"), ("crashes", "-4")):
        address = host.worker(name)
        host.until(name, "ready")
        with pytest.raises(EOFError):
            host.caller(address).ask(code)
    exited, crashed = host.until("exits", "dead"), host.until("crashes", "dead")
    assert exited["reason"].startswith("it exited with status 3. Its last output: ")
    assert exited["reason"].endswith("a last word")
    assert (exited["exit_code"], crashed["exit_code"]) == (3, -signal.SIGSEGV)
    assert crashed["reason"].startswith("it was killed by SIGSEGV")


def test_a_predict_that_hangs_in_c_is_ended_and_named(hosts: Callable[..., RunningHost]) -> None:
    host = hosts(invocation_seconds=1.0)
    address = host.worker("a", limits={"payload_bytes": 1 << 20, "invocation_seconds": 1.0})
    host.until("a", "ready")
    with pytest.raises(EOFError):
        host.caller(address).ask("-2")
    reason = host.until("a", "dead")["reason"]
    assert reason.startswith("it did not return from predict within 1 s")


def test_a_worker_that_outgrows_its_memory_is_ended_by_name(
    hosts: Callable[..., RunningHost], tmp_path: Path
) -> None:
    cgroups = open_cgroups(tmp_path)
    cgroups.close()
    if cgroups.reason:
        pytest.skip(f"limits are off here: {cgroups.reason}")
    host = hosts()
    address = host.worker("a", memory=300 << 20)
    host.until("a", "ready")
    assert host.caller(address).ask("2")[0] == 200
    with pytest.raises(EOFError):
        host.caller(address).ask("-6")
    reason = host.until("a", "dead")["reason"]
    assert reason.startswith("it used more than its 300 MiB of memory and was killed")


def test_a_worker_that_is_not_ready_in_time_fails_its_health_check(
    hosts: Callable[..., RunningHost], tmp_path: Path
) -> None:
    host = hosts(startup_seconds=0.5)
    host.worker("a", wait_for=str(tmp_path / "never"))
    reason = host.until("a", "dead")["reason"]
    assert "did not pass the ping health check" in reason
    assert "not ready within 0.5 s" in reason


def test_what_a_worker_left_running_ends_with_it(hosts: Callable[..., RunningHost]) -> None:
    host = hosts()
    address = host.worker("a")
    host.until("a", "ready")
    assert host.caller(address).ask("-5")[0] == 200
    eventually(lambda: any(line.startswith("grandchild") for line in host.logged("a")))
    (line,) = [line for line in host.logged("a") if line.startswith("grandchild")]
    os.kill(host.process_of("a")["pid"], signal.SIGKILL)
    host.until("a", "dead")
    eventually(lambda: has_gone(int(line.split()[1])))


def test_fifty_megabytes_of_output_fill_neither_disk_nor_log(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts(log_stream_bytes=1_000_000)
    address = host.worker("a")
    host.until("a", "ready")
    raw = host.home.logs / "raw" / "a.log"
    assert host.caller(address).ask("-3")[0] == 200
    eventually(lambda: any("rest is dropped" in line for line in host.logged("a")))
    eventually(lambda: raw.stat().st_blocks * 512 < 4 << 20)
    assert raw.stat().st_size > 49_000_000
    lines = host.logged("a")
    assert sum(len(line) for line in lines) < 1_200_000
    assert sum("rest is dropped" in line for line in lines) == 1

    host.end(signal.SIGKILL)
    host.start()
    assert host.caller(address).ask("3")[0] == 200
    host.ask(op="stop", id="a", grace=SECONDS)
    host.until("a", "dead")
    assert host.logged("a") == lines  # The quota is remembered.


def test_lines_come_once_and_in_order_though_the_host_is_killed(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts()
    address = host.worker("a")
    host.until("a", "ready")
    caller = host.caller(address)
    for number in range(30):
        assert caller.ask(str(number))[0] == 200
        if number == 10:
            eventually(lambda: "row 10" in host.logged("a"))
            eventually(lambda: host.has_noted("a"))  # Else its successor repeats the last piece.
            host.end(signal.SIGKILL)
        if number == 20:
            host.start()
    eventually(lambda: "row 29" in host.logged("a"))
    rows = [line for line in host.logged("a") if line.startswith("row")]
    assert rows == [f"row {number}" for number in range(30)]


def test_a_draining_worker_answers_all_that_it_executed(hosts: Callable[..., RunningHost]) -> None:
    host = hosts()
    address = host.worker("a")
    host.until("a", "ready")
    answered: list[int] = []
    parted: list[int] = []

    def call(first: int) -> None:
        """Sends five for each answer, and does not stop by itself."""
        caller = host.caller(address)
        caller.send(first, str(first))
        sent = 1
        may_send = True
        while (frame := caller.next()).kind != frames.GOAWAY:
            if frame.number == 200:
                answered.append(frame.id)
            for _ in range(5 if may_send else 0):
                try:
                    caller.send(first + sent, str(first + sent))
                except OSError:
                    may_send = False
                sent += 1
        with pytest.raises(EOFError):
            caller.next()
        parted.append(first)

    callers = [
        threading.Thread(target=call, args=(first,)) for first in (100_000, 200_000, 300_000)
    ]
    for thread in callers:
        thread.start()
    eventually(lambda: len(answered) > 20)
    host.ask(op="stop", id="a", grace=SECONDS)
    for thread in callers:
        thread.join(SECONDS)
    process = host.until("a", "dead")
    assert process["exit_code"] == 0
    executed = (host.home.root / "a.executed").read_text().split()
    assert sorted(map(int, executed)) == sorted(answered)
    assert len(parted) == 3


def test_sigterm_leaves_the_workers_and_sigusr1_stops_them(
    hosts: Callable[..., RunningHost],
) -> None:
    host = hosts()
    host.worker("a")
    pid = host.until("a", "ready")["pid"]
    host.end(signal.SIGTERM)
    os.kill(pid, 0)
    host.start()
    assert host.process_of("a")["pid"] == pid
    host.end(signal.SIGUSR1)
    eventually(lambda: has_gone(pid))


def test_nonsense_closes_its_client_and_nothing_else(hosts: Callable[..., RunningHost]) -> None:
    host = hosts()
    for line in (b"nonsense\n", b"[]\n", b'{"op": "dance"}\n', b'{"op": "start"}\n', b"{}\n"):
        with socket.socket(socket.AF_UNIX) as odd:
            odd.settimeout(SECONDS)
            odd.connect(str(host.home.socket("host")))
            odd.sendall(line)
            assert odd.recv(100) == b""
    assert host.ask(op="list")["processes"] == []
