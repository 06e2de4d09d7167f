"""Alarms as a rehearsal can evaluate them: those on metrics that follow from requests and their answers. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.alarms import Rule
from modelyard.domain.endpoint_metrics import NAMESPACE, Counted, summaries
from modelyard.domain.metric_math import Series, evaluate_all
from modelyard.domain.metrics import BUCKET_WIDTH, Summary

Json = Mapping[str, Any]
REPLAYED = frozenset(
    (
        "Invocations",
        "InvocationsPerInstance",
        "Invocation4XXErrors",
        "Invocation5XXErrors",
        "InvocationModelErrors",
    )
)
MEASURED = frozenset(("ModelLatency",))
"""What differs from run to run: only on request."""
_OK, _CLIENT, _SERVER = 200, 400, 500


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic of a variant's metric. ``fleets``: of the old one, of the new one (True), or of both."""

    id: str
    metric: str = ""
    statistic: str = ""
    variant: str = ""
    fleets: tuple[bool, ...] = ()
    expression: str = ""


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm: its rule, and the queries that make its value; ``decides`` is the Id of the one it looks at."""

    name: str
    rule: Rule
    queries: tuple[Query, ...]
    decides: str = "value"


class Fleets(msgspec.Struct, frozen=True, kw_only=True):
    """What dimensions may name: the endpoint, its configs now and to be, and whether latencies were measured."""

    endpoint: str
    old: str
    new: str
    measured: bool


class Cell(msgspec.Struct):
    """One fleet's part of a variant in a few seconds."""

    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    errors: int = 0
    latencies: dict[int, int] = {}
    microseconds: float = 0.0

    def add(self, status: int, place: int, count: int) -> None:
        """``count`` answers of one status; ``place`` is their latency's."""
        self.requests += count
        if status != _OK:
            self.errors += count
            self.server_errors += count * (status >= _SERVER)
            self.client_errors += count * (_CLIENT <= status < _SERVER)
        self.latencies[place] = self.latencies.get(place, 0) + count
        self.microseconds += math.exp((place + 0.5) * BUCKET_WIDTH) * count

    def counted(self, instances: int) -> Counted:
        return Counted(
            requests=self.requests,
            client_errors=self.client_errors,
            server_errors=self.server_errors,
            model_errors=self.errors,
            model_sum=self.microseconds,
            overhead_sum=0.0,
            model=self.latencies,
            overhead={},
            instances=instances,
            in_flight=0,
        )


def place_of_latency(microseconds: float) -> int:
    """The bucket that ``Counted.model`` counts it in."""
    return int(math.log(microseconds) / BUCKET_WIDTH) if microseconds > 1.0 else 0


def watched_of(alarm: Json, fleets: Fleets) -> Watched | str:
    """An alarm as DescribeAlarms shows it, or why it cannot be rehearsed."""
    try:
        queries, decides, period = _queries(alarm, fleets)
    except _CannotReplay as reason:
        return str(reason)
    periods = alarm["EvaluationPeriods"]
    rule = Rule(
        comparison=alarm["ComparisonOperator"],
        threshold=alarm["Threshold"],
        period=period,
        periods=periods,
        needed=alarm.get("DatapointsToAlarm") or periods,
        missing=alarm.get("TreatMissingData") or "missing",
    )
    return Watched(name=alarm["AlarmName"], rule=rule, queries=queries, decides=decides)


class _CannotReplay(Exception):
    """Why an alarm is left out."""


def _queries(alarm: Json, fleets: Fleets) -> tuple[tuple[Query, ...], str, int]:
    if not alarm.get("Metrics"):
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        query = _query("value", alarm, statistic, fleets)
        return (query,), "value", _period(alarm["Period"])
    found = []
    periods = set()
    for one in alarm["Metrics"]:
        stat = one.get("MetricStat")
        if stat is None:
            found.append(Query(id=one["Id"], expression=one["Expression"]))
            continue
        periods.add(stat["Period"])
        found.append(_query(one["Id"], stat["Metric"], stat["Stat"], fleets))
    (decides,) = (one["Id"] for one in alarm["Metrics"] if one.get("ReturnData", True))
    return tuple(found), decides, _period(max(periods, default=60))


def _period(seconds: int) -> int:
    if seconds % 10:
        raise _CannotReplay(f"its period of {seconds} seconds is no multiple of 10")
    return seconds


def _query(name: str, metric: Json, statistic: str, fleets: Fleets) -> Query:
    title = metric["MetricName"]
    if metric["Namespace"] != NAMESPACE or title not in REPLAYED | MEASURED:
        raise _CannotReplay(f"{metric['Namespace']} {title} does not follow from requests")
    if title in MEASURED and not fleets.measured:
        raise _CannotReplay(f"{title} is measured, and differs from run to run: --latency")
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions") or ()}
    if dimensions.pop("EndpointName", "") != fleets.endpoint:
        raise _CannotReplay(f"it does not watch endpoint {fleets.endpoint}")
    variant = dimensions.pop("VariantName", "")
    config = dimensions.pop("EndpointConfigName", None)
    known: dict[str | None, tuple[bool, ...]] = {
        fleets.old: (False,),
        fleets.new: (True,),
        None: (False, True),
    }
    if fleets.old == fleets.new:
        known[fleets.old] = known[None]
    if not variant or dimensions or config not in known:
        raise _CannotReplay("its dimensions are those of no fleet of this rollout")
    return Query(id=name, metric=title, statistic=statistic, variant=variant, fleets=known[config])


def value_of(
    alarm: Watched, at: int, cells: Callable[[str, Sequence[bool]], list[Counted]]
) -> float | None:
    """The alarm's value of the period that begins ``at``, of what ``cells`` counted in it; None without data."""
    stats = {}
    for query in alarm.queries:
        if query.expression:
            continue
        total = Summary()
        for counted in cells(query.variant, query.fleets):
            for name, _, summary in summaries(counted):
                if name == query.metric:
                    total.merge(summary)
        value = total.statistic(query.statistic)
        stats[query.id] = Series(points={} if value is None else {at: value})
    expressions = {query.id: query.expression for query in alarm.queries}
    try:
        return evaluate_all(expressions, stats)[alarm.decides].points.get(at)
    except ServiceError:
        return None  # PutMetricAlarm has refused what cannot be read; a period without data may not add up.
