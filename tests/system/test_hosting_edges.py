"""The edges of hosting through real boto3, which checks no maximum itself: names, headers, targets, errors, waiters."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
FAST = {"Delay": 1, "MaxAttempts": 150}
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/edges-of-hosting"


@pytest.fixture(scope="module")
def served(platform: Platform, booster: Any) -> Iterator[Any]:
    """A client of the endpoint ``Edges-of-Hosting``, which has one variant of one model."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="hosting-edges")
    s3.put_object(Bucket="hosting-edges", Key="m.tar.gz", Body=booster.archive.read_bytes())
    sagemaker.create_model(
        ModelName="edges",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "modelyard/xgboost",
            "ModelDataUrl": "s3://hosting-edges/m.tar.gz",
        },
    )
    variant = {"VariantName": "only", "ModelName": "edges", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="edges", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="Edges-of-Hosting", EndpointConfigName="edges")
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName="Edges-of-Hosting", WaiterConfig=FAST
    )
    yield platform.client("sagemaker-runtime")
    sagemaker.delete_endpoint(EndpointName="Edges-of-Hosting")


def refusal(served: Any, **members: Any) -> dict[str, Any]:
    asked = {"EndpointName": "Edges-of-Hosting", "ContentType": "text/csv", "Body": b"1"}
    with pytest.raises(ClientError) as refused:
        served.invoke_endpoint(**{**asked, **members})
    response: dict[str, Any] = refused.value.response
    return response


def test_a_name_keeps_its_case_has_a_lower_case_arn_and_is_invoked_exactly(
    platform: Platform, served: Any
) -> None:
    sagemaker = platform.client("sagemaker")
    shown = sagemaker.describe_endpoint(EndpointName="Edges-of-Hosting")
    assert (shown["EndpointName"], shown["EndpointArn"]) == ("Edges-of-Hosting", ARN)
    with pytest.raises(ClientError, match=f'Cannot create already existing endpoint "{ARN}"'):
        sagemaker.create_endpoint(EndpointName="EDGES-OF-HOSTING", EndpointConfigName="edges")
    response = refusal(served, EndpointName="edges-of-hosting")
    assert response["Error"] == {
        "Code": "ValidationError",
        "Message": "Endpoint edges-of-hosting of account 123456789012 not found.",
    }


@pytest.mark.parametrize(
    ("member", "limit"),
    [
        ("ContentType", 1024),
        ("Accept", 1024),
        ("CustomAttributes", 1024),
        ("TargetVariant", 63),
        ("TargetModel", 1024),
        ("TargetContainerHostname", 63),
        ("InferenceId", 64),
    ],
)
def test_a_header_over_its_limit_is_a_validation_error(
    served: Any, member: str, limit: int
) -> None:
    response = refusal(served, **{member: "a" * (limit + 1)})
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"]["Code"] == "ValidationError"
    assert f"is longer than {limit} characters" in response["Error"]["Message"]
    within = {"Accept": "text/csv;a=" + "b" * (limit - 11), "InferenceId": "i" * limit}
    if member in (*within, "CustomAttributes"):
        value = within.get(member, "a" * limit)
        rows = b",".join([b"0.1"] * 10)
        served.invoke_endpoint(
            EndpointName="Edges-of-Hosting", ContentType="text/csv", Body=rows, **{member: value}
        )


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"TargetVariant": "another"}, "another"),
        ({"TargetModel": "m.tar.gz"}, "TargetModel is for multi-model endpoints"),
        ({"TargetContainerHostname": "container-1"}, "TargetContainerHostname is for endpoints"),
    ],
)
def test_a_target_that_the_endpoint_does_not_have_is_a_validation_error(
    served: Any, members: dict[str, str], words: str
) -> None:
    response = refusal(served, **members)
    assert response["Error"]["Code"] == "ValidationError"
    assert words in response["Error"]["Message"]


@pytest.mark.parametrize(
    "members",
    [
        {"SessionId": "NEW_SESSION"},
        {"EnableExplanations": "`true`"},
        {"InferenceComponentName": "part"},
    ],
)
def test_what_an_invocation_may_ask_for_elsewhere_is_refused_and_not_ignored(
    served: Any, members: dict[str, str]
) -> None:
    response = refusal(served, **members)
    assert response["Error"]["Code"] == "UnsupportedOperation"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_model_error_says_what_the_container_said_and_is_asked_once(served: Any) -> None:
    response = refusal(served, Body=b"not,numbers")
    error = response["Error"]
    assert error["Code"] == "ModelError"
    assert error["Message"].startswith('Received client error (400) from primary with message "')
    assert "in account 123456789012 for more information" in error["Message"]
    assert response["OriginalStatusCode"] == 400
    assert response["OriginalMessage"] in error["Message"]
    assert response["LogStreamArn"] == (
        "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/Edges-of-Hosting"
    )
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["ResponseMetadata"]["RetryAttempts"] == 0
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == "ModelError"
    assert len(response["ResponseMetadata"]["RequestId"]) == 36


def test_an_answer_says_its_type_its_variant_and_its_request(served: Any) -> None:
    answer = served.invoke_endpoint(
        EndpointName="Edges-of-Hosting", ContentType="text/csv", Body=b",".join([b"0.1"] * 10),
        Accept="application/json", CustomAttributes="nothing that a built-in model reads",
    )  # fmt: skip
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == (
        "application/json", "only",
    )  # fmt: skip
    assert list(json.load(answer["Body"])) == ["predictions"]
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize(
    ("waiter", "arguments"),
    [
        ("endpoint_in_service", {"EndpointName": "nobody"}),
        ("transform_job_completed_or_stopped", {"TransformJobName": "nobody"}),
    ],
)
def test_a_waiter_for_what_does_not_exist_fails_at_once(
    platform: Platform, waiter: str, arguments: dict[str, str]
) -> None:
    with pytest.raises(WaiterError, match="terminal failure state"):
        platform.client("sagemaker").get_waiter(waiter).wait(**arguments)


def test_waiting_for_the_end_of_what_does_not_exist_ends_at_once(platform: Platform) -> None:
    platform.client("sagemaker").get_waiter("endpoint_deleted").wait(EndpointName="nobody")


def test_an_error_of_the_control_plane_is_a_400_with_awss_two_members(platform: Platform) -> None:
    with pytest.raises(ClientError) as refused:
        platform.client("sagemaker").describe_endpoint(EndpointName="Nobody")
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["Error"] == {
        "Code": "ValidationException",
        "Message": 'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/nobody".',
    }
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
