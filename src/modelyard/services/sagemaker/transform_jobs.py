"""Batch transform jobs: validated and stored here, executed by ``jobs``, moved on by ``control``."""

from collections.abc import Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.listing import SortKey
from modelyard.domain.record_join import processing_of
from modelyard.domain.record_paths import BadPath
from modelyard.domain.transform import MEMORY_MIB, switches_of
from modelyard.services.changes import change
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
from modelyard.services.sagemaker.models import containers_of
from modelyard.services.sagemaker.resources import (
    Moment,
    arn_of,
    key_of,
    list_page,
    list_query,
    missing,
    not_found,
    resources_of,
)
from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

KIND = "transform-job"
_PAYLOAD_MIB = 6
_INSTANCES_MAX = 100
"""AWS's, which its service model does not say."""
_ENDED = ("Completed", "Failed", "Stopped")

_IS_S3 = refused_unless(lambda uri: uri.startswith("s3://"), "s3://…")
MEMBERS: Mapping[str, Members] = {
    "CreateTransformJob": {
        "TransformJobName": EXECUTED,
        "ModelName": EXECUTED,
        "MaxConcurrentTransforms": EXECUTED,
        "ModelClientConfig": EXECUTED,
        "MaxPayloadInMB": EXECUTED,
        "BatchStrategy": EXECUTED,
        "Environment": EXECUTED,
        "TransformInput": {
            "DataSource": {
                "S3DataSource": {"S3DataType": only("S3Prefix", "ManifestFile"), "S3Uri": _IS_S3}
            },
            "ContentType": EXECUTED,
            "CompressionType": EXECUTED,
            "SplitType": EXECUTED,
        },
        "TransformOutput": {
            "S3OutputPath": _IS_S3,
            "Accept": EXECUTED,
            "AssembleWith": EXECUTED,
            "KmsKeyId": REFUSED,
        },
        "DataCaptureConfig": {
            "DestinationS3Uri": _IS_S3,
            "KmsKeyId": REFUSED,
            "GenerateInferenceId": EXECUTED,
        },
        "TransformResources": {
            "InstanceType": EXECUTED,
            "InstanceCount": EXECUTED,
            "VolumeKmsKeyId": REFUSED,
            "TransformAmiVersion": RECORDED,
        },
        "DataProcessing": {
            "InputFilter": EXECUTED,
            "OutputFilter": EXECUTED,
            "JoinSource": EXECUTED,
        },
        "Tags": EXECUTED,
        "ExperimentConfig": RECORDED,
    }
}


class TransformJobs:
    """CreateTransformJob, DescribeTransformJob, ListTransformJobs, StopTransformJob."""

    def __init__(self, *, store: ResourceStore) -> None:
        self._store = store

    async def create_transform_job(
        self,
        call: Call,
        *,
        transform_job_name: str,
        model_name: str,
        transform_input: Json,
        transform_output: Json,
        transform_resources: Json,
        max_concurrent_transforms: int | None = None,
        model_client_config: Json | None = None,
        max_payload_in_mb: int | None = None,
        batch_strategy: str | None = None,
        environment: Mapping[str, str] | None = None,
        data_capture_config: Json | None = None,
        data_processing: Json | None = None,
        tags: Sequence[Json] | None = None,
        experiment_config: Json | None = None,
    ) -> Json:
        spec = present(
            {
                "TransformJobName": transform_job_name,
                "ModelName": model_name,
                "MaxConcurrentTransforms": max_concurrent_transforms,
                "ModelClientConfig": model_client_config,
                "MaxPayloadInMB": max_payload_in_mb,
                "BatchStrategy": batch_strategy,
                "Environment": environment,
                "TransformInput": transform_input,
                "TransformOutput": transform_output,
                "DataCaptureConfig": data_capture_config,
                "TransformResources": transform_resources,
                "DataProcessing": data_processing,
                "Tags": list(tags or []),
                "ExperimentConfig": experiment_config,
            }
        )
        check("CreateTransformJob", MEMBERS["CreateTransformJob"], spec)
        _check_memory(max_concurrent_transforms, max_payload_in_mb)
        _check_instances(transform_resources["InstanceCount"])
        _check_processing(spec)
        model = self._model(call, model_name)
        key = key_of(call, KIND, transform_job_name)
        new = Create(
            key=key,
            spec={**spec, "model": model, "stopping": False},
            status={"TransformJobStatus": "InProgress"},
        )
        try:
            await self._store.write(new)
        except AlreadyExists:
            raise ServiceError(
                "ResourceInUse",
                "Job name must be unique within an AWS account and region, and a job with this name "
                f"already exists ({arn_of(key)}).",
            ) from None
        return {"TransformJobArn": arn_of(key)}

    async def describe_transform_job(self, call: Call, *, transform_job_name: str) -> Json:
        key = key_of(call, KIND, transform_job_name)
        resource = self._store.get(key)
        if resource is None:
            raise ValidationError(f"Could not find requested job with name: {transform_job_name}")
        spec = {
            name: value
            for name, value in resource.spec.items()
            if name not in ("Tags", "model", "stopping")
        }
        return {
            **spec,
            **_result(resource),
            "TransformJobArn": arn_of(key),
            "CreationTime": resource.created_at,
            "TransformInput": {
                "CompressionType": "None",
                "SplitType": "None",
                **spec["TransformInput"],
            },
            "TransformOutput": {"AssembleWith": "None", **spec["TransformOutput"]},
            "DataProcessing": {
                "InputFilter": "$",
                "OutputFilter": "$",
                "JoinSource": "None",
                **spec.get("DataProcessing", {}),
            },
        }

    async def list_transform_jobs(
        self,
        call: Call,
        *,
        creation_time_after: Moment = None,
        creation_time_before: Moment = None,
        last_modified_time_after: Moment = None,
        last_modified_time_before: Moment = None,
        name_contains: str | None = None,
        status_equals: str | None = None,
        sort_by: SortKey | None = None,
        sort_order: str | None = None,
        next_token: str | None = None,
        max_results: int | None = None,
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
        return list_page(
            resources_of(self._store, call, KIND),
            query,
            summaries="TransformJobSummaries",
            summarise=_summary,
            status_of=_status,
        )

    async def stop_transform_job(self, call: Call, *, transform_job_name: str) -> None:
        """Accepted at once; a job that is stopping already is left to it."""
        key = key_of(call, KIND, transform_job_name)
        await change(self._store, key, lambda resource: _stopping(key, resource))

    def _model(self, call: Call, name: str) -> Json:
        key = key_of(call, "model", name)
        resource = self._store.get(key)
        if resource is None:
            raise not_found(missing(key).message)
        if any("ModelDataSource" in container for container in containers_of(resource.spec)):
            raise ValidationError(
                "SageMaker Batch currently doesn't support Model entity with container definitions "
                "which use ModelDataSource attribute"
            )
        if any(one.get("Mode") == "MultiModel" for one in containers_of(resource.spec)):
            raise ValidationError("Batch transform does not support multi-model containers.")
        execution = resource.spec.get("InferenceExecutionConfig") or {}
        if execution.get("Mode") == "Direct":
            raise ValidationError(
                "Batch transform does not support a model whose containers are invoked directly."
            )
        return resource.spec


def _stopping(key: Key, resource: Resource | None) -> Update:
    if resource is None:
        raise not_found(f"Could not find requested job with name: {key.name}")
    if _status(resource) in _ENDED:
        raise ValidationError(
            f"The request was rejected because the transform job is in status {_status(resource)}."
        )
    return Update(
        key=key,
        version=resource.version,
        spec={**resource.spec, "stopping": True},
        status={**resource.status, "TransformJobStatus": "Stopping"},
    )


def _check_memory(transforms: int | None, payload_mib: int | None) -> None:
    """0 transforms stands for the default; 0 MiB for no limit, to which the rule does not apply."""
    payload = _PAYLOAD_MIB if payload_mib is None else payload_mib
    if (transforms or 1) * payload > MEMORY_MIB:
        raise ValidationError(
            f"MaxConcurrentTransforms x MaxPayloadInMB must not exceed {MEMORY_MIB} MB."
        )


def _check_instances(count: int) -> None:
    if count > _INSTANCES_MAX:
        raise ValidationError(
            f"1 validation error detected: Value '{count}' at 'transformResources.instanceCount' failed to satisfy "
            f"constraint: Member must have value less than or equal to {_INSTANCES_MAX}"
        )


def _check_processing(spec: Json) -> None:
    """Paths, joins and Modelyard's own variables are refused here rather than failing the job later."""
    try:
        processing_of(spec)
        switches_of(spec)
    except (BadPath, ValueError) as error:
        raise ValidationError(str(error)) from None


def _status(resource: Resource) -> str:
    status: str = resource.status["TransformJobStatus"]
    return status


def _result(resource: Resource) -> Json:
    names = ("TransformJobStatus", "FailureReason", "TransformStartTime", "TransformEndTime")
    return present({name: resource.status.get(name) for name in names})


def _summary(resource: Resource) -> Json:
    result = _result(resource)
    result.pop("TransformStartTime", None)
    return {
        "TransformJobName": resource.key.name,
        "TransformJobArn": arn_of(resource.key),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.updated_at,
        **result,
    }
