"""What a policy's configuration must keep to, beyond its shape."""

import itertools
import math
from collections.abc import Sequence

from modelyard.base.errors import Unsupported, ValidationError
from modelyard.domain.scaling.policies import PREDEFINED
from modelyard.domain.scaling.targets import Place
from modelyard.services.application_autoscaling.resources import limit_exceeded
from modelyard.store.resources import Json

STEPS_MAX = 20
_STATISTICS = ("Average", "Minimum", "Maximum", "SampleCount", "Sum")


def check_tracking(configuration: Json, place: Place) -> None:
    """The rules of ``TargetTrackingScalingPolicyConfiguration``. Raises ``ValidationError``."""
    predefined = configuration.get("PredefinedMetricSpecification")
    customised = configuration.get("CustomizedMetricSpecification")
    if (predefined is None) == (customised is None):
        raise ValidationError(
            "Give either PredefinedMetricSpecification or CustomizedMetricSpecification."
        )
    target = configuration.get("TargetValue")
    if target is None or not (0 < target < math.inf):
        raise ValidationError("TargetValue must be greater than 0.")
    for member in ("ScaleOutCooldown", "ScaleInCooldown"):
        if configuration.get(member, 0) < 0:
            raise ValidationError(f"{member} must be 0 or more.")
    if predefined is not None:
        _check_predefined(predefined, place)
    else:
        _check_customised(customised or {})


def _check_predefined(predefined: Json, place: Place) -> None:
    kind = predefined["PredefinedMetricType"]
    if "InferenceComponent" in kind:
        raise Unsupported(f"Modelyard does not execute inference components yet: {kind}.")
    if kind not in PREDEFINED or PREDEFINED[kind][4] != place.dimension:
        fitting = [name for name, metric in PREDEFINED.items() if metric[4] == place.dimension]
        raise ValidationError(
            f"{kind} is not a metric of {place.dimension}. Give {' or '.join(fitting)}."
        )
    if predefined.get("ResourceLabel"):
        raise ValidationError(f"A ResourceLabel cannot be specified for {kind}.")


def _check_customised(customised: Json) -> None:
    queries = customised.get("Metrics")
    if queries:
        if "MetricStat" not in queries[0]:
            raise ValidationError("A metric data query needs a MetricStat or an Expression.")
        customised = {
            **queries[0]["MetricStat"]["Metric"],
            "Statistic": queries[0]["MetricStat"]["Stat"],
        }
    for member in ("MetricName", "Namespace", "Statistic"):
        if not customised.get(member):
            raise ValidationError(f"{member} is required in CustomizedMetricSpecification.")
    if customised["Statistic"] not in _STATISTICS:
        raise ValidationError(f"Statistic must be one of {', '.join(_STATISTICS)}.")


def check_steps(configuration: Json) -> None:
    """The rules of ``StepScalingPolicyConfiguration``. Raises ``ValidationError``, ``LimitExceededException``."""
    steps = configuration.get("StepAdjustments") or []
    if not configuration.get("AdjustmentType"):
        raise ValidationError("AdjustmentType is required for a step scaling policy.")
    if not steps:
        raise ValidationError("At least one StepAdjustment is required.")
    if len(steps) > STEPS_MAX:
        raise limit_exceeded("step adjustments in a policy", STEPS_MAX)
    if configuration.get("Cooldown", 0) < 0:
        raise ValidationError("Cooldown must be 0 or more.")
    magnitude = configuration.get("MinAdjustmentMagnitude")
    if magnitude is not None and (
        magnitude < 1 or configuration["AdjustmentType"] != "PercentChangeInCapacity"
    ):
        raise ValidationError(
            "MinAdjustmentMagnitude is 1 or more, and only for PercentChangeInCapacity."
        )
    _check_bounds(
        sorted(
            (
                step.get("MetricIntervalLowerBound", -math.inf),
                step.get("MetricIntervalUpperBound", math.inf),
            )
            for step in steps
        )
    )
    if configuration["AdjustmentType"] == "ExactCapacity" and any(
        step["ScalingAdjustment"] < 0 for step in steps
    ):
        raise ValidationError("An exact capacity must not be negative.")


def _check_bounds(bounds: Sequence[tuple[float, float]]) -> None:
    if any(low >= high for low, high in bounds):
        raise ValidationError("A step's upper bound must be greater than its lower bound.")
    for (_, high), (low, _) in itertools.pairwise(bounds):
        if high > low:
            raise ValidationError("Step adjustments must not overlap.")
        if high < low:
            raise ValidationError("There must be no gap between step adjustments.")
    low, high = bounds[0][0], bounds[-1][1]
    if (low < 0 and low != -math.inf) or (high > 0 and high != math.inf):
        word, sign = (
            ("lower", "negative") if low < 0 and low != -math.inf else ("upper", "positive")
        )
        raise ValidationError(
            f"The outermost step must have no {word} bound where bounds are {sign}: "
            "no breach may be left without a step."
        )
