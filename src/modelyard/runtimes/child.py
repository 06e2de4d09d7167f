"""The first instructions of a forked worker or job: what it must not inherit, and how it reports."""

import contextlib
import logging
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.runtimes.cgroups import Cgroups
from modelyard.runtimes.records import Records, Report, start_time
from modelyard.runtimes.runtime import ProcessSpec, ProcessState

Main = Callable[[dict[str, Any], str, Callable[..., None]], int]
"""``main(payload, address, report) -> exit code``; ``report(state, reason="", progress=None)``."""
FAILED = 70
"""Exit status of a main that raised (EX_SOFTWARE)."""
_OOM_SCORE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a child needs of its host."""

    spec: ProcessSpec
    main: Main
    records: Records
    cgroups: Cgroups
    output: Path
    poke: int
    """Write end of the host's pipe: one byte says that the state changed."""
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
        status = birth.main(birth.spec.payload, birth.spec.address, reporter)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else FAILED
    except BaseException:  # noqa: BLE001 - the outermost frame of a process: logged, and the exit status says it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _leave_host(birth: Birth) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(birth.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # Sockets and pipes of the host and of other processes end here, except the one to poke it with.
    os.closerange(3, birth.poke)
    os.closerange(birth.poke + 1, os.sysconf("SC_OPEN_MAX") if birth.poke < 3 else 65_536)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the process's own
    sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    logging.getLogger().handlers[:] = [logging.StreamHandler(sys.stderr)]
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _limit(birth: Birth) -> None:
    birth.cgroups.join(birth.spec.id)
    # The kernel's choice in need of memory: a worker, which comes back, before the platform.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


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

    def _save(self) -> None:
        self._birth.records.save_report(self._birth.spec.id, self._report)
        with contextlib.suppress(OSError):  # No host now: its successor reads the file.
            os.write(self._birth.poke, b"x")
