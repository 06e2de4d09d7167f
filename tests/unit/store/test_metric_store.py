"""Metrics on disk: merged by period, read back at every resolution, and what a percentile may be wrong by."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.metrics import Summary
from modelyard.store.metrics import Datum, HistoryItem, Metric, MetricsNotKept, MetricStore

METRIC = Metric(account="1", region="r", namespace="n", name="m", dimensions=(("a", "b"),))
NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> MetricStore:
    return MetricStore(tmp_path / "metrics.db")


def datum(at: float, *values: float, fine: bool = False, unit: str = "None") -> Datum:
    summary = Summary()
    for value in values:
        summary.add(value)
    return Datum(metric=METRIC, at=int(at), summary=summary, is_high_resolution=fine, unit=unit)


def test_values_of_one_minute_are_merged_and_survive(tmp_path: Path, store: MetricStore) -> None:
    store.put([datum(NOW, 1.0, 2.0), datum(NOW + 1, 6.0)], now=NOW)
    store.close()
    again = MetricStore(tmp_path / "metrics.db")
    (found,) = again.read(METRIC, start=NOW - 60, end=NOW + 60, period=60, now=NOW).values()
    assert [found.statistic(name) for name in ("Sum", "SampleCount", "Minimum", "Maximum")] == [
        9.0, 3.0, 1.0, 6.0,
    ]  # fmt: skip
    assert found.statistic("p50") == 2.0


def test_seconds_are_kept_only_of_what_asked_for_them(store: MetricStore) -> None:
    store.put([datum(NOW, 1.0, fine=True), datum(NOW + 3, 5.0)], now=NOW)
    fine = store.read(METRIC, start=NOW - 10, end=NOW + 10, period=10, now=NOW)
    assert [summary.total for summary in fine.values()] == [1.0]
    whole = store.read(METRIC, start=NOW - 60, end=NOW + 60, period=60, now=NOW)
    assert sum(summary.total for summary in whole.values()) == 6.0


def test_longer_periods_hold_the_shorter_ones(store: MetricStore) -> None:
    begin = NOW // 3600 * 3600
    store.put([datum(begin + 60 * minute, 1.0) for minute in range(60)], now=begin + 3600)
    for period, count in ((60, 60), (300, 12), (3600, 1)):
        found = store.read(METRIC, start=begin, end=begin + 3600, period=period, now=begin + 3600)
        assert len(found) == count
        assert sum(summary.total for summary in found.values()) == 60.0


def test_units_are_kept_apart_and_read_together(store: MetricStore) -> None:
    store.put([datum(NOW, 1.0, unit="Seconds"), datum(NOW, 2.0, unit="Count")], now=NOW)
    window = {"start": NOW - 60, "end": NOW + 60, "period": 60, "now": NOW}
    assert [one.total for one in store.read(METRIC, **window, unit="Count").values()] == [2.0]  # type: ignore[arg-type]
    assert [one.total for one in store.read(METRIC, **window).values()] == [3.0]  # type: ignore[arg-type]
    assert store.metrics("1", "r", since=0.0) == [METRIC]


def test_what_is_too_old_is_neither_taken_nor_kept(store: MetricStore) -> None:
    store.put([datum(NOW - 16 * 86_400, 1.0)], now=NOW)
    window = {"start": NOW - 17 * 86_400, "end": NOW, "now": NOW}
    assert not store.read(METRIC, period=60, **window).get(int(NOW - 16 * 86_400) // 60 * 60)  # type: ignore[arg-type]
    assert store.read(METRIC, period=300, **window)  # type: ignore[arg-type]


def test_alarm_history_is_newest_first(store: MetricStore) -> None:
    items = [
        HistoryItem(name=name, at=at, kind="StateUpdate", summary="s", data="{}")
        for name, at in (("a", 1.0), ("b", 2.0), ("a", 3.0))
    ]
    store.record("1", "r", items)
    assert [item.at for item in store.history("1", "r")] == [3.0, 2.0, 1.0]
    assert [item.at for item in store.history("1", "r", "a")] == [3.0, 1.0]
    assert store.history("2", "r") == []


@given(
    st.lists(st.floats(0.001, 1e6), min_size=1, max_size=1500),
    st.sampled_from([0, 50, 90, 99, 100]),
)
def test_percentiles_are_exact_while_values_are_few_and_within_a_percent_after(
    values: list[float], percent: int
) -> None:
    one, other = Summary(), Summary()
    for place, value in enumerate(values):
        (one if place % 2 else other).add(value)
    one.merge(other)
    found = one.statistic(f"p{percent}")
    exact = sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
    assert found == pytest.approx(exact, rel=0.02 if one.coarse else 1e-12)
    assert one.values is None or len(one.values) <= 2600


def test_a_statistic_set_has_no_percentiles() -> None:
    summary = Summary()
    summary.add_set(count=3, total=6.0, low=1.0, high=3.0)
    assert summary.statistic("Average") == 2.0
    assert summary.statistic("p50") is None


def test_a_full_disk_is_told_and_recovered_from(tmp_path: Path, store: MetricStore) -> None:
    store.put([datum(NOW, 1.0)], now=NOW)
    limit = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {limit}")
    many = [datum(NOW + place * 3600, *range(200)) for place in range(50)]
    with pytest.raises(MetricsNotKept, match="full"):
        store.put(many, now=NOW)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.put([datum(NOW, 2.0)], now=NOW)
    (found,) = store.read(METRIC, start=NOW - 60, end=NOW + 60, period=60, now=NOW).values()
    assert found.total == 3.0
