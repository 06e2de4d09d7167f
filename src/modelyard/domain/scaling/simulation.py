"""The time machine: a trace of traffic runs against policies, by the planner and the alarms that run live.

The loop stands for what the platform does between two looks: seconds pass in the load model, alarms are evaluated at the
end of their periods, scheduled actions come due. What decides is ``planner.decide``, the same as in the reconciler.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.domain.alarms import EXTRA_PERIODS
from modelyard.domain.scaling.activities import Activity, reasons
from modelyard.domain.scaling.load_model import Replica, Second, Variant
from modelyard.domain.scaling.planner import decide
from modelyard.domain.scaling.policies import AlarmRule
from modelyard.domain.scaling.proposals import Alarm, AlarmState, Point
from modelyard.domain.scaling.state import Memory, Scaled, Target
from modelyard.domain.scaling.traces import Trace

ROW_SECONDS = 60
_EVALUATION_SECONDS_MAX = 60
_FORGET_SECONDS = 3_600

Evaluate = Callable[[AlarmRule, Sequence[Point], AlarmState, float], AlarmState]
"""The state of an alarm at a time, from the last points of its metric and the state before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated. ``alarms`` by the name of the policy that they act on."""

    target: Target
    alarms: Mapping[str, Sequence[AlarmRule]]
    replica: Replica
    initial: int


@dataclass(slots=True, kw_only=True)
class Row:
    """A minute: requests within it, and how things were at its end; ``latency`` is its highest, in seconds."""

    at: float
    arrived: float = 0.0
    served: float = 0.0
    refused: float = 0.0
    desired: int = 0
    in_service: int = 0
    queue: float = 0.0
    latency: float = 0.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of it. Latencies in seconds, of requests in the order of their length; cost in dollars."""

    started_at: float
    ended_at: float
    rows: list[Row] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def simulate(scenario: Scenario, trace: Trace, evaluate: Evaluate) -> Report:
    """Deterministic: the same input gives the same report."""
    return _Simulation(scenario, trace, evaluate).run()


def points_needed(rule: AlarmRule) -> int:
    """How far an evaluation looks back."""
    return rule.points + EXTRA_PERIODS


class _Simulation:
    def __init__(self, scenario: Scenario, trace: Trace, evaluate: Evaluate) -> None:
        self._scenario = scenario
        self._trace = trace
        self._evaluate = evaluate
        self._target = scenario.target
        self._memory = Memory()
        self._rules = [
            (policy, rule) for policy, rules in scenario.alarms.items() for rule in rules
        ]
        start = float(trace.starts[0])
        self._variant = Variant(
            replica=scenario.replica,
            now=start,
            desired=scenario.initial,
            in_service=scenario.initial,
            emitted=frozenset(rule.metric.name for _, rule in self._rules),
        )
        self._alarms: dict[str, Alarm] = {}
        self._activities: dict[str, Activity] = {}
        self._wake_at = start
        self._latencies: dict[float, float] = {}
        self._instance_seconds = 0.0
        self._report = Report(started_at=start, ended_at=float(trace.end))

    def run(self) -> Report:
        row = Row(at=self._variant.now)
        for rate in self._rates():
            now = self._variant.now
            if self._variant.settle() or now >= self._wake_at:
                self._look()
            self._instance_seconds += max(self._variant.in_service, self._variant.desired)
            second = self._variant.pass_second(rate)
            self._count(row, second)
            if self._variant.now % 10 == 0:
                self._evaluate_alarms()
            if self._variant.now % ROW_SECONDS == 0:
                row = self._end_row(row)
            if self._variant.now % _FORGET_SECONDS == 0:
                self._variant.forget()
        if row.at < self._variant.now:
            self._end_row(row)
        self._report.activities = list(self._activities.values())
        self._report.summary = self._summary()
        return self._report

    def _rates(self) -> Iterable[float]:
        """Of each second of the trace."""
        ends = [*self._trace.starts[1:], self._trace.end]
        for start, end, rate in zip(self._trace.starts, ends, self._trace.rates, strict=True):
            for _ in range(start, end):
                yield rate

    def _evaluate_alarms(self) -> None:
        """Those whose period has just ended; the planner looks if one of them changes."""
        now, is_new = self._variant.now, False
        for _, rule in self._rules:
            if now % min(rule.metric.period, _EVALUATION_SECONDS_MAX) != 0:
                continue
            before = self._alarms.get(rule.name)
            points = self._variant.points(
                rule.metric, period=rule.metric.period, count=points_needed(rule)
            )
            known: AlarmState = before.state if before is not None else "INSUFFICIENT_DATA"
            state = self._evaluate(rule, points, known, now)
            self._alarms[rule.name] = Alarm(
                name=rule.name,
                state=state,
                threshold=rule.threshold,
                evaluated_at=now,
                points=points[-rule.points :],
                interval=min(rule.metric.period, _EVALUATION_SECONDS_MAX),
            )
            is_new = is_new or state != known
        if is_new:
            self._wake_at = now  # one that goes on firing is the planner's own next look

    def _look(self) -> None:
        """As often as there is something to do at this moment."""
        now = self._variant.now
        while True:
            variant = self._variant
            scaled = Scaled(
                desired=variant.desired,
                in_service=variant.in_service,
                revision=variant.revision,
                unscalable="the endpoint is Updating" if variant.is_updating else "",
            )
            outcome = decide(self._target, scaled, self._by_policy(), self._memory, now=now)
            self._memory = outcome.memory
            self._activities |= outcome.activities
            self._wake_at = now + outcome.seconds
            if outcome.range is not None:
                self._target = replace(self._target, range=outcome.range)
            if outcome.capacity is None:
                return
            variant.set_capacity(outcome.capacity)
            variant.settle()

    def _by_policy(self) -> Mapping[str, Sequence[Alarm]]:
        found: dict[str, list[Alarm]] = {}
        for policy, rule in self._rules:
            if rule.name in self._alarms:
                found.setdefault(policy, []).append(self._alarms[rule.name])
        return found

    def _count(self, row: Row, second: Second) -> None:
        row.arrived += second.arrived
        row.served += second.served
        row.refused += second.refused
        if second.arrived:
            latency = round(second.latency, 3) if self._variant.in_service else math.inf
            self._latencies[latency] = self._latencies.get(latency, 0.0) + second.arrived
            row.latency = max(row.latency, second.latency)

    def _end_row(self, row: Row) -> Row:
        row.desired = self._variant.desired
        row.in_service = self._variant.in_service
        row.queue = self._variant.queue
        self._report.rows.append(row)
        return Row(at=self._variant.now)

    def _summary(self) -> dict[str, Any]:
        rows = self._report.rows
        arrived = math.fsum(row.arrived for row in rows)
        changes = [one for one in self._activities.values() if one.is_scaled]
        counts = [row.in_service for row in rows]
        hours = self._instance_seconds / 3_600
        return {
            "seconds": self._report.ended_at - self._report.started_at,
            "requests": round(arrived, 3),
            "refused": round(math.fsum(row.refused for row in rows), 3),
            "latency_p50": self._quantile(0.5, arrived),
            "latency_p99": self._quantile(0.99, arrived),
            "queue_max": round(max(row.queue for row in rows), 3),
            "capacity_min": min(counts),
            "capacity_max": max(counts),
            "scaling_activities": len(changes),
            "not_scaled_activities": len(self._activities) - len(changes),
            "instance_hours": round(hours, 3),
            "dollars": round(hours * self._scenario.replica.dollars_per_hour, 4),
        }

    def _quantile(self, share: float, arrived: float) -> float | None:
        """None where requests waited for a replica that was not there."""
        passed = 0.0
        for latency in sorted(self._latencies):
            passed += self._latencies[latency]
            if passed >= share * arrived:
                return latency if latency < math.inf else None
        return None


def to_json(report: Report) -> dict[str, Any]:
    """The report for programs; times in epoch seconds."""
    return {
        "started_at": report.started_at,
        "ended_at": report.ended_at,
        "summary": report.summary,
        "minutes": [
            {
                "at": row.at,
                "arrived": round(row.arrived, 3),
                "served": round(row.served, 3),
                "refused": round(row.refused, 3),
                "desired": row.desired,
                "in_service": row.in_service,
                "queue": round(row.queue, 3),
                "latency": round(row.latency, 3),
            }
            for row in report.rows
        ],
        "activities": [
            {
                "started_at": one.started_at,
                "ended_at": one.ended_at,
                "status": one.status,
                "description": one.description,
                "cause": one.cause,
                "message": one.message,
                "details": one.details,
                "not_scaled_reasons": reasons(one),
            }
            for one in report.activities
        ],
    }
