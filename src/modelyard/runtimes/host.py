"""The warm fork server: imports the heavy libraries once, never predicts, and forks a worker in milliseconds.

Plain blocking code around one selector. It watches every process by a pidfd, which works for those that an earlier host
forked too; reads along what they print; and answers JSON lines on a UNIX socket (``local.LocalRuntime`` is the
other end)::

    {"op": "start", "spec": {…}}   {"op": "stop", "id": …, "grace": 30}   {"op": "forget", "id": …}
    {"op": "list"}                 {"op": "watch"}  (then a line whenever something changed)
"""

import contextlib
import gc
import importlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.clock import Clock
from modelyard.base.settings import Home, Limits
from modelyard.runtimes import addresses, child
from modelyard.runtimes.cgroups import Cgroups
from modelyard.runtimes.output import LogSink, Tail
from modelyard.runtimes.records import Record, Records, Report, start_time, without_payload
from modelyard.runtimes.runtime import Process, ProcessSpec, ProcessState

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2
PIECE = 64 * 1024
LINE_LIMIT = 16 << 20
CLIENTS_LIMIT = 64
REASON_CHARACTERS = 700
ENDED = (ProcessState.SUCCEEDED, ProcessState.FAILED, ProcessState.DEAD)


@dataclass(slots=True)
class _Watched:
    """One process that is known. ``pidfd`` is -1 when it has ended."""

    record: Record
    tail: Tail
    report: Report | None = None
    pidfd: int = -1
    kill_at: float | None = None
    ready_by: float | None = None
    killed_because: str = ""


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    received: bytearray
    to_send: bytearray
    watches: bool = False


class Host:
    """``mains`` are what each kind of process runs, given by the composition root.

    ``warm`` names the libraries that may be imported here once a worker has used them, so that the next replica
    of such a model finds them in memory.
    """

    def __init__(  # noqa: PLR0913 - what the composition root gives it
        self,
        *,
        home: Home,
        limits: Limits,
        mains: Mapping[str, child.Main],
        sink: LogSink,
        cgroups: Cgroups,
        clock: Clock,
        warm: Collection[str] = (),
    ) -> None:
        self._home = home
        self._limits = limits
        self._mains = mains
        self._sink = sink
        self._cgroups = cgroups
        self._clock = clock
        self._records = Records(home.processes)
        self._watched: dict[str, _Watched] = {}
        self._clients: list[_Client] = []
        self._selector = selectors.DefaultSelector()
        self._poke_read, self._poke_write = os.pipe()
        self._stopping: signal.Signals | None = None
        self._wanted: set[str] = set()
        self._warm = frozenset(warm)

    def run(self) -> None:
        """Serve until SIGTERM (workers stay) or SIGUSR1 (workers stop first)."""
        for descriptor in (self._poke_read, self._poke_write):
            os.set_blocking(descriptor, False)
        self._adopt()
        gc.collect()
        gc.freeze()  # Pages that no collection writes to stay shared with the children.
        with self._listening() as listener, self._woken_by_signals():
            self._selector.register(self._poke_read, selectors.EVENT_READ, self._poked)
            self._selector.register(listener, selectors.EVENT_READ, self._accept)
            while self._stopping is None:
                self._turn()
            if self._stopping is signal.SIGUSR1:
                self._stop_all()

    @contextlib.contextmanager
    def _listening(self) -> Any:
        path = self._home.socket("host")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(16)
            listener.setblocking(False)
            yield listener

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Any:
        def stop(number: int, frame: object) -> None:
            self._stopping = signal.Signals(number)

        signal.set_wakeup_fd(self._poke_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        yield

    def _turn(self) -> None:
        for key, events in self._selector.select(TICK_SECONDS):
            key.data(key.fileobj, events)
        if self._wanted and not any(one.ready_by is not None for one in self._watched.values()):
            self._warm_up()  # Not while someone waits for a worker: an import stops the host for a second.
        now = self._clock.monotonic()
        for watched in list(self._watched.values()):
            watched.tail.read(self._clock.now())
            self._check_deadlines(watched, now)

    def _check_deadlines(self, watched: _Watched, now: float) -> None:
        if watched.pidfd < 0:
            return
        if watched.kill_at is not None and now >= watched.kill_at:
            watched.kill_at = None
            _signal(watched, signal.SIGKILL)
        if watched.ready_by is not None and now >= watched.ready_by:
            watched.ready_by = None
            watched.killed_because = (
                "did not pass the ping health check: the worker was not ready within "
                f"{self._limits.startup_seconds:g} s"
            )
            _signal(watched, signal.SIGKILL)

    def _warm_up(self) -> None:
        """Import what a worker had to import for itself. Importing starts no threads that a fork would lose."""
        for name in sorted(self._wanted & self._warm - sys.modules.keys()):
            logger.info("importing %s for the next workers", name)
            with contextlib.suppress(ImportError):  # It was removed since; the worker will say so.
                importlib.import_module(name)
            gc.collect()
            gc.freeze()
        self._wanted.clear()

    # ---- processes

    def start(self, spec: ProcessSpec) -> None:
        """Fork it, unless it is known. The record is on disk before the process exists."""
        if spec.id in self._watched:
            return
        record = Record(spec=without_payload(spec), started_at=self._clock.now())
        self._records.save(record)
        if spec.address:
            addresses.make_folder(spec.address)
        watched = _Watched(record=record, tail=self._tail(spec))
        self._watched[spec.id] = watched
        if spec.kind == "worker":
            watched.ready_by = self._clock.monotonic() + self._limits.startup_seconds
        self._cgroups.create(spec.id, spec.caps)
        birth = child.Birth(
            spec=spec,
            main=self._mains[spec.kind],
            records=self._records,
            cgroups=self._cgroups,
            output=self._raw(spec.id),
            poke=self._poke_write,
            host=os.getpid(),
        )
        pid = os.fork()
        if pid == 0:
            child.run(birth)
        watched.report = Report(pid=pid, start=start_time(pid) or 0)
        self._watch(watched, pid)
        self._changed()

    def stop(self, process_id: str, grace: float) -> None:
        watched = self._watched.get(process_id)
        if watched is None or watched.pidfd < 0 or watched.record.stopping:
            return
        watched.record.stopping = True
        watched.ready_by = None
        self._records.save(watched.record)
        watched.kill_at = self._clock.monotonic() + grace
        _signal(watched, signal.SIGTERM)

    def forget(self, process_id: str) -> None:
        """Drop what has ended; a process that runs stays known."""
        watched = self._watched.get(process_id)
        if watched is None or watched.pidfd >= 0:
            return
        del self._watched[process_id]
        watched.tail.close()
        self._records.remove(process_id)
        self._raw(process_id).unlink(missing_ok=True)

    def processes(self) -> list[Process]:
        return [_describe(watched) for watched in self._watched.values()]

    def _adopt(self) -> None:
        """Take over what an earlier host started: watch what lives, note what died meanwhile."""
        for record in self._records.all():
            spec = record.spec
            watched = _Watched(
                record=record, tail=self._tail(spec), report=self._records.report(spec.id)
            )
            self._watched[spec.id] = watched
            if record.ended is not None:
                continue
            report = watched.report
            if report is not None and start_time(report.pid) == report.start:
                self._watch(watched, report.pid)
                if record.stopping:
                    watched.kill_at = self._clock.monotonic() + self._limits.drain_seconds
                logger.info("adopted %s %s, process %d", spec.kind, spec.id, report.pid)
            else:
                self._ended(watched, None, "it ended while the host was down")

    def _watch(self, watched: _Watched, pid: int) -> None:
        try:
            watched.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended(watched, None, "it ended while the host was down")
            return
        self._selector.register(
            watched.pidfd, selectors.EVENT_READ, lambda *_: self._reap(watched, pid)
        )

    def _reap(self, watched: _Watched, pid: int) -> None:
        self._selector.unregister(watched.pidfd)
        os.close(watched.pidfd)
        watched.pidfd = -1
        try:
            _, status = os.waitpid(pid, 0)
            exit_code: int | None = os.waitstatus_to_exitcode(status)
        except ChildProcessError:  # Not our child: the supervisor, who is, has its status.
            exit_code = None
        self._ended(watched, exit_code, "")

    def _ended(self, watched: _Watched, exit_code: int | None, why: str) -> None:
        spec = watched.record.spec
        watched.ready_by = watched.kill_at = None
        while watched.tail.read(self._clock.now(), last=True):
            pass
        report = self._records.report(spec.id) or watched.report
        watched.report = report
        record = watched.record
        record.exit_code = exit_code
        if report is not None and report.state in ENDED:
            record.ended, record.reason = report.state, report.reason
        else:
            record.ended = ProcessState.DEAD
            record.reason = self._reason(watched, exit_code, why)
        self._records.save(record)
        self._cgroups.remove(spec.id)
        if not record.stopping:
            logger.info("%s %s ended: %s", spec.kind, spec.id, record.reason or record.ended)
        self._changed()

    def _reason(self, watched: _Watched, exit_code: int | None, why: str) -> str:
        if watched.record.stopping:
            return "it was stopped"
        spec = watched.record.spec
        if watched.killed_because:
            text = watched.killed_because
        elif self._cgroups.was_killed_for_memory(spec.id):
            text = (
                f"it used more than its {spec.caps.memory_bytes >> 20} MiB of memory and was killed"
            )
        else:
            text = why or _how(exit_code, self._limits.invocation_seconds)
        lines = watched.tail.last_lines(REASON_CHARACTERS)
        return f"{text}. Its last output: {lines}" if lines else f"{text}, without output"

    def _tail(self, spec: ProcessSpec) -> Tail:
        return Tail(
            self._raw(spec.id),
            self._records.offset_file(spec.id),
            spec.log,
            sink=self._sink,
            quota=self._limits.log_stream_bytes,
        )

    def _raw(self, process_id: str) -> Path:
        return self._home.logs / "raw" / f"{process_id}.log"

    def _stop_all(self) -> None:
        """The platform goes down: every process drains, then ends."""
        for process_id in list(self._watched):
            self.stop(process_id, self._limits.drain_seconds)
        while any(watched.pidfd >= 0 for watched in self._watched.values()):
            self._turn()

    # ---- clients

    def _poked(self, fileobj: Any, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._poke_read, 4096):
                pass
        moved = False
        for watched in self._watched.values():
            if watched.pidfd < 0:
                continue
            report = self._records.report(watched.record.spec.id)
            if report is not None and report != watched.report:
                watched.report = report
                moved = True
                self._wanted.update(report.progress.get("frameworks", ()))
                if report.state is not ProcessState.STARTING:
                    watched.ready_by = None
        if moved:
            self._changed()

    def _changed(self) -> None:
        for client in list(self._clients):
            if client.watches:
                self._answer(client, {"changed": True})

    def _accept(self, listener: Any, events: int) -> None:
        connection, _ = listener.accept()
        if len(self._clients) >= CLIENTS_LIMIT:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection, bytearray(), bytearray())
        self._clients.append(client)
        self._register(client, selectors.EVENT_READ)

    def _register(self, client: _Client, events: int) -> None:
        self._selector.register(
            client.connection, events, lambda _, happened: self._serve(client, happened)
        )

    def _serve(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ:
                data = client.connection.recv(PIECE)
                if not data:
                    raise ConnectionResetError
                client.received += data
                self._take_lines(client)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                logger.warning("a client of the host sent what is no request: %s", error)
            self._drop(client)

    def _take_lines(self, client: _Client) -> None:
        while (end := client.received.find(b"\n")) >= 0:
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            self._answer(client, self._perform(client, msgspec.json.decode(line)))
        if len(client.received) > LINE_LIMIT:
            raise ValueError("a request over the limit")

    def _perform(self, client: _Client, request: dict[str, Any]) -> dict[str, Any]:
        try:
            match request["op"]:
                case "start":
                    self.start(msgspec.convert(request["spec"], ProcessSpec))
                case "stop":
                    self.stop(request["id"], request["grace"])
                case "forget":
                    self.forget(request["id"])
                case "list":
                    return {"processes": [asdict(process) for process in self.processes()]}
                case "watch":
                    client.watches = True
                case other:
                    return {"error": f"unknown operation {other!r}"}
        except OSError as error:  # A full disk, no more processes: the caller tries again later.
            logger.warning("%s failed: %s", request["op"], error)
            return {"error": str(error)}
        return {"ok": True}

    def _answer(self, client: _Client, value: dict[str, Any]) -> None:
        client.to_send += msgspec.json.encode(value) + b"\n"
        if len(client.to_send) > LINE_LIMIT:
            self._drop(client)
            return
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            while client.to_send:
                sent = client.connection.send(client.to_send)
                del client.to_send[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.to_send else 0)
        self._selector.modify(
            client.connection, events, lambda _, happened: self._serve(client, happened)
        )

    def _drop(self, client: _Client) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        client.connection.close()
        self._clients = [other for other in self._clients if other is not client]


def _describe(watched: _Watched) -> Process:
    record, report = watched.record, watched.report
    state = record.ended or (report.state if report is not None else ProcessState.STARTING)
    return Process(
        id=record.spec.id,
        kind=record.spec.kind,
        pid=report.pid if report is not None else 0,
        state=state,
        address=record.spec.address,
        reason=record.reason or (report.reason if report is not None else ""),
        exit_code=record.exit_code,
        progress=report.progress if report is not None else {},
    )


def _how(exit_code: int | None, invocation_seconds: float) -> str:
    if exit_code is None:
        return "it ended"
    if exit_code == -signal.SIGALRM:
        return f"it did not return from predict within {invocation_seconds:g} s"
    if exit_code < 0:
        return f"it was killed by {signal.Signals(-exit_code).name}"
    return f"it exited with status {exit_code}"


def _signal(watched: _Watched, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(watched.pidfd, number)
