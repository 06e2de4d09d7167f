"""Shadow variants as the API takes and shows them."""

from typing import Any

import pytest

from modelyard.base.errors import ValidationError

pytestmark = pytest.mark.anyio


def variant(name: str, model: str = "churn", **changes: Any) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    } | changes


def shown(name: str, *, count: int = 1, weight: float = 1.0) -> dict[str, Any]:
    return {"VariantName": name, "DesiredInstanceCount": count, "DesiredWeight": weight}


@pytest.fixture
async def ready(sagemaker: Any) -> Any:
    """Models, a config with a shadow, and an endpoint in service on it."""
    await sagemaker.model()
    await sagemaker.model("next")
    await sagemaker(
        "CreateEndpointConfig",
        EndpointConfigName="shadowed",
        ProductionVariants=[variant("live")],
        ShadowProductionVariants=[variant("candidate", "next", InitialVariantWeight=0.5)],
    )
    await sagemaker.endpoint("live", "shadowed")
    await sagemaker.move(
        "endpoint",
        "live",
        EndpointStatus="InService",
        generation=1,
        variants=[shown("live", count=3)],
        shadows=[shown("candidate", weight=0.5)],
    )
    return sagemaker


async def test_a_shadow_is_described_with_its_config_and_its_endpoint(ready: Any) -> None:
    config = await ready("DescribeEndpointConfig", EndpointConfigName="shadowed")
    (shadow,) = config["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["InitialVariantWeight"]) == ("candidate", 0.5)
    assert "next" in ready.spec("endpoint", "live")["models"]


async def test_the_weight_of_a_shadow_is_changed_like_any_others(ready: Any) -> None:
    await ready(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="live",
        DesiredWeightsAndCapacities=[{"VariantName": "candidate", "DesiredWeight": 0.1}],
    )
    spec = ready.spec("endpoint", "live")
    assert spec["capacity"]["candidate"] == {"count": 1, "weight": 0.1}
    assert spec["config"]["ShadowProductionVariants"][0]["InitialVariantWeight"] == 0.1
    assert spec["config"]["ProductionVariants"][0]["InitialInstanceCount"] == 3


async def test_the_weight_of_a_shadow_does_not_stand_in_for_productions(ready: Any) -> None:
    with pytest.raises(ValidationError, match="above 0"):
        await ready(
            "UpdateEndpointWeightsAndCapacities",
            EndpointName="live",
            DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredWeight": 0.0}],
        )


async def test_a_promoted_shadow_keeps_neither_its_count_nor_its_weight(ready: Any) -> None:
    await ready(
        "CreateEndpointConfig",
        EndpointConfigName="promoted",
        ProductionVariants=[variant("candidate", "next", InitialInstanceCount=2)],
    )
    await ready(
        "UpdateEndpoint",
        EndpointName="live",
        EndpointConfigName="promoted",
        RetainAllVariantProperties=True,
    )
    (only,) = ready.spec("endpoint", "live")["config"]["ProductionVariants"]
    assert only["InitialInstanceCount"] == 2
    assert "InitialVariantWeight" not in only


async def test_models_of_many_containers_or_many_models_have_no_shadow(ready: Any) -> None:
    image = {"Image": "modelyard/python:1", "ModelDataUrl": "s3://b/model.tar.gz"}
    await ready(
        "CreateModel",
        ModelName="chain",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        Containers=[image, image],
    )
    await ready.model("many", ModelDataUrl="s3://b/models/", Mode="MultiModel")
    for model in ("chain", "many"):
        with pytest.raises(ValidationError, match="several containers or models"):
            await ready(
                "CreateEndpointConfig",
                EndpointConfigName="no",
                ProductionVariants=[variant("live")],
                ShadowProductionVariants=[variant("candidate", model)],
            )
