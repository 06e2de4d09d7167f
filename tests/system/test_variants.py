"""Several variants behind one endpoint: requests by weight and by name, and changes of size in place."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.control.routes import last_published

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
REQUESTS = 2_000
CRITICAL = 16.3
"""Of chi-squared with three degrees of freedom, one in a thousand; this runs often, and twice in a row is one in a million."""
WEIGHTS = {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0}


@pytest.fixture(scope="module")
def several(platform: Platform, booster: Any) -> Iterator[Platform]:
    """Endpoint ``several`` with the variants of ``WEIGHTS``, all of one model."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="several")
    s3.put_object(Bucket="several", Key="model.tar.gz", Body=booster.archive.read_bytes())
    container = {"Image": "modelyard/xgboost", "ModelDataUrl": "s3://several/model.tar.gz"}
    sagemaker.create_model(ModelName="several", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    common = {"ModelName": "several", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variants = [
        {**common, "VariantName": name, "InitialVariantWeight": weight}
        for name, weight in WEIGHTS.items()
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="several", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="several", EndpointConfigName="several")
    settled(platform)
    yield platform
    sagemaker.delete_endpoint(EndpointName="several")


def settled(platform: Platform) -> Any:
    sagemaker = platform.client("sagemaker")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="several", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    return sagemaker.describe_endpoint(EndpointName="several")


def invoke(runtime: Any, **more: Any) -> str:
    row = ",".join(["0.01"] * 10)
    answer = runtime.invoke_endpoint(
        EndpointName="several", ContentType="text/csv", Body=row, **more
    )
    name: str = answer["InvokedProductionVariant"]
    return name


def workers(platform: Platform) -> dict[str, set[str]]:
    table = last_published(platform.home.run)
    (route,) = [one for one in table.endpoints if one.name == "several"]
    return {
        one.name: {worker.id for replica in one.replicas for worker in replica.workers}
        for one in route.variants
    }


def chi_squared(counts: Counter[str], weights: dict[str, float]) -> float:
    total, requests = sum(weights.values()), sum(counts.values())
    expected = {name: requests * weight / total for name, weight in weights.items() if weight}
    return sum((counts[name] - value) ** 2 / value for name, value in expected.items())


def test_the_split_follows_the_weights_and_a_weight_of_zero_gets_nothing(several: Platform) -> None:
    runtime = several.client("sagemaker-runtime")

    def split() -> Counter[str]:
        counts = Counter(invoke(runtime) for _ in range(REQUESTS))
        assert counts["a"] == 0
        return counts

    assert any(chi_squared(split(), WEIGHTS) < CRITICAL for _ in range(2))
    assert {invoke(runtime, TargetVariant=name) for name in WEIGHTS} == set(WEIGHTS)
    with pytest.raises(ClientError, match="Variant f not found"):
        invoke(runtime, TargetVariant="f")


def test_weights_and_counts_change_in_place(several: Platform) -> None:
    sagemaker, runtime = several.client("sagemaker"), several.client("sagemaker-runtime")
    before = workers(several)
    desires = [
        {"VariantName": name, "DesiredWeight": 1.0 if name == "a" else 0.0} for name in WEIGHTS
    ]
    desires[1]["DesiredInstanceCount"] = 2
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="several", DesiredWeightsAndCapacities=desires
    )
    shown = {one["VariantName"]: one for one in settled(several)["ProductionVariants"]}
    assert (shown["b"]["CurrentInstanceCount"], shown["a"]["CurrentWeight"]) == (2, 1.0)
    assert {invoke(runtime) for _ in range(50)} == {"a"}
    after = workers(several)
    assert len(after["b"]) == 2
    assert all(before[name] <= after[name] for name in WEIGHTS), "a worker was started again"

    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="several",
        DesiredWeightsAndCapacities=[{"VariantName": "b", "DesiredInstanceCount": 1}],
    )
    settled(several)
    assert workers(several) == before
