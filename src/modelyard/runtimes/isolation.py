"""Whether workers that run somebody's code are isolated on this machine, found out by trying it once."""

import os
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from modelyard.base.settings import IsolationMode
from modelyard.runtimes import keeper
from modelyard.runtimes.runtime import Caps
from modelyard.runtimes.sandbox import Ground, View, survey

PROBE_SECONDS = 10.0
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """``ground`` is None where nobody is isolated, and ``reason`` then says why."""

    mode: IsolationMode
    ground: Ground | None
    reason: str = ""

    def refusal(self, *, needs_network_isolation: bool) -> str:
        """Why a worker must not be started here, as its ``FailureReason``; empty where it may."""
        if self.ground is not None:
            return ""
        if needs_network_isolation:
            return (
                "EnableNetworkIsolation cannot be had on this machine, and is not pretended: isolation is off, "
                f"{self.reason}. Create the model without it, or see `modelyard status`."
            )
        if self.mode == "require":
            return f"The platform was started with --isolation require, but isolation is off: {self.reason}."
        return ""


NO_ISOLATION = Isolation(mode="off", ground=None, reason="by --isolation off")


def open_isolation(home: Path, folder: Path, mode: IsolationMode) -> Isolation:
    """Try it, in ``folder``. Call it before there are threads, and with no child processes."""
    if mode == "off":
        return NO_ISOLATION
    if sys.platform != "linux":
        return Isolation(mode=mode, ground=None, reason="this system is not Linux")
    try:
        ground = survey(home, folder)
    except OSError as error:
        return Isolation(mode=mode, ground=None, reason=str(error))
    reason = _try(ground)
    return Isolation(mode=mode, ground=None if reason else ground, reason=reason)


def _try(ground: Ground) -> str:
    """Why a process cannot be isolated; empty where one just was."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _probe(ground, writer)
    os.close(writer)
    try:
        said = b""
        while select.select([reader], [], [], PROBE_SECONDS)[0] and (data := os.read(reader, 4096)):
            said += data
        os.kill(pid, signal.SIGKILL)  # Not reaped yet: it is nobody else.
        os.waitpid(pid, 0)
    finally:
        os.close(reader)
    text = said.decode("utf-8", "replace")
    if text == "ready":
        return ""
    return (text.removeprefix(keeper.ISOLATION_FAILED).rstrip(".") or "it takes too long") + _hint()


def _probe(ground: Ground, writer: int) -> None:
    """Never returns."""

    def report(state: str, reason: str = "", progress: object = None) -> None:
        os.write(writer, (reason or state).encode())

    def inside(address: str, send: keeper.Report) -> int:
        os.close(writer)
        send("ready")
        return 0

    try:
        sys.stderr.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        keeper.run(
            ground,
            View(has_network=False),
            address="",
            caps=Caps(),
            report=report,
            inside=inside,
        )
    finally:
        os._exit(0)


def _hint() -> str:
    """What to do, where the cause is known."""
    if os.getuid() and _APPARMOR.exists() and _APPARMOR.read_text().strip() == "1":
        return " (AppArmor: sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows it)"
    return " (it needs user namespaces and Linux 5.12)"
