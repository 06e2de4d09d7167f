"""The alarms of policies by CloudWatch's own evaluation."""

from collections.abc import Sequence

from modelyard.domain import alarms
from modelyard.domain.scaling.policies import AlarmRule
from modelyard.domain.scaling.proposals import AlarmState, Point


def evaluate(
    rule: AlarmRule, points: Sequence[Point], before: AlarmState, now: float
) -> AlarmState:
    """From the points of closed periods that have data, oldest first."""
    period = rule.metric.period
    state, _, _ = alarms.judge(
        alarms.Rule(
            comparison=rule.comparison,
            threshold=rule.threshold,
            period=period,
            periods=rule.points,
            needed=rule.breaching,
            missing=rule.missing,
        ),
        {round(point.at): point.value for point in points},
        end=int(now // period) * period,
        before=before,
    )
    return state
