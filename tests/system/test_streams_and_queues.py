"""Answers that come in parts, and answers that come later: a script's endpoints through real boto3 and the AWS CLI."""

import base64
import datetime
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from modelyard.cli.platform import Platform
from modelyard.testing.losses import PATIENT, kill, victims, workers
from modelyard.testing.models import add_file

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SETTLED_SECONDS = 180.0
SCRIPT = b"""
import json
import os
import time

STATE = {"yielded": 0, "closed": 0}


def model_fn(folder):
    return None


def input_fn(body, content_type):
    return json.loads(body)


def predict_fn(asked, model):
    if "plain" in asked:
        return "x" * asked["plain"]
    if "state" in asked:
        return dict(STATE)
    if "refuse" in asked:
        raise ValueError("not before the first piece")
    return pieces(asked)


def pieces(asked):
    STATE["yielded"] = 0
    try:
        for number in range(asked.get("count", 1_000_000)):
            if number == asked.get("fail"):
                raise ValueError("in the middle")
            if number == asked.get("exit"):
                os._exit(1)
            STATE["yielded"] += 1
            yield f"{number}," + "x" * asked.get("size", 0)
    finally:
        STATE["closed"] += 1


def output_fn(prediction, accept, context):
    if isinstance(prediction, (dict, str)):
        return json.dumps(prediction), "application/json"
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "own=words")
    return prediction, "text/plain"
"""


@pytest.fixture(scope="module")
def archive(platform: Platform) -> str:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        add_file(tar, "code/inference.py", SCRIPT)
    packed = file.getvalue()
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="streams")
    s3.put_object(Bucket="streams", Key="model.tar.gz", Body=packed)
    return "s3://streams/model.tar.gz"


@pytest.fixture(scope="module")
def deploy(platform: Platform, archive: str) -> Callable[..., str]:
    sagemaker = platform.client("sagemaker")

    def deploy(name: str, **config: Any) -> str:
        container = {"Image": "modelyard/python", "ModelDataUrl": archive}
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {
            "VariantName": "all",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant], **config
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 150}
        )
        return name

    return deploy


@pytest.fixture(scope="module")
def streaming(deploy: Callable[..., str]) -> Iterator[str]:
    yield deploy("streaming")


def ask(platform: Platform, endpoint: str, **asked: Any) -> Any:
    return platform.client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=json.dumps(asked), ContentType="application/json"
    )


def parts_of(answer: Any) -> list[bytes]:
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def state(platform: Platform, endpoint: str) -> dict[str, int]:
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=b'{"state": 1}', ContentType="application/json"
    )
    found: dict[str, int] = json.loads(answer["Body"].read())
    return found


def eventually(what: Callable[[], bool]) -> None:
    end = time.monotonic() + SETTLED_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_what_a_model_yields_comes_part_by_part(platform: Platform, streaming: str) -> None:
    answer = ask(platform, streaming, count=3)
    assert answer["ContentType"] == "text/plain"
    assert answer["CustomAttributes"] == "own=words"
    assert answer["InvokedProductionVariant"] == "all"
    assert parts_of(answer) == [b"0,", b"1,", b"2,"]


def test_large_pieces_arrive_whole_and_in_order(platform: Platform, streaming: str) -> None:
    found = b"".join(parts_of(ask(platform, streaming, count=5, size=700_000)))
    assert found == b"".join(b"%d," % n + b"x" * 700_000 for n in range(5))


def test_a_model_that_does_not_yield_answers_in_one_part(
    platform: Platform, streaming: str
) -> None:
    answer = ask(platform, streaming, plain=10)
    assert answer["ContentType"] == "application/json"
    assert parts_of(answer) == [b'"xxxxxxxxxx"']


def test_what_is_yielded_is_joined_for_a_caller_of_invoke_endpoint(
    platform: Platform, streaming: str
) -> None:
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=streaming, Body=b'{"count": 3}', ContentType="application/json"
    )
    assert answer["Body"].read() == b"0,1,2,"


def test_an_error_before_the_first_part_is_a_model_error(
    platform: Platform, streaming: str
) -> None:
    for asked in ({"refuse": 1}, {"fail": 0}):
        with pytest.raises(ClientError) as refused:
            ask(platform, streaming, **asked)
        assert refused.value.response["Error"]["Code"] == "ModelError"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424


@pytest.mark.parametrize(("asked", "said"), [("fail", "in the middle"), ("exit", "worker died")])
def test_an_error_in_the_middle_ends_the_stream_with_the_reason(
    platform: Platform, streaming: str, asked: str, said: str
) -> None:
    found: list[bytes] = []
    with pytest.raises(EventStreamError) as broken:
        for event in ask(platform, streaming, **{asked: 2})["Body"]:
            found.append(event["PayloadPart"]["Bytes"])  # noqa: PERF401 - the end raises
    assert found == [b"0,", b"1,"]
    assert "ModelStreamError" in str(broken.value) and said in str(broken.value)
    eventually(lambda: "yielded" in state(platform, streaming))


def test_a_reader_that_stops_stops_the_model_and_leaving_ends_it(
    platform: Platform, streaming: str
) -> None:
    before = state(platform, streaming)["closed"]
    answer = ask(platform, streaming, size=8000)
    raw = answer["Body"]._raw_stream  # botocore has no public way to leave a stream unread
    yielded = 0

    def stands_still() -> bool:
        nonlocal yielded
        now = state(platform, streaming)["yielded"]
        still, yielded = now == yielded > 0, now
        time.sleep(0.2)
        return still

    eventually(stands_still)
    assert yielded * 8000 < 16 << 20, "what the machine's and the platform's buffers hold"
    raw._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
    raw.close()
    eventually(lambda: state(platform, streaming)["closed"] == before + 1)


TOPIC = "arn:aws:sns:us-east-1:123456789012:results"


@pytest.fixture(scope="module")
def queued(deploy: Callable[..., str]) -> str:
    output = {
        "S3OutputPath": "s3://streams/out",
        "S3FailurePath": "s3://streams/failed",
        "NotificationConfig": {
            "SuccessTopic": TOPIC,
            "ErrorTopic": TOPIC,
            "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
        },
    }
    client = {"MaxConcurrentInvocationsPerInstance": 4}
    return deploy("queued", AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": client})


def keys(platform: Platform, prefix: str) -> list[str]:
    pages = platform.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket="streams", Prefix=prefix)
    return [one["Key"] for page in found for one in page.get("Contents", ())]


def read(platform: Platform, location: str) -> bytes:
    key = location.removeprefix("s3://streams/")
    body: bytes = platform.client("s3").get_object(Bucket="streams", Key=key)["Body"].read()
    return body


def messages(platform: Platform) -> list[dict[str, Any]]:
    folder = platform.home.topics / "123456789012" / "us-east-1" / "results"
    return [json.loads(json.loads(one.read_text())["Message"]) for one in folder.glob("*.json")]


def later(platform: Platform, asked: dict[str, int], **options: Any) -> Any:
    return platform.client("sagemaker-runtime", retries=PATIENT).invoke_endpoint_async(
        EndpointName="queued",
        Body=json.dumps(asked).encode(),
        ContentType="application/json",
        **options,
    )


def test_a_result_is_an_object_and_a_message(platform: Platform, queued: str) -> None:
    platform.client("s3").put_object(Bucket="streams", Key="in", Body=b'{"plain": 3}')
    answer = platform.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=queued,
        InputLocation="s3://streams/in",
        ContentType="application/json",
        InferenceId="mine",
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    key = answer["OutputLocation"].removeprefix("s3://streams/")
    eventually(lambda: keys(platform, key) == [key])
    assert read(platform, answer["OutputLocation"]) == b'"xxx"'
    eventually(lambda: any(one["inferenceId"] == "mine" for one in messages(platform)))
    (told,) = (one for one in messages(platform) if one["inferenceId"] == "mine")
    assert told["invocationStatus"] == "Completed"
    assert told["responseParameters"]["outputLocation"] == answer["OutputLocation"]
    assert base64.b64decode(told["responseParameters"]["body"]["content"]) == b'"xxx"'


def test_a_failure_is_an_object_of_its_own(platform: Platform, queued: str) -> None:
    answer = later(platform, {"refuse": 1}, InferenceId="refused")
    key = answer["FailureLocation"].removeprefix("s3://streams/")
    eventually(lambda: keys(platform, key) == [key])
    assert b"not before the first piece" in read(platform, answer["FailureLocation"])
    missing = platform.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=queued, InputLocation="s3://streams/nothing"
    )
    key = missing["FailureLocation"].removeprefix("s3://streams/")
    eventually(lambda: keys(platform, key) == [key])
    assert b"cannot be read" in read(platform, missing["FailureLocation"])
    eventually(lambda: any(one["inferenceId"] == "refused" for one in messages(platform)))


def test_the_aws_cli_sends_a_request(
    platform: Platform, queued: str, clients_folder: Path, tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    platform.client("s3").put_object(Bucket="streams", Key="cli-in", Body=b'{"plain": 2}')
    finished = subprocess.run(
        [str(clients_folder / "aws-cli/bin/aws"), "sagemaker-runtime", "invoke-endpoint-async",
         "--endpoint-name", queued, "--input-location", "s3://streams/cli-in", "--content-type", "application/json",
         "--filename", "cli.out", "--request-ttl-seconds", "60"],
        env={**kept, **platform.environment(), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["OutputLocation"] == "s3://streams/out/cli.out"
    eventually(lambda: keys(platform, "out/cli.out") == ["out/cli.out"])
    assert read(platform, "s3://streams/out/cli.out") == b'"xx"'


def test_the_two_ways_of_invoking_are_not_mixed_up(
    platform: Platform, queued: str, streaming: str
) -> None:
    runtime = platform.client("sagemaker-runtime")
    with pytest.raises(ClientError, match="InvokeEndpointAsync"):
        runtime.invoke_endpoint(EndpointName=queued, Body=b"{}")
    with pytest.raises(ClientError, match="not asynchronous"):
        runtime.invoke_endpoint_async(EndpointName=streaming, Body=b"{}")
    with pytest.raises(ClientError, match="InputLocation"):
        runtime.invoke_endpoint_async(EndpointName=queued)
    described = platform.client("sagemaker").describe_endpoint(EndpointName=queued)
    assert described["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == "s3://streams/out"


def test_every_accepted_request_has_one_result_though_control_and_workers_are_killed(
    platform: Platform, queued: str
) -> None:
    accepted: list[dict[str, str]] = []
    before = len(keys(platform, "failed/"))
    for number in range(60):
        accepted.append(later(platform, {"plain": number}, S3OutputPathExtension="killed"))
        if number in (10, 40):
            kill(victims(platform, "control"))
        if number == 25:
            kill([row["pid"] for row in workers(platform)])
    wanted = sorted(one["OutputLocation"].removeprefix("s3://streams/") for one in accepted)
    eventually(lambda: len(keys(platform, "out/killed/")) >= len(wanted))
    assert sorted(keys(platform, "out/killed/")) == wanted
    bodies = [len(json.loads(read(platform, one["OutputLocation"]))) for one in accepted]
    assert bodies == list(range(60))
    assert len(keys(platform, "failed/")) == before


TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/queued/variant/all",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def counts(platform: Platform) -> tuple[str, int]:
    said = platform.client("sagemaker").describe_endpoint(EndpointName="queued")
    return said["EndpointStatus"], said["ProductionVariants"][0]["CurrentInstanceCount"]


def ring(cloudwatch: Any, alarm: str, points: list[float]) -> None:
    """As after minutes of such data."""
    cloudwatch.set_alarm_state(
        AlarmName=alarm,
        StateValue="ALARM",
        StateReason="by hand",
        StateReasonData=json.dumps({"version": "1.0", "recentDatapoints": points}),
    )


def without_capacity(cloudwatch: Any) -> float:
    now = datetime.datetime.now(datetime.UTC)
    found = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": "queued"}],
        StartTime=now - datetime.timedelta(minutes=2),
        EndTime=now + datetime.timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max((float(one["Maximum"]) for one in found), default=0.0)


def test_an_asynchronous_endpoint_scales_to_zero_and_a_request_brings_an_instance_back(
    platform: Platform, queued: str
) -> None:
    """AWS's two policies: the backlog of an instance is tracked, and a backlog without any instance adds one."""
    scaling, cloudwatch = platform.client("application-autoscaling"), platform.client("cloudwatch")
    scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=2)
    tracked = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="backlog-of-an-instance",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 5.0,
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": [{"Name": "EndpointName", "Value": queued}],
                "Statistic": "Average",
            },
            "ScaleInCooldown": 0,
            "ScaleOutCooldown": 0,
        },
    )
    added = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="backlog-without-capacity",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": 0,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    cloudwatch.put_metric_alarm(
        AlarmName="queued-without-capacity",
        MetricName="HasBacklogWithoutCapacity",
        Namespace="AWS/SageMaker",
        Statistic="Average",
        EvaluationPeriods=2,
        DatapointsToAlarm=2,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
        Dimensions=[{"Name": "EndpointName", "Value": queued}],
        Period=60,
        AlarmActions=[added["PolicyARN"]],
    )
    low = next(one["AlarmName"] for one in tracked["Alarms"] if "AlarmLow" in one["AlarmName"])
    ring(cloudwatch, low, [0.0] * 15)
    eventually(lambda: counts(platform) == ("InService", 0))
    cloudwatch.set_alarm_state(AlarmName=low, StateValue="OK", StateReason="seen")

    answer = later(platform, {"plain": 4}, InferenceId="woken")
    key = answer["OutputLocation"].removeprefix("s3://streams/")
    eventually(lambda: without_capacity(cloudwatch) == 1.0)
    ring(cloudwatch, "queued-without-capacity", [1.0, 1.0])
    eventually(lambda: counts(platform) == ("InService", 1))
    eventually(lambda: keys(platform, key) == [key])
    assert read(platform, answer["OutputLocation"]) == b'"xxxx"'
    causes = [
        one["Cause"]
        for one in scaling.describe_scaling_activities(
            ServiceNamespace="sagemaker", ResourceId=TARGET["ResourceId"]
        )["ScalingActivities"]
    ]
    assert [one.rsplit(" ", 1)[-1] for one in causes[:2]] == [
        "backlog-without-capacity",
        "backlog-of-an-instance",
    ]
    scaling.deregister_scalable_target(**TARGET)
    cloudwatch.delete_alarms(AlarmNames=["queued-without-capacity"])


def test_an_update_of_what_is_scaled_to_zero_has_an_instance_again(
    platform: Platform, queued: str, streaming: str
) -> None:
    sagemaker = platform.client("sagemaker")
    desired = [{"VariantName": "all", "DesiredInstanceCount": 0}]
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=queued, DesiredWeightsAndCapacities=desired
    )
    eventually(lambda: counts(platform) == ("InService", 0))
    with pytest.raises(ClientError, match="1 or more"):
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=streaming, DesiredWeightsAndCapacities=desired
        )
    answer = later(platform, {"plain": 5})
    sagemaker.update_endpoint(
        EndpointName=queued, EndpointConfigName=queued, RetainAllVariantProperties=True
    )
    eventually(lambda: counts(platform) == ("InService", 1))
    key = answer["OutputLocation"].removeprefix("s3://streams/")
    eventually(lambda: keys(platform, key) == [key])
