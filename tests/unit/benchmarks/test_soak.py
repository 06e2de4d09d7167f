"""What is said of memory over time."""

from benchmarks.soak import growth_mib


def test_growth_is_from_the_first_quarter_to_the_last_and_a_single_peak_is_none() -> None:
    assert growth_mib([100.0] * 5 + [180.0] + [100.0] * 6) == 0.0
    assert growth_mib([100.0, 101.0, 102.0, 103.0]) == 3.0
    assert growth_mib([100.0]) == 0.0
