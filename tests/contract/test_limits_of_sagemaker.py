"""AWS's limits on what a client sends, which clients do not check: the last value within each passes, the next is named.

Rows are the limits that AWS documents for models, endpoint configurations, endpoints, tags, lists and transform jobs.
"""

import json
from typing import Any

import pytest

from modelyard.base.errors import ServiceError
from modelyard.wire.models import load_service
from modelyard.wire.validate import validate

ROLE = "arn:aws:iam::123456789012:role/"
BASES: dict[str, dict[str, Any]] = {
    "CreateModel": {"ModelName": "m"},
    "CreateEndpointConfig": {
        "EndpointConfigName": "c",
        "ProductionVariants": [{"VariantName": "v"}],
    },
    "CreateEndpoint": {"EndpointName": "e", "EndpointConfigName": "c"},
    "ListEndpoints": {},
    "AddTags": {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m", "Tags": []},
    "CreateTransformJob": {
        "TransformJobName": "t",
        "ModelName": "m",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/k"}}
        },
        "TransformOutput": {"S3OutputPath": "s3://b/k"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
}
CAPTURE = {
    "InitialSamplingPercentage": 1,
    "DestinationS3Uri": "s3://b",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}
S3 = "s3://bucket/"


def uri(length: int) -> str:
    return S3 + "k" * (length - len(S3))


def pairs(count: int) -> dict[str, str]:
    return {f"K{number}": "v" for number in range(count)}


def at(path: str, value: Any) -> Any:
    """``value`` where ``path`` says: ``A.0.B`` is member B of the first element of the list A."""
    for name in reversed(path.split(".")):
        value = [value] if name == "0" else {name: value}
    return value


def merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: merged(one.get(name), other.get(name, one.get(name))) for name in one | other}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other) == 1:
        return [merged(one[0], other[0])]
    return other if other is not None else one


def faults(operation: str, path: str, value: Any) -> str:
    shape = load_service("sagemaker").operation_model(operation).input_shape
    try:
        validate(shape, merged(BASES[operation], at(path, value)), code="ValidationException")
    except ServiceError as error:
        assert error.code == "ValidationException"
        return error.message
    return ""


CONTAINER = {"Image": "i", "ModelDataUrl": "s3://b/k"}
SOURCES = "PrimaryContainer.AdditionalModelDataSources"
SOURCE = {
    "ChannelName": "c",
    "S3DataSource": {"S3Uri": "s3://b/k/", "S3DataType": "S3Prefix", "CompressionType": "None"},
}
VARIANT = "ProductionVariants.0."


@pytest.mark.parametrize(
    ("operation", "path", "last_within", "first_beyond"),
    [
        ("CreateModel", "ModelName", "m" * 63, "m" * 64),
        ("CreateModel", "ModelName", "a-b", "a_b"),
        ("CreateModel", "ModelName", "a--b", "-a"),
        ("CreateModel", "ExecutionRoleArn", ROLE + "r" * (2048 - len(ROLE)), ROLE + "r" * 2048),
        ("CreateModel", "ExecutionRoleArn", ROLE + "team/r", "arn:aws:iam::12:role/some-role"),
        ("CreateModel", "PrimaryContainer.Image", "i" * 255, "i" * 256),
        ("CreateModel", "PrimaryContainer.ModelDataUrl", uri(1024), uri(1025)),
        ("CreateModel", "PrimaryContainer.Environment", pairs(100), pairs(101)),
        ("CreateModel", "PrimaryContainer.Environment", {"k" * 1024: "v"}, {"k" * 1025: "v"}),
        ("CreateModel", "PrimaryContainer.Environment", {"k": "v" * 1024}, {"k": "v" * 1025}),
        ("CreateModel", "PrimaryContainer.ContainerHostname", "h" * 63, "h" * 64),
        ("CreateModel", "PrimaryContainer.Mode", "MultiModel", "ManyModels"),
        ("CreateModel", SOURCES, [SOURCE] * 5, [SOURCE] * 6),
        ("CreateModel", "Containers", [CONTAINER] * 15, [CONTAINER] * 16),
        ("CreateModel", "InferenceExecutionConfig.Mode", "Direct", "Parallel"),
        ("CreateModel", "Tags", [{"Key": "k", "Value": ""}] * 50, [{"Key": "k", "Value": ""}] * 51),
        ("CreateEndpointConfig", "EndpointConfigName", "c" * 63, "c" * 64),
        ("CreateEndpointConfig", "ProductionVariants", [{"VariantName": "v"}] * 10, []),
        ("CreateEndpointConfig", VARIANT + "InitialInstanceCount", 1, 0),
        ("CreateEndpointConfig", VARIANT + "InitialVariantWeight", 0.0, -0.5),
        ("CreateEndpointConfig", VARIANT + "VolumeSizeInGB", 512, 513),
        ("CreateEndpointConfig", VARIANT + "ModelDataDownloadTimeoutInSeconds", 60, 59),
        ("CreateEndpointConfig", VARIANT + "ModelDataDownloadTimeoutInSeconds", 3600, 3601),
        ("CreateEndpointConfig", VARIANT + "ContainerStartupHealthCheckTimeoutInSeconds", 60, 59),
        (
            "CreateEndpointConfig",
            VARIANT + "ContainerStartupHealthCheckTimeoutInSeconds",
            3600,
            3601,
        ),
        ("CreateEndpointConfig", VARIANT + "RoutingConfig.RoutingStrategy", "RANDOM", "FIRST"),
        (
            "CreateEndpointConfig",
            "DataCaptureConfig",
            {**CAPTURE, "InitialSamplingPercentage": 100},
            {**CAPTURE, "InitialSamplingPercentage": 101},
        ),
        (
            "CreateEndpointConfig",
            "DataCaptureConfig",
            {**CAPTURE, "CaptureOptions": CAPTURE["CaptureOptions"] * 32},  # type: ignore[operator]
            {**CAPTURE, "CaptureOptions": CAPTURE["CaptureOptions"] * 33},  # type: ignore[operator]
        ),
        (
            "CreateEndpointConfig",
            "DataCaptureConfig",
            {**CAPTURE, "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"] * 10}},
            {**CAPTURE, "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"] * 11}},
        ),
        ("CreateEndpoint", "EndpointName", "e" * 63, "e" * 64),
        ("CreateEndpoint", "EndpointName", "a--b", "a-"),
        ("AddTags", "Tags", [{"Key": "k" * 128, "Value": "v"}], [{"Key": "k" * 129, "Value": "v"}]),
        ("AddTags", "Tags", [{"Key": "k", "Value": "v" * 256}], [{"Key": "k", "Value": "v" * 257}]),
        ("ListEndpoints", "MaxResults", 1, 0),
        ("ListEndpoints", "MaxResults", 100, 101),
        ("ListEndpoints", "NextToken", "t" * 8192, "t" * 8193),
        ("ListEndpoints", "SortBy", "CreationTime", "Age"),
        ("ListEndpoints", "SortOrder", "Descending", "Random"),
        ("ListEndpoints", "StatusEquals", "InService", "Serving"),
        ("CreateTransformJob", "TransformJobName", "t" * 63, "t" * 64),
        ("CreateTransformJob", "MaxPayloadInMB", 0, -1),
        ("CreateTransformJob", "ModelClientConfig.InvocationsTimeoutInSeconds", 1, 0),
        ("CreateTransformJob", "ModelClientConfig.InvocationsTimeoutInSeconds", 3600, 3601),
        ("CreateTransformJob", "ModelClientConfig.InvocationsMaxRetries", 3, 4),
        ("CreateTransformJob", "Environment", pairs(16), pairs(17)),
        ("CreateTransformJob", "TransformResources.InstanceCount", 1, 0),
        ("CreateTransformJob", "DataProcessing.InputFilter", "$" + "x" * 62, "$" + "x" * 63),
        ("CreateTransformJob", "DataProcessing.OutputFilter", "$" + "x" * 62, "$" + "x" * 63),
        ("CreateTransformJob", "DataProcessing.JoinSource", "Input", "Output"),
        ("CreateTransformJob", "TransformInput.SplitType", "TFRecord", "Row"),
        ("CreateTransformJob", "TransformInput.CompressionType", "Gzip", "Zip"),
        ("CreateTransformJob", "TransformOutput.AssembleWith", "Line", "Comma"),
        ("CreateTransformJob", "BatchStrategy", "SingleRecord", "AllRecords"),
    ],
)
def test_what_is_over_a_limit_is_refused_by_name_and_what_is_at_it_is_not(
    operation: str, path: str, last_within: Any, first_beyond: Any
) -> None:
    assert faults(operation, path, last_within) == ""
    told = faults(operation, path, first_beyond)
    assert told.startswith("1 validation error detected: "), told
    name = path.rpartition(".")[2]
    assert name[0].lower() + name[1:] in told, told[:300]


def test_eleven_variants_are_one_too_many() -> None:
    told = faults("CreateEndpointConfig", "ProductionVariants", [{"VariantName": "v"}] * 11)
    assert "'productionVariants' failed to satisfy constraint" in told, json.dumps(told[:300])
