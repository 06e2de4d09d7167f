"""The two processes of an isolated worker: one within the sandbox, and its keeper outside.

::

    host ── forks ──► keeper ── forks ──► the worker: first process of its PID namespace, in the sandbox
                        │  ◄── reports, one packet each ──┘

The keeper is who the host knows: its process id, its signals, its end. It hands SIGTERM on, writes the worker's reports to
the state file, which the worker itself cannot reach, and ends as the worker ended. When either dies, by whatever means, so does
the other, and with the worker every process that it has started. The keeper is not seen from inside, so it cannot be traced.
"""

import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from modelyard.runtimes import namespaces, sandbox
from modelyard.runtimes.runtime import Caps, ProcessState

Report = Callable[..., None]
Inside = Callable[[str, Report], int]
"""``main`` within the sandbox: given the address where it listens and its ``report``; its exit status."""

BACKLOG = 128
FAILED = 70
"""Exit status of a main that raised (EX_SOFTWARE)."""
PACKET_BYTES = 64 * 1024
REASON_CHARACTERS = 4096
REPORT_SECONDS = 0.02
"""Between two reports: a worker that floods waits for itself."""
ISOLATION_FAILED = "The worker could not be isolated: "
ENVIRONMENT = (
    "PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONSAFEPATH",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MODELYARD_FAILPOINTS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE",
    "PIP_CERT", "HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY", "CONTAINER_HOST", "CONTAINERS_CONF",
)  # fmt: skip
"""All that the host, and so whatever it forks, is told by the shell that started the platform."""
_OWN = {"HOME": "/tmp", "USER": "modelyard", "LOGNAME": "modelyard"}  # noqa: S108 - inside


class _Packet(msgspec.Struct, kw_only=True):
    state: ProcessState
    reason: str = ""
    progress: dict[str, Any] = {}


def run(
    ground: sandbox.Ground,
    view: sandbox.View,
    *,
    address: str,
    caps: Caps,
    report: Report,
    inside: Inside,
) -> int:
    """Be the keeper until the worker has ended; its exit status. Does not return if a signal ended it."""
    listener = listen(address) if address else None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        namespaces.enter_user_namespace(ground.inner_user, more=namespaces.NEW_PID)
    except OSError as error:
        report("failed", f"{ISOLATION_FAILED}{error.strerror}.")
        return 1
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_inside(ground, view, listener, theirs, caps, inside)
    theirs.close()
    if listener is not None:
        listener.close()
    signal.signal(signal.SIGTERM, lambda *_: _hand_on(pid, keeper))
    _relay(ours, pid, report)
    _, status = os.waitpid(pid, 0)
    return _end_as(status)


def listen(address: str) -> socket.socket:
    """The worker's socket, bound by who may write where it lies. What connects early waits."""
    path = Path(address.removeprefix("unix:"))
    path.unlink(missing_ok=True)  # Of an earlier life of this worker.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _hand_on(pid: int, keeper: int) -> None:
    if os.getpid() == keeper:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _relay(ours: socket.socket, pid: int, report: Report) -> None:
    """Take reports until the worker has ended. Nothing that it sends is trusted to be one."""
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(ours, select.POLLIN)
    pause = select.poll()
    pause.register(ended, select.POLLIN)
    is_open = True
    while True:
        ready = dict(poll.poll())
        if is_open and ready.get(ours.fileno(), 0):
            data = ours.recv(PACKET_BYTES)
            if data:
                _take(data, report)
                pause.poll(REPORT_SECONDS * 1000)
                continue
            is_open = False  # It closed its end; the worker may go on without a word.
            poll.unregister(ours)
        if ended in ready:
            break
    os.close(ended)
    ours.close()


def _take(data: bytes, report: Report) -> None:
    try:
        packet = msgspec.json.decode(data, type=_Packet)
        report(packet.state, packet.reason[:REASON_CHARACTERS], packet.progress)
    except msgspec.MsgspecError as error:
        sys.stderr.write(f"[modelyard] what is no report is ignored: {error}\n")
    except OSError as error:  # A full disk: the next report may fit.
        sys.stderr.write(f"[modelyard] a report is lost: {error}\n")


def _end_as(status: int) -> int:
    """End by the signal that ended the worker, or return its exit status."""
    code = os.waitstatus_to_exitcode(status)
    number = -code if code < 0 else code if code in namespaces.HANDLED else 0
    if number:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return code


class _Sender:
    """``report`` within the sandbox."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __call__(
        self, state: str, reason: str = "", progress: dict[str, Any] | None = None
    ) -> None:
        packet = _Packet(state=ProcessState(state), reason=reason, progress=progress or {})
        with suppress(BrokenPipeError):  # The keeper is gone, and so is this process, presently.
            self._channel.send(msgspec.json.encode(packet))


def _be_inside(
    ground: sandbox.Ground,
    view: sandbox.View,
    listener: socket.socket | None,
    channel: socket.socket,
    caps: Caps,
    inside: Inside,
) -> None:
    """Never returns."""
    send = _Sender(channel)
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if _has_entered(ground, view, caps, send) and not _is_orphan(channel):
            os.environ.update(_OWN)
            status = inside("" if listener is None else f"fd:{listener.fileno()}", send)
    except SystemExit as end:
        status = exit_status(end)
    except BaseException:  # noqa: BLE001 - the outermost frame of a process: logged, and the exit status says it
        traceback.print_exc()
        status = FAILED
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _has_entered(ground: sandbox.Ground, view: sandbox.View, caps: Caps, send: Report) -> bool:
    try:
        namespaces.be_killable()
        sandbox.enter(ground, view, caps)
        # Counted by user namespace, so for this worker alone; of use where there are no control groups.
        resource.setrlimit(resource.RLIMIT_NPROC, (caps.processes, caps.processes))
        namespaces.die_with_parent()
    except OSError as error:
        traceback.print_exc()
        send("failed", f"{ISOLATION_FAILED}{error.strerror or error}.")
        return False
    return True


def _is_orphan(channel: socket.socket) -> bool:
    """Whether the keeper died before it could be asked for a signal at its death."""
    return bool(select.select([channel], [], [], 0)[0])


def exit_status(end: SystemExit) -> int:
    """As the interpreter does it: a text is printed and means 1."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)  # noqa: T201 - the process's log
    return 1
