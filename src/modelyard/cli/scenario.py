"""What a simulation of scaling is given: policies, scheduled actions and alarms, in the form of AWS's requests.

The file is JSON: a ``TargetTrackingScalingPolicyConfiguration`` as ``aws application-autoscaling`` takes it, or an object of
``MinCapacity``, ``MaxCapacity``, ``InitialCapacity``, ``ScalingPolicies`` (of PutScalingPolicy), ``ScheduledActions`` (of
PutScheduledAction) and ``Alarms`` (of PutMetricAlarm, with names of policies as their ``AlarmActions``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import botocore.session
from botocore.validate import ParamValidator

from modelyard.base.errors import ServiceError
from modelyard.cli.platform import CommandFailed
from modelyard.domain.scaling.load_model import EMITTED, Replica
from modelyard.domain.scaling.policies import (
    AlarmRule,
    Metric,
    Policy,
    Tracking,
    alarm_rules,
    stepping,
    tracking,
)
from modelyard.domain.scaling.schedules import parse as parse_schedule
from modelyard.domain.scaling.schedules import zone
from modelyard.domain.scaling.simulation import Scenario
from modelyard.domain.scaling.state import ScheduledAction, Target
from modelyard.domain.scaling.targets import INSTANCES, NAMESPACE, Place, Range
from modelyard.services.application_autoscaling.policy_rules import check_steps, check_tracking

PLACE = Place(endpoint="simulated", variant="AllTraffic")
_IDENTITY = {
    "ServiceNamespace": NAMESPACE,
    "ResourceId": PLACE.resource_id,
    "ScalableDimension": INSTANCES,
}
_MEMBERS = (
    "MinCapacity", "MaxCapacity", "InitialCapacity", "ScalingPolicies", "ScheduledActions", "Alarms",
)  # fmt: skip
_COMPARISONS = (
    "GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold",
)  # fmt: skip
_HINT = "See the guide: docs/guides/autoscaling.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What was given on the command line; None leaves it to the file."""

    low: int | None = None
    high: int | None = None
    initial: int | None = None


def read_scenario(path: Path, replica: Replica, bounds: Bounds, *, start: float) -> Scenario:
    """Raises ``CommandFailed`` that says what is wrong with the file. ``start`` is the trace's."""
    document = _read(path)
    if "TargetValue" in document:
        document = {
            "ScalingPolicies": [
                {
                    "PolicyName": path.stem,
                    "PolicyType": "TargetTrackingScaling",
                    "TargetTrackingScalingPolicyConfiguration": document,
                }
            ]
        }
    unknown = [name for name in document if name not in _MEMBERS]
    if unknown:
        raise CommandFailed(f"{path}: unknown member {unknown[0]}.", _HINT)
    try:
        return _scenario(document, replica, bounds, start)
    except ServiceError as error:
        raise CommandFailed(f"{path}: {error.message}", _HINT) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise CommandFailed(f"Cannot read {path}: {error.strerror}.", _HINT) from None
    except ValueError as error:
        raise CommandFailed(f"{path} is no JSON: {error}.", _HINT) from None
    if not isinstance(document, dict):
        raise CommandFailed(f"{path}: it must be a JSON object.", _HINT)
    return document


def _scenario(
    document: Mapping[str, Any], replica: Replica, bounds: Bounds, start: float
) -> Scenario:
    low = document.get("MinCapacity", 1) if bounds.low is None else bounds.low
    high = document.get("MaxCapacity", 10) if bounds.high is None else bounds.high
    initial = document.get("InitialCapacity", low) if bounds.initial is None else bounds.initial
    if not all(isinstance(one, int) for one in (low, high, initial)) or initial < 0:
        raise CommandFailed("Capacities are whole numbers, 0 or more.", _HINT)
    policies = [_policy(one) for one in document.get("ScalingPolicies", ())]
    alarms: dict[str, list[AlarmRule]] = {
        one.name: list(alarm_rules(one)) for one in policies if isinstance(one, Tracking)
    }
    for one in document.get("Alarms", ()):
        rule, names = _alarm(one)
        for name in names:
            if name not in {policy.name for policy in policies}:
                raise CommandFailed(
                    f"Alarm {rule.name} acts on no policy of the file: {name}.", _HINT
                )
            alarms.setdefault(name, []).append(rule)
    _check_emitted(rule.metric for rules in alarms.values() for rule in rules)
    actions = [_action(one, start) for one in document.get("ScheduledActions", ())]
    target = Target(
        place=PLACE, range=Range(low=low, high=high).check(), policies=policies, actions=actions
    )
    return Scenario(target=target, alarms=alarms, replica=replica, initial=initial)


def _policy(request: Mapping[str, Any]) -> Policy:
    _validate("application-autoscaling", "PutScalingPolicy", {**request, **_IDENTITY})
    name = request["PolicyName"]
    steps = request.get("StepScalingPolicyConfiguration")
    if steps is not None:
        check_steps(steps)
        return stepping(name, name, steps)
    configuration = request.get("TargetTrackingScalingPolicyConfiguration")
    if configuration is None:
        raise CommandFailed(f"Policy {name} has no configuration that can be simulated.", _HINT)
    check_tracking(configuration, PLACE)
    alarms = [f"{name}-AlarmHigh", f"{name}-AlarmLow"]
    return tracking(name, name, configuration, PLACE, alarms)


def _action(request: Mapping[str, Any], start: float) -> ScheduledAction:
    _validate("application-autoscaling", "PutScheduledAction", {**request, **_IDENTITY})
    bounds = request.get("ScalableTargetAction", {})
    timezone: ZoneInfo = zone(request.get("Timezone"))
    return ScheduledAction(
        name=request["ScheduledActionName"],
        schedule=parse_schedule(request.get("Schedule", "")),
        timezone=timezone,
        start=start,
        put_at=start - 1.0,  # it is there before the first second
        low=bounds.get("MinCapacity"),
        high=bounds.get("MaxCapacity"),
    )


def _alarm(request: Mapping[str, Any]) -> tuple[AlarmRule, Sequence[str]]:
    _validate("cloudwatch", "PutMetricAlarm", request)
    name = request["AlarmName"]
    needed = ("MetricName", "Namespace", "Statistic", "Period", "Threshold", "AlarmActions")
    missing = [member for member in needed if member not in request]
    if missing:
        raise CommandFailed(f"Alarm {name} has no {missing[0]}.", _HINT)
    if request["ComparisonOperator"] not in _COMPARISONS:
        raise CommandFailed(
            f"Alarm {name}: {request['ComparisonOperator']} is not simulated.", _HINT
        )
    if request["Period"] % 10:
        raise CommandFailed(f"Alarm {name}: its period must be a multiple of 10 seconds.", _HINT)
    points = request["EvaluationPeriods"]
    metric = Metric(
        namespace=request["Namespace"],
        name=request["MetricName"],
        dimensions=(),
        statistic=request["Statistic"],
        period=request["Period"],
    )
    rule = AlarmRule(
        name=name,
        metric=metric,
        comparison=request["ComparisonOperator"],
        threshold=request["Threshold"],
        points=points,
        breaching=request.get("DatapointsToAlarm", points),
        missing=request.get("TreatMissingData", "missing"),
    )
    return rule, request["AlarmActions"]


def _check_emitted(metrics: Any) -> None:
    for metric in metrics:
        if metric.name not in EMITTED:
            raise CommandFailed(
                f"The simulated endpoint does not emit {metric.name}.",
                f"It emits {', '.join(EMITTED)}.",
            )


def _validate(service: str, operation: str, request: Mapping[str, Any]) -> None:
    """By AWS's model, as the API does. Raises ``CommandFailed``."""
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation)
    report = ParamValidator().validate(dict(request), shape.input_shape)
    if report.has_errors():
        raise CommandFailed(f"{operation}: {report.generate_report()}", _HINT)
