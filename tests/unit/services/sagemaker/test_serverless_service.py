"""Serverless variants: what CreateEndpointConfig takes and refuses of them, and what an endpoint may become."""

from typing import Any

import pytest

from modelyard.base.errors import ValidationError

pytestmark = pytest.mark.anyio
SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}


def variant(**changes: Any) -> dict[str, Any]:
    return {"VariantName": "v", "ModelName": "churn", "ServerlessConfig": SERVERLESS, **changes}


async def create(sagemaker: Any, *variants: dict[str, Any], **more: Any) -> Any:
    return await sagemaker(
        "CreateEndpointConfig",
        EndpointConfigName="serverless",
        ProductionVariants=list(variants),
        **more,
    )


async def test_a_serverless_variant_needs_no_instances(sagemaker: Any) -> None:
    await sagemaker.model()
    await create(sagemaker, variant())
    found = await sagemaker("DescribeEndpointConfig", EndpointConfigName="serverless")
    assert found["ProductionVariants"][0]["ServerlessConfig"] == SERVERLESS


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"InstanceType": "ml.m5.large"}, "leave out InstanceType"),
        ({"InitialInstanceCount": 1}, "leave out InitialInstanceCount"),
        ({"ServerlessConfig": {**SERVERLESS, "MemorySizeInMB": 1500}}, "has to be 1024, 2048"),
        ({"ServerlessConfig": {**SERVERLESS, "ProvisionedConcurrency": 6}}, "more than MaxConc"),
    ],
)
async def test_what_a_serverless_variant_cannot_have(
    sagemaker: Any, changes: dict[str, Any], text: str
) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError, match=text):
        await create(sagemaker, variant(**changes))


async def test_a_serverless_variant_is_the_only_one(sagemaker: Any) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError, match="is the only one"):
        await create(sagemaker, variant(), variant(VariantName="other"))
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://b",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    with pytest.raises(ValidationError, match="Data capture"):
        await create(sagemaker, variant(), DataCaptureConfig=capture)


async def test_an_endpoint_whose_tag_says_no_time_is_refused(sagemaker: Any) -> None:
    await sagemaker.model()
    await create(sagemaker, variant())
    with pytest.raises(ValidationError, match="give a number of seconds"):
        await sagemaker(
            "CreateEndpoint",
            EndpointName="e",
            EndpointConfigName="serverless",
            Tags=[{"Key": "modelyard:hibernate-after-seconds", "Value": "soon"}],
        )
