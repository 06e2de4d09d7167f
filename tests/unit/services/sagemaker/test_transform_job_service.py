import re
from typing import Any

import pytest

from modelyard.base.errors import ServiceError, Unsupported, ValidationError

pytestmark = pytest.mark.anyio
ARN = "arn:aws:sagemaker:us-east-1:123456789012:transform-job/night"


def job(**changes: Any) -> dict[str, Any]:
    return {
        "TransformJobName": "night",
        "ModelName": "churn",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in/"}},
            "ContentType": "text/csv",
        },
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **changes,
    }


@pytest.fixture
async def ready(sagemaker: Any) -> Any:
    await sagemaker.model()
    return sagemaker


async def test_a_job_is_stored_with_its_model_and_shown_with_aws_defaults(ready: Any) -> None:
    created = await ready(
        "CreateTransformJob", **job(TransformJobName="Night", Environment={"A": "1"})
    )
    assert created == {"TransformJobArn": ARN}
    spec = ready.spec("transform-job", "Night")
    assert spec["model"] == ready.spec("model", "churn")
    assert spec["stopping"] is False

    assert await ready("DescribeTransformJob", TransformJobName="Night") == {
        "TransformJobName": "Night",
        "TransformJobArn": ARN,
        "TransformJobStatus": "InProgress",
        "ModelName": "churn",
        "Environment": {"A": "1"},
        "TransformInput": {
            **job()["TransformInput"],
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {"S3OutputPath": "s3://b/out", "AssembleWith": "None"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        "DataProcessing": {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"},
        "CreationTime": 1000.0,
    }


async def test_a_name_is_never_used_twice(ready: Any) -> None:
    await ready("CreateTransformJob", **job())
    await ready.move("transform-job", "night", TransformJobStatus="Completed")
    with pytest.raises(ServiceError) as caught:
        await ready("CreateTransformJob", **job())
    assert caught.value.code == "ResourceInUse"
    assert ARN in caught.value.message


async def test_a_missing_model_or_job_is_told_as_each_verb_does(ready: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        await ready("CreateTransformJob", **job(ModelName="gone"))
    assert caught.value.code == "ResourceNotFound"
    with pytest.raises(ServiceError) as caught:
        await ready("StopTransformJob", TransformJobName="night")
    assert caught.value.code == "ResourceNotFound"
    with pytest.raises(ServiceError) as caught:
        await ready("DescribeTransformJob", TransformJobName="night")
    assert caught.value.code == "ValidationException"


async def test_a_model_with_a_data_source_is_refused(ready: Any) -> None:
    source = {"S3Uri": "s3://b/k", "S3DataType": "S3Object", "CompressionType": "Gzip"}
    await ready(
        "CreateModel",
        ModelName="sourced",
        PrimaryContainer={"Image": "i", "ModelDataSource": {"S3DataSource": source}},
    )
    with pytest.raises(ValidationError, match="ModelDataSource"):
        await ready("CreateTransformJob", **job(ModelName="sourced"))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            {
                "PrimaryContainer": {
                    "Image": "i",
                    "Mode": "MultiModel",
                    "ModelDataUrl": "s3://b/models/",
                }
            },
            "multi-model",
        ),
        (
            {
                "Containers": [{"Image": "i", "ContainerHostname": name} for name in "ab"],
                "InferenceExecutionConfig": {"Mode": "Direct"},
            },
            "invoked directly",
        ),
    ],
)
async def test_a_model_of_many_models_or_of_containers_that_are_invoked_directly_is_refused(
    ready: Any, model: dict[str, Any], why: str
) -> None:
    await ready("CreateModel", ModelName="other", **model)
    with pytest.raises(ValidationError, match=why):
        await ready("CreateTransformJob", **job(ModelName="other"))


async def test_a_pipeline_is_transformed(ready: Any) -> None:
    await ready("CreateModel", ModelName="series", Containers=[{"Image": "i"}, {"Image": "j"}])
    await ready("CreateTransformJob", **job(ModelName="series"))
    assert len(ready.spec("transform-job", "night")["model"]["Containers"]) == 2


def with_input(**changes: Any) -> dict[str, Any]:
    return {"TransformInput": {**job()["TransformInput"], **changes}}


def with_data_type(kind: str) -> dict[str, Any]:
    return with_input(DataSource={"S3DataSource": {"S3DataType": kind, "S3Uri": "s3://b/in"}})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (with_data_type("AugmentedManifestFile"), "S3DataType AugmentedManifestFile"),
        (with_data_type("Converse"), "S3DataType Converse"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://b", "KmsKeyId": "k"}}, "KmsKeyId"),
        ({"TransformOutput": {"S3OutputPath": "s3://b", "KmsKeyId": "k"}}, "KmsKeyId"),
        ({"TransformOutput": {"S3OutputPath": "https://h/b"}}, "S3OutputPath"),
    ],
)
async def test_what_is_not_executed_is_refused_by_member(
    ready: Any, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(Unsupported) as caught:
        await ready("CreateTransformJob", **job(**changes))
    assert named in caught.value.message
    assert list(ready.store.list("transform-job")) == []


CSV_LINES = with_input(SplitType="Line", ContentType="text/csv")
CSV_ASSEMBLED = {"TransformOutput": {"S3OutputPath": "s3://b/o", "AssembleWith": "Line"}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"DataProcessing": {"InputFilter": "$..a"}}, "is not understood from '..a' on"),
        ({"DataProcessing": {"InputFilter": "[1]"}}, "has to start with"),
        ({"DataProcessing": {"OutputFilter": "$.a"}}, "choose columns by index"),
        ({"DataProcessing": {"OutputFilter": "$[0][1]"}}, "choose columns by index"),
        ({**CSV_LINES, "DataProcessing": {"JoinSource": "Input"}}, "AssembleWith to be as"),
        (
            {
                **CSV_LINES,
                "TransformOutput": {
                    "S3OutputPath": "s3://b/o",
                    "AssembleWith": "Line",
                    "Accept": "application/json",
                },
                "DataProcessing": {"JoinSource": "Input"},
            },
            "Accept to be as ContentType",
        ),
        (
            {
                **with_input(SplitType="RecordIO", ContentType="text/csv"),
                "DataProcessing": {"InputFilter": "$[1:]"},
            },
            "SplitType Line or None",
        ),
        (
            {**with_input(ContentType="image/png"), "DataProcessing": {"InputFilter": "$[1:]"}},
            "ContentType to be one of",
        ),
        ({"Environment": {"MODELYARD_TRANSFORM_COLUMS": "true"}}, "is not known"),
        ({"Environment": {"MODELYARD_TRANSFORM_MANIFEST": "si"}}, "neither true nor false"),
        ({"Environment": {"MODELYARD_TRANSFORM_SHARE_OBJECTS": "true"}}, "needs SplitType Line"),
    ],
)
async def test_what_cannot_work_is_refused_at_once_with_what_to_do(
    ready: Any, changes: dict[str, Any], why: str
) -> None:
    base = job(**with_input(ContentType="text/csv"))
    with pytest.raises(ValidationError, match=re.escape(why)):
        await ready("CreateTransformJob", **{**base, **changes})
    assert list(ready.store.list("transform-job")) == []


@pytest.mark.parametrize(
    "changes",
    [
        with_input(SplitType="RecordIO"),
        with_input(SplitType="TFRecord"),
        with_input(CompressionType="Gzip"),
        with_data_type("ManifestFile"),
        {**CSV_LINES, **CSV_ASSEMBLED, "DataProcessing": {"JoinSource": "Input"}},
        {**CSV_LINES, "DataProcessing": {"InputFilter": "$[1:]", "OutputFilter": "$[0,-1]"}},
        {
            **CSV_LINES,
            "DataCaptureConfig": {"DestinationS3Uri": "s3://b", "GenerateInferenceId": True},
        },
        {"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 2}},
        {"MaxPayloadInMB": 0},
        {"Environment": {"MODELYARD_TRANSFORM_DEAD_LETTERS": "true"}},
    ],
)
async def test_what_is_executed_is_accepted(ready: Any, changes: dict[str, Any]) -> None:
    await ready("CreateTransformJob", **job(**changes))
    shown = await ready("DescribeTransformJob", TransformJobName="night")
    for name, value in changes.items():
        assert (
            value.items() <= shown[name].items()
            if isinstance(value, dict)
            else value == shown[name]
        )


async def test_all_that_is_executed_is_accepted_and_echoed(ready: Any) -> None:
    members = {
        "MaxConcurrentTransforms": 10,
        "MaxPayloadInMB": 10,
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 5, "InvocationsMaxRetries": 0},
        "ExperimentConfig": {"ExperimentName": "e"},
        "DataProcessing": {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"},
        "TransformOutput": {
            "S3OutputPath": "s3://b/out",
            "Accept": "text/csv",
            "AssembleWith": "Line",
            "KmsKeyId": "",
        },
        **with_input(SplitType="Line", CompressionType="None"),
    }
    await ready("CreateTransformJob", **job(**members), Tags=[{"Key": "a", "Value": "b"}])
    shown = await ready("DescribeTransformJob", TransformJobName="night")
    assert {name: shown[name] for name in members} == members
    listed = await ready("ListTags", ResourceArn=ARN)
    assert listed["Tags"] == [{"Key": "a", "Value": "b"}]


@pytest.mark.parametrize(
    ("transforms", "payload", "fits"),
    [
        (10, 10, True),
        (11, 10, False),
        (16, None, True),
        (17, None, False),
        (None, 100, True),
        (None, 101, False),
        (0, 100, True),
        (500, 0, True),
    ],
)
async def test_requests_in_flight_are_at_most_100_megabytes(
    ready: Any, transforms: int | None, payload: int | None, fits: bool
) -> None:
    sizes = {"MaxConcurrentTransforms": transforms, "MaxPayloadInMB": payload}
    given = {name: value for name, value in sizes.items() if value is not None}
    create = ready("CreateTransformJob", **job(**given))
    if fits:
        await create
    else:
        with pytest.raises(ValidationError, match="100 MB"):
            await create


async def test_a_job_has_at_most_a_hundred_instances(ready: Any) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 101}
    with pytest.raises(ValidationError, match="less than or equal to 100"):
        await ready("CreateTransformJob", **job(TransformResources=resources))
    resources["InstanceCount"] = 100
    await ready("CreateTransformJob", **job(TransformResources=resources))


async def test_a_running_job_is_stopped_by_a_wish_in_its_spec(ready: Any) -> None:
    await ready("CreateTransformJob", **job())
    for _ in range(2):
        await ready("StopTransformJob", TransformJobName="night")
        shown = await ready("DescribeTransformJob", TransformJobName="night")
        assert shown["TransformJobStatus"] == "Stopping"
        assert ready.spec("transform-job", "night")["stopping"] is True


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
async def test_an_ended_job_cannot_be_stopped(ready: Any, status: str) -> None:
    await ready("CreateTransformJob", **job())
    await ready.move("transform-job", "night", TransformJobStatus=status)
    with pytest.raises(ValidationError, match=f"in status {status}"):
        await ready("StopTransformJob", TransformJobName="night")


async def test_jobs_are_listed_with_their_result(ready: Any) -> None:
    await ready("CreateTransformJob", **job())
    ready.clock.advance(60)
    await ready.move(
        "transform-job",
        "night",
        TransformJobStatus="Failed",
        FailureReason="why",
        TransformStartTime=1010.0,
        TransformEndTime=1060.0,
    )
    await ready("CreateTransformJob", **job(TransformJobName="day"))

    listed = await ready("ListTransformJobs", StatusEquals="Failed", LastModifiedTimeAfter=1060.0)
    assert listed == {
        "TransformJobSummaries": [
            {
                "TransformJobName": "night",
                "TransformJobArn": ARN,
                "CreationTime": 1000.0,
                "LastModifiedTime": 1060.0,
                "TransformEndTime": 1060.0,
                "TransformJobStatus": "Failed",
                "FailureReason": "why",
            }
        ]
    }
    all_names = [
        one["TransformJobName"]
        for one in (await ready("ListTransformJobs"))["TransformJobSummaries"]
    ]
    assert all_names == ["day", "night"]
