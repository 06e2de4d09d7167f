"""The ledger of a rollout: what was decided and why, and what became of every request that came meanwhile. Pure.

Decisions are read off two states of the reconciler's memory, so that they are written down with the state that they led to.
Requests come from the gateways' books; when the last one of a rollout has ended, the ledger is closed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from modelyard.domain import rollout as rollouts
from modelyard.domain import rollout_checks
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_update import rollout_id
from modelyard.domain.fleet import Fleet
from modelyard.domain.ledger_book import FleetCounts, PageCounts
from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout import Rollout

KEPT_MAX = 10
"""Ledgers of one endpoint; the oldest goes."""
DECISIONS_MAX = 64
TEXT_MAX = 400
Act = Literal[
    "begun",
    "tested",
    "waits at its gate",
    "traffic moved",
    "dry-run alarm",
    "check passed",
    "check failed",
    "check inconclusive",
    "waits in doubt",
    "goes on",
    "bake over",
    "bake ended by hand",
    "going back",
    "promoted",
    "rolled back",
    "rollback failed",
    "superseded",
]
_CHECKED: Mapping[str, Act] = {
    "passed": "check passed",
    "failed": "check failed",
    "inconclusive": "check inconclusive",
}
_ENDS = ("promoted", "rolled back", "superseded")


class AlarmSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as it was at a decision. ``rule`` is what it compares with; in ``ALARM``, ``reason`` says why.

    ``values``: the newest periods of its metric by then, oldest first, the one that was not over yet included.
    """

    name: str
    state: str
    reason: str = ""
    rule: str = ""
    values: list[float] = []


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of one fleet since the rollout began. Latencies are the model's, in milliseconds, within a tenth."""

    answered: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    repeated: int = 0
    compared: int = 0
    disagreed: int = 0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Of all requests: ``accepted`` is the sum of all that follows but ``twice`` and ``crossed``.

    ``cut``: their gateway was killed, the connection with it. ``in_flight``: not ended yet; once the ledger is closed, ``lost``.
    """

    accepted: int = 0
    refused: dict[str, int] = {}
    left: int = 0
    cut: int = 0
    in_flight: int = 0
    lost: int = 0
    twice: int = 0
    crossed: int = 0
    blue: Figures = Figures()
    green: Figures = Figures()


class CheckSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a check: how often it passed, failed and had no data, its newest values, and the metrics behind the last."""

    name: str
    rule: str
    passed: int
    failed: int
    inconclusive: int
    last: str
    values: list[float | None]
    inputs: dict[str, float]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``at``: epoch seconds. ``stage`` counts from 1; ``shares``: green's of each variant from now on."""

    at: float
    act: Act
    why: str
    stage: int
    stages: int
    elapsed: float
    shares: dict[str, float]
    alarms: list[AlarmSeen]
    totals: Totals
    checks: dict[str, float | None] = {}
    """Each one's newest value."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout. ``totals`` is filled in when it is closed. ``test`` is of requests that are not among them."""

    id: str
    kind: str
    from_config: str
    to_config: str
    began: float
    ended: float = 0.0
    outcome: str = "running"
    reason: str = ""
    closed: bool = False
    decisions: list[Decision] = []
    left_out: int = 0
    totals: Totals = Totals()
    checks: list[CheckSeen] = []
    test: Tried | None = None


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when something is decided. ``ended``: the rollout as it was when it ended just now."""

    at: float
    alarms: Sequence[AlarmSeen] = ()
    totals: Totals = Totals()
    by_hand: bool = False
    ended: Rollout | None = None


def follow(ledgers: Sequence[Ledger], before: Memory, after: Memory, now: Now) -> list[Ledger]:
    """The ledgers with what was decided between two states of memory."""
    found = list(ledgers)
    if before.rollout is not None and before.target is not None:
        open_id = rollout_id(before.target)
        for act, why, state in _acts(before, before.rollout, before.target, after, now):
            found = [
                _with(one, act, why, state, now) if one.id == open_id else one for one in found
            ]
        latest = after.rollout or now.ended
        found = [_as_of(one, latest) if one.id == open_id else one for one in found]
    rollout, green = after.rollout, after.target
    is_known = green is not None and any(one.id == rollout_id(green) for one in found)
    if rollout is not None and green is not None and not is_known:
        found.append(_opened(rollout, green, after, now))
    return found[-KEPT_MAX:]


def _as_of(ledger: Ledger, rollout: Rollout | None) -> Ledger:
    """With what came of its test and checks by now."""
    if rollout is None:
        return ledger
    return msgspec.structs.replace(ledger, checks=checks_seen(rollout), test=rollout.tried)


def checks_seen(rollout: Rollout) -> list[CheckSeen]:
    """Each of the policy's checks."""
    untried = rollout_checks.Tally(due=0.0)
    tallies = [(one, rollout.checked.get(one.name, untried)) for one in rollout.policy.checks]
    return [
        CheckSeen(
            name=check.name,
            rule=check.rule,
            passed=tally.passed,
            failed=tally.failed,
            inconclusive=tally.inconclusive,
            last=tally.last,
            values=list(tally.recent),
            inputs=tally.inputs,
        )
        for check, tally in tallies
    ]


def _opened(rollout: Rollout, green: Fleet, memory: Memory, now: Now) -> Ledger:
    ledger = Ledger(
        id=rollout_id(green),
        kind=rollout.policy.kind,
        from_config=memory.serving.config_name if memory.serving else "",
        to_config=green.config_name,
        began=now.at,
    )
    return _with(ledger, "begun", f"UpdateEndpoint to {green.config_name}", rollout, now)


def _acts(
    before: Memory, was: Rollout, green: Fleet, after: Memory, now: Now
) -> list[tuple[Act, str, Rollout]]:
    """What happened, with the rollout's state after it."""
    state = after.rollout
    if state is None or after.target is None or after.target.generation != green.generation:
        last = now.ended or was
        return [*_trials(was, last), _ending(last, green, after)]
    noted: list[tuple[Act, str, Rollout]] = [
        (
            "dry-run alarm",
            f"{name} rang in stage {stage + 1}: it would have sent the rollout back",
            state,
        )
        for name, stage in state.noted.items()
        if name not in was.noted
    ]
    steps, failing = _steps(was, state, now), _failing(before, was, state, after)
    return [*_trials(was, state), *noted, *steps, *failing]


def _trials(was: Rollout, state: Rollout) -> list[tuple[Act, str, Rollout]]:
    """What a test and checks said; of a check that says the same again and again, the first time."""
    found: list[tuple[Act, str, Rollout]] = []
    tried = state.tried
    if tried is not None and was.tried is None and not tried.failure:
        all_of_them = f"{tried.passed} answers of the new fleet were as they should be"
        found.append(("tested", f"{all_of_them}, the slowest in {tried.slowest_ms:.0f} ms", state))
    for check in state.policy.checks:
        tally, before = state.checked.get(check.name), was.checked.get(check.name)
        if tally is not None and tally.last and (before is None or before.last != tally.last):
            found.append((_CHECKED[tally.last], rollout_checks.told(check, tally), state))
    if state.doubts > was.doubts:
        found.append(
            ("waits in doubt", f"{state.doubt} modelyard rollout resume lets it go on", state)
        )
    elif was.doubt and not state.doubt:
        found.append(("goes on", "modelyard rollout resume", state))
    return found


def _failing(
    before: Memory, was: Rollout, state: Rollout, after: Memory
) -> list[tuple[Act, str, Rollout]]:
    if state.back and not was.back:
        return [("going back", state.back, state)]
    if after.failure and not before.failure:
        return [("rollback failed", after.failure, state)]
    return []


def _steps(was: Rollout, state: Rollout, now: Now) -> list[tuple[Act, str, Rollout]]:
    if state.at_gate and not was.at_gate:
        return [
            ("waits at its gate", "all is ready; modelyard rollout resume lets it go on", state)
        ]
    if state.shifted and not was.shifted:
        ready = "every instance of the new fleet that it needs is ready"
        return [
            ("traffic moved", f"{ready}, and its gate is open" if was.at_gate else ready, state)
        ]
    if state.stage > was.stage:
        if now.by_hand:
            return [("bake ended by hand", "modelyard rollout promote", state)]
        stages = rollouts.stages(state.policy, state.blue, state.green)
        return [("bake over", f"{stages[was.stage].bake:g} s without an alarm", state)]
    return []


def _ending(was: Rollout, green: Fleet, after: Memory) -> tuple[Act, str, Rollout]:
    serving = after.serving
    if serving is not None and serving.generation == green.generation:
        stages = rollouts.stages(was.policy, was.blue, was.green)
        return "promoted", f"{stages[-1].bake:g} s on full capacity without an alarm", was
    if after.refused == green.generation:
        return "rolled back", after.failure, msgspec.structs.replace(was, back=after.failure)
    return "superseded", "another change took its place", was


def _with(ledger: Ledger, act: Act, why: str, state: Rollout, now: Now) -> Ledger:
    extent = rollouts.extent(state)
    shares = {name: rollouts.shares(extent, name)[1] for name in sorted(state.green)}
    if act in _ENDS:
        shares = dict.fromkeys(shares, 1.0 if act == "promoted" else 0.0)
    decision = Decision(
        at=now.at,
        act=act,
        why=_limited(why),
        stage=state.stage + 1,
        stages=len(rollouts.stages(state.policy, state.blue, state.green)),
        elapsed=state.elapsed,
        shares=shares,
        alarms=list(now.alarms),
        totals=now.totals,
        checks={name: tally.value for name, tally in state.checked.items()},
    )
    # Of too many decisions, the first ones and the last one tell most.
    has_room = len(ledger.decisions) < DECISIONS_MAX
    kept = ledger.decisions if has_room else ledger.decisions[:-1]
    changes: dict[str, Any] = {"decisions": [*kept, decision]}
    if not has_room:
        changes["left_out"] = ledger.left_out + 1
    if act in _ENDS:
        changes |= {"outcome": act, "ended": now.at, "reason": _limited(why)}
    elif act == "rollback failed":  # What there is of both fleets serves on, until another update.
        changes |= {"outcome": act, "reason": _limited(why)}
    return msgspec.structs.replace(ledger, **changes)


def closed(ledger: Ledger, counts: PageCounts) -> Ledger:
    """No request of it is on its way any more: what has not ended by now is lost."""
    totals = totals_of(counts)
    totals = msgspec.structs.replace(totals, lost=totals.in_flight, in_flight=0)
    return msgspec.structs.replace(ledger, closed=True, totals=totals)


def totals_of(counts: PageCounts) -> Totals:
    return Totals(
        accepted=counts.accepted,
        refused=dict(counts.refused),
        left=counts.left,
        cut=counts.cut,
        in_flight=counts.in_flight,
        twice=counts.twice,
        crossed=counts.crossed,
        blue=_figures(counts.blue),
        green=_figures(counts.green),
    )


def _figures(counts: FleetCounts) -> Figures:
    mean = counts.microseconds / counts.answered / 1000 if counts.answered else 0.0
    return Figures(
        answered=counts.answered,
        errors_4xx=counts.client_errors,
        errors_5xx=counts.server_errors,
        repeated=counts.repeated,
        compared=counts.compared,
        disagreed=counts.disagreed,
        mean_ms=round(mean, 3),
        p50_ms=round(counts.percentile(50), 3),
        p99_ms=round(counts.percentile(99), 3),
    )


def _limited(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 2]} …"
