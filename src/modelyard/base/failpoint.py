"""Places where a test may let the process die: each durability boundary names itself.

``MODELYARD_FAILPOINTS="store.before-commit=2,objects.after-rename=1"`` kills the process with SIGKILL on
the second visit of the first and the first visit of the second. ``NAME=error:1`` raises ``OSError``
(ENOSPC) instead, which is how a full disk is rehearsed; ``NAME=slow:1`` makes every visit from the first on
take a second, as a slow disk does; ``NAME=once:1`` kills the first process that comes by and none after it. Where
``MODELYARD_FAILPOINT_MARKS`` names a folder, each that is killed leaves a file of that name in it; ``once`` needs it.
Without the variable a failpoint costs one attribute test.
"""

import errno
import os
import signal
import time

SLOW_SECONDS = 1.0
_VARIABLE = "MODELYARD_FAILPOINTS"
_MARKS = "MODELYARD_FAILPOINT_MARKS"


def _parse(text: str) -> dict[str, tuple[str, int]]:
    armed: dict[str, tuple[str, int]] = {}
    for entry in filter(None, text.split(",")):
        name, _, action = entry.partition("=")
        kind, _, count = action.rpartition(":")
        armed[name.strip()] = (kind or "kill", int(count or 1))
    return armed


_armed = _parse(os.environ.get(_VARIABLE, ""))


def failpoint(name: str) -> None:
    """Die or fail here if the environment asks for it."""
    if _armed:
        _visit(name)


def _visit(name: str) -> None:
    if name not in _armed:
        return
    kind, visits = _armed[name]
    if visits > 1:
        _armed[name] = (kind, visits - 1)
        return
    if kind == "slow":
        time.sleep(SLOW_SECONDS)
        return
    if kind == "error":
        del _armed[name]
        raise OSError(errno.ENOSPC, f"failpoint {name}")
    is_first = _mark(name)
    if kind == "once" and not is_first:
        del _armed[name]
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _mark(name: str) -> bool:
    """Whether nobody died here before, as far as anybody keeps count."""
    folder = os.environ.get(_MARKS)
    if not folder:
        return True
    try:
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
