"""The reconciler of alarms: each is evaluated when a period of its metric has closed, and when it was changed.

Actions follow from the state: automatic scaling and rollouts read it; whoever else is named in an alarm's actions is told
nothing, which its history says.
"""

import asyncio
import json
from collections.abc import Collection, Sequence

from modelyard.base.clock import Clock
from modelyard.domain.alarms import Rule, Verdict, evaluate, reason_data
from modelyard.store.alarms import ALARM, moved
from modelyard.store.metrics import HistoryItem, Metric, MetricStore
from modelyard.store.resources import Key, Resource, ResourceStore, Update

SETTLE_SECONDS = 2.0
"""Gateways tell of their requests once a second: a period is closed for good a moment after its end."""
_EVALUATION_SECONDS_MAX = 60
_ACTIONS = {
    "OK": "OKActions",
    "ALARM": "AlarmActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}


class AlarmReconciler:
    """One evaluation."""

    def __init__(self, *, store: ResourceStore, metrics: MetricStore, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._evaluated: dict[Key, tuple[int, object]] = {}

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next evaluation."""
        alarm = self._store.get(key)
        if alarm is None:
            self._evaluated.pop(key, None)
            return float("inf")
        now = self._clock.now()
        interval: int = min(alarm.spec["Period"], _EVALUATION_SECONDS_MAX)
        # What somebody set by hand holds until the next evaluation is due.
        closed = int((now - SETTLE_SECONDS) // interval * interval)
        mark = (closed, alarm.spec.get("configured_at"))
        if self._evaluated.get(key) != mark:
            await self._evaluate(alarm, closed, now)
            self._evaluated[key] = mark
        return max(0.1, closed + interval + SETTLE_SECONDS - self._clock.now())

    async def _evaluate(self, alarm: Resource, closed: int, now: float) -> None:
        rule = rule_of(alarm)
        end = closed // rule.period * rule.period
        points = await asyncio.to_thread(
            points_of, self._metrics, alarm, start=end - rule.range_seconds, end=end, now=now
        )
        before = alarm.status["StateValue"]
        verdict = evaluate(rule, dict(points), end=end, before=before)
        if verdict.state == before:
            return  # Nothing to tell; not worth a write each minute.
        status, notes = self._moved(alarm, rule, verdict, now)
        key = alarm.key
        await self._store.write(Update(key=key, version=alarm.version, status=status))
        await asyncio.to_thread(self._metrics.record, key.account, key.region, notes)

    def _moved(
        self, alarm: Resource, rule: Rule, verdict: Verdict, now: float
    ) -> tuple[dict[str, object], Sequence[HistoryItem]]:
        statistic = alarm.spec.get("Statistic") or alarm.spec.get("ExtendedStatistic", "")
        data = reason_data(
            rule, verdict, now=now, statistic=statistic, unit=alarm.spec.get("Unit", "")
        )
        status, notes = moved(alarm, verdict.state, reason=verdict.reason, data=data, now=now)
        return status, [*notes, *_actions(alarm, verdict.state, now)]


def rule_of(alarm: Resource) -> Rule:
    """The alarm as its evaluation takes it."""
    spec = alarm.spec
    return Rule(
        comparison=spec["ComparisonOperator"],
        threshold=spec["Threshold"],
        period=spec["Period"],
        periods=spec["EvaluationPeriods"],
        needed=spec.get("DatapointsToAlarm") or spec["EvaluationPeriods"],
        missing=spec.get("TreatMissingData") or "missing",
    )


def points_of(
    metrics: MetricStore, alarm: Resource, *, start: float, end: float, now: float
) -> list[tuple[int, float]]:
    """Beginning and value of the periods of the alarm's metric that have data, oldest first. Blocks."""
    spec, key = alarm.spec, alarm.key
    dimensions = sorted((one["Name"], one["Value"]) for one in spec.get("Dimensions") or ())
    metric = Metric(
        account=key.account,
        region=key.region,
        namespace=spec["Namespace"],
        name=spec["MetricName"],
        dimensions=tuple(dimensions),
    )
    found = metrics.read(
        metric, start=start, end=end, period=spec["Period"], now=now, unit=spec.get("Unit") or ""
    )
    statistic = spec.get("Statistic") or spec["ExtendedStatistic"]
    values = ((at, summary.statistic(statistic)) for at, summary in found.items())
    return [(at, value) for at, value in values if value is not None]


class Ringing:
    """``control.endpoints.AlarmStates``: which alarms ring."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store

    def ringing(self, account: str, region: str, names: Collection[str]) -> tuple[str, ...]:
        """Those of the alarms that are in ALARM, sorted."""
        found = []
        for name in sorted(set(names)):
            alarm = self._store.get(Key(kind=ALARM, account=account, region=region, name=name))
            if alarm is not None and alarm.status["StateValue"] == "ALARM":
                found.append(name)
        return tuple(found)


class Measured:
    """``control.scaling_alarms.MetricSource``: what was measured."""

    def __init__(self, metrics: MetricStore, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def recent(self, alarm: Resource, *, start: float, end: float) -> Sequence[tuple[float, float]]:
        """Beginning and value of the periods of the alarm's metric that have data, oldest first."""
        return list(points_of(self._metrics, alarm, start=start, end=end, now=self._clock.now()))


def _actions(alarm: Resource, state: str, now: float) -> list[HistoryItem]:
    """What the history says of each action of the new state."""
    if not alarm.spec.get("ActionsEnabled", True):
        return []
    items = []
    for arn in alarm.spec.get(_ACTIONS[state]) or ():
        is_scaling = ":autoscaling:" in arn
        done = "Successfully executed" if is_scaling else "Failed to execute"
        why = "" if is_scaling else " (Modelyard delivers to scaling policies only)"
        items.append(
            HistoryItem(
                name=alarm.key.name,
                at=now,
                kind="Action",
                summary=f"{done} action {arn}{why}",
                data=json.dumps(
                    {"version": "1.0", "actionState": done, "stateUpdateTimestamp": now}
                ),
            )
        )
    return items
