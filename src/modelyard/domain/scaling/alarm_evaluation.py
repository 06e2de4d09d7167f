"""The state of a policy's alarm, as CloudWatch evaluates it: so many of the last so many points are beyond the threshold."""

import operator
from collections.abc import Callable, Mapping, Sequence

from modelyard.domain.scaling.policies import AlarmRule
from modelyard.domain.scaling.proposals import AlarmState, Point

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def evaluate(
    rule: AlarmRule, points: Sequence[Point], before: AlarmState, now: float
) -> AlarmState:
    """From the last points, oldest first; those of closed periods that have data."""
    recent = points[-rule.points :]
    compare = _COMPARE[rule.comparison]
    breaching = sum(compare(point.value, rule.threshold) for point in recent)
    if not recent:
        silent: Mapping[str, AlarmState] = {
            "breaching": "ALARM",
            "notBreaching": "OK",
            "ignore": before,
        }
        return silent.get(rule.missing, "INSUFFICIENT_DATA")
    if len(recent) < rule.points and rule.missing == "breaching":
        breaching += rule.points - len(recent)
    return "ALARM" if breaching >= rule.breaching else "OK"
