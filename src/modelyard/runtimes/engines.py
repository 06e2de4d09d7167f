"""The container engine of this machine, if it has one: podman or docker, by their command line, which both have alike."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

ENGINES = ("podman", "docker")
ASK_SECONDS = 10.0
REMEMBER_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """``command`` is its program; empty where there is none, and ``reason`` then says why."""

    command: str = ""
    reason: str = ""


class Engines:
    """Looks for an engine that works, and remembers for a while what it found. Blocking."""

    def __init__(
        self, *, path: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._now = now
        self._found: Engine | None = None
        self._found_at = 0.0

    def find(self) -> Engine:
        """The first that answers."""
        if self._found is None or self._now() - self._found_at > REMEMBER_SECONDS:
            self._found, self._found_at = self._look(), self._now()
        return self._found

    def _look(self) -> Engine:
        reasons = []
        for name in ENGINES:
            command = shutil.which(name, path=self._path)
            if command is None:
                continue
            reason = _ask(command)
            if not reason:
                return Engine(command=command)
            reasons.append(f"{name} does not work here ({reason})")
        return Engine(reason="; ".join(reasons) or "neither podman nor docker is installed")


def _ask(command: str) -> str:
    """Why the engine cannot be used; empty where it can. A client without its daemon answers with an error."""
    try:
        finished = subprocess.run(
            [command, "info", "--format", "{{.ID}}"]
            if command.endswith("docker")
            else [command, "info"],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if finished.returncode == 0:
        return ""
    lines = finished.stderr.strip().splitlines()
    return lines[-1] if lines else f"status {finished.returncode}"
