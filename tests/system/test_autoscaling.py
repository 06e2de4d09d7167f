"""Scaling through boto3 on a real platform: replicas that come and go while requests are answered."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

FAST = {"Delay": 1, "MaxAttempts": 60}
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/scaled/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def endpoint(platform: Platform, booster: Any) -> Iterator[str]:
    done = command("deploy", str(booster.archive), "--name", "scaled", home=platform.home.root)
    assert done.returncode == 0, done.stderr
    yield "scaled"
    sagemaker = platform.client("sagemaker")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="scaled", WaiterConfig=FAST)
    sagemaker.delete_endpoint(EndpointName="scaled")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="scaled", WaiterConfig=FAST)
    targets = platform.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker"
    )
    assert targets["ScalableTargets"] == [], "they go with their endpoint"


def until(seen: Callable[[], bool], *, meanwhile: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        meanwhile()


def test_replicas_follow_the_range_without_a_lost_request(
    platform: Platform, booster: Any, endpoint: str
) -> None:
    sagemaker, scaling = platform.client("sagemaker"), platform.client("application-autoscaling")
    runtime = platform.client("sagemaker-runtime")
    body = booster.csv.read_bytes()

    def invoke() -> None:
        answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="text/csv", Body=body)
        assert answer["ResponseMetadata"]["RetryAttempts"] == 0

    def activities() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = scaling.describe_scaling_activities(
            ServiceNamespace="sagemaker", ResourceId=TARGET["ResourceId"]
        )["ScalingActivities"]
        return found

    scaling.register_scalable_target(**TARGET, MinCapacity=2, MaxCapacity=3)
    until(lambda: _count(sagemaker, endpoint) == 2, meanwhile=invoke)
    until(lambda: activities()[0]["StatusCode"] == "Successful", meanwhile=invoke)
    assert activities()[0]["Cause"] == "minimum capacity was set to 2"

    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    scaling.put_scheduled_action(
        **TARGET,
        ScheduledActionName="quiet",
        Schedule=f"at({at})",
        ScalableTargetAction={"MinCapacity": 1, "MaxCapacity": 1},
    )
    until(lambda: _count(sagemaker, endpoint) == 1, meanwhile=invoke)
    until(lambda: activities()[0]["StatusCode"] == "Successful", meanwhile=invoke)
    shown = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    assert shown["ScalableTargets"][0]["MaxCapacity"] == 1


def test_target_tracking_acts_by_its_two_alarms(platform: Platform, endpoint: str) -> None:
    scaling, cloudwatch = platform.client("application-autoscaling"), platform.client("cloudwatch")
    sagemaker = platform.client("sagemaker")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=endpoint, WaiterConfig=FAST)
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=3)
    configuration = {
        "TargetValue": 300.0,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        },
    }
    put = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )
    (shown,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert shown["PolicyARN"] == put["PolicyARN"]
    assert shown["TargetTrackingScalingPolicyConfiguration"] == configuration
    high, low = (alarm["AlarmName"] for alarm in put["Alarms"])
    alarms = {
        alarm["AlarmName"]: alarm
        for alarm in cloudwatch.describe_alarms(AlarmNames=[high, low])["MetricAlarms"]
    }
    assert (alarms[high]["Threshold"], alarms[high]["EvaluationPeriods"]) == (300.0, 3)
    assert (alarms[low]["Threshold"], alarms[low]["EvaluationPeriods"]) == (270.0, 15)

    _ring(cloudwatch, high, "ALARM", [900.0, 900.0, 900.0])
    until(lambda: _count(sagemaker, endpoint) == 3, meanwhile=lambda: time.sleep(0.1))
    _ring(cloudwatch, high, "OK", [])
    _ring(cloudwatch, low, "ALARM", [0.0] * 15)
    until(lambda: _count(sagemaker, endpoint) == 2, meanwhile=lambda: time.sleep(0.1))
    found = scaling.describe_scaling_activities(
        ServiceNamespace="sagemaker", IncludeNotScaledActivities=True
    )["ScalingActivities"]
    causes = [one["Cause"] for one in found if "NotScaledReasons" not in one]
    assert f"monitor alarm {high} in state ALARM triggered policy load" in causes
    assert f"monitor alarm {low} in state ALARM triggered policy load" in causes

    scaling.delete_scaling_policy(**TARGET, PolicyName="load")
    assert cloudwatch.describe_alarms(AlarmNames=[high, low])["MetricAlarms"] == []


def test_a_step_policy_acts_when_its_users_alarm_rings(platform: Platform, endpoint: str) -> None:
    scaling, cloudwatch = platform.client("application-autoscaling"), platform.client("cloudwatch")
    sagemaker = platform.client("sagemaker")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=endpoint, WaiterConfig=FAST)
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    before = _count(sagemaker, endpoint)
    put = scaling.put_scaling_policy(
        **TARGET,
        PolicyName="more",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        },
    )
    cloudwatch.put_metric_alarm(
        AlarmName="backlog",
        Namespace="Own",
        MetricName="Backlog",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[put["PolicyARN"]],
    )
    _ring(cloudwatch, "backlog", "ALARM", [4.0, 4.0])
    until(lambda: _count(sagemaker, endpoint) == before + 1, meanwhile=lambda: time.sleep(0.1))
    scaling.delete_scaling_policy(**TARGET, PolicyName="more")
    assert len(cloudwatch.describe_alarms(AlarmNames=["backlog"])["MetricAlarms"]) == 1
    cloudwatch.delete_alarms(AlarmNames=["backlog"])


def _count(sagemaker: Any, endpoint: str) -> int:
    """Instances in service; 0 while they change."""
    description = sagemaker.describe_endpoint(EndpointName=endpoint)
    instances: int = description["ProductionVariants"][0]["CurrentInstanceCount"]
    return instances if description["EndpointStatus"] == "InService" else 0


def _ring(cloudwatch: Any, name: str, state: str, points: list[float]) -> None:
    cloudwatch.set_alarm_state(
        AlarmName=name,
        StateValue=state,
        StateReason="by hand",
        StateReasonData=json.dumps({"version": "1.0", "recentDatapoints": points}),
    )


def test_errors_are_those_of_aws(platform: Platform, endpoint: str) -> None:
    scaling = platform.client("application-autoscaling")
    with pytest.raises(scaling.exceptions.ValidationException, match="1 or more"):
        scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=3)
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.delete_scaling_policy(**TARGET, PolicyName="nobody")
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        scaling.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId="service/a/b",
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=1,
            MaxCapacity=2,
        )


def test_the_command_simulates_without_a_platform(tmp_path: Path) -> None:
    policy, trace, picture = (tmp_path / name for name in ("p.json", "t.csv", "p.svg"))
    policy.write_text(
        json.dumps(
            {
                "TargetValue": 300,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
                },
            }
        )
    )
    trace.write_text("time,requests\n0,300\n60,1200\n120,1200\n180,1200\n600,1200\n")
    arguments = ("simulate", "scaling", "--policy", str(policy), "--trace", str(trace))
    first = command(*arguments, "--json", "--svg", str(picture), home=tmp_path)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["summary"]["capacity_max"] > 1
    assert picture.read_text().startswith("<svg")
    assert command(*arguments, "--json", home=tmp_path).stdout == first.stdout
