"""Endpoint configs: immutable descriptions of variants, each a model and the instances that serve it."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import Unsupported, ValidationError
from modelyard.domain.listing import SortKey
from modelyard.services.members import (
    EXECUTED,
    RECORDED,
    REFUSED,
    Members,
    check,
    only,
    present,
    refused_unless,
)
from modelyard.services.sagemaker.resources import (
    Moment,
    Roles,
    arn_of,
    create,
    find,
    key_of,
    list_page,
    list_query,
    missing,
    resources_of,
)
from modelyard.services.sagemaker.serverless import check_config, check_variant
from modelyard.store.resources import Create, Delete, Json, Resource, ResourceStore, VersionConflict

KIND = "endpoint-config"

_VARIANT: Members = {
    "VariantName": EXECUTED,
    "ModelName": EXECUTED,
    "InitialInstanceCount": EXECUTED,
    "InstanceType": EXECUTED,
    "InstancePools": REFUSED,
    "VariantInstanceProvisionTimeoutInSeconds": RECORDED,
    "InitialVariantWeight": EXECUTED,
    "AcceleratorType": REFUSED,
    "CoreDumpConfig": REFUSED,
    "ServerlessConfig": {
        "MemorySizeInMB": EXECUTED,
        "MaxConcurrency": EXECUTED,
        "ProvisionedConcurrency": EXECUTED,
    },
    "VolumeSizeInGB": RECORDED,
    "ModelDataDownloadTimeoutInSeconds": RECORDED,
    "ContainerStartupHealthCheckTimeoutInSeconds": EXECUTED,
    "EnableSSMAccess": REFUSED,
    "ManagedInstanceScaling": refused_unless(
        lambda scaling: scaling.get("Status") == "DISABLED", "Status DISABLED"
    ),
    "RoutingConfig": {
        "RoutingStrategy": only("LEAST_OUTSTANDING_REQUESTS"),
        "PrefixAwareRoutingConfig": REFUSED,
    },
    "InferenceAmiVersion": RECORDED,
    "CapacityReservationConfig": REFUSED,
    "AcceleratorPartitionLayouts": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateEndpointConfig": {
        "EndpointConfigName": EXECUTED,
        "ProductionVariants": _VARIANT,
        "DataCaptureConfig": {
            "EnableCapture": EXECUTED,
            "InitialSamplingPercentage": EXECUTED,
            "DestinationS3Uri": refused_unless(lambda uri: uri.startswith("s3://"), "s3://…"),
            "KmsKeyId": REFUSED,
            "CaptureOptions": {"CaptureMode": EXECUTED},
            "CaptureContentTypeHeader": {
                "CsvContentTypes": EXECUTED,
                "JsonContentTypes": EXECUTED,
            },
        },
        "Tags": EXECUTED,
        "KmsKeyId": REFUSED,
        "AsyncInferenceConfig": {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": EXECUTED},
            "OutputConfig": {
                "KmsKeyId": REFUSED,
                "S3OutputPath": EXECUTED,
                "NotificationConfig": {
                    "SuccessTopic": EXECUTED,
                    "ErrorTopic": EXECUTED,
                    "IncludeInferenceResponseIn": EXECUTED,
                },
                "S3FailurePath": EXECUTED,
            },
        },
        "ExplainerConfig": REFUSED,
        "ShadowProductionVariants": _VARIANT,
        "ExecutionRoleArn": RECORDED,
        "VpcConfig": REFUSED,
        "EnableNetworkIsolation": REFUSED,
        "MetricsConfig": REFUSED,
        "CrossRegionTrafficConfig": REFUSED,
    }
}


class EndpointConfigs:
    """CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

    def __init__(self, *, store: ResourceStore, roles: Roles) -> None:
        self._store = store
        self._roles = roles

    async def create_endpoint_config(
        self,
        call: Call,
        *,
        endpoint_config_name: str,
        production_variants: Sequence[Json],
        data_capture_config: Json | None = None,
        tags: Sequence[Json] | None = None,
        kms_key_id: str | None = None,
        async_inference_config: Json | None = None,
        explainer_config: Json | None = None,
        shadow_production_variants: Sequence[Json] | None = None,
        execution_role_arn: str | None = None,
        vpc_config: Json | None = None,
        enable_network_isolation: bool | None = None,
        metrics_config: Json | None = None,
        cross_region_traffic_config: Json | None = None,
    ) -> Json:
        spec = present(
            {
                "EndpointConfigName": endpoint_config_name,
                "ProductionVariants": list(production_variants),
                "DataCaptureConfig": data_capture_config,
                "Tags": list(tags or []),
                "KmsKeyId": kms_key_id,
                "AsyncInferenceConfig": async_inference_config,
                "ExplainerConfig": explainer_config,
                "ShadowProductionVariants": shadow_production_variants,
                "ExecutionRoleArn": execution_role_arn,
                "VpcConfig": vpc_config,
                "EnableNetworkIsolation": enable_network_isolation,
                "MetricsConfig": metrics_config,
                "CrossRegionTrafficConfig": cross_region_traffic_config,
            }
        )
        check("CreateEndpointConfig", MEMBERS["CreateEndpointConfig"], spec)
        if async_inference_config:
            _check_async(spec)
        shadows = spec.get("ShadowProductionVariants") or []
        self._check_variants(call, [*spec["ProductionVariants"], *shadows])
        check_config(spec)
        if shadows:
            self._check_shadow(call, spec)
        self._roles.check(call, execution_role_arn)
        change = Create(key=key_of(call, KIND, endpoint_config_name), spec=spec)
        return {"EndpointConfigArn": await create(self._store, change)}

    async def describe_endpoint_config(self, call: Call, *, endpoint_config_name: str) -> Json:
        resource = find(self._store, key_of(call, KIND, endpoint_config_name))
        spec = {name: value for name, value in resource.spec.items() if name != "Tags"}
        lists = ("ProductionVariants", "ShadowProductionVariants")
        return {
            "EnableNetworkIsolation": False,
            **spec,
            **{
                name: [{"InitialVariantWeight": 1.0, **variant} for variant in spec[name]]
                for name in lists
                if name in spec
            },
            "EndpointConfigArn": arn_of(resource.key),
            "CreationTime": resource.created_at,
        }

    async def list_endpoint_configs(
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
        )
        found = resources_of(self._store, call, KIND)
        return list_page(found, query, summaries="EndpointConfigs", summarise=_summary)

    async def delete_endpoint_config(self, call: Call, *, endpoint_config_name: str) -> None:
        """Endpoints have copies of their own: one that uses the config is not disturbed."""
        key = key_of(call, KIND, endpoint_config_name)
        try:
            await self._store.write(Delete(key=key))
        except VersionConflict:
            raise missing(key) from None

    def _check_variants(self, call: Call, variants: Sequence[Json]) -> None:
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) < len(names):
            raise ValidationError("Variants must have different names.")
        for variant in variants:
            where = f"variant {variant['VariantName']}"
            if "ModelName" not in variant:
                raise Unsupported(
                    f"Modelyard does not execute inference components yet: {where} names no model."
                )
            model = find(self._store, key_of(call, "model", variant["ModelName"])).spec
            if variant.get("ServerlessConfig"):
                check_variant(variant, model)
                continue
            for member in ("InstanceType", "InitialInstanceCount"):
                if member not in variant:
                    raise ValidationError(f"{member} is required for {where}.")

    def _check_shadow(self, call: Call, spec: Json) -> None:
        """AWS's rules: one of each, and nothing whose requests another model could not answer as they are."""
        production, shadows = spec["ProductionVariants"], spec["ShadowProductionVariants"]
        if len(production) != 1 or len(shadows) != 1:
            raise ValidationError(
                "With ShadowProductionVariants an endpoint configuration has exactly one production variant and "
                f"one shadow variant, not {len(production)} and {len(shadows)}."
            )
        if spec.get("AsyncInferenceConfig"):
            raise ValidationError(
                "Shadow variants are for real-time endpoints: leave out AsyncInferenceConfig."
            )
        for variant in (*production, *shadows):
            name = variant["VariantName"]
            if variant.get("ServerlessConfig"):
                raise ValidationError(f"Variant {name} is serverless: it cannot have a shadow.")
            model = find(self._store, key_of(call, "model", variant["ModelName"])).spec
            containers = [model["PrimaryContainer"]] if model.get("PrimaryContainer") else []
            containers += model.get("Containers") or []
            if len(containers) > 1 or containers[0].get("Mode") == "MultiModel":
                raise ValidationError(
                    f"Variant {name} has several containers or models: with a shadow variant each model has one."
                )


def _check_async(spec: Json) -> None:
    """Raises ``ValidationError`` for what an asynchronous endpoint cannot have."""
    output = spec["AsyncInferenceConfig"]["OutputConfig"]
    if not output.get("S3OutputPath"):
        raise ValidationError(
            "AsyncInferenceConfig needs OutputConfig.S3OutputPath: s3://bucket/prefix."
        )
    for member in ("S3OutputPath", "S3FailurePath"):
        if output.get(member) and not output[member].startswith("s3://"):
            raise ValidationError(f"{member} has to be s3://bucket/prefix, not {output[member]}.")
    if len(spec["ProductionVariants"]) > 1:
        raise ValidationError("An asynchronous endpoint has one production variant.")


def _summary(resource: Resource) -> Json:
    return {
        "EndpointConfigName": resource.key.name,
        "EndpointConfigArn": arn_of(resource.key),
        "CreationTime": resource.created_at,
    }
