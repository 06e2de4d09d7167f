"""GetMetricData: several metrics at once, and arithmetic on them."""

import asyncio
from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.metric_math import Series, evaluate_all
from modelyard.domain.metrics import check_statistic
from modelyard.services.cloudwatch.parameters import (
    Moment,
    check_period,
    contradictory,
    invalid,
    list_page,
    metric_of,
    seconds,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check, present
from modelyard.store.metrics import MetricStore
from modelyard.store.resources import Json

QUERIES_MAX = 500
POINTS_MAX = 100_800
QUERY: Members = {
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
}
MEMBERS: Mapping[str, Members] = {
    "GetMetricData": {
        "MetricDataQueries": QUERY,
        "StartTime": EXECUTED,
        "EndTime": EXECUTED,
        "ScanBy": EXECUTED,
        "MaxDatapoints": EXECUTED,
        "NextToken": EXECUTED,
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
        """Newest points first, unless asked otherwise; more than ``MaxDatapoints`` come in pages."""
        given = {
            "MetricDataQueries": list(metric_data_queries),
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
        for query in metric_data_queries:
            check_query(query)
        stats = {
            name: await self._stat(call, query, start, end)
            for name, query in queries.items()
            if query.get("MetricStat") is not None
        }
        found = evaluate_all(
            {name: query.get("Expression") or "" for name, query in queries.items()}, stats
        )
        labels = _labels(metric_data_queries)
        is_ascending = scan_by == "TimestampAscending"
        results = [
            _result(name, labels[name], found[name], is_ascending=is_ascending)
            for name, query in queries.items()
            if query.get("ReturnData", True)
        ]
        shown, token = _paged(
            results,
            is_ascending=is_ascending,
            scope=f"GetMetricData/{call.account}/{call.region}/{start}/{end}/{sorted(queries)}",
            limit=max_datapoints or POINTS_MAX,
            token=next_token,
        )
        return present({"MetricDataResults": shown, "Messages": [], "NextToken": token})

    async def _stat(self, call: Call, query: Json, start: float, end: float) -> Series:
        stat = query["MetricStat"]
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


def check_query(query: Json) -> None:
    """One of ``MetricDataQueries``, or of an alarm's ``Metrics``."""
    stat = query.get("MetricStat")
    if (stat is None) == (query.get("Expression") is None):
        raise contradictory(
            f"Query {query['Id']} needs a MetricStat or an Expression, and not both."
        )
    if stat is not None:
        check_period(stat["Period"])
        check_statistic(stat["Stat"])


def _paged(
    results: Sequence[Json], *, is_ascending: bool, scope: str, limit: int, token: str | None
) -> tuple[list[Json], str | None]:
    """Up to ``limit`` points, one result after the other; of whole results, those without any come last."""
    total = sum(len(result["Values"]) for result in results)
    if token is None and total <= limit:
        return list(results), None
    # A page ends at a moment, not after a number of points: newer ones that appear meanwhile shift nothing.
    points = {
        f"{place:04d}/{rank:09d}": {"place": place, "at": at, "value": value}
        for place, result in enumerate(results)
        for at, value in zip(result["Timestamps"], result["Values"], strict=True)
        for rank in (int(at) if is_ascending else 10**11 - int(at),)
    }
    shown, following = list_page(points, scope=scope, limit=limit, next_token=token)
    last = shown[-1]["place"] if shown else len(results)
    page: list[Json] = []
    for place, result in enumerate(results):
        own = [one for one in shown if one["place"] == place]
        if own or (following is None and not result["Values"]):
            is_cut = following is not None and place == last
            page.append(
                {
                    **result,
                    "Timestamps": [one["at"] for one in own],
                    "Values": [one["value"] for one in own],
                    "StatusCode": "PartialData" if is_cut else "Complete",
                }
            )
    return page, following


def _labels(queries: Sequence[Json]) -> dict[str, str]:
    """By query: its own label, or its metric's name with what tells it from other queries of that name."""
    asked = [query["MetricStat"] for query in queries if query.get("MetricStat") is not None]
    labels = {}
    for query in queries:
        stat = query.get("MetricStat")
        name = stat["Metric"].get("MetricName") if stat is not None else None
        alike = [one for one in asked if one["Metric"].get("MetricName") == name]
        differing = [
            str(stat[member])
            for member in ("Stat", "Period")
            if stat is not None and len({one[member] for one in alike}) > 1
        ]
        default = " ".join([name, *differing]) if name else query["Id"]
        labels[query["Id"]] = query.get("Label") or default
    return labels


def _result(name: str, label: str, series: Series, *, is_ascending: bool) -> Json:
    moments = sorted(series.points, reverse=not is_ascending)
    return {
        "Id": name,
        "Label": label,
        "Timestamps": [float(at) for at in moments],
        "Values": [series.points[at] for at in moments],
        "StatusCode": "Complete",
    }
