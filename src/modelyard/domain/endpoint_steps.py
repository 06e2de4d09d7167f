"""The values of an endpoint's plan: what was asked for, the bounds, and the steps that are to be applied."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import Capacity, Fleet, Observed, Placement
from modelyard.domain.hibernation import NEVER, Idle
from modelyard.domain.pre_traffic import Tried
from modelyard.domain.rollout import Policy, Rollout
from modelyard.domain.rollout_checks import Measured
from modelyard.domain.routes import RolloutRoute, VariantRoute

_STOP_POLL_SECONDS = 5.0
ALL_AT_ONCE = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Counts and weights, by variant, for the fleet that serves; ``revision`` rises with each change."""

    revision: int
    capacities: Mapping[str, Capacity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as it is wished. ``proposal``: the fleet of a generation not yet begun, or why there is none."""

    generation: int
    deleting: bool
    memory: Memory
    proposal: Fleet | str | None = None
    policy: Policy = ALL_AT_ONCE
    sizing: Sizing | None = None
    idle: Idle = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a rollout is watched by: seconds since the last look, alarms that ring, and a person's word."""

    seconds: float = 0.0
    ringing: tuple[str, ...] = ()
    hold: bool = False
    go: bool = False
    abort: bool = False
    passed: int = -1
    """The last stage whose gate a person has opened."""
    trusted: int = 0
    """The last doubt that a person has overruled."""
    measured: tuple[Measured, ...] = ()
    tried: Tried | None = None


UNWATCHED = Watch()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The bounds that apply."""

    startup_seconds: float
    restart_attempts: int
    zones: tuple[str, ...] = ()
    """Those that can start workers now; empty where the platform has one only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRoutes:
    """Requests of the endpoint go to these; None: it is not invocable."""

    variants: tuple[VariantRoute, ...] | None
    rollout: RolloutRoute | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveStatus:
    """Remember, and show."""

    endpoint_status: str
    failure_reason: str
    generation: int
    config_name: str
    variants: list[dict[str, Any]]
    memory: Memory
    pending: dict[str, Any] | None = None
    shadows: list[dict[str, Any]] = field(default_factory=list)
    ended: Rollout | None = None
    """The rollout that this ends, as it was at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorker:
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWorker:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TryFleet:
    """The new fleet's replicas are to answer the test's requests before they get others; once is enough."""

    rollout: str
    variants: tuple[VariantRoute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetWorker:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveEndpoint:
    """Delete the resource."""


Step = (
    PublishRoutes | SaveStatus | StartWorker | TryFleet | StopWorker | ForgetWorker | RemoveEndpoint
)


@dataclass(slots=True, kw_only=True)
class Plan:
    """Steps in order, and when to look again (seconds from now; infinity: when something changes)."""

    steps: list[Step] = field(default_factory=list)
    seconds: float = float("inf")


def add_retirement(result: Plan, memory: Memory, observed: Mapping[str, Observed]) -> None:
    for worker in memory.retired:
        if observed[worker].state in ("dead", "failed", "succeeded"):
            result.steps.append(ForgetWorker(id=worker))
            result.seconds = 0.0  # then it is seen to be gone
        else:
            result.steps.append(StopWorker(id=worker))
            result.seconds = min(result.seconds, _STOP_POLL_SECONDS)
