"""How automatic scaling is kept among the resources: kinds, keys, and what their JSON stands for.

::

    scalable-target    endpoint/<e>/variant/<v>|<dimension>            status: the planner's memory
    scaling-policy     <target>|<policy>                               spec: as put, with ids and alarm names
    scheduled-action   <target>|<action>
    scaling-activity   <target>|<when it began>|<activity id>          spec: the activity

Services write the first three, the reconciler the last and the memory; both delete a target with all that it owns.
"""

import math
from typing import Any

import msgspec

from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.policies import Policy, stepping, tracking
from modelyard.domain.scaling.schedules import parse, zone
from modelyard.domain.scaling.state import Memory, ScheduledAction, Target
from modelyard.domain.scaling.targets import Place, Range, Suspended, policy_arn
from modelyard.store.alarms import ALARM
from modelyard.store.resources import Change, Delete, Json, Key, Resource, ResourceStore, Update

TARGET = "scalable-target"
POLICY = "scaling-policy"
ACTION = "scheduled-action"
ACTIVITY = "scaling-activity"
_LISTS = {POLICY: "policies", ACTION: "actions"}


def owned(store: ResourceStore, target: Resource, kind: str) -> list[Resource]:
    """The target's policies or scheduled actions, by name: the target lists them, so that no other's are read."""
    keys = (owned_key(target.key, kind, name) for name in target.spec.get(_LISTS[kind], ()))
    return [one for key in keys if (one := store.get(key)) is not None]


def with_owned(target: Resource, kind: str, name: str, *, is_there: bool = True) -> Update:
    """The target with, or without, this policy or scheduled action in its list.

    It is written also where the list is as before: that wakes the reconciler, and meets whoever else writes.
    """
    names = set(target.spec.get(_LISTS[kind], ())) - {name} | ({name} if is_there else set())
    spec = {**target.spec, _LISTS[kind]: sorted(names)}
    return Update(key=target.key, version=target.version, spec=spec)


def owned_key(target: Key, kind: str, name: str) -> Key:
    """Of a policy or scheduled action of the target."""
    return Key(
        kind=kind, account=target.account, region=target.region, name=f"{target.name}|{name}"
    )


def activity_key(target: Key, activity: Activity) -> Key:
    """In the order of time."""
    name = f"{round(activity.started_at * 1000):015d}|{activity.id}"
    return owned_key(target, ACTIVITY, name)


def place_of(target: Key) -> Place:
    """What the target scales; also by the key of something that it owns."""
    resource_id, dimension = target.name.split("|", 2)[:2]
    return Place.parse(resource_id, dimension)


def target_of(target: Resource, policies: list[Resource], actions: list[Resource]) -> Target:
    """The target with all that it owns, as the planner takes it."""
    spec, state = target.spec, target.spec["SuspendedState"]
    place = place_of(target.key)
    return Target(
        place=place,
        range=Range(low=spec["MinCapacity"], high=spec["MaxCapacity"]),
        revision=spec["revision"],
        suspended=Suspended(
            scale_in=state["DynamicScalingInSuspended"],
            scale_out=state["DynamicScalingOutSuspended"],
            scheduled=state["ScheduledScalingSuspended"],
        ),
        policies=[policy_of(one, place) for one in policies],
        actions=[_action_of(one) for one in actions],
    )


def policy_of(policy: Resource, place: Place) -> Policy:
    """The policy as the planner takes it."""
    spec = policy.spec
    arn = arn_of_policy(policy.key, place, spec)
    name = spec["PolicyName"]
    if spec["PolicyType"] == "StepScaling":
        return stepping(name, arn, spec["StepScalingPolicyConfiguration"])
    configuration = spec["TargetTrackingScalingPolicyConfiguration"]
    return tracking(name, arn, configuration, place, spec["alarms"])


def arn_of_policy(key: Key, place: Place, spec: Json) -> str:
    """``PolicyARN``."""
    return policy_arn(
        region=key.region,
        account=key.account,
        policy_id=spec["id"],
        resource_id=place.resource_id,
        name=spec["PolicyName"],
    )


def memory_of(target: Resource) -> Memory:
    """What the last pass remembered."""
    return msgspec.convert(target.status.get("memory", {}), Memory)


def memory_status(memory: Memory, **more: Any) -> Json:
    """The status that keeps it, exactly as it comes back, so that "nothing changed" can be seen."""
    return {"memory": msgspec.json.decode(msgspec.json.encode(memory)), **more}


def activity_of(activity: Resource) -> Activity:
    """The activity."""
    return msgspec.convert(activity.spec, Activity)


def activity_spec(activity: Activity) -> Json:
    """Its JSON."""
    spec: Json = msgspec.to_builtins(activity)
    return spec


def policy_deletion(policy: Resource) -> list[Change]:
    """Delete a policy, and the alarms that it owns."""
    key = policy.key
    changes: list[Change] = [Delete(key=key, version=policy.version)]
    changes += [Delete(key=alarm_key(key, name)) for name in policy.spec.get("alarms", ())]
    return changes


def deregistration(store: ResourceStore, target: Resource) -> list[Change]:
    """Delete a target and all that it owns but its activities, which stay readable."""
    changes: list[Change] = [Delete(key=target.key, version=target.version)]
    for policy in owned(store, target, POLICY):
        changes += policy_deletion(policy)
    for action in owned(store, target, ACTION):
        changes.append(Delete(key=action.key, version=action.version))
    return [change for change in changes if store.get(change.key) is not None]


def alarm_key(owner: Key, name: str) -> Key:
    """The alarm of this name in the owner's account and region."""
    return Key(kind=ALARM, account=owner.account, region=owner.region, name=name)


def _action_of(action: Resource) -> ScheduledAction:
    spec = action.spec
    bounds = spec.get("ScalableTargetAction", {})
    put_at = spec["put_at"]
    start = spec.get("StartTime")
    return ScheduledAction(
        name=spec["ScheduledActionName"],
        schedule=parse(spec["Schedule"]),
        timezone=zone(spec.get("Timezone")),
        start=put_at if start is None else start,
        put_at=put_at,
        end=spec.get("EndTime", math.inf),
        low=bounds.get("MinCapacity"),
        high=bounds.get("MaxCapacity"),
    )
