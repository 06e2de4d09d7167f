"""What gateways count and tell: exact sums, latencies within a percent, nothing lost while nobody listens."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.control.measuring import data_of
from modelyard.domain.endpoint_metrics import CONTAINER_LATENCY, MODEL_CACHE_HIT
from modelyard.domain.metrics import BUCKET_WIDTH, Summary
from modelyard.gateway.counters import (
    DATAGRAM_BYTES,
    CellKey,
    Counters,
    Report,
    Teller,
    Telling,
    decode_report,
)
from modelyard.testing.clock import ManualClock

KEY = ("1", "r", "churn", "blue", "config")


class Listener:
    """Control's end; away while it is not ``open``, full after ``room`` datagrams."""

    def __init__(self) -> None:
        self.open = True
        self.room = 1_000
        self.heard: list[bytes] = []

    def __call__(self, data: bytes) -> bool:
        if not self.open or not self.room:
            return False
        self.room -= 1
        self.heard.append(data)
        return True

    @property
    def reports(self) -> list[Report]:
        return [decode_report(data) for data in self.heard]


@given(st.lists(st.floats(2e-6, 60.0), min_size=1, max_size=50))
def test_latencies_are_told_within_a_percent_and_sums_exactly(latencies: list[float]) -> None:
    counters, listener = Counters(), Listener()
    for latency in latencies:
        counters.count(KEY, 200, latency, latency * 2)
    counters.tell(0, listener)
    (cell,) = listener.reports[0].cells
    assert cell.requests == len(latencies)
    assert cell.model_sum == pytest.approx(sum(latencies) * 1e6)
    assert cell.overhead_sum == pytest.approx(sum(latencies) * 1e6)
    told = sorted(
        math.exp((place + 0.5) * BUCKET_WIDTH)
        for place, count in cell.model.items()
        for _ in range(count)
    )
    for value, exact in zip(told, sorted(latencies), strict=True):
        # The table has steps of half a microsecond.
        assert value == pytest.approx(exact * 1e6, rel=0.011, abs=0.3)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.0163839, 0.016384, 3600.0])
def test_odd_durations_are_counted_too(seconds: float) -> None:
    counters, listener = Counters(), Listener()
    counters.count(KEY, 200, seconds, seconds * (1 - 1e-16))
    counters.tell(0, listener)
    (cell,) = listener.reports[0].cells
    assert (cell.requests, cell.overhead) == (1, {0: 1})


def test_each_containers_times_are_cells_of_their_own_and_bear_its_name() -> None:
    counters, listener = Counters(), Listener()
    counters.count(KEY, 200, 0.005, 0.006)
    for container, seconds in (("add", 0.001), ("add", 0.003), ("times", 0.002)):
        counters.spent(KEY, CONTAINER_LATENCY, seconds, container)
    counters.tell(0, listener)
    found = {
        (datum.metric.name, dict(datum.metric.dimensions).get("ContainerName")): datum
        for datum in data_of(*listener.reports)
        if ("EndpointConfigName", "config") not in datum.metric.dimensions
    }
    assert found["Invocations", None].summary.statistic("Sum") == 1
    assert {place for place in found if place[1]} == {
        (CONTAINER_LATENCY, "add"),
        (CONTAINER_LATENCY, "times"),
    }
    added = found[CONTAINER_LATENCY, "add"]
    assert added.unit == "Microseconds"
    assert added.metric.namespace == "AWS/SageMaker"
    assert added.metric.dimensions == (
        ("ContainerName", "add"),
        ("EndpointName", "churn"),
        ("VariantName", "blue"),
    )
    assert added.summary.count == 2
    assert added.summary.statistic("Sum") == pytest.approx(4000.0)


def test_hits_of_the_model_cache_are_ones_and_zeros() -> None:
    counters, listener = Counters(), Listener()
    for is_hit in (True, False, True, True):
        counters.said(KEY, MODEL_CACHE_HIT, is_hit)
    counters.tell(0, listener)
    datum, _ = data_of(*listener.reports)
    assert (datum.metric.name, datum.unit) == ("ModelCacheHit", "None")
    found = [datum.summary.statistic(one) for one in ("SampleCount", "Sum", "Minimum", "Maximum")]
    assert found == [4, 3, 0, 1]


def test_a_status_falls_into_the_errors_of_its_kind() -> None:
    counters, listener = Counters(), Listener()
    for status in (200, 400, 429, 500, 503, 302):
        counters.count(KEY, status, 0.001, 0.002)
    counters.tell(0, listener)
    (cell,) = listener.reports[0].cells
    assert (cell.client_errors, cell.server_errors, cell.model_errors) == (2, 2, 5)


def test_what_nobody_took_is_told_later_with_all_that_came_since() -> None:
    counters, listener = Counters(), Listener()
    listener.open = False
    counters.count(KEY, 200, 0.001, 0.002)
    assert counters.tell(0, listener) is False
    counters.count(KEY, 200, 0.001, 0.002)
    listener.open = True
    counters.tell(5, listener)
    assert [cell.requests for cell in listener.reports[0].cells] == [2]
    counters.tell(10, listener)
    assert len(listener.heard) == 1


def test_datagrams_stay_small_however_wide_latencies_spread(tmp_path: Path) -> None:
    import socket

    counters = Counters()
    for number in range(60):
        for place in range(1_800):
            latency = math.exp(place * BUCKET_WIDTH) / 1e6
            counters.count(("1", "r", f"e{number}", "v", "c"), 200, latency, latency * 2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        control.bind(str(tmp_path / "metrics"))
        control.setblocking(False)
        teller = Teller(str(tmp_path / "metrics"))
        told: list[str] = []

        def read() -> Iterator[bytes]:
            while True:
                try:
                    yield control.recv(1 << 20)
                except BlockingIOError:
                    return

        rounds = 0
        while counters.tell(0, teller.send) or not rounds:
            rounds += 1
            for data in read():
                assert len(data) <= DATAGRAM_BYTES
                told += [cell.endpoint for cell in decode_report(data).cells]
        for data in read():
            told += [cell.endpoint for cell in decode_report(data).cells]
        teller.close()
    assert sorted(told) == sorted(f"e{number}" for number in range(60))


class Gateway:
    """Counters with a clock and gauges."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_040.0)  # a whole minute
        self.counters = Counters()
        self.listener = Listener()
        self.gauges: list[tuple[CellKey, int, int]] = []
        self.telling = Telling(
            self.counters, gauges=lambda: self.gauges, send=self.listener, now=self.clock.now
        )

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.telling.tick()


def test_counts_are_told_each_five_seconds_under_the_moment_they_began_at() -> None:
    gateway = Gateway()
    gateway.gauges = [(KEY, 2, 7)]
    gateway.counters.count(KEY, 200, 0.001, 0.002)
    gateway.pass_time(4)
    assert gateway.listener.heard == []
    gateway.pass_time(1)
    (report,) = gateway.listener.reports
    assert (report.at, report.cells[0].instances, report.cells[0].in_flight) == (
        1_700_000_040,
        2,
        7,
    )


def test_a_variant_without_traffic_says_zero_once_a_minute() -> None:
    gateway = Gateway()
    gateway.gauges = [(KEY, 1, 0)]
    gateway.pass_time(180)
    assert [report.at % 60 for report in gateway.listener.reports] == [0, 0, 0]
    units = {
        (datum.metric.name, datum.unit): datum.summary.statistic("Sum")
        for datum in data_of(gateway.listener.reports[0])
    }
    assert units[("Invocations", "None")] == 0.0
    assert units[("InvocationsPerInstance", "None")] == 0.0


def test_what_did_not_fit_at_once_follows_at_the_next_tick() -> None:
    gateway = Gateway()
    for number in range(120):
        gateway.counters.count(("1", "r", f"e{number}", "v", "c"), 200, 0.001, 0.002)
    gateway.listener.room = 1
    gateway.pass_time(5)
    assert len(gateway.listener.heard) == 1
    gateway.listener.room = 2
    gateway.pass_time(1)
    assert [len(report.cells) for report in gateway.listener.reports] == [50, 50, 20]
    assert {report.at for report in gateway.listener.reports} == {1_700_000_040}


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    gateway = Gateway()
    gateway.clock.step_wall_time(-3600.0)
    gateway.counters.count(KEY, 200, 0.001, 0.002)
    gateway.pass_time(5)
    (report, *_) = gateway.listener.reports
    assert report.at <= gateway.clock.now()


def test_every_metric_is_told_for_the_variant_and_for_its_part_of_a_config() -> None:
    counters, listener = Counters(), Listener()
    counters.count(KEY, 200, 0.001, 0.003)
    counters.count(KEY, 500, 0.001, 0.003)
    counters.tell(60, listener)
    data = list(data_of(listener.reports[0]))
    variant = (("EndpointName", "churn"), ("VariantName", "blue"))
    fleet = (("EndpointConfigName", "config"), *variant)
    assert {datum.metric.dimensions for datum in data} == {variant, tuple(sorted(fleet))}
    found: dict[str, Summary] = {
        datum.metric.name: datum.summary for datum in data if datum.metric.dimensions == variant
    }
    assert found["Invocations"].statistic("Sum") == 2.0
    assert found["Invocation5XXErrors"].statistic("Average") == 0.5
    assert found["InvocationModelErrors"].statistic("Sum") == 1.0
    assert found["ModelLatency"].statistic("Average") == pytest.approx(1000.0)
    assert found["OverheadLatency"].statistic("Average") == pytest.approx(2000.0)
    assert found["ModelLatency"].statistic("p99") == pytest.approx(1000.0, rel=0.01)


def test_comparisons_of_two_gateways_add_up_to_metrics_of_a_namespace_of_their_own() -> None:
    reports = []
    for drifts in ((0.0, 0.5), (0.25,)):
        counters, listener = Counters(), Listener()
        for drift in drifts:
            counters.count(KEY, 200, 0.001, 0.002)
            counters.compare(KEY, drift < 0.1, drift)
        counters.compare(KEY, False, None)
        counters.drop(KEY)
        counters.tell(0, listener)
        reports += listener.reports
    found = {
        datum.metric.name: datum.summary
        for datum in data_of(*reports)
        if datum.metric.namespace == "Modelyard/Shadow"
    }
    assert found["ComparedAnswers"].total == 5
    assert (found["Disagreements"].total, found["Disagreements"].count) == (4, 5)
    assert found["DroppedCopies"].total == 2
    drift = found["NumericDrift"]
    assert (drift.low, drift.high, drift.total) == (0.0, 0.5, 0.75)
