"""What the planner is given, what it remembers, and what it answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from modelyard.base.clock import NOTICED_SECONDS
from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.policies import Policy
from modelyard.domain.scaling.schedules import Schedule
from modelyard.domain.scaling.targets import Place, Range, Suspended


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of capacity under way. ``revision`` is the endpoint's before it was applied."""

    activity: Activity
    desired: int
    before: int
    revision: int
    cooldown_seconds: float | None = None


class NotScaled(msgspec.Struct, frozen=True, kw_only=True):
    """The last reason not to scale, so that it is recorded once while it lasts."""

    key: str
    activity: Activity


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a target from one pass to the next, as JSON.

    ``in_until`` and ``out_until`` end the cool-downs; ``base`` is the capacity before what was added in the latter.
    """

    applied_range: str = ""
    retry_at: float = 0.0
    change: Change | None = None
    acted: dict[str, float] = {}
    runs: dict[str, float] = {}
    history: tuple[tuple[float, int], ...] = ()
    in_until: float = 0.0
    out_until: float = 0.0
    base: int = 0
    not_scaled: NotScaled | None = None


def shifted(memory: Memory, seconds: float) -> Memory:
    """The same memory after the clock was set forward by ``seconds``: cool-downs last as long as they would have.

    Scheduled runs stay: they mean the time of day.
    """
    if not seconds:
        return memory
    change = memory.change
    if change is not None:
        activity = change.activity
        began = activity.started_at + seconds
        change = msgspec.structs.replace(
            change, activity=msgspec.structs.replace(activity, started_at=began)
        )
    return msgspec.structs.replace(
        memory,
        change=change,
        retry_at=memory.retry_at + seconds if memory.retry_at else 0.0,
        acted={name: at + seconds for name, at in memory.acted.items()},
        history=tuple((at + seconds, count) for at, count in memory.history),
        in_until=memory.in_until + seconds if memory.in_until else 0.0,
        out_until=memory.out_until + seconds if memory.out_until else 0.0,
        not_scaled=None,
    )


def set_back_by(memory: Memory, now: float) -> float:
    """Seconds, below 0, by which the clock was set back at least since this was remembered: what happened lies ahead."""
    happened = [*memory.acted.values(), *(at for at, _ in memory.history)]
    if memory.change is not None:
        happened.append(memory.change.activity.started_at)
    ahead = max(happened, default=now) - now
    return -ahead if ahead >= NOTICED_SECONDS else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAction:
    """``start`` is where it begins to count: its StartTime, or when it was put; None of a bound keeps it."""

    name: str
    schedule: Schedule
    timezone: ZoneInfo
    start: float
    put_at: float
    end: float | None = None
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The variant as it is. ``unscalable`` says why it cannot be scaled now, ``failure`` what went wrong last."""

    desired: int
    in_service: int
    revision: int
    unscalable: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked for. ``revision`` rises with each registration: capacity is clamped anew."""

    place: Place
    range: Range
    revision: int = 0
    suspended: Suspended = field(default_factory=Suspended)
    policies: Sequence[Policy] = ()
    actions: Sequence[ScheduledAction] = ()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Remember ``memory`` and ``activities`` (new ones, and known ones with what became of them), set ``range`` if
    it is not None; then set ``capacity`` if it is not None. Look again after ``seconds`` at the latest.
    """

    memory: Memory
    activities: dict[str, Activity] = field(default_factory=dict)
    range: Range | None = None
    capacity: int | None = None
    seconds: float = math.inf

    def remember(self, **changes: Any) -> None:
        """Replace fields of the memory."""
        self.memory = msgspec.structs.replace(self.memory, **changes)

    def record(self, activity: Activity) -> None:
        """Enter or replace it."""
        self.activities[activity.id] = activity
