"""Models: immutable descriptions of containers, each an image and an artifact."""

from collections.abc import Iterator, Mapping, Sequence

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
from modelyard.store.resources import Create, Delete, Json, Resource, ResourceStore, VersionConflict

KIND = "model"
_VARIABLE_BYTES = 1024
_ENVIRONMENT_BYTES = 32 * 1024

_IS_S3 = refused_unless(lambda uri: uri.startswith("s3://"), "s3://…")
_CONTAINER: Members = {
    "ContainerHostname": EXECUTED,
    "Image": EXECUTED,
    "ImageConfig": {
        "RepositoryAccessMode": only("Platform"),
        "RepositoryAuthConfig": REFUSED,
    },
    "Mode": EXECUTED,
    "ModelDataUrl": _IS_S3,
    "ModelDataSource": {
        "S3DataSource": {
            "S3Uri": _IS_S3,
            "S3DataType": only("S3Object"),
            "CompressionType": EXECUTED,
            "ModelAccessConfig": RECORDED,
            "HubAccessConfig": REFUSED,
            "ManifestS3Uri": REFUSED,
            "ETag": REFUSED,
            "ManifestEtag": REFUSED,
        }
    },
    "AdditionalModelDataSources": REFUSED,
    "Environment": EXECUTED,
    "ModelPackageName": REFUSED,
    "InferenceSpecificationName": REFUSED,
    "MultiModelConfig": {"ModelCacheSetting": EXECUTED},
    "ContainerMetricsConfig": REFUSED,
}
MEMBERS: Mapping[str, Members] = {
    "CreateModel": {
        "ModelName": EXECUTED,
        "PrimaryContainer": _CONTAINER,
        "Containers": _CONTAINER,
        "InferenceExecutionConfig": {"Mode": EXECUTED},
        "ExecutionRoleArn": RECORDED,
        "Tags": EXECUTED,
        "VpcConfig": REFUSED,
        "EnableNetworkIsolation": EXECUTED,
    }
}


class Models:
    """CreateModel, DescribeModel, ListModels, DeleteModel."""

    def __init__(self, *, store: ResourceStore, roles: Roles) -> None:
        self._store = store
        self._roles = roles

    async def create_model(
        self,
        call: Call,
        *,
        model_name: str,
        primary_container: Json | None = None,
        containers: Sequence[Json] | None = None,
        inference_execution_config: Json | None = None,
        execution_role_arn: str | None = None,
        tags: Sequence[Json] | None = None,
        vpc_config: Json | None = None,
        enable_network_isolation: bool | None = None,
    ) -> Json:
        spec = present(
            {
                "ModelName": model_name,
                "PrimaryContainer": primary_container,
                "Containers": _named(containers or []) or None,
                "InferenceExecutionConfig": inference_execution_config,
                "ExecutionRoleArn": execution_role_arn,
                "Tags": list(tags or []),
                "VpcConfig": vpc_config,
                "EnableNetworkIsolation": enable_network_isolation,
            }
        )
        check("CreateModel", MEMBERS["CreateModel"], spec)
        _check_containers(spec, containers or [])
        self._roles.check(call, execution_role_arn)
        change = Create(key=key_of(call, KIND, model_name), spec=spec)
        return {"ModelArn": await create(self._store, change)}

    async def describe_model(self, call: Call, *, model_name: str) -> Json:
        resource = find(self._store, key_of(call, KIND, model_name))
        spec = {name: value for name, value in resource.spec.items() if name != "Tags"}
        if "PrimaryContainer" in spec:
            spec["PrimaryContainer"] = _shown(spec["PrimaryContainer"])
        if "Containers" in spec:
            spec["Containers"] = [_shown(container) for container in spec["Containers"]]
        return {
            "EnableNetworkIsolation": False,
            **spec,
            "CreationTime": resource.created_at,
            "ModelArn": arn_of(resource.key),
        }

    async def list_models(
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
        return list_page(found, query, summaries="Models", summarise=_summary)

    async def delete_model(self, call: Call, *, model_name: str) -> None:
        key = key_of(call, KIND, model_name)
        try:
            await self._store.write(Delete(key=key))
        except VersionConflict:
            raise missing(key) from None


def containers_of(model: Json) -> Sequence[Json]:
    """A model's containers, in the order in which a request passes them."""
    if "PrimaryContainer" in model:
        return [model["PrimaryContainer"]]
    return model.get("Containers") or []


def _summary(resource: Resource) -> Json:
    return {
        "ModelName": resource.key.name,
        "ModelArn": arn_of(resource.key),
        "CreationTime": resource.created_at,
    }


def _named(containers: Sequence[Json]) -> list[Json]:
    """Those of a pipeline that have no host name are called by their position."""
    return [
        {**container, "ContainerHostname": container.get("ContainerHostname") or f"container-{n}"}
        for n, container in enumerate(containers, 1)
    ]


def _shown(container: Json) -> Json:
    return {"Mode": "SingleModel", "Environment": {}, **container}


def _check_containers(spec: Json, given: Sequence[Json]) -> None:
    containers = containers_of(spec)
    if "PrimaryContainer" in spec and "Containers" in spec:
        raise ValidationError("Specify either PrimaryContainer or Containers, not both.")
    if not containers:
        raise ValidationError("Specify PrimaryContainer or Containers.")
    for container in containers:
        _check_container(container)
    if len(containers) > 1 and any(one.get("Mode") == "MultiModel" for one in containers):
        raise Unsupported(
            "Modelyard does not execute a multi-model container beside others; make it the model's only one."
        )
    names = [name for one in containers if (name := one.get("ContainerHostname"))]
    if len(set(names)) < len(names):
        raise ValidationError("Containers of a model must have different ContainerHostname values.")
    mode = (spec.get("InferenceExecutionConfig") or {}).get("Mode", "Serial")
    if mode == "Direct" and (
        "Containers" not in spec or not all(one.get("ContainerHostname") for one in given)
    ):
        raise ValidationError(
            "InferenceExecutionConfig Direct needs Containers, each with a ContainerHostname."
        )


def _check_container(container: Json) -> None:
    if not container.get("Image"):
        raise ValidationError("A container needs an Image or a ModelPackageName.")
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source is not None:
        _check_source(container, source)
    if container.get("Mode") == "MultiModel":
        if source is not None or not container.get("ModelDataUrl"):
            raise ValidationError(
                "A multi-model container needs ModelDataUrl: the prefix that its models' names continue."
            )
    elif container.get("MultiModelConfig"):
        raise ValidationError("MultiModelConfig is for containers of the mode MultiModel.")
    _check_environment(container.get("Environment") or {})


def _check_source(container: Json, source: Json) -> None:
    if container.get("ModelDataUrl"):
        raise ValidationError("Specify either ModelDataUrl or ModelDataSource, not both.")
    is_folder = source["S3Uri"].endswith("/")
    if source["S3DataType"] == "S3Prefix" and not is_folder:
        raise ValidationError(f"S3Uri of an S3Prefix must end with a slash: {source['S3Uri']}")
    if source["S3DataType"] == "S3Object" and is_folder:
        raise ValidationError(f"S3Uri of an S3Object must not end with a slash: {source['S3Uri']}")


def _check_environment(environment: Mapping[str, str]) -> None:
    """AWS's limits are in bytes; the service model's, in characters, are checked before."""
    if any(len(text) > _VARIABLE_BYTES for text in _texts(environment)):
        raise ValidationError(
            f"Keys and values of Environment must not be longer than {_VARIABLE_BYTES} bytes."
        )
    if sum(len(text) for text in _texts(environment)) > _ENVIRONMENT_BYTES:
        raise ValidationError(
            f"Environment must not be larger than {_ENVIRONMENT_BYTES} bytes in all."
        )


def _texts(environment: Mapping[str, str]) -> Iterator[bytes]:
    for name, value in environment.items():
        yield name.encode()
        yield value.encode()
