"""The reconciler of alarms: each is evaluated when a period of its metric has closed, and when it was changed.

Actions follow from the state: automatic scaling and rollouts read it; whoever else is named in an alarm's actions is told
nothing, which its history says.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.alarms import Rule, Verdict, evaluate, reason_data
from modelyard.domain.ledger import AlarmSeen
from modelyard.domain.metric_math import Series, evaluate_all
from modelyard.store.alarms import ALARM, BY_HAND, RANG_UNTIL, moved, period_of
from modelyard.store.metrics import HistoryItem, Metric, MetricStore
from modelyard.store.resources import Json, Key, Resource, ResourceStore, Update

logger = logging.getLogger(__name__)
SETTLE_SECONDS = 2.0
"""Gateways tell of their requests at the ends of periods: a period is closed for good a moment after its end."""
_EVALUATION_SECONDS_MAX = 60
SEEN_PERIODS = 3
REASON_MAX = 400
"""So much of an alarm's reason goes into a rollout's ledger."""


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
        interval = min(period_of(alarm), _EVALUATION_SECONDS_MAX)
        closed = int((now - SETTLE_SECONDS) // interval * interval)
        mark = (closed, alarm.spec.get("configured_at"))
        if self._evaluated.get(key) != mark and not _is_news(alarm, closed, now):
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
        return moved(alarm, verdict.state, reason=verdict.reason, data=data, now=now)


def _is_news(alarm: Resource, closed: int, now: float) -> bool:
    """Whether somebody set the state by hand after all that an evaluation would look at: it holds until a period closes."""
    known = max(float(closed), alarm.spec.get("configured_at", alarm.created_at))
    changed_at: float = alarm.status.get("StateUpdatedTimestamp", 0.0)
    return bool(alarm.status.get(BY_HAND)) and known < changed_at <= now


def rule_of(alarm: Resource) -> Rule:
    """The alarm as its evaluation takes it."""
    spec = alarm.spec
    return Rule(
        comparison=spec["ComparisonOperator"],
        threshold=spec["Threshold"],
        period=period_of(alarm),
        periods=spec["EvaluationPeriods"],
        needed=spec.get("DatapointsToAlarm") or spec["EvaluationPeriods"],
        missing=spec.get("TreatMissingData") or "missing",
    )


def points_of(
    metrics: MetricStore, alarm: Resource, *, start: float, end: float, now: float
) -> list[tuple[int, float]]:
    """Beginning and value of the periods of the alarm's metric that have data, oldest first. Blocks."""
    window = Window(metrics, alarm.key, start, end, period_of(alarm), now)
    spec = alarm.spec
    queries: Sequence[Json] = spec.get("Metrics") or ()
    if not queries:
        statistic = spec.get("Statistic") or spec["ExtendedStatistic"]
        return sorted(window.series(spec, statistic, spec.get("Unit")).points.items())
    stats = {
        query["Id"]: window.series(
            query["MetricStat"]["Metric"],
            query["MetricStat"]["Stat"],
            query["MetricStat"].get("Unit"),
        )
        for query in queries
        if query.get("MetricStat")
    }
    found = evaluate_all({one["Id"]: one.get("Expression") or "" for one in queries}, stats)
    (decides,) = (query["Id"] for query in queries if query.get("ReturnData", True))
    return sorted(found[decides].points.items())


@dataclass(frozen=True, slots=True)
class Window:
    """Which periods are looked at, of the metrics of the account and region of ``place``."""

    metrics: MetricStore
    place: Key
    start: float
    end: float
    period: int
    now: float

    def series(self, named: Json, statistic: str, unit: str | None) -> Series:
        """One statistic of the metric that is ``named``."""
        dimensions = sorted((one["Name"], one["Value"]) for one in named.get("Dimensions") or ())
        metric = Metric(
            account=self.place.account,
            region=self.place.region,
            namespace=named["Namespace"],
            name=named["MetricName"],
            dimensions=tuple(dimensions),
        )
        found = self.metrics.read(
            metric,
            start=self.start,
            end=self.end,
            period=self.period,
            now=self.now,
            unit=unit or "",
        )
        values = ((at, summary.statistic(statistic)) for at, summary in found.items())
        return Series(points={at: value for at, value in values if value is not None})


class Ringing:
    """``control.rollout_watch.AlarmStates``: which alarms ring, and what they have seen."""

    def __init__(self, store: ResourceStore, metrics: MetricStore, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    def ringing(
        self, account: str, region: str, names: Collection[str], *, since: float
    ) -> tuple[str, ...]:
        """Those of the alarms that are in ALARM or were after ``since``, sorted."""
        found = []
        for name in sorted(set(names)):
            alarm = self._store.get(Key(kind=ALARM, account=account, region=region, name=name))
            if alarm is None:
                continue
            if alarm.status["StateValue"] == "ALARM" or alarm.status.get(RANG_UNTIL, 0.0) > since:
                found.append(name)
        return tuple(found)

    def seen(self, account: str, region: str, names: Collection[str]) -> tuple[AlarmSeen, ...]:
        """Their states, rules and newest values, and the reasons of those in ALARM. Blocks."""
        found = []
        for name in sorted(set(names)):
            alarm = self._store.get(Key(kind=ALARM, account=account, region=region, name=name))
            if alarm is None:
                found.append(AlarmSeen(name=name, state="(deleted)", reason=""))
                continue
            state = alarm.status["StateValue"]
            reason = alarm.status.get("StateReason", "")[:REASON_MAX] if state == "ALARM" else ""
            seen = AlarmSeen(
                name=name,
                state=state,
                reason=reason,
                rule=_rule_text(alarm),
                values=self._values(alarm),
            )
            found.append(seen)
        return tuple(found)

    def _values(self, alarm: Resource) -> list[float]:
        now, period = self._clock.now(), period_of(alarm)
        end = (now // period + 1) * period
        start = end - SEEN_PERIODS * period
        try:
            points = points_of(self._metrics, alarm, start=start, end=end, now=now)
        except (sqlite3.Error, ServiceError) as error:
            # A rollout goes on without the values that its ledger would have told of.
            logger.warning("alarm %s has no values for a ledger: %s", alarm.key.name, error)
            return []
        return [value for _, value in points][-SEEN_PERIODS:]


def _rule_text(alarm: Resource) -> str:
    """Such as ``Average of Invocation5XXErrors GreaterThanThreshold 0.05 in 10 s``."""
    spec = alarm.spec
    statistic = spec.get("Statistic") or spec.get("ExtendedStatistic") or ""
    metric = f"{statistic} of {spec['MetricName']}" if spec.get("MetricName") else "expression"
    return f"{metric} {spec['ComparisonOperator']} {spec['Threshold']:g} in {period_of(alarm)} s"


class Measured:
    """``control.scaling_alarms.MetricSource``: what was measured."""

    def __init__(self, metrics: MetricStore, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def recent(self, alarm: Resource, *, start: float, end: float) -> Sequence[tuple[float, float]]:
        """Beginning and value of the periods of the alarm's metric that have data, oldest first."""
        return list(points_of(self._metrics, alarm, start=start, end=end, now=self._clock.now()))
