"""A worker that is a bridge: the platform's frames on one side, HTTP to somebody's program on the other.

It starts the program, asks ``GET /ping`` until that passes (and in a batch job ``GET /execution-parameters``, once), says
that it is ready, and sends each request on as ``POST /invocations``, several at a time. Its own end follows the program's:
when that dies, so does the worker, and whoever waits for an answer learns it from the closed connection. At SIGTERM it
answers what was sent, says GOAWAY, then stops the program.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from modelyard.base.clock import SystemClock
from modelyard.domain.transform import ExecutionParameters, has_no_payload_limit
from modelyard.domain.worker_report import EXECUTION_PARAMETERS
from modelyard.worker.batcher import Bounds
from modelyard.worker.bridge import Bridge
from modelyard.worker.engine import Container, EngineError
from modelyard.worker.http_client import ProgramClient, ProgramError
from modelyard.worker.program import (
    PLACE,
    STOP_SECONDS,
    NoPort,
    Ports,
    Running,
    command_of,
    describe_end,
    environment_of,
    last_output,
    own_ports,
    program_of,
    shared_ports,
)

PING_SECONDS = 2.0
"""One try's limit."""
PAUSE_SECONDS = 0.1
SAY_EVERY_SECONDS = 10.0
CONCURRENCY = "MODELYARD_CONCURRENCY"
CONCURRENCY_DEFAULT = 32
"""Requests that the program has at a time; more wait here, in order."""
CONCURRENCY_LIMIT = 1024
MODEL = "/opt/ml/model"
FAILED = 1
_OK = 200
_SIGNALLED = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """How the program sees its machine."""

    folder: str
    model: str
    is_alone: bool
    """It has a network of its own."""


def main(payload: dict[str, Any], address: str, report: Callable[..., None]) -> int:
    """Run one program or image; the exit status follows its own. Called in the main thread of a freshly forked process."""
    try:
        concurrency = _concurrency(payload["environment"])
        if payload.get("engine"):
            return _run_image(payload, address, report, concurrency)
        return _run_program(payload, address, report, concurrency)
    except (OSError, NoPort, EngineError, ValueError) as error:
        report("failed", f"The program of image {_name_of(payload)} cannot be started: {error}")
        return FAILED


def _run_program(
    payload: dict[str, Any], address: str, report: Callable[..., None], concurrency: int
) -> int:
    program = program_of(payload)
    is_isolated = address.startswith("fd:")
    place = _Place(
        folder=(PLACE if is_isolated else program.folder) if program.folder else "",
        model=MODEL if is_isolated else payload.get("folder", ""),
        is_alone=is_isolated and (program.network == "private" or payload["network_isolation"]),
    )
    if not is_isolated:
        _say(f"isolation is off: there is no {MODEL}, the model is at $SM_MODEL_DIR")
    ports = own_ports() if place.is_alone else shared_ports()
    environment = environment_of(
        program, ports, payload["environment"], folder=place.folder, model=place.model
    )
    command = command_of(program, "serve", environment["PATH"])
    running = Running(command, folder=place.folder, environment=environment)
    return _serve(payload, running, ports, address, report, concurrency)


def _run_image(
    payload: dict[str, Any], address: str, report: Callable[..., None], concurrency: int
) -> int:
    """By a container engine, which isolates it by its own means."""
    container = Container(payload)
    container.remove_strays()
    with TemporaryDirectory(prefix="modelyard-") as folder:
        command = container.command(Path(folder))
        running = Running(command, folder="", environment=os.environ)
        try:
            if container.is_alone:
                container.enter_network(running.is_alive)
            return _serve(payload, running, container.ports, address, report, concurrency)
        finally:
            running.end(signal.SIGKILL)
            container.remove()


def _serve(
    payload: dict[str, Any],
    running: Running,
    ports: Ports,
    address: str,
    report: Callable[..., None],
    concurrency: int,
) -> int:
    client = ProgramClient(
        ports.port,
        answer_bytes=payload["limits"]["payload_bytes"],
        is_chunked=has_no_payload_limit(payload["environment"]),
    )
    worker = _Worker(payload, running, client, concurrency=concurrency)
    code = asyncio.run(worker.run(address, report))
    client.close()
    if ports.held is not None:
        ports.held.close()
    return code if code >= 0 else _SIGNALLED - code


def _name_of(payload: dict[str, Any]) -> str:
    program = payload.get("program")
    return str(program["name"] if program else payload["image_uri"])


def _concurrency(environment: Mapping[str, str]) -> int:
    text = environment.get(CONCURRENCY, str(CONCURRENCY_DEFAULT))
    if not text.isdecimal() or not 1 <= int(text) <= CONCURRENCY_LIMIT:
        raise ValueError(f"{CONCURRENCY}={text!r} is not a number from 1 to {CONCURRENCY_LIMIT}")
    return int(text)


class _Worker:
    """The life of one bridge."""

    def __init__(
        self,
        payload: dict[str, Any],
        running: Running,
        client: ProgramClient,
        *,
        concurrency: int,
    ) -> None:
        limits = payload["limits"]
        self._running = running
        self._client = client
        self._name = _name_of(payload)
        self._is_batch = payload["environment"].get("SAGEMAKER_BATCH") == "true"
        self._bridge = Bridge(
            client,
            bounds=Bounds(
                worker_id=payload.get("id", ""),
                payload_bytes=limits["payload_bytes"],
                queue=payload["queue"],
                max_batch=1,
            ),
            concurrency=concurrency,
            seconds=limits["invocation_seconds"],
            now=SystemClock().monotonic,
        )

    async def run(self, address: str, report: Callable[..., None]) -> int:
        """Until the program has ended; its exit code, negative for a signal."""
        loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._told_to_stop = asyncio.Event()
        loop.add_reader(self._running.pidfd, self._ended.set)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop.set)
        loop.add_signal_handler(signal.SIGCHLD, self._reap_orphans)
        is_ready = await self._until(self._pass_ping())
        if is_ready:
            progress = await self._execution_parameters() if self._is_batch else {}
            async with self._bridge.listening(_listen(address)):
                report("ready", progress=progress)
                await self._until(self._told_to_stop.wait())
                if not self._ended.is_set():
                    await self._until(self._bridge.drain())
        if self._ended.is_set():
            return self._died(report, is_ready=is_ready)
        return await self._stop()

    async def _until(self, what: Coroutine[Any, Any, object]) -> bool:
        """Whether ``what`` was done before the program ended or the worker was told to stop."""
        done = asyncio.ensure_future(what)
        others = [self._ended] if self._told_to_stop.is_set() else [self._ended, self._told_to_stop]
        ends = [done, *(asyncio.ensure_future(other.wait()) for other in others)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        return done.done() and not done.cancelled()

    async def _pass_ping(self) -> None:
        """Returns when ``GET /ping`` answers 200. The host's deadline ends what never does, with the last lines of the log."""
        said_at = asyncio.get_running_loop().time()
        while True:
            said = ""
            try:
                async with asyncio.timeout(PING_SECONDS):
                    answer = await self._client.ask("GET", "/ping")
                if answer.status == _OK:
                    return
                said = f"GET /ping answered {answer.status}"
            except ProgramError as error:
                said = f"GET /ping: {error}"
            except TimeoutError:
                said = f"GET /ping had no answer within {PING_SECONDS:g} s"
            now = asyncio.get_running_loop().time()
            if now - said_at >= SAY_EVERY_SECONDS:
                said_at = now
                _say(said)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _execution_parameters(self) -> dict[str, Any]:
        """What the container says of itself, which it need not: anything but 200 and JSON leaves the defaults."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                answer = await self._client.ask("GET", "/execution-parameters")
            if answer.status != _OK:
                return {}
            said = msgspec.json.decode(answer.body, type=ExecutionParameters)
        except (ProgramError, TimeoutError, msgspec.DecodeError) as error:
            _say(f"GET /execution-parameters, to which the defaults apply: {error}")
            return {}
        return {EXECUTION_PARAMETERS: msgspec.to_builtins(said)}

    def _died(self, report: Callable[..., None], *, is_ready: bool) -> int:
        code = self._running.wait()
        _say(describe_end(code))
        if not is_ready:
            lines = last_output()
            report(
                "failed",
                f"The program of image {self._name} did not pass the ping health check: "
                f"{describe_end(code)}. Its last output: {lines}",
            )
        return code or FAILED

    async def _stop(self) -> int:
        _say(describe_end(await end_program(self._running, self._ended)))
        return 0

    def _reap_orphans(self) -> None:
        """The first process of a PID namespace is the parent of all that lost theirs."""
        with suppress(ChildProcessError):
            while True:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or found.si_pid == self._running.pid:
                    return
                os.waitpid(found.si_pid, 0)


async def end_program(running: Running, ended: asyncio.Event) -> int:
    """Its exit code, after SIGTERM and, half a minute later, SIGKILL; ``ended`` is set by whoever watches it."""
    running.end(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await ended.wait()
    except TimeoutError:
        running.end(signal.SIGKILL)
        await ended.wait()
    return running.wait()


def _listen(address: str) -> socket.socket:
    if address.startswith("fd:"):
        return socket.socket(fileno=int(address.removeprefix("fd:")))
    path = Path(address.removeprefix("unix:"))
    path.unlink(missing_ok=True)  # Of an earlier life of this worker.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


def _say(text: str) -> None:
    print(f"[modelyard] {text}", flush=True)  # noqa: T201 - the container's log
