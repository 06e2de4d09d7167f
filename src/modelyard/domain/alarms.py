"""The state of an alarm: M of the last N points are beyond the threshold, and what it means that some are missing. Pure.

Source: AWS's tables "How alarm state is evaluated when data is missing", and scaling.md, section 8. An evaluation looks back
over more periods than it needs; if there are enough real points in them, nothing is said to be missing.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Missing = Literal["missing", "ignore", "breaching", "notBreaching"]
EXTRA_PERIODS = 2
COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """``needed`` of the last ``periods`` points, each of ``period`` seconds."""

    comparison: str
    threshold: float
    period: int
    periods: int
    needed: int
    missing: Missing = "missing"

    @property
    def range_seconds(self) -> int:
        """How far an evaluation looks back."""
        return self.period * (self.periods + EXTRA_PERIODS)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A state, why, and the points (oldest first; beginning of the period and value) that decided it."""

    state: State
    reason: str
    points: tuple[tuple[int, float], ...] = ()


def evaluate(rule: Rule, points: Mapping[int, float], *, end: int, before: State) -> Verdict:
    """``points``: value by the beginning of its period; ``end`` is the end of the last closed period."""
    state, used, beyond = judge(rule, points, end=end, before=before)
    return Verdict(state=state, reason=_reason(rule, state, used, beyond), points=tuple(used))


def judge(
    rule: Rule, points: Mapping[int, float], *, end: int, before: State
) -> tuple[State, Sequence[tuple[int, float]], int]:
    """The state, the points that it comes from, and how many of them are beyond the threshold: ``evaluate`` without words."""
    first = end - rule.range_seconds
    real = [(at, points[at]) for at in range(first, end, rule.period) if at in points]
    used = real[-rule.periods :]
    compare, _ = COMPARISONS[rule.comparison]
    beyond = [compare(value, rule.threshold) for _, value in used]
    absent = rule.periods - len(used)
    return _decide(rule, beyond, absent, used, end=end, before=before), used, sum(beyond)


def _decide(
    rule: Rule,
    beyond: Sequence[bool],
    absent: int,
    used: Sequence[tuple[int, float]],
    *,
    end: int,
    before: State,
) -> State:
    if sum(beyond) + (absent if rule.missing == "breaching" else 0) >= rule.needed:
        return "ALARM"
    if absent == 0 or rule.missing in ("breaching", "notBreaching"):
        return "OK"
    if not used:
        return before if rule.missing == "ignore" else "INSUFFICIENT_DATA"
    if not all(beyond):
        return "OK"
    # All that is known is beyond the threshold, but it is not enough of it.
    is_old_enough = end - used[0][0] >= rule.needed * rule.period
    return "ALARM" if rule.missing == "missing" and is_old_enough else before


def _reason(rule: Rule, state: State, used: Sequence[tuple[int, float]], beyond: int) -> str:
    if state == "INSUFFICIENT_DATA":
        return (
            f"Insufficient Data: {rule.periods} datapoint{_s(rule.periods)} "
            f"{'was' if rule.periods == 1 else 'were'} unknown."
        )
    if not used:
        treated = {"breaching": "Breaching", "notBreaching": "NonBreaching"}.get(rule.missing)
        number, verb = rule.periods, "was" if rule.periods == 1 else "were"
        return (
            f"Threshold Crossed: no datapoints were received for {number} period{_s(number)} and "
            f"{number} missing datapoint{_s(number)} {verb} treated as [{treated or 'Missing'}]."
        )
    _, words = COMPARISONS[rule.comparison]
    shown = ", ".join(f"{_number(value)} ({_moment(at)})" for at, value in reversed(used))
    number = beyond if state == "ALARM" else len(used) - beyond
    verb = "was" if number == 1 else "were"
    negation = "" if state == "ALARM" else " not"
    way = "OK -> ALARM" if state == "ALARM" else "ALARM -> OK"
    least = rule.needed if state == "ALARM" else rule.periods - rule.needed + 1
    return (
        f"Threshold Crossed: {number} out of the last {len(used)} datapoint{_s(len(used))} [{shown}] "
        f"{verb}{negation} {words} the threshold ({_number(rule.threshold)}) "
        f"(minimum {least} datapoint{_s(least)} for {way} transition)."
    )


def reason_data(rule: Rule, verdict: Verdict, *, now: float, statistic: str, unit: str = "") -> str:
    """``StateReasonData``: JSON text, version 1.0."""
    document: dict[str, object] = {
        "version": "1.0",
        "queryDate": _iso(now),
        "startDate": _iso(verdict.points[0][0]) if verdict.points else None,
        "statistic": statistic,
        "period": rule.period,
        "recentDatapoints": [value for _, value in verdict.points],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [
            {"timestamp": _iso(at), "value": value} for at, value in reversed(verdict.points)
        ],
    }
    if unit:
        document["unit"] = unit
    return json.dumps({name: value for name, value in document.items() if value is not None})


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _number(value: float) -> str:
    return repr(float(value))


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d/%m/%y %H:%M:%S")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
