"""Estimators that misbehave, for tests of whatever has to live with them.

They look like scikit-learn's, are saved with joblib, and get past the artifact firewall only where a test's platform trusts
them by name (``ROGUES``), as its owner might; a model cannot ask for that itself.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
FOREVER_SECONDS = 3600.0


class _Rogue:
    """Predicts the sum of each row until it does what its subclass is made for."""

    def __init__(self, width: int = 2) -> None:
        self.n_features_in_ = width

    def predict(self, rows: Array) -> Array:
        sums: Array = np.asarray(rows, dtype=np.float64).sum(axis=1)
        return sums


class WellBehaved(_Rogue):
    """The sum of each row."""


class RaisesOnPredict(_Rogue):
    """Every predict fails."""

    def predict(self, rows: Array) -> Array:
        raise RuntimeError("this model always fails")


class RaisesOn(_Rogue):
    """A batch fails that holds a row whose first value is ``value``; the others of the batch are innocent."""

    def __init__(self, width: int = 2, value: float = -1.0) -> None:
        super().__init__(width)
        self.value = value

    def predict(self, rows: Array) -> Array:
        if (rows[:, 0] == self.value).any():
            raise ValueError(f"this model does not take {self.value}")
        return super().predict(rows)


class WrongLength(_Rogue):
    """One answer too many."""

    def predict(self, rows: Array) -> Array:
        return np.zeros(len(rows) + 1)


class Hangs(_Rogue):
    """Never answers, deaf to everything but a signal that kills."""

    def predict(self, rows: Array) -> Array:
        while True:
            time.sleep(FOREVER_SECONDS)


class HangsOn(RaisesOn):
    """Hangs on a batch that holds a row whose first value is ``value``."""

    def predict(self, rows: Array) -> Array:
        while (rows[:, 0] == self.value).any():
            time.sleep(FOREVER_SECONDS)
        return super().predict(rows)


class Exits(_Rogue):
    """Ends its process at once, without any clean-up."""

    def predict(self, rows: Array) -> Array:
        os._exit(3)


class ExitsOn(RaisesOn):
    """Poison: the process ends for a batch that holds a row whose first value is ``value``."""

    def predict(self, rows: Array) -> Array:
        if (rows[:, 0] == self.value).any():
            os._exit(3)
        return super().predict(rows)


class CallsExit(_Rogue):
    """Raises ``SystemExit``, which no ``except Exception`` catches."""

    def predict(self, rows: Array) -> Array:
        sys.exit(3)


class PrintsMuch(_Rogue):
    """Writes ``megabytes`` to its standard output for each predict."""

    def __init__(self, width: int = 2, megabytes: int = 1) -> None:
        super().__init__(width)
        self.megabytes = megabytes

    def predict(self, rows: Array) -> Array:
        line = "x" * 1023 + "\n"
        for _ in range(self.megabytes * 1024):
            sys.stdout.write(line)
        sys.stdout.flush()
        return super().predict(rows)


class SlowPredict(_Rogue):
    """Takes ``seconds`` for each predict, however many rows it has."""

    def __init__(self, width: int = 2, seconds: float = 0.1) -> None:
        super().__init__(width)
        self.seconds = seconds

    def predict(self, rows: Array) -> Array:
        time.sleep(self.seconds)
        return super().predict(rows)


class CountsCalls(_Rogue):
    """Appends a line to a file for each predict: how many rows it had. Executions can be counted from outside."""

    def __init__(self, width: int = 2, path: str = "") -> None:
        super().__init__(width)
        self.path = path

    def predict(self, rows: Array) -> Array:
        with open(self.path, "a") as file:
            file.write(f"{len(rows)}\n")
        return super().predict(rows)


class NotFinite(_Rogue):
    """Answers NaN and infinities in turn."""

    def predict(self, rows: Array) -> Array:
        return np.resize([np.nan, np.inf, -np.inf], len(rows))


class RaisesOnLoad(_Rogue):
    """Cannot be unpickled."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise RuntimeError("this model cannot be loaded")


class ExitsOnLoad(_Rogue):
    """Ends the process that unpickles it."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        os._exit(3)


class HangsOnLoad(_Rogue):
    """Never finishes loading."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        while True:
            time.sleep(FOREVER_SECONDS)


ALL: tuple[Callable[[], _Rogue], ...] = (
    WellBehaved,
    RaisesOnPredict,
    RaisesOn,
    WrongLength,
    Hangs,
    HangsOn,
    Exits,
    ExitsOn,
    CallsExit,
    PrintsMuch,
    SlowPredict,
    CountsCalls,
    NotFinite,
    RaisesOnLoad,
    ExitsOnLoad,
    HangsOnLoad,
)
ROGUES = frozenset(f"{one.__module__}.{one.__qualname__}" for one in ALL)
"""What a platform has to trust to load them: the worker payload's ``trusted_imports``."""
