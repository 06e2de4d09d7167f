"""What an alarm may look like: the members of PutMetricAlarm, their defaults, and the rules that the model cannot express."""

import math
from collections.abc import Mapping, Sequence

from modelyard.base.errors import ServiceError
from modelyard.domain.alarms import COMPARISONS
from modelyard.domain.metric_math import Series, evaluate_all
from modelyard.domain.metrics import STATISTICS, check_statistic
from modelyard.services.cloudwatch.metric_data import QUERY, check_query
from modelyard.services.cloudwatch.parameters import (
    check_period,
    contradictory,
    dimensions_of,
    invalid,
    missing_parameter,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check, only
from modelyard.store.resources import Json

MAGNITUDE = 2.0**360
_DAY_SECONDS, _HOUR_SECONDS = 86_400, 3_600
_RANGE_DAYS = 7
_QUERIES_MAX = 20
_TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
_OF_ONE_METRIC = (
    "Namespace",
    "MetricName",
    "Dimensions",
    "Period",
    "Unit",
    "Statistic",
    "ExtendedStatistic",
)
DEFAULTS: Json = {
    "ActionsEnabled": True,
    "OKActions": [],
    "AlarmActions": [],
    "InsufficientDataActions": [],
    "TreatMissingData": "missing",
}
MEMBERS: Mapping[str, Members] = {
    "PutMetricAlarm": {
        "AlarmName": EXECUTED,
        "AlarmDescription": EXECUTED,
        "ActionsEnabled": EXECUTED,
        "OKActions": EXECUTED,
        "AlarmActions": EXECUTED,
        "InsufficientDataActions": EXECUTED,
        "MetricName": EXECUTED,
        "Namespace": EXECUTED,
        "Statistic": EXECUTED,
        "ExtendedStatistic": EXECUTED,
        "Dimensions": EXECUTED,
        "Period": EXECUTED,
        "Unit": EXECUTED,
        "EvaluationPeriods": EXECUTED,
        "DatapointsToAlarm": EXECUTED,
        "Threshold": EXECUTED,
        "ComparisonOperator": only(*COMPARISONS),
        "TreatMissingData": EXECUTED,
        "EvaluateLowSampleCountPercentile": only("evaluate"),
        "Metrics": QUERY,
        "ThresholdMetricId": REFUSED,
        "Tags": EXECUTED,
        "ActionConfiguration": REFUSED,
        "EvaluationCriteria": REFUSED,
        "EvaluationInterval": REFUSED,
        "EvaluationWindow": REFUSED,
        "WarmUpConfiguration": REFUSED,
    },
}


def alarm_spec(given: Json) -> Json:
    """The alarm as it is kept: what was given, defaults, and ``period``. Raises ``ServiceError`` for what breaks a rule."""
    check("PutMetricAlarm", MEMBERS["PutMetricAlarm"], given)
    for name in ("Threshold", "EvaluationPeriods", "ComparisonOperator"):
        if name not in given:
            raise missing_parameter(f"The parameter {name} is required.")
    if not math.isfinite(given["Threshold"]) or abs(given["Threshold"]) > MAGNITUDE:
        raise invalid(f"The Threshold {given['Threshold']} is no finite number of at most 2^360.")
    if given.get("TreatMissingData", "missing") not in _TREATMENTS:
        raise invalid(f"TreatMissingData must be one of {', '.join(_TREATMENTS)}.")
    period = _period_of_queries(given) if given.get("Metrics") else _period_of_metric(given)
    _check_periods(given, period)
    dimensions: Json = {} if given.get("Metrics") else {"Dimensions": []}
    spec = {**DEFAULTS, **dimensions, **given, "period": period}
    spec.setdefault("DatapointsToAlarm", spec["EvaluationPeriods"])
    return spec


def _period_of_metric(given: Json) -> int:
    for name in ("MetricName", "Namespace", "Period"):
        if name not in given:
            raise missing_parameter(f"The parameter {name} is required.")
    if ("Statistic" in given) == ("ExtendedStatistic" in given):
        raise contradictory("Specify either Statistic or ExtendedStatistic, and not both.")
    if "ExtendedStatistic" in given:
        check_statistic(given["ExtendedStatistic"])
        if given["ExtendedStatistic"] in STATISTICS:
            raise invalid(f"{given['ExtendedStatistic']} belongs into Statistic.")
    dimensions_of(given.get("Dimensions"))
    period: int = given["Period"]
    return period


def _period_of_queries(given: Json) -> int:
    """Of an alarm on an expression: the one period of its metrics, whose result decides."""
    queries: Sequence[Json] = given["Metrics"]
    both = [name for name in _OF_ONE_METRIC if given.get(name)]
    if both:
        raise contradictory(f"Metrics cannot be given together with {', '.join(both)}.")
    if len(queries) > _QUERIES_MAX:
        raise invalid(f"Metrics has at most {_QUERIES_MAX} members.")
    if len({query["Id"] for query in queries}) != len(queries):
        raise ServiceError("ValidationError", "The Ids of Metrics must be different.")
    if sum(query.get("ReturnData", True) for query in queries) != 1:
        raise ServiceError("ValidationError", "Exactly one member of Metrics must return data.")
    for query in queries:
        check_query(query)
    stats = [query["MetricStat"] for query in queries if query.get("MetricStat")]
    for stat in stats:
        dimensions_of(stat["Metric"].get("Dimensions"))
    periods = {stat["Period"] for stat in stats}
    if len(periods) != 1:
        raise ServiceError(
            "ValidationError",
            "All metrics of an alarm must have the same Period, and one at least.",
        )
    # Once without data: it shows what cannot be read or is not executed.
    evaluate_all(
        {query["Id"]: query.get("Expression") or "" for query in queries},
        {query["Id"]: Series(points={}) for query in queries if query.get("MetricStat")},
    )
    (period,) = periods
    return int(period)


def _check_periods(spec: Json, period: int) -> None:
    periods: int = spec["EvaluationPeriods"]
    needed: int = spec.get("DatapointsToAlarm", periods)
    if period in (1, 5):
        raise invalid("The parameter Period of an alarm must be 10, 20, 30 or a multiple of 60.")
    check_period(period)
    if not 1 <= needed <= periods:
        raise ServiceError(
            "ValidationError", "DatapointsToAlarm must be 1 to EvaluationPeriods datapoints."
        )
    days = 1 if period < _HOUR_SECONDS else _RANGE_DAYS
    if period * periods > days * _DAY_SECONDS:
        raise ServiceError(
            "ValidationError",
            f"Metrics cannot be checked across more than {days} day{'s' if days > 1 else ''} "
            f"with a Period of {period} seconds (EvaluationPeriods * Period <= {days * _DAY_SECONDS}).",
        )
