"""A real image as a bridge's program: ``podman run IMAGE serve`` or the same of docker, attached to this process.

Signals that the engine's client gets reach the container, its output is this process's output, its end the client's end. A
container may outlive a client that was killed: its name says whose it is, and the next bridge removes what is nobody's.
"""

import ctypes
import hashlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.worker.program import PORT, SAFE_RANGE, Ports, own_ports, shared_ports

ASK_SECONDS = 30.0
START_SECONDS = 60.0
PAUSE_SECONDS = 0.05
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_PREFIX = "modelyard"


class EngineError(Exception):
    """The engine did not do what it was asked."""


class Container:
    """One container: its command line, its ports, and its removal."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self._engine: str = payload["engine"]
        self._payload = payload
        self._home = hashlib.sha256(os.fsencode(payload["artifacts"])).hexdigest()[:12]
        pid = os.getpid()
        self.name = f"{_PREFIX}-{self._home}-{payload['id']}-{pid}-{_start_time(pid)}"
        self.is_alone = bool(payload["network_isolation"])
        self.ports: Ports = own_ports() if self.is_alone else shared_ports()

    def command(self, folder: Path) -> Sequence[str]:
        """What runs it. Variables travel by a file in ``folder``: the engine's own environment is not the model's to set."""
        payload = self._payload
        words = [self._engine, "run", "--rm", "--name", self.name]
        words += ["--security-opt", "no-new-privileges"]
        if self.is_alone:
            words += ["--network", "none"]
        else:
            words += ["--publish", f"127.0.0.1:{self.ports.port}:{PORT}"]
        if payload.get("folder"):
            words += ["--volume", f"{payload['folder']}:/opt/ml/model:ro"]
        words += self._variables(folder / "environment")
        return [*words, *self._limits(), payload["image_uri"], "serve"]

    def _limits(self) -> list[str]:
        """Of the instance type. An ordinary user's podman cannot set them on every system."""
        caps = self._payload["caps"]
        if os.getuid() and not self._engine.endswith("docker"):
            return []
        words = ["--pids-limit", str(caps["processes"])]
        if caps["memory_bytes"]:
            words += ["--memory", str(caps["memory_bytes"])]
        if caps["cpus"]:
            words += ["--cpus", f"{caps['cpus']:g}"]
        return words

    def _variables(self, file: Path) -> list[str]:
        """The model's own and the contract's. A value of several lines fits into no such file, but into an argument."""
        variables = {
            **self._payload["environment"],
            "SAGEMAKER_BIND_TO_PORT": str(PORT),
            "SAGEMAKER_SAFE_PORT_RANGE": SAFE_RANGE,
        }
        simple = {name: value for name, value in variables.items() if "\n" not in value}
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in simple.items()))
        words = ["--env-file", str(file)]
        for name in variables.keys() - simple.keys():
            words += ["--env", f"{name}={variables[name]}"]
        return words

    def remove_strays(self) -> None:
        """Containers of this platform whose bridge is gone."""
        listed = self._ask("ps", "--all", "--filter", f"name={_PREFIX}-{self._home}-",
                           "--format", "{{.Names}}")  # fmt: skip
        for name in listed.split():
            pid, _, start = name.rpartition("-")
            pid = pid.rpartition("-")[2]
            is_ours = name.startswith(f"{_PREFIX}-{self._home}-") and pid.isdigit()
            if is_ours and str(_start_time(int(pid))) != start:
                self._ask("rm", "--force", name)

    def remove(self) -> None:
        """Whatever is left of it."""
        with suppress(EngineError):
            self._ask("rm", "--force", self.name)

    def enter_network(self, is_running: Any) -> None:
        """Move this process into the container's network, where nothing but its loopback is. Raises ``EngineError``."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            pid = 0
            with suppress(EngineError, ValueError):
                pid = int(self._ask("inspect", "--format", "{{.State.Pid}}", self.name))
            if pid:
                break
            if not is_running() or time.monotonic() > deadline:
                raise EngineError("the container did not start")
            time.sleep(PAUSE_SECONDS)  # The engine tells nobody when a container has its process.
        kinds = [("net", _NEW_NETWORK)]
        if os.getuid():
            kinds.insert(0, ("user", _NEW_USER))
        library = ctypes.CDLL(None, use_errno=True)
        for kind, flag in kinds:
            try:
                descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise EngineError(f"the container's {kind} namespace: {error.strerror}") from None
            try:
                if library.setns(descriptor, flag) != 0:
                    reason = os.strerror(ctypes.get_errno())
                    raise EngineError(
                        f"the container's {kind} namespace cannot be entered: {reason}"
                    )
            finally:
                os.close(descriptor)

    def _ask(self, *words: str) -> str:
        try:
            finished = subprocess.run(
                [self._engine, *words],
                capture_output=True,
                text=True,
                timeout=ASK_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(str(error)) from error
        if finished.returncode != 0:
            raise EngineError(finished.stderr.strip()[-500:])
        return finished.stdout.strip()


def _start_time(pid: int) -> int | None:
    """The kernel's start time of a process, None if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None
