"""Somebody's program that answers ``serve``: its environment, its port, its start and its end.

The contract is that of AWS's containers (hosting.md, section 4): an artifact under ``/opt/ml/model``, HTTP on
``SAGEMAKER_BIND_TO_PORT``, SIGTERM and half a minute before SIGKILL.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from modelyard.domain.images import Program
from modelyard.worker.parent import die_with_parent

PORT = 8080
SAFE_RANGE = "8081-8099"
"""Ports beside it that a program may use, where it has a network of its own."""
FIRST_PORT, LAST_PORT, BLOCK = 21_000, 31_000, 10
STOP_SECONDS = 30.0
PLACE = "/opt/program"
"""Where a program's folder is seen within a sandbox, as in AWS's examples."""
TAIL_BYTES = 4096
_TAIL_CHARACTERS = 600
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS")


class NoPort(Exception):
    """Every block of ports is taken."""


@dataclass(slots=True, kw_only=True)
class Ports:
    """Where the program listens; ``held`` keeps others of its block away from it while this process lives."""

    port: int
    safe_range: str
    held: socket.socket | None = field(default=None, repr=False)


def own_ports() -> Ports:
    """In a network of its own a program has the port that it has in AWS."""
    return Ports(port=PORT, safe_range=SAFE_RANGE)


def shared_ports(first: int = FIRST_PORT, last: int = LAST_PORT) -> Ports:
    """A block of ports that no other platform's or worker's program has. Raises ``NoPort``.

    Its last port is bound for as long as the block is in use: whoever wants it asks the kernel, who never forgets to free it.
    """
    for port in range(first, last, BLOCK):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", port + BLOCK - 1))
            _check_free(port)
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return Ports(port=port, safe_range=f"{port + 1}-{port + BLOCK - 2}", held=held)
    raise NoPort(f"every port from {first} to {last} is in use")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))


def environment_of(
    program: Program, ports: Ports, given: Mapping[str, str], *, folder: str, model: str
) -> dict[str, str]:
    """What the program is told: this system's, its image's, the model's, and the platform's own last."""
    path = os.environ.get("PATH", os.defpath)
    first = [folder] if folder else []
    first += [str(one) for one in virtual_environments(folder)]
    return {
        **{name: value for name in _KEPT if (value := os.environ.get(name))},
        "HOME": "/tmp",  # noqa: S108 - its own, within the sandbox
        "PATH": os.pathsep.join([*first, path]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **program.environment,
        **given,
        "SM_MODEL_DIR": model,
        "SAGEMAKER_BIND_TO_PORT": str(ports.port),
        "SAGEMAKER_SAFE_PORT_RANGE": ports.safe_range,
    }


def virtual_environments(folder: str) -> list[Path]:
    """The folders with programs of virtual environments that lie in a program's folder."""
    if not folder:
        return []
    return [
        path / "bin"
        for name in (".venv", "venv")
        if (path := Path(folder, name)) and (path / "pyvenv.cfg").is_file()
    ]


def command_of(program: Program, argument: str, path: str) -> Sequence[str]:
    """As ``docker run IMAGE serve``: the image's command with the argument; without one, the program of that name."""
    command = [*program.command, argument]
    found = shutil.which(command[0], path=path)
    return [found or command[0], *command[1:]]


class Running:
    """A started program."""

    def __init__(
        self, command: Sequence[str], *, folder: str, environment: Mapping[str, str]
    ) -> None:
        """Raises ``OSError`` where it cannot be started. To be called by the main thread, with whose end the program ends."""
        self._child = subprocess.Popen(
            command,
            cwd=folder or None,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Before it is another program: it cannot be asked to. Nothing else runs in this process yet.
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        self.pidfd = os.pidfd_open(self._child.pid)

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def end(self, number: signal.Signals) -> None:
        """Send a signal: SIGKILL to all that it started, others to the program alone, as a container runtime does."""
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(self.pidfd, number)

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        code = self._child.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return code


def describe_end(code: int) -> str:
    """A clause for a log line or a reason."""
    if code >= 0:
        return f"the program exited with status {code}"
    try:
        return f"the program was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"the program was killed by signal {-code}"


def last_output() -> str:
    """The end of what this process and its children printed, where that is a file."""
    try:
        with open("/proc/self/fd/1", "rb") as output:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - TAIL_BYTES))
            text = output.read(TAIL_BYTES).replace(b"\0", b"").decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return text if len(text) <= _TAIL_CHARACTERS else f"… {text[-_TAIL_CHARACTERS:]}"


def program_of(payload: dict[str, Any]) -> Program:
    """The payload's ``program``."""
    return msgspec.convert(payload["program"], Program)
