"""What a rehearsal found, as one JSON document: only what the same input gives again, unless latencies are asked for. Pure."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelyard.base.errors import ValidationError
from modelyard.domain.rehearsal import Answered, Course, Exchange

Json = dict[str, Any]
EXAMPLES_MAX = 5
DEFAULT_REQUIREMENTS = ("error_increase<=0.01",)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_REQUIREMENT = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*")
_OK, _SERVER = 200, 500


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """``agreement>=0.99``: a figure of the report, and the bound that it has to keep."""

    name: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.bound:g}"


def requirement_of(text: str, *, measured: bool) -> Requirement:
    """Raises ``ValidationError`` for what is none, and for a figure that the report will not have."""
    found = _REQUIREMENT.fullmatch(text)
    try:
        bound = float(found[3]) if found else 0.0
    except ValueError:
        found = None
    known = [*_FIGURES, *(_MEASURED if measured else ())]
    if found is None or found[1] not in known:
        more = "" if measured else f" (with --latency also {', '.join(_MEASURED)})"
        raise ValidationError(
            f"{text!r} is no requirement: write agreement>=0.99, with one of {', '.join(known)}{more}."
        )
    return Requirement(name=found[1], sign=found[2], bound=bound)


def requirements_of(texts: Sequence[str], *, measured: bool) -> list[Requirement]:
    """Those asked for, and of the default ones those whose figure nobody named."""
    found = [requirement_of(text, measured=measured) for text in texts]
    named = {one.name for one in found}
    defaults = [requirement_of(text, measured=measured) for text in DEFAULT_REQUIREMENTS]
    return [*(one for one in defaults if one.name not in named), *found]


def report_of(
    exchanges: Sequence[Exchange],
    course: Course,
    requirements: Sequence[Requirement],
    *,
    tolerance: float,
    measured: bool,
) -> Json:
    """The parts that follow from the answers: agreement, drift, errors, the rollout, the verdict."""
    found: Json = {
        "capture": {
            "requests": len(exchanges),
            "first": _moment(exchanges[0].at),
            "last": _moment(exchanges[-1].at),
        },
        "answers": _answers(exchanges, tolerance),
        "errors": _errors(exchanges),
        "rollout": msgspec.to_builtins(course),
    }
    if measured:
        found["latency"] = _latencies(exchanges)
    figures = _figures(found)
    checked = [_checked(one, figures.get(one.name)) for one in requirements]
    because = [
        f"{one['requirement']} does not hold: {one['value']}" for one in checked if not one["met"]
    ]
    because += _rings(course)
    found |= {"requirements": checked, "verdict": "stop" if because else "go", "because": because}
    return found


def _answers(exchanges: Sequence[Exchange], tolerance: float) -> Json:
    compared = [one for one in exchanges if one.agrees is not None]
    apart = [one for one in compared if not one.agrees]
    drifts = sorted(one.drift for one in apart if one.drift is not None)
    return {
        "compared": len(compared),
        "agreed": len(compared) - len(apart),
        "agreement": round(1 - len(apart) / len(compared), 6) if compared else None,
        "tolerance": tolerance,
        # Answers in the tolerance may differ by how they were batched: of these nothing is told.
        "beyond_tolerance": {
            "numeric": len(drifts),
            "p50": _of_rank(drifts, 0.5),
            "p99": _of_rank(drifts, 0.99),
            "max": _of_rank(drifts, 1.0),
        },
        "examples": [one.event_id for one in apart[:EXAMPLES_MAX]],
    }


def _of_rank(ordered: Sequence[float], share: float) -> float | None:
    """To three digits."""
    if not ordered:
        return None
    place = min(len(ordered) - 1, int(share * len(ordered)))
    return float(f"{ordered[place]:.3g}")


def _errors(exchanges: Sequence[Exchange]) -> Json:
    old, new = ([getattr(one, side) for one in exchanges] for side in ("old", "new"))
    both = {"old": _errors_of(old), "new": _errors_of(new)}
    increase = round(both["new"]["share"] - both["old"]["share"], 6)
    return {**both, "increase": increase}


def _errors_of(answers: Sequence[Answered]) -> Json:
    server = sum(one.status >= _SERVER for one in answers)
    client = sum(one.status != _OK and one.status < _SERVER for one in answers)
    share = round((server + client) / len(answers), 6)
    return {"errors_4xx": client, "errors_5xx": server, "share": share}


def _latencies(exchanges: Sequence[Exchange]) -> Json:
    """As the rehearsal's caller saw them, in milliseconds."""
    found: Json = {}
    for side in ("old", "new"):
        ordered = sorted(getattr(one, side).microseconds / 1e3 for one in exchanges)
        found[side] = {f"p{percent}_ms": _of_rank(ordered, percent / 100) for percent in (50, 99)}
    return found


_FIGURES: Mapping[str, Callable[[Json], float | None]] = {
    "agreement": lambda found: found["answers"]["agreement"],
    "drift_p99": lambda found: found["answers"]["beyond_tolerance"]["p99"] or 0.0,
    "drift_max": lambda found: found["answers"]["beyond_tolerance"]["max"] or 0.0,
    "errors_old": lambda found: found["errors"]["old"]["share"],
    "errors_new": lambda found: found["errors"]["new"]["share"],
    "error_increase": lambda found: found["errors"]["increase"],
}
_MEASURED: Mapping[str, Callable[[Json], float | None]] = {
    "p50_ms_increase": lambda found: _increase(found["latency"], "p50_ms"),
    "p99_ms_increase": lambda found: _increase(found["latency"], "p99_ms"),
}


def _increase(latency: Json, name: str) -> float:
    increase: float = latency["new"][name] - latency["old"][name]
    return round(increase, 3)


def _figures(found: Json) -> dict[str, float | None]:
    known = {**_FIGURES, **(_MEASURED if "latency" in found else {})}
    return {name: of(found) for name, of in known.items()}


def _checked(requirement: Requirement, value: float | None) -> Json:
    """What has no value holds nothing."""
    met = value is not None and _OPERATORS[requirement.sign](value, requirement.bound)
    return {"requirement": str(requirement), "value": value, "met": met}


def _rings(course: Course) -> list[str]:
    if course.outcome != "promoted":
        return [course.reason or "The rollout does not end within a day."]
    return [
        f"Alarm {ring.alarm} rings {ring.seconds - course.seconds} seconds after the rollout is over: "
        "bake longer than the alarm looks back."
        for ring in course.rings
        if ring.stage > course.stages
    ]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
