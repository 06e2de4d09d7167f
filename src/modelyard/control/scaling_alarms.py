"""What alarms say to scaling policies: their states from the store, and the data points behind them.

A tracking policy names its two alarms; a step policy is named by its users' alarms, in their actions.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.domain.scaling.policies import Policy, Tracking
from modelyard.domain.scaling.proposals import Alarm, Point
from modelyard.store.alarms import ALARM, period_of
from modelyard.store.resources import Json, Key, Resource, ResourceStore
from modelyard.store.scaling import alarm_key

_EVALUATION_SECONDS_MAX = 60.0
SETTLE_SECONDS = 2.0
"""As in the evaluation of alarms: a period's last values come in a moment after its end."""


class MetricSource(Protocol):
    """Where data points come from. May block: it is called on a thread of its own."""

    def recent(self, alarm: Resource, *, start: float, end: float) -> Sequence[tuple[float, float]]:
        """Beginning and value of the periods of the alarm's metric that have data, oldest first."""


class PolicyAlarms:
    """``AlarmReader`` of the platform. An alarm is evaluated ``settle_seconds`` after the end of a period."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        metrics: MetricSource,
        clock: Clock,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._settle_seconds = settle_seconds
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def read(self, target: Key, policies: Sequence[Policy]) -> Mapping[str, Sequence[Alarm]]:
        """By the policy's name."""
        found: dict[str, list[Alarm]] = {}
        stepping = {one.arn: one.name for one in policies if not isinstance(one, Tracking)}
        users: Iterable[Resource] = ()
        if stepping:
            users = self._store.list(ALARM, account=target.account, region=target.region)
        for alarm in users:
            for arn in alarm.spec.get("AlarmActions") or ():
                if arn in stepping and alarm.spec.get("ActionsEnabled", True):
                    found.setdefault(stepping[arn], []).append(await self._alarm(alarm))
        for policy in policies:
            if isinstance(policy, Tracking):
                for name in (policy.high_alarm, policy.low_alarm):
                    owned = self._store.get(alarm_key(target, name))
                    if owned is not None and owned.spec.get("ActionsEnabled", True):
                        found.setdefault(policy.name, []).append(await self._alarm(owned))
        return found

    async def _alarm(self, alarm: Resource) -> Alarm:
        spec, status = alarm.spec, alarm.status
        now = self._clock.now() - self._settle_seconds
        period = float(period_of(alarm))
        interval = min(period, _EVALUATION_SECONDS_MAX)
        evaluated_at = now // interval * interval
        changed_at = float(status.get("StateUpdatedTimestamp", 0.0))
        if changed_at > self._clock.now():
            changed_at = 0.0  # The clock was set back since.
        points: Sequence[Point] = ()
        if status["StateValue"] == "ALARM":
            if changed_at >= evaluated_at:
                points = _told(status, period)
            points = points or await self._measured(alarm, period, now)
        return Alarm(
            name=alarm.key.name,
            state=status["StateValue"],
            threshold=spec.get("Threshold", 0.0),
            evaluated_at=max(evaluated_at, changed_at),
            points=points,
            interval=interval,
        )

    async def _measured(self, alarm: Resource, period: float, now: float) -> Sequence[Point]:
        end = now // period * period
        start = end - period * alarm.spec["EvaluationPeriods"]
        found = await asyncio.to_thread(self._metrics.recent, alarm, start=start, end=end)
        return [Point(at=at, value=value, period=period) for at, value in found]


def _told(status: Json, period: float) -> Sequence[Point]:
    """The points in ``StateReasonData``, which whoever sets an alarm's state gives in place of measured ones."""
    try:
        data = json.loads(status.get("StateReasonData") or "{}")
        values = [value for value in data.get("recentDatapoints", ()) if value is not None]
        numbers = [float(value) for value in values]
    except (ValueError, TypeError, AttributeError):
        return ()
    changed_at = float(status.get("StateUpdatedTimestamp", 0.0))
    end = changed_at // period * period
    return [
        Point(at=end - period * (len(numbers) - place), value=value, period=period)
        for place, value in enumerate(numbers)
    ]
