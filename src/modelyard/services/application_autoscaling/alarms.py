"""The two alarms that a tracking policy owns, as CloudWatch keeps them."""

from collections.abc import Sequence

from modelyard.base.clock import Clock
from modelyard.domain.scaling.policies import AlarmRule
from modelyard.store.resources import Change, Create, Json, Key, ResourceStore, Update
from modelyard.store.scaling import alarm_key


class PolicyAlarmChanges:
    """``AlarmChanges``: creates an alarm, or replaces its configuration and keeps its state."""

    def __init__(self, *, store: ResourceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, policy: Key, rule: AlarmRule, action: str) -> Sequence[Change]:
        key = alarm_key(policy, rule.name)
        before = self._store.get(key)
        now = self._clock.now()
        spec = {**alarm_spec(rule, action), "configured_at": now}
        if before is not None:
            return [Update(key=key, version=before.version, spec={**before.spec, **spec})]
        status: Json = {
            "StateValue": "INSUFFICIENT_DATA",
            "StateReason": "Unchecked: Initial alarm creation",
            "StateUpdatedTimestamp": now,
            "StateTransitionedTimestamp": now,
        }
        return [Create(key=key, spec=spec, status=status)]


def alarm_spec(rule: AlarmRule, action: str) -> Json:
    """Members of PutMetricAlarm."""
    metric = rule.metric
    spec: Json = {
        "AlarmName": rule.name,
        "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {action}.",
        "ActionsEnabled": True,
        "OKActions": [],
        "AlarmActions": [action],
        "InsufficientDataActions": [],
        "MetricName": metric.name,
        "Namespace": metric.namespace,
        "Statistic": metric.statistic,
        "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions],
        "Period": metric.period,
        "EvaluationPeriods": rule.points,
        "DatapointsToAlarm": rule.breaching,
        "Threshold": rule.threshold,
        "ComparisonOperator": rule.comparison,
        "TreatMissingData": rule.missing,
    }
    return spec | ({"Unit": metric.unit} if metric.unit else {})
