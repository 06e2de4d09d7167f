"""A shadow beside the production variant: it gets copies, is measured, compared and captured, and no caller ever notices it."""

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
WAIT_SECONDS = 60.0
TIMES = """
import os, time
def model_fn(folder):
    return float(open(os.path.join(folder, "factor")).read())
def predict_fn(rows, factor):
    if factor < 0:
        os._exit(1)
    if factor > 100:
        time.sleep(3)
    return rows * factor
"""
FACTORS = {"times-2": 2.0, "almost-2": 2.0001, "times-3": 3.0, "dies": -1.0, "sleeps": 1000.0}


@pytest.fixture(scope="module")
def models(platform: Platform) -> Iterator[Platform]:
    """Models that multiply, one that dies with each request, one that never answers in time."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="shadows")
    for name, factor in FACTORS.items():
        key = f"{name}.tar.gz"
        s3.put_object(Bucket="shadows", Key=key, Body=archive(factor))
        url = f"s3://shadows/{key}"
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "modelyard/python", "ModelDataUrl": url},
        )
    yield platform
    sagemaker.delete_endpoint(EndpointName="shadowed")


def archive(factor: float) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in {"code/inference.py": TIMES, "factor": str(factor)}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def variant(name: str, model: str, weight: float = 1.0) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": weight,
    }


def config(platform: Platform, name: str, model: str, shadow: str, **more: Any) -> str:
    platform.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant("live", model)],
        **({"ShadowProductionVariants": [variant("candidate", shadow)]} if shadow else {}),
        **more,
    )
    return name


def settled(platform: Platform) -> Any:
    sagemaker = platform.client("sagemaker")
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = sagemaker.describe_endpoint(EndpointName="shadowed")
        if found["EndpointStatus"] not in ("Creating", "Updating"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"not settled: {found}")


def move(platform: Platform, name: str) -> Any:
    platform.client("sagemaker").update_endpoint(EndpointName="shadowed", EndpointConfigName=name)
    return settled(platform)


def ask(platform: Platform, number: float, **more: Any) -> tuple[float, str]:
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="shadowed",
        ContentType="text/csv",
        Accept="application/json",
        Body=f"{number}\n",
        **more,
    )
    (value,) = json.load(answer["Body"])[0]
    return value, answer["InvokedProductionVariant"]


def measured(platform: Platform, namespace: str, name: str, config: str, variant: str) -> float:
    """The sum since an hour ago."""
    dimensions = {"EndpointName": "shadowed", "VariantName": variant, "EndpointConfigName": config}
    now = datetime.now(UTC)
    found = platform.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in found["Datapoints"])


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_shadow_is_shown_measured_compared_and_captured_and_answers_nobody(
    models: Platform,
) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://shadows/seen",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    name = config(models, "almost", "times-2", "almost-2", DataCaptureConfig=capture)
    described = models.client("sagemaker").describe_endpoint_config(EndpointConfigName=name)
    assert [one["VariantName"] for one in described["ShadowProductionVariants"]] == ["candidate"]
    models.client("sagemaker").create_endpoint(EndpointName="shadowed", EndpointConfigName=name)
    found = settled(models)
    assert [one["VariantName"] for one in found["ProductionVariants"]] == ["live"]
    (shadow,) = found["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentInstanceCount"]) == ("candidate", 1)
    for number in range(50):
        assert ask(models, number) == (2.0 * number, "live")
    with pytest.raises(ClientError, match="Variant candidate not found"):
        ask(models, 1, TargetVariant="candidate")
    for metric, count in (("ComparedAnswers", 50), ("Disagreements", 0), ("DroppedCopies", 0)):
        eventually(
            lambda metric=metric, count=count: (
                measured(models, "Modelyard/Shadow", metric, name, "candidate") == count
            )
        )
    assert measured(models, "AWS/SageMaker", "Invocations", name, "candidate") == 50
    assert measured(models, "AWS/SageMaker", "Invocations", name, "live") == 50
    drift = measured(models, "Modelyard/Shadow", "NumericDrift", name, "candidate")
    assert drift == pytest.approx(49 * 0.0001 / 2.0001, rel=0.01)

    s3 = models.client("s3")

    def lines(variant: str) -> dict[str, Any]:
        prefix = f"seen/shadowed/{variant}/"
        listed = s3.list_objects_v2(Bucket="shadows", Prefix=prefix).get("Contents", [])
        bodies = [s3.get_object(Bucket="shadows", Key=one["Key"])["Body"].read() for one in listed]
        kept = [json.loads(line) for body in bodies for line in body.splitlines()]
        return {one["eventMetadata"]["eventId"]: one["captureData"] for one in kept}

    eventually(lambda: len(lines("live")) == len(lines("candidate")) == 50)
    assert lines("live").keys() == lines("candidate").keys(), "both sides bear the same event id"


@pytest.mark.parametrize("shadow", ["dies", "sleeps", "times-3"])
def test_a_shadow_that_fails_changes_no_answer(models: Platform, shadow: str) -> None:
    assert move(models, config(models, shadow, "times-2", shadow))["EndpointConfigName"] == shadow
    for number in range(300):  # A quarter of an hour, if anybody waited for the shadow that sleeps.
        assert ask(models, number) == (2.0 * number, "live")
    described = models.client("sagemaker").describe_endpoint(EndpointName="shadowed")
    assert described["EndpointStatus"] == "InService"
    if shadow == "times-3":
        # A shadow that is stalled for a moment has more copies than there is room for: those are dropped, and counted.
        def seen(metric: str) -> float:
            return measured(models, "Modelyard/Shadow", metric, shadow, "candidate")

        eventually(lambda: seen("ComparedAnswers") + seen("DroppedCopies") == 300)
        # Of all but the first request, whose answer is nothing times three.
        assert seen("Disagreements") in (seen("ComparedAnswers") - 1, seen("ComparedAnswers"))
        assert seen("Disagreements") > 0


def test_a_shadow_that_cannot_start_sends_the_update_back(models: Platform) -> None:
    models.client("s3").put_object(Bucket="shadows", Key="none.tar.gz", Body=b"no archive")
    models.client("sagemaker").create_model(
        ModelName="none",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "modelyard/python",
            "ModelDataUrl": "s3://shadows/none.tar.gz",
        },
    )
    last = move(models, config(models, "none", "times-2", "none"))
    assert (last["EndpointStatus"], last["EndpointConfigName"]) == ("InService", "times-3")
    assert "Variant candidate" in last["FailureReason"]
    assert ask(models, 4) == (8.0, "live")


def test_half_the_weight_gets_half_the_copies_and_the_weight_can_be_changed(
    models: Platform,
) -> None:
    sagemaker = models.client("sagemaker")
    name = config(models, "half", "times-2", "times-2")
    move(models, name)
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="shadowed",
        DesiredWeightsAndCapacities=[{"VariantName": "candidate", "DesiredWeight": 0.5}],
    )
    settled(models)
    for number in range(400):
        ask(models, number)

    def copies() -> float:
        return measured(models, "AWS/SageMaker", "Invocations", name, "candidate")

    eventually(lambda: measured(models, "AWS/SageMaker", "Invocations", name, "live") == 400)
    eventually(lambda: copies() > 140)
    assert copies() < 260


def test_a_shadow_is_promoted_by_an_update(models: Platform) -> None:
    name = "promoted"
    models.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant("candidate", "times-3")]
    )
    last = move(models, name)
    assert "ShadowProductionVariants" not in last
    assert ask(models, 5) == (15.0, "candidate")


def test_what_cannot_be_shadowed_is_refused(models: Platform) -> None:
    sagemaker = models.client("sagemaker")
    with pytest.raises(ClientError, match="exactly one production variant"):
        sagemaker.create_endpoint_config(
            EndpointConfigName="two",
            ProductionVariants=[variant("a", "times-2"), variant("b", "times-2")],
            ShadowProductionVariants=[variant("c", "times-2")],
        )
    with pytest.raises(ClientError, match="different names"):
        config_of = {"ShadowProductionVariants": [variant("live", "times-2")]}
        sagemaker.create_endpoint_config(
            EndpointConfigName="same",
            ProductionVariants=[variant("live", "times-2")],
            **config_of,
        )
