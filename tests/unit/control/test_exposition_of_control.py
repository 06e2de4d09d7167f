"""What Prometheus is told of reports and resources."""

import math
from collections.abc import Mapping

import pytest

from modelyard.control.exposition import Exposition
from modelyard.gateway.counters import Cell, Counters, decode_report
from modelyard.store.resources import Create, Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio


def cells(*latencies: float, status: int = 200) -> list[Cell]:
    counters = Counters()
    for latency in latencies:
        counters.count(("1", "r", "churn", "blue", "c1"), status, latency, latency + 0.0001)
    told: list[bytes] = []

    def send(data: bytes) -> bool:
        told.append(data)
        return True

    counters.tell(0, send)
    return decode_report(told[0]).cells


async def store_with_an_endpoint() -> MemoryResourceStore:
    store = MemoryResourceStore(clock=ManualClock())
    key = Key(kind="endpoint", account="1", region="r", name="churn")
    await store.write(Create(key=key, spec={}, status={"EndpointStatus": "InService"}))
    alarm = Key(kind="alarm", account="1", region="r", name="slow")
    await store.write(Create(key=alarm, spec={}, status={"StateValue": "ALARM"}))
    return store


def values(page: str) -> Mapping[str, float]:
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_reports_add_up_to_counters_and_histograms() -> None:
    exposition = Exposition(await store_with_an_endpoint())
    exposition.add(cells(0.0008, 0.004))
    exposition.add(cells(120.0, status=500))
    found = values(exposition.text(dropped_reports=2))
    labels = 'account="1",region="r",endpoint="churn",variant="blue",config="c1"'
    assert found[f"modelyard_invocations_total{{{labels}}}"] == 3
    assert found[f'modelyard_invocation_errors_total{{{labels},kind="5xx"}}'] == 1
    buckets = [
        found[f'modelyard_model_latency_seconds_bucket{{{labels},le="{le}"}}']
        for le in ("0.0005", "0.001", "0.005", "60", "+Inf")
    ]
    assert buckets == [0, 1, 2, 2, 3]
    assert math.isclose(found[f"modelyard_model_latency_seconds_sum{{{labels}}}"], 120.0048)
    assert found[f"modelyard_model_latency_seconds_count{{{labels}}}"] == 3
    assert found['modelyard_endpoints{status="InService"}'] == 1
    assert found['modelyard_alarm_state{account="1",region="r",alarm="slow",state="ALARM"}'] == 1
    assert found["modelyard_metric_reports_dropped_total"] == 2


async def test_an_endpoint_that_is_gone_is_told_of_no_more() -> None:
    store = await store_with_an_endpoint()
    exposition = Exposition(store)
    exposition.add(cells(0.001))
    assert "churn" in exposition.text(dropped_reports=0)
    await store.clear()
    assert "churn" not in exposition.text(dropped_reports=0)


async def test_answers_of_a_shadow_are_told_by_whether_they_agree() -> None:
    exposition = Exposition(await store_with_an_endpoint())
    counted = cells(0.001)
    assert "shadow" not in exposition.text(dropped_reports=0)
    counted[0].compared, counted[0].disagreed, counted[0].dropped = 5, 2, 1
    exposition.add(counted)
    found = values(exposition.text(dropped_reports=0))
    labels = 'account="1",region="r",endpoint="churn",variant="blue",config="c1"'
    assert found[f'modelyard_shadow_answers_total{{{labels},agrees="yes"}}'] == 3
    assert found[f'modelyard_shadow_answers_total{{{labels},agrees="no"}}'] == 2
    assert found[f"modelyard_shadow_copies_dropped_total{{{labels}}}"] == 1
