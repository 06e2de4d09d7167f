"""One call in a sandbox of its own, with a network and one folder to write to: for installers, which run other people's code."""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from modelyard.runtimes import keeper
from modelyard.runtimes.isolation import Isolation
from modelyard.runtimes.runtime import Caps
from modelyard.runtimes.sandbox import View


def run_enclosed(
    isolation: Isolation,
    what: Callable[[], int],
    *,
    writable: Path,
    readable: Sequence[Path] = (),
    seconds: float,
) -> int:
    """Call ``what`` in a process of its own; its exit status. Raises ``TimeoutError`` after ``seconds``, when it was killed.

    Of the machine it sees what a worker sees, ``readable`` and ``writable`` at their own places. Where workers are not isolated,
    neither is this. To be called by a process without threads.
    """
    pid = os.fork()
    if pid == 0:
        _be_enclosed(isolation, what, writable, readable)
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        is_late = not poll.poll(seconds * 1000)
        if is_late:
            # The leader of its process group, not reaped yet, so nobody else.
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(ended)
    if is_late:
        raise TimeoutError(f"it was not done within {seconds:g} s")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _be_enclosed(
    isolation: Isolation, what: Callable[[], int], writable: Path, readable: Sequence[Path]
) -> None:
    """Never returns."""
    status = keeper.FAILED
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if isolation.ground is None:
            status = what()
        else:
            status = keeper.run(
                isolation.ground,
                View(
                    binds=tuple((path, path) for path in readable), writable=((writable, writable),)
                ),
                address="",
                caps=Caps(),
                report=_print,
                inside=lambda address, send: what(),
            )
    except SystemExit as end:
        status = keeper.exit_status(end)
    except BaseException:  # noqa: BLE001 - the outermost frame of a process: logged, and the exit status says it
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _print(state: str, reason: str = "", progress: object = None) -> None:
    print(reason or state, file=sys.stderr)  # noqa: T201 - the process's log
