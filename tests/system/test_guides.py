"""The guides' Python, as it stands, on a platform that has what each page presupposes: a model, an endpoint, a bucket."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.losses import wait_for
from modelyard.testing.models import archive, doubling_model
from modelyard.testing.platform import command

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
CLIENTS = (
    "import boto3\n"
    "sagemaker, cloudwatch = boto3.client('sagemaker'), boto3.client('cloudwatch')\n"
    "endpoint_arn = 'arn:aws:sagemaker:us-east-1:123456789012:endpoint/guided'\n"
)


def blocks(page: str) -> list[str]:
    """The page's Python, in order."""
    return re.findall(r"```python\n(.*?)```", (GUIDES / f"{page}.md").read_text(), re.DOTALL)


def run(platform: Platform, code: str) -> str:
    """What the code prints under ``modelyard run``, with the clients that the pages speak of."""
    home = platform.home.root
    done = command("run", "--", sys.executable, "-c", CLIENTS + code, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def guided(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Models ``churn``, ``churn-v1`` and ``churn-v2``, which double a number, and an endpoint ``guided`` of the first."""
    folder = tmp_path_factory.mktemp("guides")
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="results")
    s3.put_object(Bucket="results", Key="input.csv", Body=b"21\n")
    model = doubling_model(folder / "model.onnx").read_bytes()
    s3.put_object(Bucket="results", Key="model.onnx", Body=model)
    container = {"Image": "modelyard/onnx", "ModelDataUrl": "s3://results/model.onnx"}
    for name in ("churn", "churn-v1", "churn-v2"):
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "v", "ModelName": "churn", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="guided", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="guided", EndpointConfigName="guided")
    serves(platform, "guided")
    yield platform
    for endpoint in ("guided", "later", "quiet", "words"):
        if any(one["EndpointName"] == endpoint for one in endpoints(platform)):
            sagemaker.delete_endpoint(EndpointName=endpoint)


def endpoints(platform: Platform) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.client("sagemaker").list_endpoints(MaxResults=100)[
        "Endpoints"
    ]
    return found


def serves(platform: Platform, endpoint: str) -> None:
    """Wait for it."""
    waiter = platform.client("sagemaker").get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 150})


def exists(platform: Platform, key: str) -> bool:
    return bool(platform.client("s3").list_objects_v2(Bucket="results", Prefix=key).get("KeyCount"))


def test_an_asynchronous_invocation_leaves_its_answer_where_it_says(guided: Platform) -> None:
    (code,) = blocks("async")
    inference, uri = run(guided, code).split()
    key = uri.removeprefix("s3://results/")
    assert inference in key
    wait_for(lambda: exists(guided, key), "the output object")
    assert float(guided.client("s3").get_object(Bucket="results", Key=key)["Body"].read()) == 42.0


def test_policies_let_the_asynchronous_endpoint_scale_to_zero(guided: Platform) -> None:
    *_, code = blocks("autoscaling")
    run(guided, code)
    scaling = guided.client("application-autoscaling")
    found = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert sorted(one["PolicyName"] for one in found) == [
        "backlog-of-an-instance",
        "backlog-without-capacity",
    ]
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 5)


def test_the_words_of_a_script_that_yields_come_as_they_are_said(
    guided: Platform, tmp_path: Path
) -> None:
    script, code = blocks("streaming")
    model = archive(tmp_path / "model.tar.gz", files={"code/inference.py": script.encode()})
    guided.client("s3").put_object(Bucket="results", Key="words.tar.gz", Body=model.read_bytes())
    sagemaker = guided.client("sagemaker")
    container = {"Image": "modelyard/python", "ModelDataUrl": "s3://results/words.tar.gz"}
    sagemaker.create_model(ModelName="words", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "v", "ModelName": "words", "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="words", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName="words", EndpointConfigName="words")
    serves(guided, "words")
    assert run(guided, code) == "one\ntwo\nthree\n"


def test_a_serverless_endpoint_is_made_and_another_is_let_sleep(guided: Platform) -> None:
    for code in blocks("hibernation"):
        run(guided, code)
    serves(guided, "quiet")
    tags = guided.client("sagemaker").list_tags(
        ResourceArn="arn:aws:sagemaker:us-east-1:123456789012:endpoint/guided"
    )["Tags"]
    assert {"Key": "modelyard:hibernate-after-seconds", "Value": "900"} in tags


def test_a_shadow_joins_an_endpoint_with_an_alarm_on_its_disagreements(guided: Platform) -> None:
    join, watch = (
        code.replace('EndpointName="churn"', 'EndpointName="guided"')
        for code in blocks("shadow-variants")
    )
    run(guided, join)
    serves(guided, "guided")
    (shadow,) = guided.client("sagemaker").describe_endpoint(EndpointName="guided")[
        "ShadowProductionVariants"
    ]
    assert shadow["VariantName"] == "candidate"
    run(guided, watch)
    alarms = guided.client("cloudwatch").describe_alarms(AlarmNames=["candidate-disagrees"])
    assert len(alarms["MetricAlarms"]) == 1
    update = guided.client("sagemaker").describe_endpoint(EndpointName="guided")
    assert update["EndpointStatus"] == "Updating", "its bake is on"
    done = command("rollout", "promote", "guided", home=guided.home.root)
    assert done.returncode == 0, done.stderr
    serves(guided, "guided")


def test_a_classifier_is_trained_and_asked(guided: Platform) -> None:
    _, code, _ = blocks("comprehend")
    assert run(guided, code).split() == ["TRAINED", "FOOD"]
    _delete_endpoint(guided, "subjects")


def test_a_recogniser_is_trained_and_asked(guided: Platform) -> None:
    *_, code = blocks("comprehend")
    assert run(guided, code).split() == ["TRAINED", "PART", "BY-4711"]
    _delete_endpoint(guided, "parts")


def _delete_endpoint(guided: Platform, name: str) -> None:
    comprehend = guided.client("comprehend")
    for one in comprehend.list_endpoints()["EndpointPropertiesList"]:
        if one["EndpointArn"].endswith(f"/{name}"):
            comprehend.delete_endpoint(EndpointArn=one["EndpointArn"])


def test_a_bot_is_built_and_taken_along(platform: Platform) -> None:
    assert run(platform, "".join(blocks("lex"))).split() == ["Built", "Completed"]
