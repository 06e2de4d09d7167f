"""What happens to a target's capacity next: a pure decision over what is asked for, seen and remembered.

One pass, in this order::

    1. scheduled actions     those that are due set the range
    2. a change under way    is it applied, fulfilled, overridden, failed, too late?
    3. the range             capacity outside a new range is clamped at once
    4. the policies          the largest capacity that one asks for; nothing while the endpoint cannot be scaled

Live, simulated and tested scaling are this function on different clocks. What it did not do is recorded like what it did.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from modelyard.domain.scaling.activities import Activity, Code, Status, activity_id
from modelyard.domain.scaling.proposals import Alarm, Capacity, Proposal, mark, propose
from modelyard.domain.scaling.schedules import last_run, next_run
from modelyard.domain.scaling.state import (
    Change,
    Memory,
    NotScaled,
    Outcome,
    Scaled,
    ScheduledAction,
    Target,
)
from modelyard.domain.scaling.targets import Range

CHANGE_SECONDS_MAX = 3_600.0
"""A change that the endpoint has not fulfilled by then is given up as Unfulfilled."""
REPEAT_SECONDS = 3.0
"""An alarm that stays in ALARM acts again so long after the end of each of its periods: its evaluation comes first."""
_HISTORY_MAX = 64
_HISTORY_SECONDS = 7_200.0
_RETRY_SECONDS = 60.0
_POLL_SECONDS = 1.0
_SAME_REASON_SECONDS = 3_600.0
"""A reason not to scale that lasts is one activity, and a new one after this time."""

Alarms = Mapping[str, Sequence[Alarm]]
"""By the name of the policy that they act on."""


def decide(
    target: Target, scaled: Scaled, alarms: Alarms, memory: Memory, *, now: float
) -> Outcome:
    """One pass."""
    return _Pass(target, scaled, alarms, memory, now).run()


def refused(memory: Memory, message: str, *, now: float) -> Outcome:
    """The change could not be made: the endpoint's service refused it."""
    outcome = Outcome(memory=memory, seconds=_RETRY_SECONDS)
    _end_change(outcome, "Failed", message, now)
    return outcome


class _Pass:
    """One pass over one target; ``range`` is the target's as the scheduled actions leave it."""

    def __init__(
        self, target: Target, scaled: Scaled, alarms: Alarms, memory: Memory, now: float
    ) -> None:
        self._target = target
        self._scaled = scaled
        self._alarms = alarms
        self._now = now
        self._outcome = Outcome(memory=_with_history(memory, scaled, now))
        self._range = target.range

    def run(self) -> Outcome:
        self._run_schedules()
        self._follow_change()
        if self._outcome.memory.change is not None or not self._clamp():
            self._scale()
        self._look_again()
        return self._outcome

    # 1. Scheduled actions

    def _run_schedules(self) -> None:
        """In the order of their times."""
        due: list[tuple[float, str, ScheduledAction]] = []
        runs = {}
        for action in self._target.actions:
            after = max(self._outcome.memory.runs.get(action.name, 0.0), action.put_at)
            run = last_run(
                action.schedule,
                action.timezone,
                after=after,
                until=self._now,
                start=action.start,
                end=action.end,
            )
            runs[action.name] = after if run is None else run
            if run is not None:
                due.append((run, action.name, action))
        if runs != self._outcome.memory.runs:
            self._outcome.remember(runs=runs)
        for _, _, action in sorted(due, key=lambda one: one[:2]):
            self._run_action(action)
        if self._range != self._target.range:
            self._outcome.range = self._range

    def _run_action(self, action: ScheduledAction) -> None:
        low = self._range.low if action.low is None else action.low
        high = self._range.high if action.high is None else action.high
        bounds = (("min", action.low), ("max", action.high))
        setting = " and ".join(f"{word} capacity to {n}" for word, n in bounds if n is not None)
        is_suspended = self._target.suspended.scheduled
        status: Status = "Successful"
        message = f"Successfully set {setting}."
        if is_suspended:
            status, message = "Unfulfilled", "Not scaled: scheduled scaling is suspended."
        elif low > high:
            status, message = "Failed", f"{low}-{high} would be an empty range."
        else:
            self._range = Range(low=low, high=high)
        self._outcome.record(
            Activity(
                id=activity_id(self._target.place.name, action.name, self._now),
                description=f"Setting {setting}.",
                cause=f"scheduled action name {action.name} was triggered",
                started_at=self._now,
                ended_at=self._now,
                status=status,
                message=message,
                is_scaled=not is_suspended,
            )
        )

    # 2. A change under way

    def _follow_change(self) -> None:
        change, scaled = self._outcome.memory.change, self._scaled
        if change is None:
            return
        is_late = self._now - change.activity.started_at > CHANGE_SECONDS_MAX
        noun = self._target.place.noun
        if scaled.revision == change.revision and scaled.desired != change.desired:
            self._apply(change)
        elif scaled.unscalable:
            if is_late:
                self._end("Unfulfilled", f"Not fulfilled in time: {scaled.unscalable}.")
        elif scaled.desired == change.desired:
            if scaled.in_service == change.desired:
                done = f"Successfully set {noun} to {change.desired}."
                self._end("Successful", f"{done} Change successfully fulfilled by sagemaker.")
            elif is_late:
                self._end("Unfulfilled", f"{scaled.in_service} of {scaled.desired} are in service.")
        elif scaled.failure:
            failed = f"Failed to set {noun} to {change.desired}."
            self._end("Failed", f"{failed} Reason: {scaled.failure}")
        else:
            self._end("Overridden", f"Somebody else set the {noun} to {scaled.desired}.")

    def _apply(self, change: Change) -> None:
        """It was decided and is not yet done: we were stopped in between."""
        if self._scaled.unscalable:
            self._end("Failed", self._scaled.unscalable)
        elif self._range.clamp(change.desired) != change.desired:
            self._end("Overridden", f"The range is now {self._range.low}-{self._range.high}.")
        else:
            self._outcome.capacity = change.desired

    def _end(self, status: Status, message: str) -> None:
        _end_change(self._outcome, status, message, self._now)

    # 3. The range

    def _clamp(self) -> bool:
        """Bring capacity into a range that was not applied yet; whether that is under way."""
        stamp = f"{self._target.revision}:{self._range.low}-{self._range.high}"
        memory = self._outcome.memory
        if memory.applied_range == stamp:
            return False
        wanted = self._range.clamp(self._scaled.desired)
        if wanted == self._scaled.desired:
            self._outcome.remember(applied_range=stamp)
            return False
        if self._scaled.unscalable or self._now < memory.retry_at:
            return False
        word = "minimum" if wanted == self._range.low else "maximum"
        self._begin(wanted, f"{word} capacity was set to {wanted}")
        return True

    # 4. The policies

    def _scale(self) -> None:
        proposals = self._proposals()
        is_busy = self._scaled.unscalable or self._outcome.memory.change is not None
        if is_busy:
            proposals = [one for one in proposals if one.wanted != self._scaled.desired]
        if not proposals:
            return
        best = max(proposals, key=lambda one: one.wanted)
        if is_busy:
            rule = self._scaled.unscalable or "another scaling activity is in progress"
            self._record_not_scaled(best, rule, "TargetServicePutResourceAsUnscalable")
            return
        kept = self._kept(best)
        if kept is not None:
            self._record_not_scaled(best, *kept)
            return
        wanted = self._range.clamp(best.wanted)
        if wanted > self._scaled.desired:  # which also ends a scale-in cool-down
            base = self._base()
            self._outcome.remember(
                base=self._scaled.desired if base is None else base, in_until=0.0
            )
        cause = (
            f"monitor alarm {best.alarm.name} in state ALARM triggered policy {best.policy.name}"
        )
        details = self._details(best, best.rule)
        self._begin(wanted, cause, details=details, cooldown_seconds=best.cooldown_seconds)

    def _proposals(self) -> list[Proposal]:
        """Of all policies whose alarms fire, each marked as acted upon; none unless one of them has something new."""
        memory = self._outcome.memory
        policies, alarms = self._target.policies, self._alarms
        capacity = Capacity(desired=self._scaled.desired, base=self._base(), history=memory.history)
        found = list(propose(policies, alarms, capacity, acted=memory.acted))
        if not any(one.is_fresh for one in found):
            return []
        known = {mark(p, alarm) for p in policies for alarm in alarms.get(p.name, ())}
        kept = {name: at for name, at in memory.acted.items() if name in known}
        fresh = {mark(one.policy, one.alarm): one.alarm.evaluated_at for one in found}
        self._outcome.remember(acted=kept | fresh)
        return found

    def _base(self) -> int | None:
        memory = self._outcome.memory
        return memory.base if self._now < memory.out_until else None

    def _kept(self, best: Proposal) -> tuple[str, Code | Literal[""]] | None:
        """Why the capacity stays as it is, although an alarm fires; None if it changes."""
        desired, wanted = self._scaled.desired, self._range.clamp(best.wanted)
        if best.wanted == desired:
            is_low = best.code == "AutoScalingAnticipatedFlapping" and desired <= self._range.low
            return best.rule, "AlreadyAtMinCapacity" if is_low else best.code
        is_out = best.wanted > desired
        if is_out and wanted <= desired:
            return (
                f"{best.wanted} wanted, at most {self._range.high} allowed",
                "AlreadyAtMaxCapacity",
            )
        if not is_out and wanted >= desired:
            return (
                f"{best.wanted} wanted, at least {self._range.low} allowed",
                "AlreadyAtMinCapacity",
            )
        if is_out:
            suspended = self._target.suspended.scale_out
            return ("dynamic scale-out is suspended", "") if suspended else None
        if self._target.suspended.scale_in:
            return "dynamic scale-in is suspended", ""
        left = self._outcome.memory.in_until - self._now
        return (f"the scale-in cool-down has {left:.0f} seconds left", "") if left > 0 else None

    def _begin(
        self,
        wanted: int,
        cause: str,
        *,
        details: dict[str, Any] | None = None,
        cooldown_seconds: float | None = None,
    ) -> None:
        set_to = f"{self._target.place.noun} to {wanted}."
        activity = Activity(
            id=activity_id(self._target.place.name, wanted, self._now),
            description=f"Setting {set_to}",
            cause=cause,
            started_at=self._now,
            status="InProgress",
            message=f"Set {set_to} Waiting for change to be fulfilled by sagemaker.",
            details=details or {},
        )
        change = Change(
            activity=activity,
            desired=wanted,
            before=self._scaled.desired,
            revision=self._scaled.revision,
            cooldown_seconds=cooldown_seconds,
        )
        self._outcome.record(activity)
        self._outcome.capacity = wanted
        self._outcome.remember(change=change, not_scaled=None)

    def _record_not_scaled(self, proposal: Proposal, rule: str, code: Code | Literal[""]) -> None:
        """Once for a reason that lasts; its end moves on."""
        policy, alarm = proposal.policy.name, proposal.alarm.name
        desired = self._scaled.desired
        key = f"{policy}|{alarm}|{code or rule.partition(' has ')[0]}|{desired}"
        last, started_at = self._outcome.memory.not_scaled, self._now
        if last is not None and last.key == key:
            before = last.activity.started_at
            started_at = before if self._now - before < _SAME_REASON_SECONDS else self._now
        activity = Activity(
            id=activity_id(self._target.place.name, key, started_at),
            description="Attempting to scale due to alarm triggered",
            cause=f"monitor alarm {alarm} in state ALARM triggered policy {policy}",
            started_at=started_at,
            ended_at=self._now,
            status="Unfulfilled",
            message=f"Not scaled: {rule}.",
            details=self._details(proposal, rule),
            is_scaled=False,
            code=code,
            capacity=desired,
            low=self._range.low,
            high=self._range.high,
        )
        self._outcome.record(activity)
        self._outcome.remember(not_scaled=NotScaled(key=key, activity=activity))

    def _details(self, proposal: Proposal, rule: str) -> dict[str, Any]:
        return {**proposal.details, "rule": rule, "min": self._range.low, "max": self._range.high}

    def _look_again(self) -> None:
        memory, now = self._outcome.memory, self._now
        waits = [math.inf]
        for alarms in self._alarms.values():
            firing = [one.interval for one in alarms if one.state == "ALARM"]
            waits += [interval - (now - REPEAT_SECONDS) % interval for interval in firing]
        if memory.change is not None:
            waits.append(_POLL_SECONDS)
        if memory.retry_at > now:
            waits.append(memory.retry_at - now)
        for action in self._target.actions:
            moment = next_run(
                action.schedule,
                action.timezone,
                after=max(now, action.put_at),
                start=action.start,
                end=action.end,
            )
            if moment is not None:
                waits.append(moment - now)
        self._outcome.seconds = max(0.0, min(waits))


def _with_history(memory: Memory, scaled: Scaled, now: float) -> Memory:
    history = memory.history
    if history and history[-1][1] == scaled.in_service:
        return memory
    history = (*history, (now, scaled.in_service))[-_HISTORY_MAX:]
    # What began before the window still says what was in service at its start.
    while len(history) > 1 and history[1][0] < now - _HISTORY_SECONDS:
        history = history[1:]
    return msgspec.structs.replace(memory, history=history)


def _end_change(outcome: Outcome, status: Status, message: str, now: float) -> None:
    change = outcome.memory.change
    assert change is not None
    ended = msgspec.structs.replace(change.activity, status=status, message=message, ended_at=now)
    outcome.record(ended)
    outcome.remember(change=None)
    if status != "Successful":
        outcome.remember(retry_at=now + _RETRY_SECONDS)
    elif change.cooldown_seconds is not None:
        until = now + change.cooldown_seconds
        if change.desired > change.before:
            outcome.remember(out_until=until)
        else:
            # What is taken away again can no longer count as added.
            outcome.remember(in_until=until, out_until=0.0)
