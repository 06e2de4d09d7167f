"""GetMetricData: several metrics at once, and arithmetic on them."""

import asyncio
from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.metric_math import Series, evaluate, names_in
from modelyard.domain.metrics import check_statistic
from modelyard.services.cloudwatch.parameters import (
    Moment,
    check_period,
    contradictory,
    invalid,
    metric_of,
    seconds,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check, present
from modelyard.store.metrics import MetricStore
from modelyard.store.resources import Json

QUERIES_MAX = 500
POINTS_MAX = 100_800
MEMBERS: Mapping[str, Members] = {
    "GetMetricData": {
        "MetricDataQueries": {
            "Id": EXECUTED,
            "MetricStat": {
                "Metric": {"Namespace": EXECUTED, "MetricName": EXECUTED, "Dimensions": EXECUTED},
                "Period": EXECUTED,
                "Stat": EXECUTED,
                "Unit": EXECUTED,
            },
            "Expression": EXECUTED,
            "Label": EXECUTED,
            "ReturnData": EXECUTED,
            "Period": EXECUTED,
            "AccountId": REFUSED,
        },
        "StartTime": EXECUTED,
        "EndTime": EXECUTED,
        "ScanBy": EXECUTED,
        "MaxDatapoints": EXECUTED,
        "NextToken": REFUSED,
        "LabelOptions": REFUSED,
    }
}


class MetricData:
    """GetMetricData."""

    def __init__(self, *, metrics: MetricStore, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def get_metric_data(
        self,
        call: Call,
        *,
        metric_data_queries: Sequence[Json],
        start_time: Moment,
        end_time: Moment,
        scan_by: str | None = None,
        max_datapoints: int | None = None,
        next_token: str | None = None,
        label_options: Json | None = None,
    ) -> Json:
        """Newest points first, unless asked otherwise; cut to ``MaxDatapoints`` as ``PartialData``."""
        given = {
            "MetricDataQueries": list(metric_data_queries),
            "NextToken": next_token,
            "LabelOptions": label_options,
        }
        check("GetMetricData", MEMBERS["GetMetricData"], present(given))
        start, end = seconds(start_time or 0.0), seconds(end_time or 0.0)
        if start >= end:
            raise ServiceError("ValidationError", "StartTime must be less than EndTime.")
        if len(metric_data_queries) > QUERIES_MAX:
            raise ServiceError("ValidationError", f"At most {QUERIES_MAX} queries are allowed.")
        queries = {query["Id"]: query for query in metric_data_queries}
        if len(queries) != len(metric_data_queries):
            raise ServiceError("ValidationError", "The Ids of MetricDataQueries must be different.")
        found: dict[str, Series] = {}
        for name in _in_order(queries):
            query = queries[name]
            if query.get("Expression") is not None:
                found[name] = evaluate(query["Expression"], found)
            else:
                found[name] = await self._stat(call, query, start, end)
        results = []
        left = max_datapoints or POINTS_MAX
        for name, query in queries.items():
            if query.get("ReturnData", True):
                result = _result(query, found[name], newest_first=scan_by != "TimestampAscending")
                left = _cut(result, left)
                results.append(result)
        return {"MetricDataResults": results, "Messages": []}

    async def _stat(self, call: Call, query: Json, start: float, end: float) -> Series:
        stat = query.get("MetricStat")
        if stat is None:
            raise contradictory(f"Query {query['Id']} needs a MetricStat or an Expression.")
        check_period(stat["Period"])
        check_statistic(stat["Stat"])
        if (end - start) / stat["Period"] > POINTS_MAX:
            raise invalid(f"Query {query['Id']} asks for more than {POINTS_MAX:,} datapoints.")
        metric = stat["Metric"]
        found = await asyncio.to_thread(
            self._metrics.read,
            metric_of(
                call,
                metric.get("Namespace", ""),
                metric.get("MetricName", ""),
                metric.get("Dimensions"),
            ),
            start=start,
            end=end,
            period=stat["Period"],
            now=self._clock.now(),
            unit=stat.get("Unit") or "",
        )
        values = ((at, summary.statistic(stat["Stat"])) for at, summary in found.items())
        return Series(points={at: value for at, value in values if value is not None})


def _in_order(queries: Mapping[str, Json]) -> list[str]:
    """Each after those that it is made of. Raises ``ValidationError`` for circles and unknown names."""
    order: list[str] = []
    open_: set[str] = set()

    def visit(name: str) -> None:
        if name in order:
            return
        if name not in queries or name in open_:
            why = "refers to itself" if name in open_ else "is not among the queries"
            raise ServiceError("ValidationError", f"Error in expression: {name} {why}.")
        open_.add(name)
        for other in sorted(names_in(queries[name].get("Expression") or "", set(queries))):
            visit(other)
        open_.discard(name)
        order.append(name)

    for name in queries:
        visit(name)
    return order


def _result(query: Json, series: Series, *, newest_first: bool) -> Json:
    moments = sorted(series.points, reverse=newest_first)
    metric = (query.get("MetricStat") or {}).get("Metric") or {}
    return {
        "Id": query["Id"],
        "Label": query.get("Label") or metric.get("MetricName") or query["Id"],
        "Timestamps": [float(at) for at in moments],
        "Values": [series.points[at] for at in moments],
        "StatusCode": "Complete",
    }


def _cut(result: Json, left: int) -> int:
    if len(result["Values"]) > left:
        result["Timestamps"], result["Values"] = (
            result["Timestamps"][:left],
            result["Values"][:left],
        )
        result["StatusCode"] = "PartialData"
    return left - len(result["Values"])
