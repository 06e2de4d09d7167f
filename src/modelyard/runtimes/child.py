"""The first instructions of a forked worker or job: what it must not inherit, and how it reports."""

import contextlib
import logging
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.base.printing import open_lossy
from modelyard.runtimes import keeper
from modelyard.runtimes.cgroups import Cgroups
from modelyard.runtimes.isolation import Isolation
from modelyard.runtimes.keeper import FAILED, exit_status
from modelyard.runtimes.pokes import poke
from modelyard.runtimes.records import Records, Report, start_time
from modelyard.runtimes.runtime import ProcessSpec, ProcessState
from modelyard.runtimes.sandbox import View

Main = Callable[[dict[str, Any], str, Callable[..., None]], int]
"""``main(payload, address, report) -> exit code``; ``report(state, reason="", progress=None)``."""
Prepare = Callable[[dict[str, Any], Callable[..., None]], View | None]
"""``prepare(payload, report)``: what must be done outside of the sandbox, by trusted code; what is then seen within it.

None: what runs is isolated by other means. To give up, it reports ``failed`` with the reason and raises ``SystemExit``.
"""
Ahead = Callable[[str], None]
"""What a process does before its payload is known, given what it prepares for."""
SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGALRM,
)
"""The host blocks these while it forks: its handlers must not run in a child, nor a child's signal be lost."""
_OOM_SCORE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a child needs of its host."""

    spec: ProcessSpec
    main: Main
    prepare: Prepare | None
    """None: this kind of process runs only the platform's own code, and is not isolated."""
    ahead: Ahead | None
    waits_at: int
    """Read end of a pipe: a byte comes when the payload is there, its end if the host dies first. -1: it is there already."""
    isolation: Isolation
    records: Records
    cgroups: Cgroups
    output: Path
    run: Path
    """Folder of the host's pipe for pokes."""
    host: int
    """Process id of the host."""


def run(birth: Birth) -> None:
    """Never returns: the child ends here, whatever happens."""
    status = FAILED
    try:
        _leave_host(birth)
        reporter = _Reporter(birth)
        if os.getppid() != birth.host:
            return  # The host died before it could know of this process, and nobody ever will.
        _limit(birth)
        if birth.waits_at >= 0 and not _was_told(birth):
            return  # The host died, and with it whoever could say what is to be done.
        status = _run_main(birth, reporter)
    except SystemExit as end:
        status = exit_status(end)
    except BaseException:  # noqa: BLE001 - the outermost frame of a process: logged, and the exit status says it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _run_main(birth: Birth, report: "_Reporter") -> int:
    """Within a sandbox, where this kind of process belongs into one."""
    spec = birth.spec
    payload = spec.payload or birth.records.take_payload(spec.id)
    if birth.prepare is None:
        return birth.main(payload, spec.address, report)
    view = birth.prepare(payload, report)
    if view is None:
        return birth.main(payload, spec.address, report)
    refusal = birth.isolation.refusal(needs_network_isolation=spec.network_isolation)
    if refusal:
        report("failed", refusal)
        return 1
    if birth.isolation.ground is None:
        return birth.main(payload, spec.address, report)
    return keeper.run(
        birth.isolation.ground,
        replace(view, has_network=view.has_network and not spec.network_isolation),
        address=spec.address,
        caps=spec.caps,
        report=report,
        inside=lambda address, send: birth.main(payload, address, send),
    )


def _leave_host(birth: Birth) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(birth.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null if birth.waits_at < 0 else birth.waits_at, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # Sockets, files and pidfds of the host.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process's own
    sys.stdout, sys.stderr = open_lossy(1), open_lossy(2)
    logging.getLogger().handlers[:] = [logging.StreamHandler(sys.stderr)]
    random.seed()
    generators = sys.modules.get("numpy.random")
    if generators is not None:
        # Only what the host has imported already: who imports it later is seeded by that, and an import costs 20 ms.
        generators.seed()


def _was_told(birth: Birth) -> bool:
    """Prepare for what will come, and wait until it is there."""
    if birth.ahead is not None:
        birth.ahead(birth.spec.prepares_for or "")
    told = os.read(0, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return bool(told)


def _limit(birth: Birth) -> None:
    birth.cgroups.join(birth.spec.id)
    # A core of a large model fills the disk. One byte, and not none, stops a handler that the kernel would start, too.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    with contextlib.suppress(OSError):  # No /proc where there is no Linux.
        # The kernel's choice in need of memory: a worker, which comes back, before the platform.
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
        Path("/proc/self/comm").write_text(
            f"yard-{birth.spec.kind}"
        )  # what ``ps`` and ``top`` show


class _Reporter:
    """``report``: the process's state file, and a poke for the host to look at it."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        pid = os.getpid()
        self._report = Report(pid=pid, start=start_time(pid) or 0)
        self._save()

    def __call__(
        self, state: str, reason: str = "", progress: dict[str, Any] | None = None
    ) -> None:
        self._report.state = ProcessState(state)
        self._report.reason = reason
        self._report.progress = progress or {}
        self._save()
        poke(self._birth.run, self._birth.spec.id)

    def _save(self) -> None:
        self._birth.records.save_report(self._birth.spec.id, self._report)
