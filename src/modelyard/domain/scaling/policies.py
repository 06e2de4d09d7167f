"""Scaling policies as values, and the capacity that each asks for.

*Target tracking* keeps a metric near a value. It owns two alarms: High, above the target for 3 minutes, and Low, below
0.9 of it for 15 minutes. *Step scaling* adds or removes by how far its user's alarm is breached.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.domain.scaling.targets import CONCURRENCY, INSTANCES, Place

Missing = Literal["missing", "ignore", "breaching", "notBreaching"]
Statistic = Literal["Average", "Minimum", "Maximum", "SampleCount", "Sum"]
LOW_FACTOR = 0.9
"""The Low alarm's threshold, of the target value."""
COOLDOWN_SECONDS = 300.0
HIGH_RESOLUTION_SECONDS = 10
_HIGH_POINTS = 3
_LOW_SECONDS = 900
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One time series; ``period`` in seconds is how finely policies look at it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: Statistic
    period: int = 60
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """``TargetTrackingScaling``."""

    name: str
    arn: str
    metric: Metric
    target: float
    out_seconds: float = COOLDOWN_SECONDS
    in_seconds: float = COOLDOWN_SECONDS
    disable_scale_in: bool = False
    high_alarm: str = ""
    low_alarm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Bounds are relative to the alarm's threshold; None is infinity."""

    lower: float | None
    upper: float | None
    adjustment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepping:
    """``StepScaling``."""

    name: str
    arn: str
    adjustment_type: str
    steps: tuple[Step, ...]
    minimum_magnitude: int = 0
    cooldown_seconds: float = COOLDOWN_SECONDS
    aggregation: str = "Average"


Policy = Tracking | Stepping


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """An alarm: ``breaching`` of the last ``points`` points of its metric are beyond the threshold.

    Those that a tracking policy owns need all. ``missing`` is CloudWatch's ``TreatMissingData``.
    """

    name: str
    metric: Metric
    comparison: str
    threshold: float
    points: int
    breaching: int
    missing: Missing = "missing"


PREDEFINED: Mapping[str, tuple[str, str, Statistic, int, str]] = {
    "SageMakerVariantInvocationsPerInstance": (
        "AWS/SageMaker", "InvocationsPerInstance", "Sum", 60, INSTANCES,
    ),
    "SageMakerVariantProvisionedConcurrencyUtilization": (
        "AWS/SageMaker", "ServerlessProvisionedConcurrencyUtilization", "Maximum", 60, CONCURRENCY,
    ),
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": (
        "AWS/SageMaker", "ConcurrentRequestsPerModel", "Average", HIGH_RESOLUTION_SECONDS, INSTANCES,
    ),
}  # fmt: skip
"""Predefined metrics of variants: namespace, name, statistic, period, and the dimension that they scale."""


def predefined_metric(kind: str, place: Place) -> Metric:
    """The metric of the variant that ``place`` names. Raises ``KeyError`` for a kind that is not one of ours."""
    namespace, name, statistic, period, _ = PREDEFINED[kind]
    dimensions = (("EndpointName", place.endpoint), ("VariantName", place.variant))
    return Metric(
        namespace=namespace, name=name, dimensions=dimensions, statistic=statistic, period=period
    )


def alarm_rules(policy: Tracking) -> tuple[AlarmRule, ...]:
    """High and Low. A policy that must not scale in has a Low too, and does not listen to it."""
    period = policy.metric.period
    high = AlarmRule(
        name=policy.high_alarm,
        metric=policy.metric,
        comparison="GreaterThanThreshold",
        threshold=policy.target,
        points=_HIGH_POINTS,
        breaching=_HIGH_POINTS,
    )
    low = AlarmRule(
        name=policy.low_alarm,
        metric=policy.metric,
        comparison="LessThanThreshold",
        threshold=LOW_FACTOR * policy.target,
        points=_LOW_SECONDS // period,
        breaching=_LOW_SECONDS // period,
    )
    return high, low


def needed_for(loads: Sequence[float], target: float) -> int:
    """The capacity at which the highest of these loads (metric by capacity then) meets the target."""
    return math.ceil(max(loads) / target - _EPSILON)


def stepped(policy: Stepping, *, capacity: int, breach: float) -> int | None:
    """What the step that holds ``breach`` (metric less threshold) makes of ``capacity``; None if no step does."""
    found = next((step for step in policy.steps if _holds(step, breach)), None)
    if found is None:
        return None
    if policy.adjustment_type == "ExactCapacity":
        return found.adjustment
    change = float(found.adjustment)
    if policy.adjustment_type == "PercentChangeInCapacity":
        change = _whole(capacity * found.adjustment / 100)
        if found.adjustment and policy.minimum_magnitude > abs(change):
            change = math.copysign(policy.minimum_magnitude, found.adjustment)
    return max(0, capacity + int(change))


def _whole(change: float) -> int:
    """A share of an instance: more than one is rounded down, less than one (but not none) becomes one."""
    size = abs(change)
    whole = 1 if 0 < size < 1 else math.floor(size + _EPSILON)
    return int(math.copysign(whole, change))


def _holds(step: Step, breach: float) -> bool:
    """Above the threshold the lower bound belongs to the step, below it the upper one."""
    low = -math.inf if step.lower is None else step.lower
    high = math.inf if step.upper is None else step.upper
    if breach >= 0:
        return low <= breach < high
    return low < breach <= high


def tracking(
    name: str, arn: str, configuration: Mapping[str, Any], place: Place, alarms: Sequence[str]
) -> Tracking:
    """From a ``TargetTrackingScalingPolicyConfiguration`` that was checked; ``alarms``: names of High and Low."""
    return Tracking(
        name=name,
        arn=arn,
        metric=_metric(configuration, place),
        target=configuration["TargetValue"],
        out_seconds=configuration.get("ScaleOutCooldown", COOLDOWN_SECONDS),
        in_seconds=configuration.get("ScaleInCooldown", COOLDOWN_SECONDS),
        disable_scale_in=configuration.get("DisableScaleIn", False),
        high_alarm=alarms[0],
        low_alarm=alarms[1],
    )


def stepping(name: str, arn: str, configuration: Mapping[str, Any]) -> Stepping:
    """From a ``StepScalingPolicyConfiguration`` that was checked."""
    return Stepping(
        name=name,
        arn=arn,
        adjustment_type=configuration["AdjustmentType"],
        steps=tuple(
            Step(
                lower=step.get("MetricIntervalLowerBound"),
                upper=step.get("MetricIntervalUpperBound"),
                adjustment=step["ScalingAdjustment"],
            )
            for step in configuration["StepAdjustments"]
        ),
        minimum_magnitude=configuration.get("MinAdjustmentMagnitude", 0),
        cooldown_seconds=configuration.get("Cooldown", COOLDOWN_SECONDS),
        aggregation=configuration.get("MetricAggregationType", "Average"),
    )


def _metric(configuration: Mapping[str, Any], place: Place) -> Metric:
    predefined = configuration.get("PredefinedMetricSpecification")
    if predefined is not None:
        return predefined_metric(predefined["PredefinedMetricType"], place)
    custom = configuration["CustomizedMetricSpecification"]
    unit: str | None = custom.get("Unit")
    if custom.get("Metrics"):  # one query without an expression: what was checked
        stat = custom["Metrics"][0]["MetricStat"]
        custom = {**stat["Metric"], "Statistic": stat["Stat"]}
        unit = stat.get("Unit")
    return Metric(
        namespace=custom["Namespace"],
        name=custom["MetricName"],
        dimensions=tuple((one["Name"], one["Value"]) for one in custom.get("Dimensions") or ()),
        statistic=custom["Statistic"],
        unit=unit,
    )
