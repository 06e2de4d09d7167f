"""A rehearsal on a real platform: captured traffic, a good candidate, and one that fails three requests in a hundred."""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.candidates import archive
from modelyard.testing.losses import wait_for
from modelyard.testing.platform import command, running_command

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
FAST = {"Delay": 1, "MaxAttempts": 150}
REQUESTS = 200
BEHAVIOURS: dict[str, dict[str, str]] = {
    "rehearsed": {},
    "good": {},
    "three-percent": {"BEHAVIOUR": "errors", "EVERY": "33"},
    "wrong": {"BEHAVIOUR": "wrong"},
}


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Iterator[str]:
    """In service, captured, with a canary and its alarm as the last deployment; and the configs of three candidates."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket="rehearsals")
    s3.put_object(Bucket="rehearsals", Key="model.tar.gz", Body=archive())
    for name, variables in BEHAVIOURS.items():
        container = {
            "Image": "modelyard/python",
            "ModelDataUrl": "s3://rehearsals/model.tar.gz",
            "Environment": variables,
        }
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large"}
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://rehearsals/seen",
            "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        }
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
            DataCaptureConfig=capture,
        )
    platform.client("cloudwatch").put_metric_alarm(
        AlarmName="rehearsed-errors",
        Namespace="AWS/SageMaker",
        MetricName="InvocationModelErrors",
        Dimensions=[
            {"Name": "EndpointName", "Value": "rehearsed"},
            {"Name": "VariantName", "Value": "all"},
        ],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.01,
        ComparisonOperator="GreaterThanThreshold",
    )
    size = {"Type": "CAPACITY_PERCENT", "Value": 50}
    routing = {"Type": "CANARY", "CanarySize": size, "WaitIntervalInSeconds": 300}
    sagemaker.create_endpoint(
        EndpointName="rehearsed",
        EndpointConfigName="rehearsed",
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "rehearsed-errors"}]},
        },
    )
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="rehearsed", WaiterConfig=FAST)
    _ask(platform)
    yield "rehearsed"
    sagemaker.delete_endpoint(EndpointName="rehearsed")
    platform.client("cloudwatch").delete_alarms(AlarmNames=["rehearsed-errors"])


def _ask(platform: Platform) -> None:
    """Requests, until all of them are captured."""
    runtime = platform.client("sagemaker-runtime")
    for number in range(1, REQUESTS + 1):
        runtime.invoke_endpoint(
            EndpointName="rehearsed", ContentType="text/csv", Accept="text/csv", Body=f"{number}\n"
        )
    captured(platform, REQUESTS)


def captured(platform: Platform, wanted: int) -> None:
    """Once so many invocations of the endpoint lie in S3."""
    s3, lines = platform.client("s3"), 0
    end = time.monotonic() + 60
    while lines < wanted:
        assert time.monotonic() < end, lines
        listed = s3.list_objects_v2(Bucket="rehearsals", Prefix="seen/rehearsed/").get(
            "Contents", ()
        )
        bodies = [s3.get_object(Bucket="rehearsals", Key=one["Key"])["Body"] for one in listed]
        lines = sum(body.read().count(b"\n") for body in bodies)
        time.sleep(0.2)


def rehearse(platform: Platform, config: str, *options: str) -> Any:
    arguments = ("--candidate", config, "--capture", "s3://rehearsals/seen", "--speed", "0")
    done = command("rehearse", "rehearsed", *arguments, *options, home=platform.home.root)
    assert candidates(platform) == [], "the candidate goes with its rehearsal"
    return done


def candidates(platform: Platform) -> list[str]:
    """Endpoints that rehearsals have made, but for those that are being deleted."""
    listed = platform.client("sagemaker").list_endpoints(NameContains="rehearsal-")["Endpoints"]
    return [one["EndpointName"] for one in listed if one["EndpointStatus"] != "Deleting"]


def test_a_good_candidate_goes_and_the_same_input_gives_the_same_bytes(
    platform: Platform, endpoint: str
) -> None:
    first = rehearse(platform, "good", "--json", "--seed", "7")
    assert first.returncode == 0, first.stdout + first.stderr
    report = json.loads(first.stdout)
    assert report["capture"]["requests"] == REQUESTS
    assert report["answers"]["agreement"] == 1.0
    assert [one["act"] for one in report["rollout"]["events"]][-1] == "promoted"
    assert report["alarms"] == [{"name": "rehearsed-errors", "left_out": ""}]
    captured(platform, 2 * REQUESTS)  # its own requests, too, which are no part of the next one
    second = rehearse(platform, "good", "--json", "--seed", "7", "--callers", "3")
    assert second.stdout == first.stdout


def test_a_candidate_that_fails_three_requests_in_a_hundred_is_stopped(
    platform: Platform, endpoint: str
) -> None:
    done = rehearse(platform, "three-percent", "--json", "--latency")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["errors"]["new"] == {"errors_4xx": 0, "errors_5xx": 6, "share": 0.03}
    assert report["rollout"]["outcome"] == "rolled-back"
    assert report["rollout"]["events"][-1]["stage"] == 1, "the canary stops it"
    assert "greater than the threshold (0.01)" in report["rollout"]["rings"][0]["reason"]
    assert report["latency"]["new"]["p99_ms"] > 0
    table = rehearse(platform, "three-percent", "--recorded")
    assert (table.returncode, "Stop: " in table.stdout) == (3, True), table.stdout + table.stderr
    assert "rolled back" in table.stdout


def test_wrong_answers_are_stopped_by_what_is_required(platform: Platform, endpoint: str) -> None:
    done = rehearse(platform, "wrong", "--json", "--require", "agreement>=0.99")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["rollout"]["outcome"] == "promoted", "no alarm looks at answers"
    assert report["because"] == ["agreement>=0.99 does not hold: 0.0"]
    assert report["answers"]["beyond_tolerance"]["numeric"] == REQUESTS
    assert report["answers"]["beyond_tolerance"]["max"] == 2.0


def test_what_cannot_be_rehearsed_is_said(platform: Platform, endpoint: str) -> None:
    nothing = rehearse(platform, "good", "--capture", "s3://rehearsals/nothing")
    assert (nothing.returncode, "No captured requests" in nothing.stderr) == (1, True)
    figure = rehearse(platform, "good", "--require", "charm>=1")
    assert "is no requirement" in figure.stderr
    missing = rehearse(platform, "nobody")
    assert missing.returncode == 1


def test_tags_that_decide_about_rollouts_are_never_passed_over_in_silence(
    platform: Platform, endpoint: str
) -> None:
    sagemaker = platform.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName="rehearsed")["EndpointArn"]
    sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "modelyard:rollout-gate", "Value": "each-step"}]
    )
    try:
        refused = rehearse(platform, "good")
        assert (refused.returncode, "modelyard:rollout-gate" in refused.stderr) == (1, True)
        without = rehearse(platform, "good", "--json", "--without-tags")
        assert without.returncode == 0, without.stderr
        assert json.loads(without.stdout)["tags_left_out"] == ["modelyard:rollout-gate"]
    finally:
        sagemaker.delete_tags(ResourceArn=arn, TagKeys=["modelyard:rollout-gate"])


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_rehearsal_that_is_told_to_end_takes_its_candidate_along(
    platform: Platform, endpoint: str, word: signal.Signals
) -> None:
    arguments = ("--candidate", "good", "--capture", "s3://rehearsals/seen", "--speed", "0.001")
    home = platform.home.root
    with running_command("rehearse", endpoint, *arguments, home=home) as rehearsal:
        wait_for(lambda: len(candidates(platform)) == 1, "a candidate")
        rehearsal.send_signal(word)
        said, _ = rehearsal.communicate(timeout=120)
    assert rehearsal.returncode == 130, said
    assert candidates(platform) == []
