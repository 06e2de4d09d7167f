"""Running what installs somebody's packages: a process of its own, which sees what a worker sees and writes one folder.

Building a package executes its author's code, so it is isolated exactly as the worker is that will import it.
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from modelyard.runtimes import keeper, namespaces
from modelyard.runtimes.keeper import FAILED, exit_status
from modelyard.runtimes.runtime import Caps
from modelyard.runtimes.sandbox import Ground, View

Install = Callable[[], int]


def run_install(
    install: Install, *, ground: Ground | None, view: View, caps: Caps, seconds: float
) -> int:
    """The status of ``install``; raises ``TimeoutError``. Without ``ground`` it is not isolated."""
    parent = os.getpid()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_installer(install, ground, view, caps, parent)
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        if not poll.poll(seconds * 1000):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError
    finally:
        os.close(ended)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _be_installer(
    install: Install, ground: Ground | None, view: View, caps: Caps, parent: int
) -> None:
    """Never returns."""
    status = FAILED
    try:
        with suppress(OSError):
            namespaces.die_with_parent()
        if os.getppid() == parent:
            status = _install(install, ground, view, caps)
    except SystemExit as end:
        status = exit_status(end)
    except BaseException:  # noqa: BLE001 - the outermost frame of a process: logged, and the exit status says it
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _install(install: Install, ground: Ground | None, view: View, caps: Caps) -> int:
    if ground is None:
        return install()
    return keeper.run(
        ground,
        view,
        address="",
        caps=caps,
        report=_say,
        inside=lambda address, send: install(),
    )


def _say(state: str, reason: str = "", progress: object = None) -> None:
    sys.stderr.write(f"[modelyard] {reason or state}\n")
