"""Scalable targets: the variants that may be scaled, and between which bounds."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.base.ids import RandomSource
from modelyard.domain.scaling.targets import (
    CONCURRENCY,
    NAMESPACE,
    Place,
    Range,
    service_linked_role,
    target_arn,
)
from modelyard.services.application_autoscaling.resources import (
    check_namespace,
    find_target,
    list_page,
    place_of,
    target_key,
    write,
)
from modelyard.services.application_autoscaling.tags import check_tags
from modelyard.services.members import EXECUTED, RECORDED, Members, present
from modelyard.store.resources import Change, Create, Json, Key, Resource, ResourceStore, Update
from modelyard.store.scaling import TARGET, deregistration

MEMBERS: Mapping[str, Members] = {
    "RegisterScalableTarget": {
        "ServiceNamespace": EXECUTED,
        "ResourceId": EXECUTED,
        "ScalableDimension": EXECUTED,
        "MinCapacity": EXECUTED,
        "MaxCapacity": EXECUTED,
        "RoleARN": RECORDED,
        "SuspendedState": EXECUTED,
        "Tags": EXECUTED,
    }
}
_NOT_SUSPENDED = {
    "DynamicScalingInSuspended": False,
    "DynamicScalingOutSuspended": False,
    "ScheduledScalingSuspended": False,
}


class ScalableTargets:
    """RegisterScalableTarget, DeregisterScalableTarget, DescribeScalableTargets."""

    def __init__(self, *, store: ResourceStore, random: RandomSource) -> None:
        self._store = store
        self._random = random

    async def register_scalable_target(
        self,
        call: Call,
        *,
        service_namespace: str,
        resource_id: str,
        scalable_dimension: str,
        min_capacity: int | None = None,
        max_capacity: int | None = None,
        role_arn: str | None = None,
        suspended_state: Json | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Json:
        """Create or update; capacity outside the range is brought into it at once."""
        place = place_of(service_namespace, resource_id, scalable_dimension)
        if place.dimension == CONCURRENCY:
            raise Unsupported(
                "Modelyard does not scale provisioned concurrency yet: a serverless variant hibernates and wakes by itself, "
                "and one with provisioned concurrency stays warm."
            )
        given = present(
            {"MinCapacity": min_capacity, "MaxCapacity": max_capacity, "RoleARN": role_arn}
        )
        target_id = self._random.hex(32)

        def decide() -> Sequence[Change]:
            nonlocal target_id
            key = target_key(call, place)
            before = self._store.get(key)
            if before is None:
                given_all = {**given, "Tags": dict(tags or {}), "id": target_id}
                spec = self._new(call, place, given_all, suspended_state)
                return [Create(key=key, spec=spec)]
            if tags:
                raise ValidationError(
                    "Tags are given when a target is created. Use TagResource for an existing one."
                )
            target_id = before.spec["id"]
            state = {**before.spec["SuspendedState"], **(suspended_state or {})}
            spec = {**before.spec, **given, "SuspendedState": state}
            spec["revision"] = before.spec["revision"] + 1
            self._check(call, place, spec)
            return [Update(key=key, version=before.version, spec=spec)]

        await write(self._store, decide)
        arn = target_arn(region=call.region, account=call.account, target_id=target_id)
        return {"ScalableTargetARN": arn}

    async def deregister_scalable_target(
        self, call: Call, *, service_namespace: str, resource_id: str, scalable_dimension: str
    ) -> Json:
        """Policies with their alarms and scheduled actions go with it; capacity stays as it is."""
        place = place_of(service_namespace, resource_id, scalable_dimension)

        def decide() -> Sequence[Change]:
            target = find_target(self._store, call, place)
            return deregistration(self._store, target)

        await write(self._store, decide)
        return {}

    async def describe_scalable_targets(
        self,
        call: Call,
        *,
        service_namespace: str,
        resource_ids: Sequence[str] | None = None,
        scalable_dimension: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        check_namespace(service_namespace)
        found = {
            one.key.name: _described(one)
            for one in self._store.list(TARGET, account=call.account, region=call.region)
            if scalable_dimension in (None, one.spec["ScalableDimension"])
            and (not resource_ids or one.spec["ResourceId"] in resource_ids)
        }
        shown, token = list_page(
            found,
            scope=f"{call.action}/{call.account}/{call.region}/{resource_ids}/{scalable_dimension}",
            max_results=max_results,
            next_token=next_token,
        )
        return present({"ScalableTargets": shown, "NextToken": token})

    def _new(self, call: Call, place: Place, given: Json, suspended: Json | None) -> Json:
        for member in ("MinCapacity", "MaxCapacity"):
            if member not in given:
                raise ValidationError(f"{member} is required to register a new scalable target.")
        check_tags(given["Tags"])
        spec = {
            "ResourceId": place.resource_id,
            "ScalableDimension": place.dimension,
            "RoleARN": service_linked_role(call.account),
            **given,
            "SuspendedState": {**_NOT_SUSPENDED, **(suspended or {})},
            "revision": 1,
        }
        self._check(call, place, spec)
        return spec

    def _check(self, call: Call, place: Place, spec: Json) -> None:
        """The range, and that there is such a variant which can be scaled so. Raises ``ValidationError``."""
        bounds = Range(low=spec["MinCapacity"], high=spec["MaxCapacity"]).check()
        variant, is_async = self._variant(call, place)
        if "ServerlessConfig" in variant:
            raise ValidationError(
                f"The variant {place.variant} is serverless: its scalable dimension is {CONCURRENCY}."
            )
        if bounds.low < 1 and not is_async:
            raise ValidationError(
                "Minimum capacity must be 1 or more for a real-time variant: nothing would wake it "
                "up again. Only variants of asynchronous endpoints scale to zero; serverless ones hibernate."
            )

    def _variant(self, call: Call, place: Place) -> tuple[Json, bool]:
        """The variant's configuration, and whether its endpoint is asynchronous."""
        key = Key(kind="endpoint", account=call.account, region=call.region, name=place.endpoint)
        endpoint = self._store.get(key)
        if endpoint is None or endpoint.spec.get("deleting"):
            raise ValidationError(f"Could not find the endpoint of {place.resource_id}.")
        config = endpoint.spec["config"]
        for variant in config["ProductionVariants"]:
            if variant["VariantName"] == place.variant:
                return variant, bool(config.get("AsyncInferenceConfig"))
        raise ValidationError(f"Could not find the variant of {place.resource_id}.")


def _described(resource: Resource) -> Json:
    spec, key = resource.spec, resource.key
    return {
        "ServiceNamespace": NAMESPACE,
        "ResourceId": spec["ResourceId"],
        "ScalableDimension": spec["ScalableDimension"],
        "MinCapacity": spec["MinCapacity"],
        "MaxCapacity": spec["MaxCapacity"],
        "RoleARN": spec["RoleARN"],
        "CreationTime": resource.created_at,
        "SuspendedState": spec["SuspendedState"],
        "ScalableTargetARN": target_arn(
            region=key.region, account=key.account, target_id=spec["id"]
        ),
    }
