"""What every process of the platform does first: read its settings, start its log, tie its life to the supervisor's."""

import argparse
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.base import log
from modelyard.base.settings import Home, Settings

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a process was started with."""

    name: str
    settings: Settings
    home: Home
    descriptor: int
    """The listening socket of a gateway, inherited; -1 for the others."""


def begin(name: str, arguments: Sequence[str] | None = None) -> Start:
    """Read the command line and the settings; from here on the process dies with its supervisor."""
    parser = argparse.ArgumentParser(prog=f"python -m modelyard.server.{name}")
    parser.add_argument(
        "--settings", type=Path, required=True, help="run/settings.json of the home"
    )
    parser.add_argument("--fd", type=int, default=-1, help="descriptor of the listening socket")
    parser.add_argument("--name", default=name, help="name in logs")
    parser.add_argument("--parent", type=int, help="process id of the supervisor")
    options = parser.parse_args(arguments)
    settings = Settings.from_json(options.settings.read_bytes())
    home = Home(settings.home)
    log.configure(options.name, file=home.logs / f"{options.name}.log")
    die_with(options.parent or os.getppid())
    return Start(name=options.name, settings=settings, home=home, descriptor=options.fd)


def die_with(parent: int) -> None:
    """SIGTERM when the supervisor is gone, so that a killed platform leaves no half of itself (Linux).

    Its id is told: one that died while this process was still importing can no longer be asked for.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


def adopt_orphans() -> None:
    """Become the parent of workers whose host died, so that they are reaped (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, value, 0, 0, 0) != 0:
        logger.warning("prctl(%d) failed: %s", option, os.strerror(ctypes.get_errno()))
