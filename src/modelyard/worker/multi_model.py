"""Many models in one worker: each is loaded when it is first asked for, the least recently used go when memory is short.

What a model costs is measured, by how much the worker grew when it was loaded, and is never less than its artifact. Models come
from a shelf (``domain.shelf``); one that is not there is reported as absent, and its request was not executed.
"""

import ctypes
import gc
import os
import signal
import tempfile
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.domain.shelf import ABSENT, place_of
from modelyard.frameworks.archive import ArtifactError
from modelyard.frameworks.model import LoadError
from modelyard.transport.frames import ModelTimes
from modelyard.worker.predictor import TEXT, Answer, Request

BUDGET = "MODELYARD_MODEL_CACHE_BYTES"
BUDGET_SHARE = 0.8
"""Of the instance's memory; the rest is the worker's own and for what requests need."""
BUDGET_BYTES = 2 << 30
"""Where the instance type sets no limit."""
LOAD_SECONDS = 360.0
"""AWS's limit for the loading of one model; a load that hangs would keep all others from their requests for ever."""


class Predicts(Protocol):
    """``worker.predictor.Predictor``, or another."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]: ...


class _Absent(Exception):
    """The model is not on the shelf."""


@dataclass(frozen=True, slots=True)
class _Held:
    predictor: Predicts
    size: int


class MultiModelPredictor:
    """``load`` makes the model of an artifact; ``resident`` tells the process's memory in bytes, ``now`` monotonic seconds.

    ``tell`` is told how many models are loaded when requests for one have changed that.
    """

    def __init__(  # noqa: PLR0913 - what it acts through
        self,
        shelf: Path,
        load: Callable[[str, Path], Predicts],
        *,
        budget_bytes: int,
        keeps: bool = True,
        resident: Callable[[], int],
        now: Callable[[], float],
        tell: Callable[[int], None] = lambda _loaded: None,
    ) -> None:
        self._tell = tell
        self._shelf = shelf
        self._load = load
        self._budget = budget_bytes
        self._keeps = keeps
        self._resident = resident
        self._now = now
        self._waited = 0
        self._loading: list[int] = []
        self._unloading: list[int] = []
        """What the requests for one model have taken so far, in microseconds."""
        self._models: OrderedDict[str, _Held] = OrderedDict()

    @property
    def loaded(self) -> Sequence[str]:
        """Names, the least recently used first."""
        return tuple(self._models)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request, in order; never raises for what a request or a model did."""
        places: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(request.target_model, []).append(place)
        found: list[Answer | None] = [None] * len(requests)
        for name, own in places.items():
            answers = self._answer_timed(name, [requests[place] for place in own])
            for place, answer in zip(own, answers, strict=True):
                found[place] = answer
        return [answer for answer in found if answer is not None]

    def _answer_timed(self, name: str, requests: Sequence[Request]) -> list[Answer]:
        """Each answer says whether its model was there; the first says how long it took to load it, and to unload others."""
        was_loaded, before = name in self._models, len(self._models)
        self._waited, self._loading, self._unloading = 0, [], []
        answers = self._answer_one(name, requests)
        if len(self._models) != before:
            self._tell(len(self._models))
        own = ModelTimes() if was_loaded else ModelTimes(False, self._waited)
        first = msgspec.structs.replace(
            own, loading=tuple(self._loading), unloading=tuple(self._unloading)
        )
        return [
            msgspec.structs.replace(answer, model=own if place else first)
            for place, answer in enumerate(answers)
        ]

    def _answer_one(self, name: str, requests: Sequence[Request]) -> list[Answer]:
        began = self._now()
        try:
            held = self._held(name)
        except _Absent:
            return [Answer(ABSENT, TEXT, b"The model is not on the shelf.")] * len(requests)
        except (ArtifactError, LoadError) as error:
            return [_failed(name, str(error))] * len(requests)
        except MemoryError:
            reason = "it does not fit into the instance's memory"
            return [_failed(name, reason)] * len(requests)
        except Exception as error:  # noqa: BLE001 - a model's own code may raise anything while it is loaded
            traceback.print_exc()
            return [_failed(name, f"{type(error).__name__}: {error}")] * len(requests)
        finally:
            self._waited = self._since(began)
        answers = held.predictor.answer(requests)
        if not self._keeps:
            self._drop(name)
        return answers

    def _held(self, name: str) -> _Held:
        if name in self._models:
            self._models.move_to_end(name)
            return self._models[name]
        path = self._shelf / place_of(name)
        if not path.exists():
            raise _Absent
        least = path.stat().st_size
        self._make_room(self._budget - least)
        before = self._resident()
        try:
            predictor = self._watched_load(name, path)
        except MemoryError:
            if not self._models:
                raise
            self._make_room(0)
            before = self._resident()
            predictor = self._watched_load(name, path)
        size = max(self._resident() - before, least)
        # It is larger than its artifact: others make room for it, but it is not unloaded unused.
        self._make_room(self._budget - size)
        held = self._models[name] = _Held(predictor, size)
        print(f"loaded {name}: {size} bytes, {len(self._models)} models", flush=True)  # noqa: T201 - the container's log
        return held

    def _watched_load(self, name: str, path: Path) -> Predicts:
        """A load that hangs, in Python or in C, is ended by the kernel's timer, and the worker with it."""
        print(f"loading {name}", flush=True)  # noqa: T201 - the container's log; the last words of a worker that hangs
        signal.setitimer(signal.ITIMER_REAL, LOAD_SECONDS)
        began = self._now()
        try:
            predictor = self._load(name, path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._loading.append(self._since(began))
        return predictor

    def _since(self, began: float) -> int:
        return round((self._now() - began) * 1e6)

    def _make_room(self, left: int) -> None:
        """Unload until the models that stay take at most ``left`` bytes."""
        total = sum(held.size for held in self._models.values())
        while self._models and total > left:
            oldest = next(iter(self._models))
            total -= self._models[oldest].size
            self._drop(oldest)

    def _drop(self, name: str) -> None:
        began = self._now()
        del self._models[name]
        gc.collect()
        _give_back_memory()
        self._unloading.append(self._since(began))
        print(f"unloaded {name}", flush=True)  # noqa: T201 - the container's log


def load_from_shelf(
    name: str, path: Path, *, unpack: Callable[[str, Path, Path], Predicts]
) -> Predicts:
    """``unpack`` gets a folder that is there only until it has loaded."""
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        return unpack(name, path, Path(scratch))


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def budget_of(payload: dict[str, Any]) -> int:
    """Bytes that all models may take. Raises ``LoadError``."""
    given = payload["environment"].get(BUDGET, "")
    if given:
        if not given.isdecimal():
            raise LoadError(f"{BUDGET}={given!r} is no number of bytes.")
        return int(given)
    memory: int = (payload.get("caps") or {}).get("memory_bytes", 0)
    return max(0, int(memory * BUDGET_SHARE) - resident_bytes()) if memory else BUDGET_BYTES


def _failed(name: str, reason: str) -> Answer:
    text = f"Model {name} could not be loaded: {reason}"
    return Answer(500, TEXT, text.encode(), is_own_status=True)


def _give_back_memory() -> None:
    """Freed memory that the C library keeps is of no use to another model's allocator."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
