"""Scheduled actions: a range that a target gets at a time, once or again and again."""

import math
from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.scaling.schedules import At, parse, zone
from modelyard.domain.scaling.targets import NAMESPACE, Range, scheduled_action_arn
from modelyard.services.application_autoscaling.resources import (
    find_target,
    limit_exceeded,
    list_page,
    not_found,
    place_of,
    selection,
    write,
)
from modelyard.services.members import EXECUTED, Members, present
from modelyard.services.sagemaker.resources import Moment, seconds
from modelyard.store.resources import (
    Change,
    Create,
    Delete,
    Json,
    Resource,
    ResourceStore,
    Update,
)
from modelyard.store.scaling import ACTION, owned, owned_key, with_owned
from modelyard.store.scaling import place_of as place_of_target

ACTIONS_MAX = 200
MEMBERS: Mapping[str, Members] = {
    "PutScheduledAction": {
        "ServiceNamespace": EXECUTED,
        "Schedule": EXECUTED,
        "Timezone": EXECUTED,
        "ScheduledActionName": EXECUTED,
        "ResourceId": EXECUTED,
        "ScalableDimension": EXECUTED,
        "StartTime": EXECUTED,
        "EndTime": EXECUTED,
        "ScalableTargetAction": EXECUTED,
    }
}
_SHOWN = ("ScheduledActionName", "Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction")  # fmt: skip


class ScheduledActions:
    """PutScheduledAction, DeleteScheduledAction, DescribeScheduledActions."""

    def __init__(self, *, store: ResourceStore, clock: Clock, random: RandomSource) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def put_scheduled_action(
        self,
        call: Call,
        *,
        service_namespace: str,
        scheduled_action_name: str,
        resource_id: str,
        scalable_dimension: str,
        schedule: str | None = None,
        timezone: str | None = None,
        start_time: Moment = None,
        end_time: Moment = None,
        scalable_target_action: Json | None = None,
    ) -> Json:
        """Create or update. What is left out keeps its value, but for start and end, which are then deleted."""
        place = place_of(service_namespace, resource_id, scalable_dimension)
        given = present(
            {
                "ScheduledActionName": scheduled_action_name,
                "Schedule": schedule,
                "Timezone": timezone,
                "StartTime": seconds(start_time),
                "EndTime": seconds(end_time),
                "ScalableTargetAction": scalable_target_action,
            }
        )
        action_id = self._random.hex(32)

        def decide() -> Sequence[Change]:
            target = find_target(self._store, call, place)
            key = owned_key(target.key, ACTION, scheduled_action_name)
            before = self._store.get(key)
            listed = with_owned(target, ACTION, scheduled_action_name)
            if before is None:
                if len(owned(self._store, target, ACTION)) >= ACTIONS_MAX:
                    raise limit_exceeded("scheduled actions", ACTIONS_MAX)
                spec = {"id": action_id, **given, "put_at": self._clock.now()}
                _check(spec)
                return [Create(key=key, spec=spec), listed]
            kept = {
                name: value
                for name, value in before.spec.items()
                if name not in ("StartTime", "EndTime")
            }
            spec = {**kept, **given, "put_at": self._clock.now()}
            _check(spec)
            return [Update(key=key, version=before.version, spec=spec), listed]

        await write(self._store, decide)
        return {}

    async def delete_scheduled_action(
        self,
        call: Call,
        *,
        service_namespace: str,
        scheduled_action_name: str,
        resource_id: str,
        scalable_dimension: str,
    ) -> Json:
        place = place_of(service_namespace, resource_id, scalable_dimension)

        def decide() -> Sequence[Change]:
            target = find_target(self._store, call, place)
            action = self._store.get(owned_key(target.key, ACTION, scheduled_action_name))
            if action is None:
                raise not_found("scheduled action", place, scheduled_action_name)
            listed = with_owned(target, ACTION, scheduled_action_name, is_there=False)
            return [Delete(key=action.key, version=action.version), listed]

        await write(self._store, decide)
        return {}

    async def describe_scheduled_actions(
        self,
        call: Call,
        *,
        service_namespace: str,
        scheduled_action_names: Sequence[str] | None = None,
        resource_id: str | None = None,
        scalable_dimension: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        is_selected = selection(service_namespace, resource_id, scalable_dimension)
        found = {}
        for one in self._store.list(ACTION, account=call.account, region=call.region):
            name = one.spec["ScheduledActionName"]
            if is_selected(place_of_target(one.key)) and (
                not scheduled_action_names or name in scheduled_action_names
            ):
                found[one.key.name] = _described(one)
        filters = f"{scheduled_action_names}/{resource_id}/{scalable_dimension}"
        shown, token = list_page(
            found,
            scope=f"{call.action}/{call.account}/{call.region}/{filters}",
            max_results=max_results,
            next_token=next_token,
        )
        return present({"ScheduledActions": shown, "NextToken": token})


def _check(spec: Json) -> None:
    """Raises ``ValidationError``."""
    if "Schedule" not in spec:
        raise ValidationError("Schedule is required for a new scheduled action.")
    schedule = parse(spec["Schedule"])
    zone(spec.get("Timezone"))
    bounds = spec.get("ScalableTargetAction") or {}
    if not bounds:
        raise ValidationError(
            "ScalableTargetAction is required: give MinCapacity, MaxCapacity or both."
        )
    low, high = bounds.get("MinCapacity", 0), bounds.get("MaxCapacity")
    Range(low=low, high=max(low, 0) if high is None else high).check()
    start, end = spec.get("StartTime", -math.inf), spec.get("EndTime", math.inf)
    if start >= end:
        raise ValidationError("EndTime must be later than StartTime.")
    if isinstance(schedule, At) and ("StartTime" in spec or "EndTime" in spec):
        raise ValidationError("StartTime and EndTime are for rate and cron expressions only.")


def _described(action: Resource) -> Json:
    place, key, spec = place_of_target(action.key), action.key, action.spec
    return {
        **{name: spec[name] for name in _SHOWN if name in spec},
        "ScheduledActionARN": scheduled_action_arn(
            region=key.region,
            account=key.account,
            action_id=spec["id"],
            resource_id=place.resource_id,
            name=spec["ScheduledActionName"],
        ),
        "ServiceNamespace": NAMESPACE,
        "ResourceId": place.resource_id,
        "ScalableDimension": place.dimension,
        "CreationTime": action.created_at,
    }
