"""PutMetricData, GetMetricStatistics, ListMetrics."""

import asyncio
import math
from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.metrics import STATISTICS, Summary, check_statistic
from modelyard.services.cloudwatch.parameters import (
    Moment,
    check_period,
    contradictory,
    invalid,
    list_page,
    metric_of,
    missing_parameter,
    seconds,
    shown_dimensions,
)
from modelyard.services.members import EXECUTED, RECORDED, REFUSED, Members, check, present
from modelyard.store.metrics import (
    LISTED_SECONDS,
    Datum,
    MetricsNotKept,
    MetricStore,
    TooManyMetrics,
)
from modelyard.store.resources import Json

VALUES_MAX = 150
DATA_MAX = 1000
POINTS_MAX = 1440
LISTED_MAX = 500
_MAGNITUDE = 2.0**360
_PAST_SECONDS, _FUTURE_SECONDS = 14 * 86_400, 2 * 3600
_DATUM: Members = {
    "MetricName": EXECUTED,
    "Dimensions": EXECUTED,
    "Timestamp": EXECUTED,
    "Value": EXECUTED,
    "StatisticValues": EXECUTED,
    "Values": EXECUTED,
    "Counts": EXECUTED,
    "Unit": EXECUTED,
    "StorageResolution": EXECUTED,
}
MEMBERS: Mapping[str, Members] = {
    "PutMetricData": {
        "Namespace": EXECUTED,
        "MetricData": _DATUM,
        "EntityMetricData": REFUSED,
        "StrictEntityValidation": RECORDED,
    },
    "GetMetricStatistics": {
        "Namespace": EXECUTED,
        "MetricName": EXECUTED,
        "Dimensions": EXECUTED,
        "StartTime": EXECUTED,
        "EndTime": EXECUTED,
        "Period": EXECUTED,
        "Statistics": EXECUTED,
        "ExtendedStatistics": EXECUTED,
        "Unit": EXECUTED,
    },
    "ListMetrics": {
        "Namespace": EXECUTED,
        "MetricName": EXECUTED,
        "Dimensions": EXECUTED,
        "NextToken": EXECUTED,
        "RecentlyActive": EXECUTED,
        "IncludeLinkedAccounts": REFUSED,
        "OwningAccount": REFUSED,
    },
}


class Metrics:
    """Values in, statistics out."""

    def __init__(self, *, metrics: MetricStore, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def put_metric_data(
        self,
        call: Call,
        *,
        namespace: str,
        metric_data: Sequence[Json] | None = None,
        entity_metric_data: Sequence[Json] | None = None,
        strict_entity_validation: bool | None = None,
    ) -> None:
        """All or none of up to 1,000 data."""
        given = present(
            {"MetricData": list(metric_data or []), "EntityMetricData": entity_metric_data}
        )
        check("PutMetricData", MEMBERS["PutMetricData"], given)
        if not metric_data:
            raise missing_parameter("The parameter MetricData is required.")
        if len(metric_data) > DATA_MAX:
            raise invalid(f"The parameter MetricData must have at most {DATA_MAX} members.")
        now = self._clock.now()
        data = [
            _datum(call, namespace, place, one, now)
            for place, one in enumerate(metric_data, start=1)
        ]
        try:
            await asyncio.to_thread(self._metrics.put, data, now=now)
        except TooManyMetrics as error:
            raise ServiceError("LimitExceeded", str(error)) from error
        except MetricsNotKept as error:
            raise ServiceError("InternalServiceError", str(error), status=500) from error

    async def get_metric_statistics(
        self,
        call: Call,
        *,
        namespace: str,
        metric_name: str,
        start_time: Moment,
        end_time: Moment,
        period: int,
        dimensions: Sequence[Json] | None = None,
        statistics: Sequence[str] | None = None,
        extended_statistics: Sequence[str] | None = None,
        unit: str | None = None,
    ) -> Json:
        """Up to 1,440 points of one metric; of a unit that was never given, none."""
        check_period(period)
        if bool(statistics) == bool(extended_statistics):
            raise contradictory("Specify either Statistics or ExtendedStatistics, and not both.")
        for name in extended_statistics or ():
            check_statistic(name)
            if name in STATISTICS:
                raise invalid(f"{name} belongs into Statistics, not ExtendedStatistics.")
        start, end = seconds(start_time or 0.0), seconds(end_time or 0.0)
        if start >= end:
            raise invalid("The parameter StartTime must be less than the parameter EndTime.")
        if (end - start) / period > POINTS_MAX:
            raise contradictory(
                f"You have requested up to {math.ceil((end - start) / period)} datapoints, which exceeds the "
                f"limit of {POINTS_MAX}. You may reduce the datapoints requested by increasing Period, or "
                "decreasing the time range."
            )
        metric = metric_of(call, namespace, metric_name, dimensions)
        found = await asyncio.to_thread(
            self._metrics.read,
            metric,
            start=start,
            end=end,
            period=period,
            now=self._clock.now(),
            unit=unit or "",
        )
        units = await asyncio.to_thread(self._metrics.units, metric)
        shown = unit or (units[0] if units else "None")
        points = [
            _point(at, summary, statistics or (), extended_statistics or (), shown)
            for at, summary in found.items()
        ]
        return {"Label": metric_name, "Datapoints": points}

    async def list_metrics(
        self,
        call: Call,
        *,
        namespace: str | None = None,
        metric_name: str | None = None,
        dimensions: Sequence[Json] | None = None,
        next_token: str | None = None,
        recently_active: str | None = None,
        include_linked_accounts: bool | None = None,
        owning_account: str | None = None,
    ) -> Json:
        """500 a page, of the last two weeks (``PT3H``: of three hours), by name."""
        given = present(
            {"IncludeLinkedAccounts": include_linked_accounts, "OwningAccount": owning_account}
        )
        check("ListMetrics", MEMBERS["ListMetrics"], given)
        age = 3 * 3600 if recently_active == "PT3H" else LISTED_SECONDS
        metrics = await asyncio.to_thread(
            self._metrics.metrics,
            call.account,
            call.region,
            since=self._clock.now() - age,
            namespace=namespace or "",
            name=metric_name or "",
        )
        wanted = [(one["Name"], one.get("Value")) for one in dimensions or ()]
        found: dict[str, Json] = {}
        for metric in metrics:
            has = dict(metric.dimensions)
            if all(name in has and value in (None, has[name]) for name, value in wanted):
                key = f"{metric.namespace}\0{metric.name}\0{metric.dimensions!r}"
                found[key] = {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": shown_dimensions(metric.dimensions),
                }
        scope = f"ListMetrics/{call.account}/{call.region}/{namespace}/{metric_name}/{wanted}"
        shown, token = list_page(found, scope=scope, limit=LISTED_MAX, next_token=next_token)
        return present({"Metrics": shown, "NextToken": token})


def _datum(call: Call, namespace: str, place: int, given: Json, now: float) -> Datum:
    """``place`` counts from 1, as AWS's messages do."""
    summary = Summary()
    where = f"MetricData.member.{place}"
    for other in ("Values", "StatisticValues"):
        if given.get("Value") is not None and given.get(other) is not None:
            raise contradictory(
                f"The parameters {where}.Value and {where}.{other} are mutually exclusive and you have specified both."
            )
    value, values, statistics = (
        given.get("Value"),
        given.get("Values"),
        given.get("StatisticValues"),
    )
    if sum(one is not None for one in (value, values, statistics)) != 1:
        raise contradictory(
            "Each member of MetricData needs exactly one of Value, Values and StatisticValues."
        )
    if value is not None:
        summary.add(_number(value))
    elif values is not None:
        _add_values(summary, values, given.get("Counts"), where)
    else:
        assert statistics is not None
        _add_set(summary, statistics)
    at = seconds(given["Timestamp"]) if given.get("Timestamp") is not None else now
    if not now - _PAST_SECONDS <= at <= now + _FUTURE_SECONDS:
        raise invalid(
            "The parameter Timestamp must specify a time within the past two weeks and the next two hours."
        )
    resolution = given.get("StorageResolution") or 60
    if resolution not in (1, 60):
        raise invalid("The parameter StorageResolution must be 1 or 60.")
    return Datum(
        metric=metric_of(call, namespace, given["MetricName"], given.get("Dimensions")),
        at=int(at),
        summary=summary,
        unit=given.get("Unit") or "None",
        is_high_resolution=resolution == 1,
    )


def _add_values(
    summary: Summary, values: Sequence[float], counts: Sequence[float] | None, where: str
) -> None:
    if not values or len(values) > VALUES_MAX:
        raise invalid(f"The parameter Values must have 1 to {VALUES_MAX} members.")
    if counts is not None and len(counts) != len(values):
        raise invalid(f"The parameters {where}.Values and {where}.Counts must be of the same size.")
    for value, count in zip(values, counts or [1.0] * len(values), strict=True):
        if _number(count) < 0:
            raise invalid("The parameter Counts must not have negative members.")
        summary.add(_number(value), count)


def _add_set(summary: Summary, given: Json) -> None:
    count = _number(given["SampleCount"])
    low, high = _number(given["Minimum"]), _number(given["Maximum"])
    if count <= 0:
        raise invalid("The parameter StatisticValues.SampleCount must be greater than 0.")
    if low > high:
        raise invalid("The parameter StatisticValues.Minimum must not be above its Maximum.")
    summary.add_set(count=count, total=_number(given["Sum"]), low=low, high=high)


def _number(value: float) -> float:
    if not math.isfinite(value) or abs(value) > _MAGNITUDE:
        raise invalid(f"The value {value} is no finite number of at most 2^360.")
    return float(value)


def _point(
    at: int, summary: Summary, statistics: Sequence[str], extended: Sequence[str], unit: str
) -> Json:
    point: Json = {"Timestamp": float(at), "Unit": unit}
    for name in statistics:
        point[name] = summary.statistic(name)
    found = {name: summary.statistic(name) for name in extended}
    if extended:
        point["ExtendedStatistics"] = present(found)
    return point
