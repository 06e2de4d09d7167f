"""The reconciler of scalable targets: reads the world, asks ``domain.scaling.planner``, does what it decides.

Level-based like all of them. What was decided is stored before it is done, with the endpoint's generation: a controller
that was killed in between finds a change that is not yet applied, and applies it.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from modelyard.base.clock import Clock, SteadyTime
from modelyard.base.errors import ServiceError
from modelyard.domain.scaling.activities import KEPT_MAX, KEPT_SECONDS, Activity
from modelyard.domain.scaling.planner import decide, refused
from modelyard.domain.scaling.policies import Policy
from modelyard.domain.scaling.proposals import Alarm
from modelyard.domain.scaling.state import Outcome, Scaled, set_back_by, shifted
from modelyard.domain.scaling.targets import CONCURRENCY, Place
from modelyard.store.resources import (
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)
from modelyard.store.scaling import (
    ACTION,
    ACTIVITY,
    POLICY,
    activity_key,
    activity_of,
    activity_spec,
    deregistration,
    memory_of,
    memory_status,
    owned,
    place_of,
    target_of,
)

_PRUNE_EVERY = 20
_PRUNED_MAX = 200
_logger = logging.getLogger(__name__)


class AlarmReader(Protocol):
    """What the alarms that act on policies say."""

    async def read(self, target: Key, policies: Sequence[Policy]) -> Mapping[str, Sequence[Alarm]]:
        """By the policy's name: its alarms, with the data points that they were evaluated by."""


class CapacitySetter(Protocol):
    """How an endpoint's desired counts are changed: as UpdateEndpointWeightsAndCapacities does."""

    async def set_capacity(self, endpoint: Key, place: Place, capacity: int) -> None:
        """Returns when it is stored. Raises ``ServiceError``."""


class ScalingReconciler:
    """One pass: load, decide, remember, act."""

    def __init__(
        self, *, store: ResourceStore, alarms: AlarmReader, capacity: CapacitySetter, clock: Clock
    ) -> None:
        self._store = store
        self._alarms = alarms
        self._capacity = capacity
        self._clock = clock
        self._steady: dict[Key, SteadyTime] = {}
        self._targets: dict[Key, set[Key]] = {}

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look. Raises ``VersionConflict``."""
        target = self._store.get(key)
        place = place_of(key)
        endpoint_key = Key(
            kind="endpoint", account=key.account, region=key.region, name=place.endpoint
        )
        if target is None:
            self._targets.get(endpoint_key, set()).discard(key)
            self._steady.pop(key, None)
            return float("inf")
        self._targets.setdefault(endpoint_key, set()).add(key)
        endpoint = self._store.get(endpoint_key)
        if endpoint is None or _is_leaving(endpoint) or _is_another(endpoint, target):
            _logger.info("deregistering %s: its endpoint is gone", key.name)
            await self._store.write(*deregistration(self._store, target))
            return float("inf")
        return await self._scale(target, endpoint, place)

    def interested_in(self, key: Key) -> Collection[Key]:
        """The targets to look at when this endpoint changes."""
        return tuple(self._targets.get(key, ()))

    async def _scale(self, target: Resource, endpoint: Resource, place: Place) -> float:
        steady = self._steady.setdefault(target.key, SteadyTime(self._clock))
        asked = target_of(
            target, owned(self._store, target, POLICY), owned(self._store, target, ACTION)
        )
        scaled = scaled_of(endpoint, place)
        alarms = await self._alarms.read(target.key, asked.policies)
        now, memory = self._clock.now(), memory_of(target)
        # The second is of a clock that was set while no control was there to see it.
        memory = shifted(memory, steady.set_by() or set_back_by(memory, now))
        outcome = decide(asked, scaled, alarms, memory, now=now)
        target = await self._save(target, endpoint, outcome)
        if steady.set_by():
            self._steady[target.key] = SteadyTime(self._clock)
        if outcome.capacity is not None:
            try:
                await self._capacity.set_capacity(endpoint.key, place, outcome.capacity)
            except ServiceError as error:
                outcome = refused(outcome.memory, error.message, now=self._clock.now())
                await self._save(target, endpoint, outcome)
        return outcome.seconds

    async def _save(self, target: Resource, endpoint: Resource, outcome: Outcome) -> Resource:
        """Write what is new: memory, range and activities at once."""
        recorded = target.status.get("recorded", 0) + len(outcome.activities)
        status = memory_status(
            outcome.memory, endpoint_created=endpoint.created_at, recorded=recorded
        )
        spec: Json | None = None
        if outcome.range is not None:
            bounds = {"MinCapacity": outcome.range.low, "MaxCapacity": outcome.range.high}
            spec = {**target.spec, **bounds}
        if status == target.status and spec is None and not outcome.activities:
            return target
        changes: list[Change] = [
            Update(key=target.key, version=target.version, spec=spec, status=status)
        ]
        changes += [self._record(target.key, one) for one in outcome.activities.values()]
        if recorded // _PRUNE_EVERY > target.status.get("recorded", 0) // _PRUNE_EVERY:
            changes += self._prune(target.key)
        written = await self._store.write(*changes)
        return written[0]

    def _record(self, target: Key, activity: Activity) -> Change:
        key = activity_key(target, activity)
        spec = activity_spec(activity)
        known = self._store.get(key)
        if known is not None:
            return Update(key=key, version=known.version, spec=spec)
        return Create(key=key, spec=spec)

    def _prune(self, target: Key) -> list[Change]:
        """Activities are kept for six weeks, and not without end."""
        oldest = self._clock.now() - KEPT_SECONDS
        every = self._store.list(ACTIVITY, account=target.account, region=target.region)
        gone = [one for one in every if activity_of(one).started_at < oldest]
        left = [one for one in every if one.key.name.startswith(f"{target.name}|")]
        left = [one for one in left if one not in gone]
        gone += left[: max(0, len(left) - KEPT_MAX)]
        return [Delete(key=one.key) for one in gone[:_PRUNED_MAX]]


def scaled_of(endpoint: Resource, place: Place) -> Scaled:
    """The variant as the planner takes it."""
    spec, status = endpoint.spec, endpoint.status
    state = status["EndpointStatus"]
    unscalable = "" if state == "InService" else f"the endpoint is {state}"
    config = {one["VariantName"]: one for one in spec["config"]["ProductionVariants"]}
    if place.variant not in config:
        return Scaled(
            desired=0,
            in_service=0,
            revision=spec["generation"],
            unscalable=f"the endpoint has no variant {place.variant} any more",
        )
    shown = {one["VariantName"]: one for one in status.get("variants", ())}
    desired, in_service = _counts(
        config[place.variant], shown.get(place.variant, {}), place, is_settled=not unscalable
    )
    return Scaled(
        desired=desired,
        in_service=in_service,
        revision=spec["generation"],
        unscalable=unscalable,
        failure=status.get("FailureReason", ""),
    )


def _counts(variant: Json, summary: Json, place: Place, *, is_settled: bool) -> tuple[int, int]:
    """Desired and in service. Once settled, what serves counts: a change that failed is still in the config."""
    if place.dimension == CONCURRENCY:
        reserved: int = variant.get("ServerlessConfig", {}).get("ProvisionedConcurrency", 0)
        return reserved, reserved  # reserved, not started: in service as soon as the endpoint is
    desired: int = variant.get("InitialInstanceCount", 0)
    if is_settled:
        desired = summary.get("DesiredInstanceCount", desired)
    return desired, summary.get("CurrentInstanceCount", 0)


def _is_leaving(endpoint: Resource) -> bool:
    return bool(endpoint.spec.get("deleting", False))


def _is_another(endpoint: Resource, target: Resource) -> bool:
    """Whether the endpoint was deleted, and another created by its name, since the target was last looked at."""
    created: float = target.status.get("endpoint_created", endpoint.created_at)
    return created != endpoint.created_at
