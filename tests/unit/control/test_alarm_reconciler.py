"""Alarms on expressions, and what the history says of actions. States are ``tests/machines/test_alarm_machine.py``' business."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.control.alarms import AlarmReconciler, Ringing
from modelyard.domain.metrics import Summary
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.store.alarms import ALARM, alarm_arn
from modelyard.store.metrics import Datum, Metric, MetricStore
from modelyard.store.resources import Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio
CALL = Call(
    principal=Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1"),
    account="1",
    region="r",
    action="monitoring:Test",
    request_id="id",
    deadline=60.0,
)
KEY = Key(kind=ALARM, account="1", region="r", name="rate")


class Watched:
    """Alarms over a metric store, with a clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1_700_000_040.0)
        self.store = MemoryResourceStore(clock=self.clock)
        self.metrics = MetricStore(folder / "metrics.db")
        self.alarms = Alarms(store=self.store, metrics=self.metrics, clock=self.clock)
        self.reconciler = AlarmReconciler(store=self.store, metrics=self.metrics, clock=self.clock)

    def emit(self, name: str, value: float) -> None:
        summary = Summary()
        summary.add(value)
        metric = Metric(account="1", region="r", namespace="n", name=name)
        self.metrics.put(
            [Datum(metric=metric, at=int(self.clock.now()), summary=summary)], now=self.clock.now()
        )

    async def next_minute(self) -> dict[str, Any]:
        self.clock.advance(60.0 + 2.0 - self.clock.now() % 60)
        await self.reconciler.reconcile(KEY)
        return self.status

    @property
    def status(self) -> dict[str, Any]:
        alarm = self.store.get(KEY)
        assert alarm is not None
        return dict(alarm.status)

    @property
    def history(self) -> list[tuple[str, str]]:
        return [(item.kind, item.summary) for item in self.metrics.history("1", "r", "rate")]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.metrics.close()


def stat(query: str, name: str, period: int = 60) -> dict[str, Any]:
    metric = {"Namespace": "n", "MetricName": name}
    return {
        "Id": query,
        "MetricStat": {"Metric": metric, "Period": period, "Stat": "Sum"},
        "ReturnData": False,
    }


RATE: dict[str, Any] = {
    "alarm_name": "rate",
    "metrics": [
        {"Id": "rate", "Expression": "100 * errors / requests"},
        stat("errors", "errors"),
        stat("requests", "requests"),
    ],
    "evaluation_periods": 1,
    "threshold": 5.0,
    "comparison_operator": "GreaterThanThreshold",
}


async def test_an_alarm_on_an_expression_rings_by_its_value(watched: Watched) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    for errors, state in ((1.0, "OK"), (10.0, "ALARM"), (5.0, "OK")):
        watched.emit("errors", errors)
        watched.emit("requests", 100.0)
        status = await watched.next_minute()
        assert status["StateValue"] == state
        assert f"[{errors} (" in status["StateReason"]
    described = await watched.alarms.describe_alarms(CALL)
    (shown,) = described["MetricAlarms"]
    assert shown["Metrics"] == RATE["metrics"]
    assert "MetricName" not in shown and "Period" not in shown


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"metrics": [stat("a", "errors")]}, "ValidationError"),
        ({"metrics": [{"Id": "a", "Expression": "1 + 1"}]}, "ValidationError"),
        ({"metrics": [{"Id": "a", "Expression": "b"}, stat("b", "x"), stat("b", "y")]}, "ValidationError"),
        ({"metrics": [{"Id": "a", "Expression": "b + c"}, stat("b", "x"), stat("c", "y", 300)]}, "ValidationError"),
        ({"metrics": [{"Id": "a", "Expression": "nobody"}, stat("b", "x")]}, "ValidationError"),
        ({"metrics": [{"Id": "a", "Expression": "FILL(b, 0)"}, stat("b", "x")]}, "UnsupportedOperation"),
        ({"namespace": "n"}, "InvalidParameterCombination"),
        ({"evaluation_periods": 1441}, "ValidationError"),
    ],
)  # fmt: skip
async def test_alarms_that_could_not_be_evaluated_are_refused(
    watched: Watched, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        await watched.alarms.put_metric_alarm(CALL, **{**RATE, **changes})
    assert caught.value.code == code
    assert watched.store.get(KEY) is None


SCALING = (
    "arn:aws:autoscaling:r:1:scalingPolicy:id:resource/sagemaker/endpoint/e/variant/v:policyName/p"
)


async def test_actions_of_a_new_state_are_in_the_history_unless_they_are_off(
    watched: Watched,
) -> None:
    given = {**RATE, "alarm_actions": [SCALING, "arn:aws:sns:r:1:topic"]}
    await watched.alarms.put_metric_alarm(CALL, **given)
    watched.emit("errors", 10.0)
    watched.emit("requests", 10.0)
    await watched.next_minute()
    actions = [summary for kind, summary in watched.history if kind == "Action"]
    assert sorted(actions) == [
        "Failed to execute action arn:aws:sns:r:1:topic (Modelyard delivers to scaling policies only)",
        f"Successfully executed action {SCALING}",
    ]
    await watched.alarms.disable_alarm_actions(CALL, alarm_names=["rate"])
    for state in ("OK", "ALARM"):
        await watched.alarms.set_alarm_state(
            CALL, alarm_name="rate", state_value=state, state_reason="a drill"
        )
    assert len([kind for kind, _ in watched.history if kind == "Action"]) == 2


async def test_who_asks_which_alarms_ring_gets_those_of_the_account(watched: Watched) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    ringing = Ringing(watched.store, watched.metrics, watched.clock)
    now = watched.clock.now()
    assert ringing.ringing("1", "r", ["rate", "unknown"], since=now) == ()
    await watched.alarms.set_alarm_state(
        CALL, alarm_name="rate", state_value="ALARM", state_reason="a drill"
    )
    assert ringing.ringing("1", "r", ["rate", "unknown"], since=now) == ("rate",)
    assert ringing.ringing("2", "r", ["rate"], since=now) == ()


async def test_an_alarm_that_rang_between_two_looks_is_heard_and_one_before_them_is_not(
    watched: Watched,
) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    ringing = Ringing(watched.store, watched.metrics, watched.clock)
    looked = watched.clock.now()
    watched.clock.advance(0.5)
    await watched.alarms.set_alarm_state(
        CALL, alarm_name="rate", state_value="ALARM", state_reason="a drill"
    )
    watched.emit("errors", 1.0)
    watched.emit("requests", 100.0)
    assert (await watched.next_minute())["StateValue"] == "OK"
    assert ringing.ringing("1", "r", ["rate"], since=looked) == ("rate",)
    assert ringing.ringing("1", "r", ["rate"], since=watched.clock.now()) == ()


async def test_what_was_set_by_hand_is_not_set_back_by_what_was_before_it(watched: Watched) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    watched.emit("errors", 1.0)
    watched.emit("requests", 100.0)
    assert (await watched.next_minute())["StateValue"] == "OK"
    watched.clock.advance(59.9)  # In 0.1 s the minute that has just ended is evaluated.
    await watched.alarms.set_alarm_state(
        CALL, alarm_name="rate", state_value="ALARM", state_reason="a drill"
    )
    watched.clock.advance(0.1)
    await watched.reconciler.reconcile(KEY)
    assert watched.status["StateValue"] == "ALARM"
    assert (await watched.next_minute())["StateValue"] == "OK", "the next period says otherwise"


async def test_a_ledger_is_told_what_an_alarm_has_seen_whether_it_rings_or_not(
    watched: Watched,
) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    ringing = Ringing(watched.store, watched.metrics, watched.clock)
    for errors in (1.0, 2.0, 3.0, 4.0):
        watched.emit("errors", errors)
        watched.emit("requests", 10.0)
        watched.clock.advance(60.0)
    rate, unknown = ringing.seen("1", "r", ["rate", "unknown"])
    assert (rate.name, rate.reason, unknown.state) == ("rate", "", "(deleted)")
    assert len(rate.values) == 2, "the newest three periods, of which one has only begun"
    assert "GreaterThan" in rate.rule
    await watched.alarms.set_alarm_state(
        CALL, alarm_name="rate", state_value="ALARM", state_reason="a drill"
    )
    assert ringing.seen("1", "r", ["rate"])[0].reason == "a drill"
    watched.metrics.close()
    assert ringing.seen("1", "r", ["rate"])[0].values == [], "no rollout waits for a ledger"


async def test_a_deleted_alarm_is_looked_at_no_more(watched: Watched) -> None:
    assert await watched.reconciler.reconcile(KEY) == float("inf")


async def test_an_alarm_that_two_put_at_once_is_put(watched: Watched) -> None:
    await asyncio.gather(*(watched.alarms.put_metric_alarm(CALL, **RATE) for _ in range(2)))
    assert sorted(summary for _, summary in watched.history) == [
        'Alarm "rate" created',
        'Alarm "rate" updated',
    ]


async def test_a_tag_that_an_alarm_gets_while_it_is_put_stays(watched: Watched) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    arn = alarm_arn(KEY)
    await asyncio.gather(
        watched.alarms.tag_resource(CALL, resource_arn=arn, tags=[{"Key": "team", "Value": "a"}]),
        watched.alarms.put_metric_alarm(CALL, **RATE),
    )
    found = await watched.alarms.list_tags_for_resource(CALL, resource_arn=arn)
    assert found["Tags"] == [{"Key": "team", "Value": "a"}]


async def test_an_alarm_that_two_delete_at_once_is_not_there_for_one_of_them(
    watched: Watched,
) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    first, second = await asyncio.gather(
        *(watched.alarms.delete_alarms(CALL, alarm_names=["rate"]) for _ in range(2)),
        return_exceptions=True,
    )
    assert first is None
    assert isinstance(second, ServiceError) and second.code == "ResourceNotFound"


async def test_an_alarm_that_is_deleted_while_it_is_put_is_there(watched: Watched) -> None:
    await watched.alarms.put_metric_alarm(CALL, **RATE)
    await asyncio.gather(
        watched.alarms.delete_alarms(CALL, alarm_names=["rate"]),
        watched.alarms.put_metric_alarm(CALL, **RATE),
    )
    assert watched.store.get(KEY) is not None
