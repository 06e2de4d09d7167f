"""Time that nobody can set."""

import pytest

from modelyard.base.clock import SteadyTime
from modelyard.testing.clock import ManualClock


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
def test_steady_time_passes_and_does_not_jump(seconds: float) -> None:
    clock = ManualClock(1_000.0)
    steady = SteadyTime(clock)
    clock.advance(5.0)
    assert (steady.now(), steady.set_by()) == (1_005.0, 0.0)
    clock.step_wall_time(seconds)
    clock.advance(1.0)
    assert (steady.now(), steady.set_by()) == (1_006.0, seconds)


def test_a_clock_that_is_kept_right_by_bits_was_not_set() -> None:
    clock = ManualClock()
    steady = SteadyTime(clock)
    clock.step_wall_time(0.5)
    assert steady.set_by() == 0.0
