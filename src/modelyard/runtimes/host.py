"""The warm fork server: imports the heavy libraries once, never predicts, and forks a worker in milliseconds.

Plain blocking code around one selector. It watches every process by a pidfd, which works for those that an earlier host
forked too; reads along what they print; and answers JSON lines on a UNIX socket (``local.LocalRuntime`` is the
other end)::

    {"op": "start", "spec": {…}}   {"op": "stop", "id": …, "grace": 30}   {"op": "forget", "id": …}
    {"op": "list", "life": …, "since": …} (``listings``)    {"op": "watch"}  (then a line whenever something changed)
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
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.settings import FIRST_ZONE, Home, Limits
from modelyard.runtimes import addresses, child
from modelyard.runtimes.cgroups import Cgroups
from modelyard.runtimes.clients import Ask, Clients
from modelyard.runtimes.isolation import NO_ISOLATION, Isolation
from modelyard.runtimes.listings import Changes
from modelyard.runtimes.output import LogSink, Tail
from modelyard.runtimes.pokes import Pokes
from modelyard.runtimes.records import (
    PROCESSES,
    Record,
    Records,
    Report,
    age_seconds,
    start_time,
    without_payload,
)
from modelyard.runtimes.runtime import Process, ProcessSpec, ProcessState
from modelyard.runtimes.watched import Watched, how_it_ended

logger = logging.getLogger(__name__)

SOCKET = "host.sock"
BUSY_SECONDS = 0.2
"""Between two looks at what processes print, while they print."""
IDLE_SECONDS = 1.0
LAST_ROUNDS = 16
"""Turns of reading that a dead process's output is given, should something else still write to it."""
REASON_CHARACTERS = 700
ENDED = (ProcessState.SUCCEEDED, ProcessState.FAILED, ProcessState.DEAD)
STOPPED = "it was stopped"


class Host:
    """``mains`` are what each kind of process runs, given by the composition root.

    ``views`` tells of the kinds that are isolated what they see, ``ahead`` what others do before their payload is known.
    ``warm`` names the libraries that may be imported here once a worker has used them, so that the next replica of such a
    model finds them in memory.
    """

    def __init__(  # noqa: PLR0913 - what the composition root gives it
        self,
        *,
        home: Home,
        limits: Limits,
        mains: Mapping[str, child.Main],
        sink: LogSink,
        cgroups: Cgroups,
        isolation: Isolation = NO_ISOLATION,
        views: Mapping[str, child.Prepare] | None = None,
        ahead: Mapping[str, child.Ahead] | None = None,
        clock: Clock,
        warm: Collection[str] = (),
        zone: str = FIRST_ZONE,
    ) -> None:
        self._home = home
        self._run = home.zone(zone)
        (self._run / PROCESSES).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._limits = limits
        self._mains = mains
        self._sink = sink
        self._cgroups = cgroups
        self._isolation = isolation
        self._views = views or {}
        self._ahead = ahead or {}
        self._busy_groups: set[str] = set()
        self._clock = clock
        self._records = Records(self._run / PROCESSES)
        self._watched: dict[str, Watched] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping: signal.Signals | None = None
        self._wanted: set[str] = set()
        self._warm = frozenset(warm)
        self._look_at = clock.monotonic()
        self._changes = Changes(life=f"{os.getpid()}-{clock.now()!r}")
        # Before any state file is looked at, so that no change falls between.
        self._pokes = Pokes(self._run)
        self._clients: Clients | None = None

    def run(self) -> None:
        """Serve until SIGTERM (workers stay) or SIGUSR1 (workers stop first)."""
        self._selector.register(self._pokes, selectors.EVENT_READ, self._poked)
        with self._woken_by_signals():
            self._adopt()
            gc.collect()
            gc.freeze()  # Pages that no collection writes to stay shared with the children.
            self._clients = Clients(self._run / SOCKET, self._selector, self._perform)
            while self._stopping is None:
                self._turn()
            if self._stopping is signal.SIGUSR1:
                self._stop_all()
            self._clients.close()
        self._pokes.close()

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            if self._stopping is None:
                self._stopping = signal.Signals(number)

        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            self._selector.register(reader, selectors.EVENT_READ, lambda *_: reader.recv(4096))
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, stop)
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        for key, events in self._selector.select(max(0.0, self._look_at - now)):
            key.data(key.fileobj, events)
        if self._clock.monotonic() >= self._look_at:
            self._look()

    def _look(self) -> None:
        """At all that runs: not for each event, of which a thousand workers that start bring thousands."""
        running = [watched for watched in self._watched.values() if watched.pidfd >= 0]
        is_awaited = any(watched.ready_by is not None for watched in running)
        if self._wanted and not is_awaited:
            self._warm_up()  # Not while someone waits for a worker: an import stops the host for a second.
        now, wall = self._clock.monotonic(), self._clock.now()
        printed = 0
        for watched in running:
            if watched.pidfd >= 0:
                printed += watched.tail.read(wall)
                self._check_deadlines(watched, now)
        self._busy_groups = {one for one in self._busy_groups if not self._cgroups.remove(one)}
        is_ending = any(watched.kill_at is not None for watched in running)
        is_busy = bool(printed) or is_awaited or is_ending
        self._look_at = self._clock.monotonic() + (BUSY_SECONDS if is_busy else IDLE_SECONDS)

    def _check_deadlines(self, watched: Watched, now: float) -> None:
        if watched.kill_at is not None and now >= watched.kill_at:
            watched.kill_at = None
            watched.send(signal.SIGKILL)
        if watched.ready_by is not None and now >= watched.ready_by:
            watched.ready_by = None
            watched.killed_because = (
                "did not pass the ping health check: the worker was not ready within "
                f"{self._startup_seconds(watched.record.spec):g} s"
            )
            watched.send(signal.SIGKILL)

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
        """Fork it, unless it is known. The record is on disk before the process exists. Raises ``OSError``.

        One that waits for its payload, which is there now, may begin.
        """
        known = self._watched.get(spec.id)
        if known is not None:
            if spec.prepares_for is None and known.waits:
                known.begin()
                self._changed(spec.id)
            return
        record = Record(spec=without_payload(spec), started_at=self._clock.now())
        with contextlib.ExitStack() as undo:
            undo.callback(self._records.remove, spec.id)
            self._records.save(record)
            if spec.address:
                addresses.make_folder(spec.address)
            watched = Watched(record=record, tail=self._tail(spec))
            undo.callback(watched.tail.close)
            undo.callback(self._cgroups.remove, spec.id)
            self._cgroups.create(spec.id, spec.caps)
            waits_at = -1
            if spec.prepares_for is not None:
                waits_at, watched.gate = os.pipe2(os.O_CLOEXEC)
                undo.callback(watched.close_gate)
            try:
                pid = self._fork(spec, waits_at)
            finally:
                if waits_at >= 0:
                    os.close(waits_at)
            undo.pop_all()
        if spec.kind == "worker":
            watched.ready_by = self._clock.monotonic() + self._startup_seconds(spec)
        watched.report = Report(pid=pid, start=start_time(pid) or 0)
        self._watched[spec.id] = watched
        self._watch(watched, pid)
        self._changed(spec.id)

    def _fork(self, spec: ProcessSpec, waits_at: int) -> int:
        birth = child.Birth(
            spec=spec,
            main=self._mains[spec.kind],
            prepare=self._views.get(spec.kind),
            ahead=self._ahead.get(spec.kind),
            waits_at=waits_at,
            isolation=self._isolation,
            records=self._records,
            cgroups=self._cgroups,
            output=self._raw(spec.id),
            run=self._run,
            host=os.getpid(),
        )
        signal.pthread_sigmask(signal.SIG_BLOCK, child.SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                child.run(birth)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, child.SIGNALS)

    def stop(self, process_id: str, grace: float) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        watched = self._watched.get(process_id)
        if watched is None or watched.pidfd < 0 or watched.record.stopping:
            return
        watched.record.stopping = True
        watched.ready_by = None
        self._save(watched.record)
        watched.kill_at = self._clock.monotonic() + grace
        watched.send(signal.SIGTERM)

    def forget(self, process_id: str) -> None:
        """Drop what has ended; a process that runs stays known."""
        watched = self._watched.get(process_id)
        if watched is None or watched.pidfd >= 0:
            return
        del self._watched[process_id]
        self._changes.remove(process_id)
        self._records.remove(process_id)
        self._raw(process_id).unlink(missing_ok=True)
        if watched.record.spec.address:
            addresses.remove(watched.record.spec.address)

    def processes(self) -> list[Process]:
        """All that are known."""
        return [watched.describe() for watched in self._watched.values()]

    def _adopt(self) -> None:
        """Take over what an earlier host started: watch what lives, note what died meanwhile."""
        for record in self._records.all():
            spec = record.spec
            watched = Watched(
                record=record, tail=self._tail(spec), report=self._records.report(spec.id)
            )
            self._watched[spec.id] = watched
            self._changes.note(spec.id)
            report = watched.report
            if record.ended is not None:
                watched.tail.close()
            elif report is not None and start_time(report.pid) == report.start:
                self._watch(watched, report.pid)
                self._resume(watched)
                self._wanted.update(report.progress.get("frameworks", ()))
                logger.info("adopted %s %s, process %d", spec.kind, spec.id, report.pid)
            else:
                self._ended(watched, None, "it ended while the host was down")

    def _resume(self, watched: Watched) -> None:
        """The deadlines of an adopted process."""
        now = self._clock.monotonic()
        record = watched.record
        if record.stopping:  # The host may have died before it sent the signal.
            watched.kill_at = now + self._limits.drain_seconds
            watched.send(signal.SIGTERM)
        elif record.spec.kind == "worker" and watched.is_starting:
            assert watched.report is not None, "what was adopted has reported"
            age = age_seconds(watched.report.start)
            watched.ready_by = now + max(0.0, self._startup_seconds(record.spec) - age)

    def _watch(self, watched: Watched, pid: int) -> None:
        try:
            watched.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended(watched, None, "it ended while the host was down")
            return
        self._selector.register(
            watched.pidfd, selectors.EVENT_READ, lambda *_: self._reap(watched, pid)
        )

    def _reap(self, watched: Watched, pid: int) -> None:
        self._selector.unregister(watched.pidfd)
        os.close(watched.pidfd)
        watched.pidfd = -1
        watched.close_gate()
        exit_code: int | None = None
        with contextlib.suppress(ChildProcessError):
            # Before it is reaped its number is nobody else's: what it left running in its session ends with it.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            exit_code = os.waitstatus_to_exitcode(status)
        self._ended(watched, exit_code, "")

    def _ended(self, watched: Watched, exit_code: int | None, why: str) -> None:
        spec = watched.record.spec
        watched.ready_by = watched.kill_at = None
        for _ in range(LAST_ROUNDS):
            if not watched.tail.read(self._clock.now()):
                break
        watched.tail.read(self._clock.now(), last=True)
        report = self._records.report(spec.id) or watched.report
        watched.report = report
        record = watched.record
        record.exit_code = exit_code
        if report is not None and report.state in ENDED:
            record.ended, record.reason = report.state, report.reason
        else:
            record.ended = ProcessState.DEAD
            record.reason = self._reason(watched, exit_code, why)
        watched.tail.close()
        if not self._cgroups.remove(spec.id):
            self._busy_groups.add(spec.id)
        try:
            self._records.save(record)
        except (
            OSError
        ) as error:  # A full disk: a later host finds out for itself that it has ended.
            logger.warning("the end of %s is not on disk: %s", spec.id, error)
        if not record.stopping:
            logger.info("%s %s ended: %s", spec.kind, spec.id, record.reason or record.ended)
        self._changed(spec.id)

    def _save(self, record: Record) -> None:
        """On a full disk a process still ends: a later host finds out for itself."""
        try:
            self._records.save(record)
        except OSError as error:
            logger.warning("the record of %s is not on disk: %s", record.spec.id, error)

    def _reason(self, watched: Watched, exit_code: int | None, why: str) -> str:
        if watched.record.stopping:
            return STOPPED
        spec = watched.record.spec
        if watched.killed_because:
            text = watched.killed_because
        elif self._cgroups.was_killed_for_memory(spec.id):
            text = (
                f"it used more than its {spec.caps.memory_bytes >> 20} MiB of memory and was killed"
            )
        else:
            text = why or how_it_ended(exit_code, self._limits.invocation_seconds)
        lines = watched.tail.last_lines(REASON_CHARACTERS)
        return f"{text}. Its last output: {lines}" if lines else f"{text}, without output"

    def _startup_seconds(self, spec: ProcessSpec) -> float:
        return spec.startup_seconds or self._limits.startup_seconds

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

    # ---- what others tell the host

    def _poked(self, fileobj: Any, events: int) -> None:
        who = self._pokes.read()
        moved = []
        for process_id in self._watched.keys() if who is None else who:
            watched = self._watched.get(process_id)
            if watched is None or watched.pidfd < 0:
                continue
            report = self._records.report(process_id)
            if report is not None and report != watched.report:
                watched.report = report
                moved.append(process_id)
                self._wanted.update(report.progress.get("frameworks", ()))
                if not watched.is_starting:
                    watched.ready_by = None
        if moved:
            self._changed(*moved)

    def _changed(self, *ids: str) -> None:
        for process_id in ids:
            self._changes.note(process_id)
        self._look_at = min(self._look_at, self._clock.monotonic() + BUSY_SECONDS)
        if self._clients is not None:
            self._clients.announce()

    def _perform(self, ask: Ask) -> dict[str, Any]:
        match ask.op:
            case "start":
                if ask.spec is None:
                    raise ValueError("start needs a spec")
                if self._stopping is not None:
                    return {"error": "the platform is stopping"}
                self.start(ask.spec)
            case "stop":
                self.stop(ask.id, ask.grace)
            case "forget":
                self.forget(ask.id)
            case _:
                return self._changes.answer(
                    ask.life, ask.since, lambda one: self._watched[one].describe()
                )
        return {"ok": True}
