from collections.abc import Callable
from typing import Any

import pytest

from modelyard.base.errors import Unsupported, ValidationError

pytestmark = pytest.mark.anyio
Variant = Callable[..., dict[str, Any]]
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/config"


async def test_a_config_is_shown_as_it_was_given(sagemaker: Any) -> None:
    await sagemaker.model()
    assert await sagemaker.config("Config", VolumeSizeInGB=5) == ARN

    shown = await sagemaker("DescribeEndpointConfig", EndpointConfigName="Config")
    assert shown == {
        "EndpointConfigName": "Config",
        "EndpointConfigArn": ARN,
        "CreationTime": 1000.0,
        "EnableNetworkIsolation": False,
        "ProductionVariants": [
            {
                "VariantName": "AllTraffic",
                "ModelName": "churn",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": 1.0,
                "VolumeSizeInGB": 5,
            }
        ],
    }


async def test_a_weight_of_zero_stays_zero(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config(InitialVariantWeight=0.0)
    shown = await sagemaker("DescribeEndpointConfig", EndpointConfigName="config")
    assert shown["ProductionVariants"][0]["InitialVariantWeight"] == 0.0


async def test_its_models_must_exist(sagemaker: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        await sagemaker.config(model="Nobody")
    assert caught.value.message == (
        'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/nobody".'
    )


async def test_duplicates_and_what_is_missing_are_told_in_aws_words(sagemaker: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        await sagemaker("DescribeEndpointConfig", EndpointConfigName="config")
    assert caught.value.message == f'Could not find endpoint configuration "{ARN}".'

    await sagemaker.model()
    await sagemaker.config()
    with pytest.raises(ValidationError) as caught:
        await sagemaker.config()
    assert caught.value.message == f'Cannot create already existing endpoint configuration "{ARN}".'

    await sagemaker("DeleteEndpointConfig", EndpointConfigName="config")
    with pytest.raises(ValidationError):
        await sagemaker("DeleteEndpointConfig", EndpointConfigName="config")


async def test_variants_have_names_of_their_own(sagemaker: Any, variant: Variant) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError, match="different names"):
        await sagemaker(
            "CreateEndpointConfig",
            EndpointConfigName="c",
            ProductionVariants=[variant(), variant()],
        )


@pytest.mark.parametrize("member", ["InstanceType", "InitialInstanceCount"])
async def test_a_variant_says_how_it_is_served(sagemaker: Any, member: str) -> None:
    await sagemaker.model()
    with pytest.raises(ValidationError, match=member):
        await sagemaker.config(**{member: None})


@pytest.mark.parametrize(
    "changes",
    [
        {"AcceleratorType": "ml.eia1.medium"},
        {"CoreDumpConfig": {"DestinationS3Uri": "s3://b/k"}},
        {"EnableSSMAccess": True},
        {"ManagedInstanceScaling": {"Status": "ENABLED"}},
        {"RoutingConfig": {"RoutingStrategy": "RANDOM"}},
    ],
)
async def test_variants_that_are_not_executed_are_refused(
    sagemaker: Any, changes: dict[str, Any]
) -> None:
    await sagemaker.model()
    with pytest.raises(Unsupported, match=f"ProductionVariants.{next(iter(changes))}"):
        await sagemaker.config(**changes)


async def test_variants_may_ask_for_nothing(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config(
        EnableSSMAccess=False,
        ManagedInstanceScaling={"Status": "DISABLED"},
        RoutingConfig={"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    )


_CAPTURE = {
    "InitialSamplingPercentage": 10,
    "DestinationS3Uri": "s3://b",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}


@pytest.mark.parametrize(
    "members",
    [
        {"DataCaptureConfig": {"KmsKeyId": "key", **_CAPTURE}},
        {"DataCaptureConfig": {**_CAPTURE, "DestinationS3Uri": "https://b/c"}},
        {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b", "KmsKeyId": "k"}}},
        {"KmsKeyId": "key"},
        {"EnableNetworkIsolation": True},
        {"ExplainerConfig": {"ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {}}}}},
    ],
)
async def test_features_that_are_not_executed_are_refused(
    sagemaker: Any, variant: Variant, members: dict[str, Any]
) -> None:
    await sagemaker.model()
    with pytest.raises(Unsupported, match=next(iter(members))):
        await sagemaker(
            "CreateEndpointConfig",
            EndpointConfigName="c",
            ProductionVariants=[variant()],
            **members,
        )


async def test_capture_that_is_switched_off_is_accepted(sagemaker: Any, variant: Variant) -> None:
    await sagemaker.model()
    await sagemaker(
        "CreateEndpointConfig",
        EndpointConfigName="c",
        ProductionVariants=[variant()],
        DataCaptureConfig={"EnableCapture": False, **_CAPTURE},
    )


async def test_inference_components_are_refused(sagemaker: Any, variant: Variant) -> None:
    with pytest.raises(Unsupported, match="inference components"):
        await sagemaker(
            "CreateEndpointConfig",
            EndpointConfigName="c",
            ProductionVariants=[variant(ModelName=None)],
        )


async def test_configs_are_listed(sagemaker: Any) -> None:
    await sagemaker.model()
    await sagemaker.config("a")
    await sagemaker.config("b")
    listed = await sagemaker("ListEndpointConfigs", NameContains="b")
    assert [one["EndpointConfigName"] for one in listed["EndpointConfigs"]] == ["b"]
