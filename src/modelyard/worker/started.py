"""A worker that runs in another Python: the forked child starts it, hands over its socket, and relays what it reports.

::

    the forked child ── starts ──►  python -m modelyard.worker.started LISTENER REPORTS PAYLOAD   (file descriptors)
          │  ◄── reports, one packet each ──┘        the same frames on the same socket

It is started within whatever isolates the child. The child ends as the started process ended, so that its end is explained as
that of any other worker; when the child dies, so does what it started.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.printing import open_lossy
from modelyard.worker.parent import die_with_parent

PACKET_BYTES = 64 * 1024
_SIGNALLED = 128
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME",
                   "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MODELYARD_FAILPOINTS",
                   "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
                   "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CUDA_VISIBLE_DEVICES")  # fmt: skip


class _Packet(msgspec.Struct, kw_only=True):
    state: str
    reason: str = ""
    progress: dict[str, Any] | None = None


def run_started(
    python: str, payload: dict[str, Any], listener: socket.socket, report: Callable[..., None]
) -> int:
    """Start a worker with ``python`` and stay until it has ended; its exit status. ``listener`` is bound and listens."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    given = os.memfd_create("payload")
    with os.fdopen(given, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(payload))
    os.lseek(given, 0, os.SEEK_SET)
    descriptors = (listener.fileno(), theirs.fileno(), given)
    kept = {name: value for name in _KEPT_VARIABLES if (value := os.environ.get(name))}
    child = subprocess.Popen(
        [python, "-m", "modelyard.worker.started", *map(str, descriptors)],
        env={**kept, **payload["environment"], "PYTHONUNBUFFERED": "1"},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )
    signal.signal(signal.SIGTERM, lambda *_: _hand_on(child))
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, lambda *_: _reap_orphans(child.pid))
    theirs.close()
    listener.close()
    os.close(given)
    _relay(ours, child.pid, report)
    return _end_as(child.wait())


def _hand_on(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)


def _reap_orphans(child: int) -> None:
    """The first process of a PID namespace is the parent of all that lost theirs."""
    with suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid == child:
                return
            os.waitpid(found.si_pid, 0)


def _relay(ours: socket.socket, pid: int, report: Callable[..., None]) -> None:
    """Take reports until the process has ended."""
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(ours, select.POLLIN)
    is_open = True
    while True:
        ready = dict(poll.poll())
        if is_open and ours.fileno() in ready:
            data = ours.recv(PACKET_BYTES)
            if data:
                with suppress(msgspec.MsgspecError):
                    packet = msgspec.json.decode(data, type=_Packet)
                    report(packet.state, packet.reason, packet.progress)
                continue
            is_open = False
            poll.unregister(ours)
        if ended in ready:
            break
    os.close(ended)
    ours.close()


def _end_as(code: int) -> int:
    """By the same signal, where this process can end so; the first one of a PID namespace says it by its status."""
    if code >= 0:
        return code
    number = -code
    if os.getpid() != 1:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return number if number in (signal.SIGALRM, signal.SIGTERM) else _SIGNALLED + number


# ---- the started process


class _Reporter:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __call__(
        self, state: str, reason: str = "", progress: dict[str, Any] | None = None
    ) -> None:
        packet = _Packet(state=state, reason=reason, progress=progress)
        with suppress(
            BrokenPipeError
        ):  # Who started it is gone, and so is this process, presently.
            self._channel.send(msgspec.json.encode(packet))


def main(listener: str, reports: str, payload: str) -> int:
    """``python -m modelyard.worker.started LISTENER REPORTS PAYLOAD``."""
    die_with_parent()
    sys.stdout, sys.stderr = open_lossy(1), open_lossy(2)
    from modelyard.worker.main import main as worker_main

    with os.fdopen(int(payload), "rb") as file:
        given = msgspec.json.decode(file.read())
    with suppress(OSError):  # Read-only where it is isolated.
        Path("/proc/self/comm").write_text("yard-worker")  # what ``ps`` and ``top`` show
    channel = socket.socket(fileno=int(reports))
    return worker_main({**given, "python": ""}, f"fd:{listener}", _Reporter(channel))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
