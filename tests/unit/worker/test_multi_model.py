"""Many models in one worker: who is loaded, who goes, and what each caller is told."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.shelf import place_of
from modelyard.frameworks.model import LoadError
from modelyard.transport.frames import ModelTimes
from modelyard.worker.multi_model import LOAD_SECONDS, MultiModelPredictor
from modelyard.worker.predictor import Answer, Request

pytestmark = pytest.mark.usefixtures("frozen")
SIZES = {"small": 10, "middle": 40, "large": 60, "huge": 500, "broken": 5, "bug": 5}


class Named:
    """A model that answers its name and what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        name = self.name.encode()
        return [Answer(200, "text/plain", name + b":" + one.body) for one in requests]


class Machine:
    """Memory that grows by each loaded model and shrinks when one is let go."""

    def __init__(self, shelf: Path, *, keeps: bool = True, budget: int = 100) -> None:
        self.loads: list[str] = []
        self.told: list[int] = []
        self.peak = 0
        self.predictor = MultiModelPredictor(
            shelf,
            self.load,
            budget_bytes=budget,
            keeps=keeps,
            resident=self.resident,
            now=lambda: self.now,
            tell=self.told.append,
        )
        self.now = 0.0
        self._loading = 0

    def resident(self) -> int:
        return sum(SIZES[name] for name in self.predictor.loaded) + self._loading

    def load(self, name: str, path: Path) -> Named:
        assert path.name == place_of(name)
        if name == "broken":
            raise LoadError("no model in it")
        if name == "bug":
            raise ZeroDivisionError("boom")
        if name == "huge" and self.predictor.loaded:
            raise MemoryError
        self.loads.append(name)
        self.now += SIZES[name]
        # Only what was measured while it loaded counts: afterwards it is among the loaded ones.
        self._loading = SIZES[name]
        return Named(name)

    def ask(self, *names: str) -> list[tuple[int, str]]:
        requests = [
            Request(str(n).encode(), "text/csv", "", "", name) for n, name in enumerate(names)
        ]
        found = self.predictor.answer(requests)
        self._loading = 0
        self.peak = max(self.peak, self.resident())
        return [(one.status, one.body.decode()) for one in found]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for name in SIZES:
        (tmp_path / place_of(name)).write_bytes(b"x")
    return tmp_path


def test_each_request_is_answered_by_the_model_that_it_names(shelf: Path) -> None:
    machine = Machine(shelf)
    assert machine.ask("small", "middle", "small") == [
        (200, "small:0"),
        (200, "middle:1"),
        (200, "small:2"),
    ]
    assert machine.loads == ["small", "middle"]


def test_the_least_recently_used_goes_when_memory_is_short(shelf: Path) -> None:
    machine = Machine(shelf)
    for name in ("small", "middle", "small", "large"):
        machine.ask(name)
    assert machine.predictor.loaded == ("small", "large")
    machine.ask("middle")
    assert machine.loads.count("middle") == 2
    assert machine.predictor.loaded == ("middle",) or machine.resident() <= 100


def test_how_many_models_are_loaded_is_told_when_that_changes(shelf: Path) -> None:
    machine = Machine(shelf)
    for name in ("small", "middle", "small", "broken", "huge"):
        machine.ask(name)
    assert machine.told == [1, 2, 1]
    assert machine.predictor.loaded == ("huge",)
    single = Machine(shelf, keeps=False)
    single.ask("small")
    assert single.told == []


def test_each_load_and_each_unload_is_told_once_and_each_request_what_it_waited(
    shelf: Path,
) -> None:
    machine = Machine(shelf)

    def times(*names: str) -> list[ModelTimes | None]:
        requests = [Request(b"", "text/csv", "", "", name) for name in names]
        return [answer.model for answer in machine.predictor.answer(requests)]

    assert times("middle", "middle") == [
        ModelTimes(False, 40_000_000, loading=(40_000_000,)),
        ModelTimes(False, 40_000_000),
    ]
    assert times("middle") == [ModelTimes()]
    machine.ask("huge")
    assert times("large", "broken") == [
        ModelTimes(False, 60_000_000, loading=(60_000_000,), unloading=(0,)),
        ModelTimes(False),
    ]


def test_a_model_for_which_there_is_no_room_is_loaded_alone(shelf: Path) -> None:
    machine = Machine(shelf)
    machine.ask("small")
    assert machine.ask("huge") == [(200, "huge:0")]
    assert machine.predictor.loaded == ("huge",)
    assert machine.ask("small") == [(200, "small:0")]
    assert machine.predictor.loaded == ("small",)


def test_a_model_that_cannot_be_loaded_is_its_callers_error_only(shelf: Path) -> None:
    machine = Machine(shelf)
    assert machine.ask("small", "broken", "bug") == [
        (200, "small:0"),
        (500, "Model broken could not be loaded: no model in it"),
        (500, "Model bug could not be loaded: ZeroDivisionError: boom"),
    ]


def test_a_model_that_is_not_on_the_shelf_is_told_as_absent_until_it_is(shelf: Path) -> None:
    (shelf / place_of("small")).unlink()
    machine = Machine(shelf)
    (answer,) = machine.predictor.answer([Request(b"", "", "", "", "small")])
    assert (answer.status, answer.is_own_status) == (404, False)
    (shelf / place_of("small")).write_bytes(b"x")
    assert machine.ask("small") == [(200, "small:0")]


def test_a_load_is_bounded_in_time_and_a_predict_is_not_bounded_by_it(shelf: Path) -> None:
    left: list[float] = []

    def load(name: str, path: Path) -> Named:
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        raise LoadError("no model in it")

    predictor = MultiModelPredictor(
        shelf, load, budget_bytes=100, resident=lambda: 0, now=lambda: 0.0
    )
    predictor.answer([Request(b"", "text/csv", "", "", "small")])
    assert 0 < left[0] <= LOAD_SECONDS
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_load_that_hangs_ends_the_worker_which_has_said_what_it_was_loading(shelf: Path) -> None:
    program = f"""
import time
from pathlib import Path
from modelyard.worker import multi_model
from modelyard.worker.predictor import Request
multi_model.LOAD_SECONDS = 0.05
predictor = multi_model.MultiModelPredictor(
    Path({str(shelf)!r}),
    lambda *_: time.sleep(60),
    budget_bytes=100,
    resident=lambda: 0,
    now=time.monotonic,
)
predictor.answer([Request(b"", "text/csv", "", "", "small")])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
    assert ended.returncode == -signal.SIGALRM
    assert ended.stdout == b"loading small\n"


def test_nothing_stays_loaded_where_the_cache_is_disabled(shelf: Path) -> None:
    machine = Machine(shelf, keeps=False)
    machine.ask("small", "small")
    machine.ask("small")
    assert machine.predictor.loaded == ()
    assert machine.loads == ["small", "small"]


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.sampled_from(["small", "middle", "large", "broken"]), max_size=30))
def test_what_is_loaded_never_takes_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    shelf = tmp_path_factory.mktemp("shelf")
    for name in SIZES:
        (shelf / place_of(name)).write_bytes(b"x")
    machine = Machine(shelf)
    for name in names:
        (answer,) = machine.ask(name)
        assert answer[0] == (500 if name == "broken" else 200)
    assert machine.peak <= 100
