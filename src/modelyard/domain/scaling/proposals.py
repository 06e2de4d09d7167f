"""What each policy whose alarm fires asks for: one proposal each, with the rule and the values behind it.

A metric per instance says nothing without the number of instances that it was measured with. So each data point is
paired with the capacity in service at its time: a change of capacity is never taken for a change of load.

Scale-in leaves room: what remains must keep even the highest point below the Low alarm's threshold. Otherwise a load that is
merely noisy would make capacity go up and down.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from modelyard.domain.scaling.activities import Code
from modelyard.domain.scaling.policies import (
    LOW_FACTOR,
    Policy,
    Stepping,
    Tracking,
    needed_for,
    stepped,
)

AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
_IN_SHARE = 0.5
"""Scale-in is gradual: target tracking takes away at most this share of the capacity at once, or one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One closed period of a metric; ``at`` is its beginning in epoch seconds, ``period`` its length."""

    at: float
    value: float
    period: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm as it was last evaluated, or set; ``points`` are those that it was evaluated by, oldest first.

    It is evaluated again at the end of each ``interval`` of seconds, counted from the epoch.
    """

    name: str
    state: AlarmState
    threshold: float
    evaluated_at: float
    points: Sequence[Point] = ()
    interval: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """``desired`` now, ``base`` before what was added in a scale-out cool-down that still runs (else None).

    ``history``: since when how much was in service, oldest first.
    """

    desired: int
    base: int | None
    history: Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """``wanted`` is not yet clamped; equal to the present capacity it asks to stay, for the reason in ``code``."""

    policy: Policy
    alarm: Alarm
    wanted: int
    cooldown_seconds: float
    rule: str
    code: Code | Literal[""] = ""
    details: dict[str, Any] = field(default_factory=dict)
    is_fresh: bool = True


def propose(
    policies: Sequence[Policy],
    alarms: Mapping[str, Sequence[Alarm]],
    capacity: Capacity,
    *,
    acted: Mapping[str, float],
) -> Iterator[Proposal]:
    """Of every policy with an alarm in ALARM.

    ``alarms`` by policy; ``acted`` says, by policy and alarm (``mark``), up to which evaluation it was acted upon. What
    was acted upon already is no reason to act; but a tracking policy is heard all the same when another one acts.
    """
    policies = sorted(policies, key=lambda policy: policy.name)  # of equals the first by name wins
    vetoes = [policy.name for policy in policies if _keeps(policy, alarms)]
    for policy in policies:
        for alarm in alarms.get(policy.name, ()):
            if alarm.state != "ALARM":
                continue
            is_fresh = alarm.evaluated_at > acted.get(mark(policy, alarm), 0.0)
            if isinstance(policy, Stepping):
                if is_fresh:
                    yield _step(policy, alarm, capacity)
            elif alarm.name == policy.high_alarm:
                yield replace(_track_out(policy, alarm, capacity), is_fresh=is_fresh)
            elif alarm.name == policy.low_alarm and not policy.disable_scale_in:
                others = [name for name in vetoes if name != policy.name]
                yield replace(_track_in(policy, alarm, capacity, others), is_fresh=is_fresh)


def mark(policy: Policy, alarm: Alarm) -> str:
    """The key of an alarm's action on a policy."""
    return f"{policy.name}|{alarm.name}"


def _keeps(policy: Policy, alarms: Mapping[str, Sequence[Alarm]]) -> bool:
    """Whether a tracking policy is not ready to scale in: all of them must be. Step policies act on their own."""
    if isinstance(policy, Stepping) or policy.disable_scale_in:
        return False
    return not any(
        alarm.name == policy.low_alarm and alarm.state == "ALARM"
        for alarm in alarms.get(policy.name, ())
    )


def _track_out(policy: Tracking, alarm: Alarm, capacity: Capacity) -> Proposal:
    if not alarm.points:
        return _stay(policy, alarm, capacity, rule=_NO_POINTS)
    point = alarm.points[-1]
    measured = min(_in_service(point, capacity))
    needed = max(1, needed_for([point.value * measured], policy.target))
    facts = _facts(policy, point.value, measured, needed)
    desired = capacity.desired
    wanted = needed if capacity.base is None else capacity.base + max(0, needed - measured)
    if wanted > desired:
        rule = f"{point.value:g} with {measured} is {needed} at the target of {policy.target:g}"
        return Proposal(
            policy=policy,
            alarm=alarm,
            wanted=wanted,
            cooldown_seconds=policy.out_seconds,
            rule=rule,
            details=facts,
        )
    rule = f"what was added already is enough: {needed} needed, {desired} desired"
    return _stay(policy, alarm, capacity, rule=rule, code="AlreadyAtDesiredCapacity", facts=facts)


def _track_in(
    policy: Tracking, alarm: Alarm, capacity: Capacity, vetoes: Sequence[str]
) -> Proposal:
    if not alarm.points:
        return _stay(policy, alarm, capacity, rule=_NO_POINTS)
    loads = [point.value * max(_in_service(point, capacity)) for point in alarm.points]
    needed = needed_for(loads, LOW_FACTOR * policy.target)
    highest = max(alarm.points, key=lambda point: point.value).value
    facts = _facts(policy, highest, capacity.desired, needed)
    if vetoes:
        rule = f"{', '.join(vetoes)} does not agree to scale in"
        return _stay(policy, alarm, capacity, rule=rule, facts=facts)
    if needed >= capacity.desired:
        rule = f"with one less the metric would be near or above the target of {policy.target:g}"
        flapping: Code = "AutoScalingAnticipatedFlapping"
        return _stay(policy, alarm, capacity, rule=rule, code=flapping, facts=facts)
    gradual = capacity.desired - max(1, math.floor(capacity.desired * _IN_SHARE))
    return Proposal(
        policy=policy,
        alarm=alarm,
        wanted=max(needed, gradual),
        cooldown_seconds=policy.in_seconds,
        rule=f"the highest point needs {needed} to stay below the target of {policy.target:g}",
        details=facts,
    )


def _step(policy: Stepping, alarm: Alarm, capacity: Capacity) -> Proposal:
    if not alarm.points:
        return _stay(policy, alarm, capacity, rule=_NO_POINTS)
    values = [point.value for point in alarm.points]
    value = {"Minimum": min, "Maximum": max}.get(policy.aggregation, _mean)(values)
    breach = value - alarm.threshold
    desired = capacity.desired
    wanted = stepped(policy, capacity=desired, breach=breach)
    facts = {"metric": value, "threshold": alarm.threshold, "capacity": desired, "needed": wanted}
    if wanted is None:
        return _stay(policy, alarm, capacity, rule=f"no step is for {breach:+g}", facts=facts)
    if wanted > desired and capacity.base is not None:
        wanted = stepped(policy, capacity=capacity.base, breach=breach)
        if wanted is None or wanted <= desired:
            rule = "in the scale-out cool-down what was added already counts, and is enough"
            code: Code = "AlreadyAtDesiredCapacity"
            return _stay(policy, alarm, capacity, rule=rule, code=code, facts=facts)
    if wanted == desired:
        code = "AlreadyAtDesiredCapacity"
        return _stay(policy, alarm, capacity, rule="the step asks for it", code=code, facts=facts)
    return Proposal(
        policy=policy,
        alarm=alarm,
        wanted=wanted,
        cooldown_seconds=policy.cooldown_seconds,
        rule=f"{value:g} is {breach:+g} from the threshold of {alarm.threshold:g}",
        details=facts,
    )


_NO_POINTS = "the alarm has no data points to go by; give StateReasonData to SetAlarmState"


def _stay(
    policy: Policy,
    alarm: Alarm,
    capacity: Capacity,
    *,
    rule: str,
    code: Code | Literal[""] = "",
    facts: dict[str, Any] | None = None,
) -> Proposal:
    return Proposal(
        policy=policy,
        alarm=alarm,
        wanted=capacity.desired,
        cooldown_seconds=0.0,
        rule=rule,
        code=code,
        details=facts or {},
    )


def _facts(policy: Tracking, value: float, capacity: int, needed: int) -> dict[str, Any]:
    return {"metric": value, "target": policy.target, "capacity": capacity, "needed": needed}


def _in_service(point: Point, capacity: Capacity) -> list[int]:
    """Every capacity that was in service during the point's period; the present one where nothing is known."""
    found = []
    for place, (since, count) in enumerate(capacity.history):
        later = capacity.history[place + 1][0] if place + 1 < len(capacity.history) else math.inf
        if since < point.at + point.period and later > point.at:
            found.append(count)
    if not found:
        found = [capacity.history[0][1] if capacity.history else capacity.desired]
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
