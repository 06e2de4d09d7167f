"""``DeploymentConfig``: what a caller may ask of a rollout, and the policy that it comes to. Pure.

Source of the rules: AWS's model of SageMaker, and rollouts.md, sections 2 to 4.
"""

from collections.abc import Mapping
from typing import Any

from modelyard.base.errors import ValidationError
from modelyard.domain.rollout import WHOLE, Counts, Policy, Size, waits

Json = Mapping[str, Any]
_CANARY_PERCENT = 50
_STEP_PERCENTS = (10, 50)
_BATCH_PERCENTS = (5, 50)


def policy_of(config: Json | None) -> Policy:
    """All at once, without a bake, where nothing is asked for."""
    config = config or {}
    alarms = alarm_names(config)
    rolling = config.get("RollingUpdatePolicy")
    if rolling:
        return Policy(
            kind="ROLLING",
            size=_size(rolling["MaximumBatchSize"]),
            wait=float(rolling["WaitIntervalInSeconds"]),
            timeout=float(rolling.get("MaximumExecutionTimeoutInSeconds") or 0),
            rollback_size=_size(rolling.get("RollbackMaximumBatchSize")),
            alarms=alarms,
        )
    policy = config.get("BlueGreenUpdatePolicy")
    if not policy:
        return Policy(alarms=alarms)
    routing = policy["TrafficRoutingConfiguration"]
    kind = routing["Type"]
    sizes = {"CANARY": routing.get("CanarySize"), "LINEAR": routing.get("LinearStepSize")}
    return Policy(
        kind=kind,
        size=_size(sizes.get(kind)),
        wait=float(routing.get("WaitIntervalInSeconds") or 0),
        termination_wait=float(policy.get("TerminationWaitInSeconds") or 0),
        timeout=float(policy.get("MaximumExecutionTimeoutInSeconds") or 0),
        alarms=alarms,
    )


def alarm_names(config: Json) -> tuple[str, ...]:
    """The alarms that end the rollout."""
    rollback = config.get("AutoRollbackConfiguration") or {}
    return tuple(alarm["AlarmName"] for alarm in rollback.get("Alarms") or ())


def check_deployment(config: Json, counts: Counts) -> None:
    """Raises ``ValidationError`` for what contradicts itself; ``counts`` are the new fleet's instances."""
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green is not None and rolling is not None:
        raise ValidationError(
            "DeploymentConfig takes one of BlueGreenUpdatePolicy and RollingUpdatePolicy, not both."
        )
    if blue_green is not None:
        _check_routing(blue_green["TrafficRoutingConfiguration"], counts)
    if rolling is not None:
        _check_size("MaximumBatchSize", rolling["MaximumBatchSize"], _BATCH_PERCENTS, counts)
    policy = policy_of(config)
    if policy.timeout and policy.timeout <= waits(policy, counts):
        raise ValidationError(
            f"MaximumExecutionTimeoutInSeconds ({policy.timeout:g}) has to exceed the sum of the waits "
            f"({waits(policy, counts):g} seconds)."
        )


def _check_routing(routing: Json, counts: Counts) -> None:
    kind = routing["Type"]
    members = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}
    for owner, member in members.items():
        given = routing.get(member)
        if kind == owner and given is None:
            raise ValidationError(f"Traffic routing of type {kind} needs {member}.")
        if kind != owner and given is not None:
            raise ValidationError(f"{member} is for traffic routing of type {owner}, not {kind}.")
    if kind == "CANARY":
        _check_size("CanarySize", routing["CanarySize"], (1, _CANARY_PERCENT), counts)
    if kind == "LINEAR":
        _check_size("LinearStepSize", routing["LinearStepSize"], _STEP_PERCENTS, counts)


def _check_size(member: str, size: Json, percents: tuple[int, int], counts: Counts) -> None:
    low, high = percents
    value = size["Value"]
    if size["Type"] == "CAPACITY_PERCENT" and not low <= value <= high:
        raise ValidationError(
            f"{member} has to be {low} to {high} percent of the capacity, not {value}."
        )
    if size["Type"] == "INSTANCE_COUNT":
        for variant, count in counts.items():
            if value > max(1, count * high // 100):
                raise ValidationError(
                    f"{member} has to be at most {high} percent of variant {variant}'s {count} instances, "
                    f"not {value}."
                )


def _size(size: Json | None) -> Size:
    return WHOLE if size is None else Size(kind=size["Type"], value=size["Value"])
