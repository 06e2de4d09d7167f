"""A rollout: from the fleet in service (*blue*) to that of a new endpoint config (*green*), in stages that are watched.

Pure. A rollout is a list of stages; a stage says how many instances of each fleet exist and how many of them take
traffic, and for how long that is watched (*baked*). ``advance`` moves on by one decision: all of a stage's green instances are
ready, so traffic shifts; the bake is over, so the next stage begins; an alarm rings, so it goes back.

Time is what was *watched*, added up: a rollout that was interrupted goes on with the bake that is left, and a clock that
jumps neither shortens nor lengthens one. Source of the sequences: AWS's deployment guardrails (rollouts.md, sections 3 and 4).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from modelyard.domain import rollout_checks as checks
from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout_checks import Check, Measured, Tally

Counts = Mapping[str, int]
"""Instances by variant name."""
Kind = Literal["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"]
Gate = Literal["", "before-traffic", "each-step"]
Outcome = Literal["running", "promoted", "rolled-back", "rollback-failed"]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """``INSTANCE_COUNT`` or ``CAPACITY_PERCENT`` of a variant."""

    kind: Literal["INSTANCE_COUNT", "CAPACITY_PERCENT"]
    value: int

    def of(self, capacity: int) -> int:
        """Whole instances, at least one, at most all: a percentage is rounded down, so that it is never exceeded."""
        wanted = self.value if self.kind == "INSTANCE_COUNT" else capacity * self.value // 100
        return min(capacity, max(1, wanted))


WHOLE = Size(kind="CAPACITY_PERCENT", value=100)


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to go. ``size`` is a canary's, a linear step's or a rolling batch's; ``timeout`` 0 means none.

    ``gate``: where a person has to let it go on. ``dry_run`` alarms are watched and noted, and change nothing.
    ``header``: a name in lower case and a value; requests with it go to green as soon as one of its instances is ready.
    ``checks`` are measured while green has traffic. ``tests``: requests that green has to answer before it gets any; 0 for none.
    """

    kind: Kind = "ALL_AT_ONCE"
    size: Size = WHOLE
    wait: float = 0.0
    termination_wait: float = 0.0
    timeout: float = 0.0
    rollback_size: Size = WHOLE
    alarms: tuple[str, ...] = ()
    dry_run: tuple[str, ...] = ()
    gate: Gate = ""
    header: tuple[str, str] = ("", "")
    checks: tuple[Check, ...] = ()
    tests: int = 0


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Instances of each fleet that take traffic once the stage's shift is done; those of green exist before it."""

    green: dict[str, int]
    blue: dict[str, int]
    bake: float


class Rollout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a rollout stands; kept in the endpoint's status. Seconds are watched seconds.

    ``stage`` counts from 0; ``shifted``: its traffic has moved, it bakes. ``back`` is why it goes back; then ``restored`` are
    the blue instances that exist again. ``at_gate``: all is ready, and a person has to let traffic shift. ``noted`` are the
    dry-run alarms that rang, with the stages in which they first did. ``checked`` is what came of the policy's checks,
    ``tried`` of its test. ``doubt``: why a person has to say how it goes on; it is the ``doubts``-th.
    """

    policy: Policy
    blue: dict[str, int]
    green: dict[str, int]
    stage: int = 0
    shifted: bool = False
    baked: float = 0.0
    elapsed: float = 0.0
    back: str = ""
    restored: dict[str, int] = {}
    at_gate: bool = False
    noted: dict[str, int] = {}
    checked: dict[str, Tally] = {}
    doubt: str = ""
    doubts: int = 0
    tried: Tried | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known now. ``watched``: seconds since the last look; ``ringing``: those of the policy's alarms and dry-run
    alarms that are in ALARM; ``passed``: the last stage whose gate a person has opened.

    ``failure`` says why green cannot become healthy, ``blue_failure`` why blue, on the way back, cannot. ``hold``, ``go`` and
    ``abort`` are a person's word: bake no further, end this bake now, go back. ``trusted`` is the last doubt that a person
    has overruled. ``measured`` are the checks that were due, ``tried`` is what came of the test.
    """

    watched: float
    green_ready: Counts
    blue_ready: Counts
    ringing: tuple[str, ...] = ()
    failure: str = ""
    blue_failure: str = ""
    hold: bool = False
    go: bool = False
    abort: bool = False
    passed: int = -1
    trusted: int = 0
    measured: tuple[Measured, ...] = ()
    tried: Tried | None = None


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How far each fleet is needed: instances that exist, and of those, the ones that take traffic."""

    blue: dict[str, int]
    green: dict[str, int]
    blue_on: dict[str, int]
    green_on: dict[str, int]


def stages(policy: Policy, blue: Counts, green: Counts) -> tuple[Stage, ...]:
    """Every stage on the way, the last one with all of green and none of blue."""
    found = [
        Stage(green=on, blue=_left(blue, green, on), bake=policy.wait)
        for on in _growth(policy, green)
    ]
    none = dict.fromkeys(blue, 0)
    # Rolling has no time to wait before it terminates: each batch of blue ends with its own shift.
    last = policy.wait if policy.kind == "ROLLING" else policy.termination_wait
    return (*found, Stage(green=dict(green), blue=none, bake=last))


def _growth(policy: Policy, green: Counts) -> Iterator[dict[str, int]]:
    """Green's instances with traffic, stage by stage, before all of them have it."""
    if policy.kind == "ALL_AT_ONCE" or not green:
        return
    steps = {name: policy.size.of(count) for name, count in green.items() if count > 0}
    number = 1
    while True:
        on = {name: min(count, steps.get(name, 0) * number) for name, count in green.items()}
        # All of green is the last stage's; but the whole of a small variant may go ahead as canary or first step.
        if on == dict(green) and (number > 1 or policy.kind == "ROLLING"):
            return
        yield on
        if on == dict(green) or policy.kind == "CANARY":
            return
        number += 1


def _left(blue: Counts, green: Counts, on: Counts) -> dict[str, int]:
    """Blue turned off as far as green is turned on, but for one instance of each variant until the last stage."""
    left = {}
    for name, count in blue.items():
        whole = green.get(name, 0)
        gone = count * on.get(name, 0) // whole if whole else 0
        left[name] = max(min(1, count), count - gone)
    return left


def extent(rollout: Rollout) -> Extent:
    """What the fleets have to be now."""
    way = stages(rollout.policy, rollout.blue, rollout.green)
    here = way[rollout.stage]
    before = way[rollout.stage - 1] if rollout.stage else None
    none_on = dict.fromkeys(rollout.green, 0)
    blue_on = here.blue if rollout.shifted else before.blue if before else rollout.blue
    green_on = here.green if rollout.shifted else before.green if before else none_on
    if rollout.back:
        return _extent_back(rollout, blue_on, green_on)
    if (
        rollout.policy.kind != "ROLLING"
    ):  # Both fleets are whole: going back needs nothing to be started.
        return Extent(
            blue=rollout.blue, green=rollout.green, blue_on=dict(blue_on), green_on=dict(green_on)
        )
    return Extent(
        blue=dict(blue_on), green=here.green, blue_on=dict(blue_on), green_on=dict(green_on)
    )


def _extent_back(rollout: Rollout, blue_on: Counts, green_on: Counts) -> Extent:
    """On the way back of a rolling update: blue grows by batches, and green shrinks as blue is ready."""
    size = rollout.policy.rollback_size
    on = {name: max(blue_on.get(name, 0), rollout.restored.get(name, 0)) for name in rollout.blue}
    exists = {name: min(count, on[name] + size.of(count)) for name, count in rollout.blue.items()}
    kept = {
        name: min(count, max(0, rollout.blue[name] - on[name])) if name in rollout.blue else count
        for name, count in green_on.items()
    }
    return Extent(blue=exists, green=kept, blue_on=on, green_on=dict(kept))


def advance(rollout: Rollout, facts: Facts) -> tuple[Rollout, Outcome]:
    """One decision. Called again until nothing changes; then ``seconds_left`` says when to look again."""
    if rollout.back:
        return _go_back(rollout, facts)
    rollout = msgspec.structs.replace(rollout, elapsed=rollout.elapsed + facts.watched)
    rollout = _with_trials(rollout, facts)
    reason = _why_back(rollout, facts)
    if reason:
        return _go_back(msgspec.structs.replace(rollout, back=reason), facts)
    rollout = _with_doubt(_with_notes(rollout, facts), facts)
    if not rollout.shifted:
        return _shift(rollout, facts), "running"
    way = stages(rollout.policy, rollout.blue, rollout.green)
    holds = facts.hold or bool(rollout.doubt)
    baked = rollout.baked if holds else rollout.baked + facts.watched
    if not facts.go and (holds or baked < way[rollout.stage].bake):
        return msgspec.structs.replace(rollout, baked=baked), "running"
    if rollout.stage == len(way) - 1:
        return rollout, "promoted"
    return msgspec.structs.replace(
        rollout, stage=rollout.stage + 1, shifted=False, baked=0.0
    ), "running"


def _shift(rollout: Rollout, facts: Facts) -> Rollout:
    """Traffic moves when all that the stage needs is ready, tested, and let through its gate."""
    is_ready = _is_ready(rollout, facts.green_ready) and not rollout.doubt
    is_ready = is_ready and not wants_test(rollout, facts.green_ready)
    if is_ready and is_gated(rollout) and facts.passed < rollout.stage:
        return msgspec.structs.replace(rollout, at_gate=True)
    if not is_ready:
        return msgspec.structs.replace(rollout, at_gate=False)
    checked = rollout.checked or {
        check.name: checks.first_tally(check, elapsed=rollout.elapsed)
        for check in rollout.policy.checks
    }
    return msgspec.structs.replace(rollout, at_gate=False, shifted=True, baked=0.0, checked=checked)


def wants_test(rollout: Rollout, green_ready: Counts) -> bool:
    """Whether green is to be tested now: it is ready for its first traffic, and nothing is known of its answers."""
    is_first = not rollout.shifted and rollout.stage == 0 and not rollout.back
    is_untried = bool(rollout.policy.tests) and rollout.tried is None
    return is_first and is_untried and _is_ready(rollout, green_ready)


def _is_ready(rollout: Rollout, green_ready: Counts) -> bool:
    way = stages(rollout.policy, rollout.blue, rollout.green)
    wanted = way[rollout.stage].green if rollout.policy.kind == "ROLLING" else rollout.green
    return _covers(green_ready, wanted)


def due_checks(rollout: Rollout, watched: float) -> tuple[Check, ...]:
    """Those to measure now, ``watched`` seconds after the last look."""
    if rollout.back:
        return ()
    by_now = rollout.elapsed + watched
    tallies = rollout.checked
    return tuple(
        check
        for check in rollout.policy.checks
        if check.name in tallies and tallies[check.name].due <= by_now
    )


def _with_trials(rollout: Rollout, facts: Facts) -> Rollout:
    """What was measured and tried since the last look."""
    found = {one.name: one for one in facts.measured}
    tallies = {
        check.name: checks.counted(
            check, rollout.checked[check.name], found[check.name], elapsed=rollout.elapsed
        )
        for check in rollout.policy.checks
        if check.name in found and check.name in rollout.checked
    }
    return msgspec.structs.replace(
        rollout, checked={**rollout.checked, **tallies}, tried=rollout.tried or facts.tried
    )


def _with_doubt(rollout: Rollout, facts: Facts) -> Rollout:
    """A check that had no data too often needs a person's word, and that one counts for what was until then."""
    replace = msgspec.structs.replace
    if rollout.doubt and facts.trusted >= rollout.doubts:
        tallies = {name: checks.excused(tally) for name, tally in rollout.checked.items()}
        rollout = replace(rollout, doubt="", checked=tallies)
    if rollout.doubt:
        return rollout
    doubt = _first(rollout, checks.why_doubt)
    return replace(rollout, doubt=doubt, doubts=rollout.doubts + 1) if doubt else rollout


def _first(rollout: Rollout, why: Callable[[Check, Tally], str]) -> str:
    """What one of the checks says, in their order."""
    tallies = rollout.checked
    said = (why(one, tallies[one.name]) for one in rollout.policy.checks if one.name in tallies)
    return next(filter(None, said), "")


def is_gated(rollout: Rollout) -> bool:
    """Whether this stage's traffic shifts only when a person says so."""
    gate = rollout.policy.gate
    return gate == "each-step" or (gate == "before-traffic" and rollout.stage == 0)


def _with_notes(rollout: Rollout, facts: Facts) -> Rollout:
    """Dry-run alarms that ring for the first time: each would have sent the rollout back here."""
    if not rollout.shifted:
        return rollout
    new = {
        name: rollout.stage
        for name in facts.ringing
        if name in rollout.policy.dry_run and name not in rollout.noted
    }
    return msgspec.structs.replace(rollout, noted={**rollout.noted, **new}) if new else rollout


def _why_back(rollout: Rollout, facts: Facts) -> str:
    policy = rollout.policy
    if facts.abort:
        return "The deployment was aborted."
    if facts.failure:
        return facts.failure
    if rollout.tried is not None and rollout.tried.failure:
        return rollout.tried.failure
    failed = _first(rollout, checks.why_back)
    if failed:
        return failed
    rang = [name for name in facts.ringing if name not in policy.dry_run]
    if rollout.shifted and rang:
        return f"Alarm {', '.join(rang)} was in ALARM while stage {rollout.stage + 1} baked."
    if policy.timeout and rollout.elapsed >= policy.timeout and not facts.hold:
        return (
            f"The deployment did not complete within {policy.timeout:g} seconds "
            "(MaximumExecutionTimeoutInSeconds)."
        )
    return ""


def _go_back(rollout: Rollout, facts: Facts) -> tuple[Rollout, Outcome]:
    if rollout.policy.kind != "ROLLING":
        return rollout, "rolled-back"
    if facts.blue_failure:
        return rollout, "rollback-failed"
    wanted = extent(rollout).blue
    if not _covers(facts.blue_ready, wanted):
        return rollout, "running"
    if _covers(wanted, rollout.blue):
        return rollout, "rolled-back"
    return msgspec.structs.replace(rollout, restored=wanted), "running"


def seconds_left(rollout: Rollout) -> float:
    """Until something is due by time alone; infinity when only a change of the world moves it on."""
    policy = rollout.policy
    if rollout.back:
        return float("inf")
    dues = [tally.due for tally in rollout.checked.values()]
    due = min([policy.timeout or float("inf"), *dues]) - rollout.elapsed
    if rollout.shifted and not rollout.doubt:
        bake = stages(policy, rollout.blue, rollout.green)[rollout.stage].bake
        due = min(due, bake - rollout.baked)
    return max(0.0, due)


def shares(extent: Extent, variant: str) -> tuple[float, float]:
    """Blue's and green's part of a variant's traffic: turned-on instances of each, as shares of both."""
    blue, green = extent.blue_on.get(variant, 0), extent.green_on.get(variant, 0)
    total = blue + green
    return (blue / total, green / total) if total else (0.0, 0.0)


def waits(policy: Policy, counts: Counts) -> float:
    """All bakes together: what ``MaximumExecutionTimeoutInSeconds`` has to exceed."""
    return sum(stage.bake for stage in stages(policy, counts, counts))


def _covers(ready: Counts, wanted: Counts) -> bool:
    return all(ready.get(name, 0) >= count for name, count in wanted.items())
