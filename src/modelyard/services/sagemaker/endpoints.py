"""Endpoints: what is wished for. The services write it; ``control`` makes it so and moves the statuses on.

An endpoint keeps copies of its config and models, so that deleting these disturbs nothing. Each write that changes
what should run raises ``generation``; ``rolled`` is the last one that asks for another fleet, ``capacity`` are the counts and
weights that the fleet in service was asked for since then. ``trials`` are the checks and the test of the last update.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ValidationError
from modelyard.domain.deployment import alarm_names, check_deployment
from modelyard.domain.hibernation import seconds_of
from modelyard.domain.listing import SortKey
from modelyard.domain.rollout_tags import DRY_RUN, check_tags, dry_run_alarms
from modelyard.services.changes import change
from modelyard.services.members import (
    EXECUTED,
    REFUSED,
    Members,
    check,
    present,
)
from modelyard.services.sagemaker.capacities import (
    capacities_of,
    check_counts,
    check_weights,
    counts_of,
    desired,
    kept,
    retained,
    sized,
    variants_of,
)
from modelyard.services.sagemaker.resources import (
    Moment,
    arn_of,
    create,
    find,
    key_of,
    list_page,
    list_query,
    missing,
)
from modelyard.services.sagemaker.rollout_trials import Read, Updated, read_documents, trials_of
from modelyard.services.sagemaker.serverless import is_serverless
from modelyard.store.digests import Digests
from modelyard.store.resources import Create, Json, Key, Resource, ResourceStore, Update

KIND = "endpoint"
_UPDATABLE = ("InService", "UpdateRollbackFailed")
_IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")

_SIZE: Members = {"Type": EXECUTED, "Value": EXECUTED}
_DEPLOYMENT: Members = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": EXECUTED,
            "WaitIntervalInSeconds": EXECUTED,
            "CanarySize": _SIZE,
            "LinearStepSize": _SIZE,
        },
        "TerminationWaitInSeconds": EXECUTED,
        "MaximumExecutionTimeoutInSeconds": EXECUTED,
    },
    "RollingUpdatePolicy": {
        "MaximumBatchSize": _SIZE,
        "WaitIntervalInSeconds": EXECUTED,
        "MaximumExecutionTimeoutInSeconds": EXECUTED,
        "RollbackMaximumBatchSize": _SIZE,
    },
    "AutoRollbackConfiguration": {"Alarms": EXECUTED},
}
MEMBERS: Mapping[str, Members] = {
    "CreateEndpoint": {
        "EndpointName": EXECUTED,
        "EndpointConfigName": EXECUTED,
        "DeploymentConfig": _DEPLOYMENT,
        "Tags": EXECUTED,
    },
    "UpdateEndpoint": {
        "EndpointName": EXECUTED,
        "EndpointConfigName": EXECUTED,
        "RetainAllVariantProperties": EXECUTED,
        "ExcludeRetainedVariantProperties": EXECUTED,
        "DeploymentConfig": _DEPLOYMENT,
        "RetainDeploymentConfig": EXECUTED,
    },
    "UpdateEndpointWeightsAndCapacities": {
        "EndpointName": EXECUTED,
        "DesiredWeightsAndCapacities": {
            "VariantName": EXECUTED,
            "DesiredWeight": EXECUTED,
            "DesiredInstanceCount": EXECUTED,
            "ServerlessUpdateConfig": REFUSED,
        },
    },
}


class Endpoints:
    """Create, Describe, List, Update and Delete an Endpoint; UpdateEndpointWeightsAndCapacities."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        clock: Clock,
        alarm_exists: Callable[[Call, str], bool] = lambda call, name: False,
        read: Read | None = None,
    ) -> None:
        self._read = read or _unreadable
        self._store = store
        self._listed = Digests(store, KIND, _listed)
        self._clock = clock
        self._alarm_exists = alarm_exists

    async def create_endpoint(
        self,
        call: Call,
        *,
        endpoint_name: str,
        endpoint_config_name: str,
        deployment_config: Json | None = None,
        tags: Sequence[Json] | None = None,
    ) -> Json:
        given = present({"DeploymentConfig": deployment_config})
        check("CreateEndpoint", MEMBERS["CreateEndpoint"], given)
        try:
            seconds_of(tags or [])
        except ValueError as error:
            raise ValidationError(str(error)) from None
        config, models = self._copies(call, endpoint_config_name)
        self._check_update(call, given, config, tags or ())
        new = Create(
            key=key_of(call, KIND, endpoint_name),
            spec={
                "EndpointConfigName": endpoint_config_name,
                "Tags": list(tags or []),
                "config": config,
                "models": models,
                "generation": 1,
                "deleting": False,
                "update": given,
            },
            status={
                "EndpointStatus": "Creating",
                "generation": 0,
                "variants": [],
                "config_name": endpoint_config_name,
                "last_modified": self._clock.now(),
            },
        )
        return {"EndpointArn": await create(self._store, new)}

    async def describe_endpoint(self, call: Call, *, endpoint_name: str) -> Json:
        resource = find(self._store, key_of(call, KIND, endpoint_name))
        spec, status = resource.spec, resource.status
        return present(
            {
                "EndpointName": resource.key.name,
                "EndpointArn": arn_of(resource.key),
                "EndpointConfigName": status.get("config_name") or spec["EndpointConfigName"],
                "ProductionVariants": status.get("variants") or None,
                "ShadowProductionVariants": status.get("shadows") or None,
                "EndpointStatus": status["EndpointStatus"],
                "FailureReason": status.get("FailureReason"),
                "CreationTime": resource.created_at,
                "LastModifiedTime": _modified(resource),
                "LastDeploymentConfig": spec["update"].get("DeploymentConfig"),
                "PendingDeploymentSummary": status.get("pending"),
                "AsyncInferenceConfig": spec["config"].get("AsyncInferenceConfig"),
                "DataCaptureConfig": _capture(spec["config"].get("DataCaptureConfig")),
            }
        )

    async def list_endpoints(
        self,
        call: Call,
        *,
        sort_by: SortKey | None = None,
        sort_order: str | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
        name_contains: str | None = None,
        creation_time_before: Moment = None,
        creation_time_after: Moment = None,
        last_modified_time_before: Moment = None,
        last_modified_time_after: Moment = None,
        status_equals: str | None = None,
    ) -> Json:
        query = list_query(
            call,
            sort_by=sort_by,
            sort_order=sort_order,
            next_token=next_token,
            max_results=max_results,
            name_contains=name_contains,
            creation_time_before=creation_time_before,
            creation_time_after=creation_time_after,
            last_modified_time_before=last_modified_time_before,
            last_modified_time_after=last_modified_time_after,
            status_equals=status_equals,
        )
        found = {
            key.name: resource
            for key, resource in self._listed.all().items()
            if (key.account, key.region) == (call.account, call.region)
        }
        return list_page(
            found,
            query,
            summaries="Endpoints",
            summarise=_summary,
            status_of=_status,
            modified_of=_modified,
        )

    async def update_endpoint(
        self,
        call: Call,
        *,
        endpoint_name: str,
        endpoint_config_name: str,
        retain_all_variant_properties: bool | None = None,
        exclude_retained_variant_properties: Sequence[Json] | None = None,
        deployment_config: Json | None = None,
        retain_deployment_config: bool | None = None,
    ) -> Json:
        """Roll out another config: by the policy that is given, else all at once when the new fleet is ready."""
        given = present({"DeploymentConfig": deployment_config})
        if given and retain_deployment_config:
            raise ValidationError("Give DeploymentConfig or RetainDeploymentConfig, not both.")
        check("UpdateEndpoint", MEMBERS["UpdateEndpoint"], given)
        excluded = {one["VariantPropertyType"] for one in exclude_retained_variant_properties or ()}
        key = key_of(call, KIND, endpoint_name)
        tags = find(self._store, key).spec.get("Tags", ())
        check_tags(tags)
        documents = await read_documents(self._read, tags)

        def spec_of(resource: Resource) -> Json:
            before = resource.spec
            config, models = self._copies(call, endpoint_config_name)
            if is_serverless(config) and not is_serverless(before["config"]):
                raise ValidationError(
                    f'Endpoint "{arn_of(resource.key)}" has instances: it cannot become serverless. Create another.'
                )
            if retain_all_variant_properties and not is_serverless(before["config"]):
                config = retained(config, kept(resource, config), excluded)
            update = before["update"] if retain_deployment_config else given
            self._check_update(call, update, config, before.get("Tags", ()))
            updated = Updated(
                endpoint=resource.key.name,
                blue=resource.status.get("config_name") or before["EndpointConfigName"],
                green=endpoint_config_name,
                config=config,
                models=models,
                deployment=update.get("DeploymentConfig"),
            )
            trials = trials_of(documents, updated)
            dropped = ("steering", "capacity", "trials")
            return {
                **({"trials": trials} if trials else {}),
                **{name: value for name, value in before.items() if name not in dropped},
                "EndpointConfigName": endpoint_config_name,
                "config": config,
                "models": models,
                "update": update,
                "rolled": before["generation"] + 1,
            }

        return await self._change(key, spec_of, updatable=_UPDATABLE)

    async def update_endpoint_weights_and_capacities(
        self,
        call: Call,
        *,
        endpoint_name: str,
        desired_weights_and_capacities: Sequence[Json],
    ) -> Json:
        """Change weights and one variant's instance count, of the fleet that serves."""
        operation = "UpdateEndpointWeightsAndCapacities"
        members = {"DesiredWeightsAndCapacities": list(desired_weights_and_capacities)}
        check(operation, MEMBERS[operation], members)

        def spec_of(resource: Resource) -> Json:
            before = resource.spec
            if is_serverless(before["config"]):
                raise ValidationError(
                    f'Endpoint "{arn_of(resource.key)}" is serverless: it has no instances and no weights. Roll out '
                    "another ServerlessConfig with UpdateEndpoint."
                )
            capacity = desired(
                capacities_of(resource),
                desired_weights_and_capacities,
                config_name=resource.status.get("config_name") or before["EndpointConfigName"],
            )
            check_weights(resource, capacity)
            check_counts(resource, capacity)
            return {
                **before,
                "config": sized(before["config"], capacity),
                "capacity": capacity,
                "rolled": before.get("rolled", before["generation"]),
            }

        key = key_of(call, KIND, endpoint_name)
        return await self._change(key, spec_of, updatable=("InService",))

    async def delete_endpoint(self, call: Call, *, endpoint_name: str) -> None:
        """Accepted at once; the endpoint is gone when its workers are."""
        key = key_of(call, KIND, endpoint_name)

        def decide(resource: Resource | None) -> Update:
            resource = _settled(key, resource)
            return Update(
                key=key,
                version=resource.version,
                spec={**resource.spec, "deleting": True},
                status=self._moved(resource, "Deleting"),
            )

        await change(self._store, key, decide)

    async def _change(
        self, key: Key, spec_of: Callable[[Resource], Json], *, updatable: Sequence[str]
    ) -> Json:
        def decide(resource: Resource | None) -> Update:
            resource = _settled(key, resource)
            status = _status(resource)
            if status == "Failed":
                raise ValidationError(
                    f'Cannot update endpoint "{arn_of(key)}": it has failed and can only be deleted.'
                )
            if status not in updatable:
                raise ValidationError(
                    f'Cannot change weights and capacities of endpoint "{arn_of(key)}" while it is {status}: '
                    "roll out a config with UpdateEndpoint first."
                )
            spec = spec_of(resource)
            return Update(
                key=key,
                version=resource.version,
                spec={**spec, "generation": resource.spec["generation"] + 1},
                status=self._moved(resource, "Updating"),
            )

        await change(self._store, key, decide)
        return {"EndpointArn": arn_of(key)}

    def _check_update(self, call: Call, update: Json, config: Json, tags: Sequence[Json]) -> None:
        check_tags(tags)
        named = [(name, f"the tag {DRY_RUN}") for name in dry_run_alarms(tags)]
        deployment = update.get("DeploymentConfig")
        if deployment:
            check_deployment(deployment, counts_of(config))
            named += [(name, "AutoRollbackConfiguration") for name in alarm_names(deployment)]
        for alarm, place in named:
            if not self._alarm_exists(call, alarm):
                raise ValidationError(
                    f"Could not find alarm {alarm} of {place}; create it with PutMetricAlarm first."
                )

    def _copies(self, call: Call, config_name: str) -> tuple[Json, dict[str, Json]]:
        """The config and its models as they are now. Raises ``ValidationError`` for a missing one."""
        config = find(self._store, key_of(call, "endpoint-config", config_name)).spec
        names = {variant["ModelName"] for variant in variants_of(config)}
        models = {name: find(self._store, key_of(call, "model", name)).spec for name in names}
        return config, models

    def _moved(self, resource: Resource, status: str) -> Json:
        kept = {name: value for name, value in resource.status.items() if name != "FailureReason"}
        return {**kept, "EndpointStatus": status, "last_modified": self._clock.now()}


def _unreadable(uri: str) -> bytes:
    raise FileNotFoundError("there is no object store")


def _settled(key: Key, resource: Resource | None) -> Resource:
    """Refuse what is missing or on its way."""
    if resource is None:
        raise missing(key)
    if _status(resource) in _IN_PROGRESS:
        raise ValidationError(f'Cannot update in-progress endpoint "{arn_of(key)}".')
    return resource


def _status(resource: Resource) -> str:
    status: str = resource.status["EndpointStatus"]
    return status


def _modified(resource: Resource) -> float:
    modified: float = resource.status.get("last_modified", resource.created_at)
    return modified


def _listed(resource: Resource) -> Resource:
    """As much of it as a list shows."""
    status: Json = {
        name: resource.status[name]
        for name in ("EndpointStatus", "last_modified")
        if name in resource.status
    }
    return replace(resource, spec={}, status=status)


def _summary(resource: Resource) -> Json:
    return {
        "EndpointName": resource.key.name,
        "EndpointArn": arn_of(resource.key),
        "CreationTime": resource.created_at,
        "LastModifiedTime": _modified(resource),
        "EndpointStatus": _status(resource),
    }


def _capture(config: Json | None) -> Json | None:
    """``DataCaptureConfigSummary``."""
    if config is None:
        return None
    is_on = bool(config.get("EnableCapture", False))
    return {
        "EnableCapture": is_on,
        "CaptureStatus": "Started" if is_on else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }
