"""Many models behind one endpoint, each loaded when it is first invoked, through boto3."""

import contextlib
import datetime
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.losses import wait_for

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"


@pytest.fixture(scope="module")
def many(platform: Platform, booster: Any) -> Iterator[Platform]:
    """Endpoint ``many`` (two instances) of the prefix ``s3://many/models/``."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="many")
    for key in ("models/a.tar.gz", "models/team/b v2.tar.gz", "elsewhere.tar.gz"):
        s3.put_object(Bucket="many", Key=key, Body=booster.archive.read_bytes())
    s3.put_object(Bucket="many", Key="models/broken.tar.gz", Body=b"no archive")
    container = {
        "Image": "modelyard/xgboost",
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://many/models/",
    }
    sagemaker.create_model(ModelName="many", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "all", "ModelName": "many", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="many", ProductionVariants=[{**variant, "InitialInstanceCount": 2}]
    )
    sagemaker.create_endpoint(EndpointName="many", EndpointConfigName="many")
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="many", WaiterConfig={"Delay": 1, "MaxAttempts": 150})
    yield platform
    sagemaker.delete_endpoint(EndpointName="many")


def invoke(platform: Platform, booster: Any, **more: Any) -> list[float]:
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="many", ContentType="text/csv", Body=booster.csv.read_bytes(), **more
    )
    return [float(line) for line in answer["Body"].read().split()]


def loaded(platform: Platform) -> list[int]:
    """How many models each worker that holds many says that it has."""
    found = []
    for path in (platform.home.run / "processes").glob("*.state"):
        with contextlib.suppress(FileNotFoundError):  # Another endpoint's process has just gone.
            told = json.loads(path.read_bytes())["progress"].get("loaded_models")
            found += [] if told is None else [told]
    return found


def test_what_loading_costs_is_metrics(many: Platform, booster: Any) -> None:
    """First of all, so that the requests are known: either instance loads the model once."""
    begun = datetime.datetime.now(datetime.UTC)
    for _ in range(8):
        invoke(many, booster, TargetModel="a.tar.gz")

    def points(name: str, unit: str) -> Any:
        found = many.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=[
                {"Name": "EndpointName", "Value": "many"},
                {"Name": "VariantName", "Value": "all"},
            ],
            StartTime=begun - datetime.timedelta(minutes=1),
            EndTime=begun + datetime.timedelta(minutes=2),
            Period=60,
            Statistics=["Sum", "SampleCount"],
        )["Datapoints"]
        assert {point["Unit"] for point in found} <= {unit}
        return found

    end = time.monotonic() + 90
    while sum(point["SampleCount"] for point in points("ModelCacheHit", "None")) < 8:
        assert time.monotonic() < end, points("ModelCacheHit", "None")
        time.sleep(0.25)
    hits = sum(point["Sum"] for point in points("ModelCacheHit", "None"))
    assert hits in (6, 7)
    waits = points("ModelLoadingWaitTime", "Microseconds")
    loads = points("ModelLoadingTime", "Microseconds")
    for found in (waits, loads):
        assert sum(point["SampleCount"] for point in found) == 8 - hits
    assert 0 < sum(point["Sum"] for point in loads) < sum(point["Sum"] for point in waits)
    fetched = points("ModelDownloadingTime", "Microseconds")
    assert sum(point["SampleCount"] for point in fetched) >= 1
    assert sum(point["Sum"] for point in fetched) > 0
    wait_for(lambda: max(loaded(many), default=0) == 1, "the report of a worker with one model")


@pytest.mark.parametrize("model", ["a.tar.gz", "team/b v2.tar.gz"])
def test_a_model_is_loaded_when_it_is_first_invoked(
    many: Platform, booster: Any, model: str
) -> None:
    for _ in range(3):
        found = invoke(many, booster, TargetModel=model)
        np.testing.assert_allclose(found, booster.expected, rtol=1e-5)


def test_putting_an_object_adds_a_model(many: Platform, booster: Any) -> None:
    with pytest.raises(ClientError, match="Failed to download model data") as caught:
        invoke(many, booster, TargetModel="late.tar.gz")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    body = booster.archive.read_bytes()
    many.client("s3").put_object(Bucket="many", Key="models/late.tar.gz", Body=body)
    assert len(invoke(many, booster, TargetModel="late.tar.gz")) == len(booster.rows)


def test_a_model_that_cannot_be_loaded_fails_its_own_requests(many: Platform, booster: Any) -> None:
    with pytest.raises(ClientError, match=r"Model broken\.tar\.gz could not be loaded") as caught:
        invoke(many, booster, TargetModel="broken.tar.gz")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert len(invoke(many, booster, TargetModel="a.tar.gz")) == len(booster.rows)


@pytest.mark.parametrize("model", ["../elsewhere.tar.gz", "/etc/passwd", "team/"])
def test_names_lead_nowhere_else(many: Platform, booster: Any, model: str) -> None:
    with pytest.raises(ClientError, match="Failed to download model data"):
        invoke(many, booster, TargetModel=model)


def test_an_invocation_names_its_model(many: Platform, booster: Any) -> None:
    with pytest.raises(ClientError, match="name one of them by TargetModel") as caught:
        invoke(many, booster)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
