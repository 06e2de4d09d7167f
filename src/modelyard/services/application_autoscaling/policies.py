"""Scaling policies: target tracking, with the two alarms that it owns, and step scaling, with its user's alarms."""

import re
from collections.abc import Callable, Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.scaling.policies import AlarmRule, alarm_rules, tracking
from modelyard.domain.scaling.targets import NAMESPACE, Place
from modelyard.services.application_autoscaling.policy_rules import check_steps, check_tracking
from modelyard.services.application_autoscaling.resources import (
    find_target,
    limit_exceeded,
    list_page,
    not_found,
    place_of,
    selection,
    write,
)
from modelyard.services.members import (
    EXECUTED,
    REFUSED,
    Members,
    check,
    present,
    refused_unless,
)
from modelyard.store.alarms import alarm_arn
from modelyard.store.resources import Change, Create, Json, Key, Resource, ResourceStore, Update
from modelyard.store.scaling import (
    POLICY,
    alarm_key,
    arn_of_policy,
    owned,
    owned_key,
    policy_deletion,
    with_owned,
)
from modelyard.store.scaling import place_of as place_of_target

POLICIES_MAX = 50
_STEP, _TRACKING = "StepScaling", "TargetTrackingScaling"
_CONFIGURATIONS = {
    _STEP: "StepScalingPolicyConfiguration",
    _TRACKING: "TargetTrackingScalingPolicyConfiguration",
}

MEMBERS: Mapping[str, Members] = {
    "PutScalingPolicy": {
        "PolicyName": EXECUTED,
        "ServiceNamespace": EXECUTED,
        "ResourceId": EXECUTED,
        "ScalableDimension": EXECUTED,
        "PolicyType": EXECUTED,
        "StepScalingPolicyConfiguration": EXECUTED,
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": EXECUTED,
            "PredefinedMetricSpecification": EXECUTED,
            "CustomizedMetricSpecification": {
                "MetricName": EXECUTED,
                "Namespace": EXECUTED,
                "Dimensions": EXECUTED,
                "Statistic": EXECUTED,
                "Unit": EXECUTED,
                "Metrics": refused_unless(
                    lambda queries: len(queries) == 1 and "Expression" not in queries[0],
                    "one metric without an expression",
                ),
            },
            "ScaleOutCooldown": EXECUTED,
            "ScaleInCooldown": EXECUTED,
            "DisableScaleIn": EXECUTED,
        },
        "PredictiveScalingPolicyConfiguration": REFUSED,
    }
}

AlarmChanges = Callable[[Key, AlarmRule, str], Sequence[Change]]
"""Create or replace the alarm of a policy: the policy's key, what to watch, the ARN to act on."""


class ScalingPolicies:
    """PutScalingPolicy, DeleteScalingPolicy, DescribeScalingPolicies."""

    def __init__(
        self, *, store: ResourceStore, random: RandomSource, alarm_changes: AlarmChanges
    ) -> None:
        self._store = store
        self._random = random
        self._alarm_changes = alarm_changes

    async def put_scaling_policy(
        self,
        call: Call,
        *,
        policy_name: str,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
        policy_type: str | None = None,
        step_scaling_policy_configuration: Json | None = None,
        target_tracking_scaling_policy_configuration: Json | None = None,
        predictive_scaling_policy_configuration: Json | None = None,
    ) -> Json:
        """Create or update. A configuration that is given replaces the one before, but for what it leaves out."""
        place = place_of(service_namespace, resource_id, scalable_dimension)
        given = present(
            {
                "StepScalingPolicyConfiguration": step_scaling_policy_configuration,
                "TargetTrackingScalingPolicyConfiguration": target_tracking_scaling_policy_configuration,
                "PredictiveScalingPolicyConfiguration": predictive_scaling_policy_configuration,
            }
        )
        check("PutScalingPolicy", MEMBERS["PutScalingPolicy"], given)
        if policy_type == "PredictiveScaling":
            raise Unsupported("PredictiveScaling exists for Amazon ECS only.")
        written: Json = {}
        new_ids = [_uuid(self._random) for _ in range(3)]

        def decide() -> Sequence[Change]:
            nonlocal written
            target = find_target(self._store, call, place)
            key = owned_key(target.key, POLICY, policy_name)
            before = self._store.get(key)
            if before is None and len(owned(self._store, target, POLICY)) >= POLICIES_MAX:
                raise limit_exceeded("scaling policies", POLICIES_MAX)
            spec = _spec(policy_name, policy_type, given, before, place, new_ids)
            written = _described_spec(key, spec, place)
            change = (
                Create(key=key, spec=spec)
                if before is None
                else Update(key=key, version=before.version, spec=spec)
            )
            listed = with_owned(target, POLICY, policy_name)
            return [change, listed, *self._alarms(key, spec, place)]

        await write(self._store, decide)
        return {"PolicyARN": written["PolicyARN"], "Alarms": written["Alarms"]}

    async def delete_scaling_policy(
        self,
        call: Call,
        *,
        policy_name: str,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
    ) -> Json:
        """With the alarms that it owns; a step policy's alarms are its user's, and stay."""
        place = place_of(service_namespace, resource_id, scalable_dimension)

        def decide() -> Sequence[Change]:
            target = find_target(self._store, call, place)
            policy = self._store.get(owned_key(target.key, POLICY, policy_name))
            if policy is None:
                raise not_found("scaling policy", place, policy_name)
            changes = [
                one for one in policy_deletion(policy) if self._store.get(one.key) is not None
            ]
            return [*changes, with_owned(target, POLICY, policy_name, is_there=False)]

        await write(self._store, decide)
        return {}

    async def describe_scaling_policies(
        self,
        call: Call,
        *,
        service_namespace: str,
        policy_names: Sequence[str] | None = None,
        resource_id: str | None = None,
        scalable_dimension: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        is_selected = selection(service_namespace, resource_id, scalable_dimension)
        found = {}
        for one in self._store.list(POLICY, account=call.account, region=call.region):
            place = place_of_target(one.key)
            if is_selected(place) and (not policy_names or one.spec["PolicyName"] in policy_names):
                found[one.key.name] = self._described(one, place)
        shown, token = list_page(
            found,
            scope=f"{call.action}/{call.account}/{call.region}/{policy_names}/{resource_id}/{scalable_dimension}",
            max_results=max_results,
            next_token=next_token,
        )
        return present({"ScalingPolicies": shown, "NextToken": token})

    def _alarms(self, key: Key, spec: Json, place: Place) -> list[Change]:
        if spec["PolicyType"] != _TRACKING:
            return []
        arn = arn_of_policy(key, place, spec)
        configuration = spec[_CONFIGURATIONS[_TRACKING]]
        policy = tracking(spec["PolicyName"], arn, configuration, place, spec["alarms"])
        changes: list[Change] = []
        for rule in alarm_rules(policy):
            changes += self._alarm_changes(key, rule, arn)
        return changes

    def _described(self, policy: Resource, place: Place) -> Json:
        spec = policy.spec
        kind = spec["PolicyType"]
        described = _described_spec(policy.key, spec, place)
        return {
            **described,
            "PolicyName": spec["PolicyName"],
            "ServiceNamespace": NAMESPACE,
            "ResourceId": place.resource_id,
            "ScalableDimension": place.dimension,
            "PolicyType": kind,
            _CONFIGURATIONS[kind]: spec[_CONFIGURATIONS[kind]],
            "CreationTime": policy.created_at,
        }


def _described_spec(key: Key, spec: Json, place: Place) -> Json:
    return {
        "PolicyARN": arn_of_policy(key, place, spec),
        "Alarms": [
            {"AlarmName": name, "AlarmARN": alarm_arn(alarm_key(key, name))}
            for name in spec["alarms"]
        ],
    }


def _spec(
    name: str,
    policy_type: str | None,
    given: Json,
    before: Resource | None,
    place: Place,
    new_ids: Sequence[str],
) -> Json:
    """What is stored. Raises ``ValidationError``."""
    old: Json = {} if before is None else before.spec
    kind = policy_type or old.get("PolicyType") or _STEP
    if old and old["PolicyType"] != kind:
        raise ValidationError(
            f"The type of scaling policy {name} is {old['PolicyType']} and cannot be changed. "
            "Delete it and create a new one."
        )
    member = _CONFIGURATIONS[kind]
    others = [other for other in given if other != member]
    if others:
        raise ValidationError(f"A policy of the type {kind} has no {others[0]}.")
    configuration = {**old.get(member, {}), **given.get(member, {})}
    if not configuration:
        raise ValidationError(f"{member} is required for a policy of the type {kind}.")
    if kind == _STEP:
        check_steps(configuration)
        alarms: list[str] = []
    else:
        configuration = _one_metric(configuration, given.get(member, {}))
        check_tracking(configuration, place)
        where = f"TargetTracking-{place.resource_id}"
        alarms = [f"{where}-AlarmHigh-{new_ids[1]}", f"{where}-AlarmLow-{new_ids[2]}"]
    return {
        "PolicyName": name,
        "PolicyType": kind,
        member: configuration,
        "id": old.get("id", new_ids[0]),
        "alarms": old.get("alarms", alarms),
    }


def _one_metric(configuration: Json, given: Json) -> Json:
    """A metric that is given takes the place of one of the other kind."""
    predefined, customised = "PredefinedMetricSpecification", "CustomizedMetricSpecification"
    gone = {predefined: customised, customised: predefined}
    dropped = {gone[name] for name in given if name in gone} - given.keys()
    return {name: value for name, value in configuration.items() if name not in dropped}


def _uuid(random: RandomSource) -> str:
    return re.sub(r"^(.{8})(.{4})(.{4})(.{4})(.{12})$", r"\1-\2-\3-\4-\5", random.hex(32))
