"""Ends what a killed run of tests would leave behind: ``python tests/guard.py FOLDER``.

It waits for the end of its input, which is the end of the process that runs tests, however that ends. Then none of Modelyard's
processes may be left that was started with a file below that folder; platforms are asked to stop, so that they end their workers.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator

import psutil

STOP_SECONDS = 15.0
"""What a platform has to stop; then it is killed, as is what is left without one."""
_MODULES = "modelyard.server."


def end(folder: str) -> None:
    """Where all went well there is nothing to do."""
    left = list(_processes(folder))
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"{_MODULES}supervisor" in one.cmdline():
                one.terminate()
    if left:
        psutil.wait_procs(left, timeout=STOP_SECONDS)
    for one in _processes(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _processes(folder: str) -> Iterator[psutil.Process]:
    for one in psutil.process_iter():
        try:
            words = one.cmdline()
        except psutil.Error:
            continue  # It has ended, or is somebody else's.
        is_ours = any(word.startswith(_MODULES) for word in words)
        if is_ours and any(word.startswith(f"{folder}/") for word in words):
            yield one


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    end(sys.argv[1])
