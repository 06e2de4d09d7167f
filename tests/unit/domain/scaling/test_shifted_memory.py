"""A clock that is set changes no cool-down."""

import pytest

from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.state import Change, Memory, set_back_by, shifted

ACTIVITY = Activity(id="1", description="d", cause="c", started_at=90.0, status="InProgress")
MEMORY = Memory(
    change=Change(activity=ACTIVITY, desired=3, before=2, revision=7),
    retry_at=120.0,
    acted={"policy|alarm": 60.0},
    runs={"nightly": 50.0},
    history=((80.0, 2), (90.0, 3)),
    in_until=400.0,
    base=2,
)


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
def test_what_was_left_before_is_left_after(seconds: float) -> None:
    moved = shifted(MEMORY, seconds)
    assert moved.change is not None
    assert moved.change.activity.started_at == 90.0 + seconds
    assert moved.retry_at == 120.0 + seconds
    assert moved.in_until == 400.0 + seconds
    assert moved.acted == {"policy|alarm": 60.0 + seconds}
    assert moved.history == ((80.0 + seconds, 2), (90.0 + seconds, 3))


def test_what_is_not_set_and_schedules_stay() -> None:
    moved = shifted(MEMORY, 3_600.0)
    assert moved.out_until == 0.0
    assert moved.runs == {"nightly": 50.0}
    assert shifted(Memory(), 3_600.0) == Memory()
    assert shifted(MEMORY, 0.0) is MEMORY


def test_a_clock_was_set_back_when_what_happened_lies_ahead() -> None:
    assert set_back_by(MEMORY, 90.0) == 0.0, "cool-downs lie ahead, and are meant to"
    assert set_back_by(MEMORY, 89.0) == 0.0
    assert set_back_by(MEMORY, 50.0) == -40.0
    assert set_back_by(Memory(in_until=400.0), 50.0) == 0.0
