"""A real platform for tests, yours and ours: real processes in a temporary home, on a free port.

::

    from modelyard.testing.platform import running_platform

    with running_platform(tmp_path / "home") as platform:
        platform.client("sagemaker").list_endpoints()
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelyard.base.settings import Home
from modelyard.cli.platform import Platform, connect
from modelyard.server import supervisor

COMMAND_SECONDS = 280.0
"""Longer than any command waits by itself."""


class PlatformFailed(AssertionError):
    """The platform did not start; the text holds what it said."""


@contextmanager
def running_platform(
    home: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[Platform]:
    """Start ``modelyard up --detach`` on ``home`` and a free port; stop it at the end."""
    start(home, *options, environment=environment)
    try:
        yield connect(home)
    finally:
        stop(home)


def start(home: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
    """Start a platform. Raises ``PlatformFailed``."""
    port = () if "--port" in options else ("--port", "0")
    finished = command("up", "--detach", *port, *options, home=home, environment=environment)
    if finished.returncode != 0:
        raise PlatformFailed(finished.stderr + _tails(Home(home)))


def stop(home: Path) -> None:
    """Stop it, if it runs."""
    command("down", home=home)
    assert supervisor.running_pid(Home(home)) is None


def command(
    *arguments: str, home: Path, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one ``modelyard`` command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", *arguments],
        env=_environment(home, environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@contextmanager
def running_command(*arguments: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """One ``modelyard`` command that goes on while the block does; killed if it has not ended by then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "modelyard.cli.main", *arguments],
        env=_environment(home, {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "MODELYARD_HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1", **more}


def _tails(home: Home) -> str:
    """The last lines of each process's log."""
    texts = []
    for path in sorted(home.logs.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()[-15:]
        texts.append(f"\n== {path.name}\n" + "\n".join(lines))
    return "".join(texts)
