"""A rehearsal: what captured requests would have made of a rollout, before it is one. Pure.

Every captured request was asked of the fleet in service and of the candidate. Here the rollout is run on the capture's own
seconds, by the decisions of ``domain.rollout`` and the alarms of ``domain.alarms``: traffic is that of the capture, over and
over until the last bake is done; each stage's share of it has the candidate's answers. Alarms look back at traffic of the old
fleet alone at first, and after the end for as long as they look back: what rings only then was baked too shortly.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from modelyard.domain import rollout as rollouts
from modelyard.domain.alarms import State, evaluate
from modelyard.domain.endpoint_metrics import Counted
from modelyard.domain.rehearsed_alarms import Cell, Watched, place_of_latency, value_of
from modelyard.domain.rollout import Facts, Outcome, Policy, Rollout

BIN_SECONDS = 10
HORIZON_SECONDS = 86_400
"""No rollout takes longer: the bakes of a linear one are at most eleven hours."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One fleet's answer: the container's status, or the platform's own where there was none."""

    status: int
    microseconds: float = 0.0


class Exchange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One captured request and both answers. ``at``: epoch second; ``agrees`` None: the old fleet gave none to compare with."""

    event_id: str
    at: int
    variant: str
    old: Answered
    new: Answered
    agrees: bool | None
    drift: float | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The rollout that is rehearsed: instances by variant of both fleets, and the alarms that watch it."""

    policy: Policy
    old: dict[str, int]
    new: dict[str, int]
    alarms: tuple[Watched, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A decision. ``seconds`` since the rollout began; ``shares``: the candidate's of each variant from then on."""

    seconds: int
    stage: int
    stages: int
    act: str
    why: str
    shares: dict[str, float]
    ringing: list[str]


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that rang; ``stage`` 0 is before the rollout, one more than all stages is after it."""

    alarm: str
    seconds: int
    stage: int
    reason: str


class Course(msgspec.Struct, kw_only=True):
    """What would have become of the rollout."""

    outcome: Outcome = "running"
    reason: str = ""
    stages: int = 0
    seconds: int = 0
    events: list[Event] = []
    rings: list[Ring] = []


def rehearse(exchanges: Sequence[Exchange], plan: Plan, draw: Callable[[], float]) -> Course:
    """``exchanges`` in order of time, at least one; ``draw`` is uniform in [0, 1) and decides whose answer a caller gets."""
    return _Rehearsal(exchanges, plan, draw).run()


_Class = tuple[str, int, int, int, int]
"""Variant, both statuses, and the bucket of both latencies: requests that are the same to every alarm."""


class _Rehearsal:
    def __init__(
        self, exchanges: Sequence[Exchange], plan: Plan, draw: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._draw = draw
        self._begin = exchanges[0].at
        self._cycle = exchanges[-1].at - self._begin + 1
        self._traffic: dict[int, Counter[_Class]] = {}
        for one in exchanges:
            old, new = (place_of_latency(side.microseconds) for side in (one.old, one.new))
            kind = (one.variant, one.old.status, one.new.status, old, new)
            self._traffic.setdefault(one.at - self._begin, Counter())[kind] += 1
        self._cells: dict[tuple[int, str, bool], Cell] = {}
        self._points: dict[str, dict[int, float]] = {alarm.name: {} for alarm in plan.alarms}
        self._states: dict[str, State] = {alarm.name: "INSUFFICIENT_DATA" for alarm in plan.alarms}
        self._look_back = max((alarm.rule.range_seconds for alarm in plan.alarms), default=0)
        self._longest = max((alarm.rule.period for alarm in plan.alarms), default=0)
        self._rollout = Rollout(policy=plan.policy, blue=plan.old, green=plan.new)
        self._stages = rollouts.stages(plan.policy, plan.old, plan.new)
        self._course = Course(stages=len(self._stages))

    def run(self) -> Course:
        course = self._course
        # From the beginning of a period, lest the first one lacks a part of its requests.
        lead = self._look_back + (self._begin - self._look_back) % max(1, self._longest)
        for second in range(-lead, 0):
            self._pass(second, dict.fromkeys(self._plan.new, 0.0))
        self._note("begun", "", 0)
        second = 0
        while course.outcome == "running" and second < HORIZON_SECONDS:
            self._decide(second)
            if course.outcome == "running":
                self._pass(second, self._shares())
                second += 1
        course.seconds = second
        if course.outcome == "promoted":
            for later in range(second, second + self._look_back):
                self._pass(later, dict.fromkeys(self._plan.new, 1.0))
        return course

    def _decide(self, second: int) -> None:
        """Everything that is due at the beginning of a second."""
        watched = 1.0 if second else 0.0
        while self._course.outcome == "running":
            before = self._rollout
            facts = Facts(
                watched=watched,
                green_ready=self._plan.new,
                blue_ready=self._plan.old,
                ringing=self._ringing(),
            )
            self._rollout, self._course.outcome = rollouts.advance(before, facts)
            watched = 0.0
            self._tell(before, second)
            if self._rollout == before and self._course.outcome == "running":
                return

    def _tell(self, before: Rollout, second: int) -> None:
        after, outcome = self._rollout, self._course.outcome
        if outcome == "promoted":
            self._course.reason = "no alarm rang in any bake"
            self._note("promoted", self._course.reason, second)
        elif after.back and not before.back:
            self._course.reason = after.back
            self._course.outcome = "rolled-back"
            self._note("rolled back", after.back, second)
        elif after.shifted and not before.shifted:
            bake = self._stages[after.stage].bake
            self._note("traffic moved", f"bakes {bake:g} seconds", second)
        elif after.stage > before.stage:
            self._note("bake over", "no alarm rang", second)

    def _note(self, act: str, why: str, second: int) -> None:
        shares = self._shares()
        if act in ("promoted", "rolled back"):
            shares = dict.fromkeys(shares, 1.0 if act == "promoted" else 0.0)
        event = Event(
            seconds=second,
            stage=self._rollout.stage + 1,
            stages=len(self._stages),
            act=act,
            why=why,
            shares={name: round(share, 6) for name, share in shares.items()},
            ringing=list(self._ringing()),
        )
        self._course.events.append(event)

    def _shares(self) -> dict[str, float]:
        extent = rollouts.extent(self._rollout)
        return {name: rollouts.shares(extent, name)[1] for name in sorted(self._plan.new)}

    def _ringing(self) -> tuple[str, ...]:
        return tuple(name for name, state in sorted(self._states.items()) if state == "ALARM")

    def _pass(self, second: int, shares: Mapping[str, float]) -> None:
        """One second of traffic; then the alarms whose period ends with it."""
        at = self._begin + second
        place = at // BIN_SECONDS * BIN_SECONDS
        for kind, count in self._traffic.get(second % self._cycle, {}).items():
            variant, old, new, old_place, new_place = kind
            share = shares.get(variant, 0.0)
            # Whole requests, and by chance what is left over: one request is a draw, many are their share.
            taken = int(count * share + self._draw()) if 0.0 < share < 1.0 else count * int(share)
            if taken:
                self._cell(place, variant, is_new=True).add(new, new_place, taken)
            if count > taken:
                self._cell(place, variant, is_new=False).add(old, old_place, count - taken)
        end = at + 1
        for alarm in self._plan.alarms:
            if end % alarm.rule.period == 0:
                self._evaluate(alarm, end, second + 1)
        if end % BIN_SECONDS == 0:
            gone = end - self._longest
            self._cells = {key: cell for key, cell in self._cells.items() if key[0] >= gone}

    def _cell(self, place: int, variant: str, *, is_new: bool) -> Cell:
        return self._cells.setdefault((place, variant, is_new), Cell())

    def _evaluate(self, alarm: Watched, end: int, second: int) -> None:
        start = end - alarm.rule.period

        def cells(variant: str, fleets: Sequence[bool]) -> list[Counted]:
            found = []
            for is_new in fleets:
                instances = (self._plan.new if is_new else self._plan.old).get(variant, 0)
                found += [
                    cell.counted(instances)
                    for (place, name, fleet), cell in self._cells.items()
                    if start <= place < end and (name, fleet) == (variant, is_new)
                ]
            return found

        points = self._points[alarm.name]
        value = value_of(alarm, start, cells)
        if value is not None:
            points[start] = value
        before = self._states[alarm.name]
        verdict = evaluate(alarm.rule, points, end=end, before=before)
        self._states[alarm.name] = verdict.state
        points.pop(end - alarm.rule.range_seconds - alarm.rule.period, None)
        if verdict.state == "ALARM" and before != "ALARM":
            stage = 0 if second <= 0 else self._rollout.stage + 1
            if self._course.outcome == "promoted":
                stage = len(self._stages) + 1
            ring = Ring(alarm=alarm.name, seconds=second, stage=stage, reason=verdict.reason)
            self._course.rings.append(ring)
