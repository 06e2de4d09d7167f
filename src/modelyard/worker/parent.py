"""What ends with its parent, however that ends: the kernel sees to it, where it is Linux."""

import ctypes
import signal

_SET_DEATH_SIGNAL = 1
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
"""Looked up here: a child that was just forked is to load nothing."""


def die_with_parent() -> None:
    """SIGKILL when the thread that has started this process ends."""
    if _PRCTL is not None:
        _PRCTL(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
