"""Checks of a rollout: expressions over metrics that have to hold while the new version has traffic. Pure.

A check is measured each ``interval`` of watched seconds, for the first time one interval after its ``delay``, which begins with
the new version's first traffic. A value that the condition does not hold for is a failure, no value is inconclusive. Past its
limit of failures the rollout goes back; past its limit of inconclusive measurements it waits for a person.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

RECENT_MAX = 20
NO_LIMIT = -1
Outcome = Literal["", "passed", "failed", "inconclusive"]
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has to hold. Seconds are watched seconds; a limit of -1 is none."""

    name: str
    expression: str
    condition: str
    interval: float
    delay: float = 0.0
    failures_max: int = 0
    inconclusive_max: int = 0

    @property
    def rule(self) -> str:
        """Such as ``100 * errors / requests <= 1``."""
        return f"{self.expression} {self.condition}"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a check's expression came to, and ``inputs``: its metrics by their Ids. None: there was no data."""

    name: str
    value: float | None
    inputs: dict[str, float] = {}


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a check so far. It is ``due`` at this many watched seconds of the rollout.

    ``excused`` of the ``inconclusive`` ones were there when a person let the rollout go on. ``recent`` are the newest values.
    """

    due: float
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    excused: int = 0
    last: Outcome = ""
    inputs: dict[str, float] = {}
    recent: tuple[float | None, ...] = ()

    @property
    def value(self) -> float | None:
        """The newest."""
        return self.recent[-1] if self.recent else None


def parse_condition(text: str) -> tuple[str, float] | None:
    """Comparison and threshold, such as of ``>= 0.99``; None where it is none."""
    match = _CONDITION.fullmatch(text)
    return (match[1], float(match[2])) if match and math.isfinite(float(match[2])) else None


def first_tally(check: Check, *, elapsed: float) -> Tally:
    """When the new version gets its first traffic."""
    return Tally(due=elapsed + check.delay + check.interval)


def counted(check: Check, tally: Tally, measured: Measured, *, elapsed: float) -> Tally:
    """The tally with one more measurement."""
    value = measured.value
    if value is not None and not math.isfinite(value):
        value = None
    outcome = _judge(check, value)
    return Tally(
        due=elapsed + check.interval,
        passed=tally.passed + (outcome == "passed"),
        failed=tally.failed + (outcome == "failed"),
        inconclusive=tally.inconclusive + (outcome == "inconclusive"),
        excused=tally.excused,
        last=outcome,
        inputs=dict(measured.inputs),
        recent=(*tally.recent, value)[-RECENT_MAX:],
    )


def excused(tally: Tally) -> Tally:
    """What was inconclusive counts no more."""
    return msgspec.structs.replace(tally, excused=tally.inconclusive)


def why_back(check: Check, tally: Tally) -> str:
    """Why the rollout goes back; empty while the check is within its limit."""
    if check.failures_max == NO_LIMIT or tally.failed <= check.failures_max:
        return ""
    values = [
        value for value in tally.recent if value is not None and _judge(check, value) == "failed"
    ]
    shown = ", ".join(f"{value:g}" for value in values[-3:])
    return (
        f"Check {check.name} failed {_times(tally.failed)}, which is more than its limit of {check.failures_max}: "
        f"{check.expression} was {shown}, and has to be {check.condition}{_of(tally.inputs)}."
    )


def why_doubt(check: Check, tally: Tally) -> str:
    """Why a person has to say how it goes on; empty while the check is within its limit."""
    count = tally.inconclusive - tally.excused
    if check.inconclusive_max == NO_LIMIT or count <= check.inconclusive_max:
        return ""
    return (
        f"Check {check.name} had no data {_times(count)}, which is more than its limit of {check.inconclusive_max}: "
        f"{check.expression}."
    )


def told(check: Check, tally: Tally) -> str:
    """The last measurement, for the ledger."""
    if tally.value is None:
        return f"{check.name}: {check.rule} had no data"
    return f"{check.name}: {check.expression} was {tally.value:g}, and has to be {check.condition}{_of(tally.inputs)}"


def _judge(check: Check, value: float | None) -> Outcome:
    if value is None:
        return "inconclusive"
    condition = parse_condition(check.condition)
    assert condition is not None
    comparison, threshold = condition
    return "passed" if _COMPARISONS[comparison](value, threshold) else "failed"


def _of(inputs: Mapping[str, float]) -> str:
    shown = ", ".join(f"{name} {value:g}" for name, value in sorted(inputs.items()))
    return f" ({shown})" if shown else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
