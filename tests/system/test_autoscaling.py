"""Scaling through boto3 on a real platform: replicas that come and go while requests are answered."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

FAST = {"Delay": 1, "MaxAttempts": 150}
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/scaled/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
PATIENCE_SECONDS = 150.0


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

    due = 0.0
    while time.time() >= due:  # What was put after its time would never come.
        due = int(time.time()) + 4
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(due))
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


PERIOD = 10
PACED = [
    {"Name": "EndpointName", "Value": "paced"},
    {"Name": "VariantName", "Value": "AllTraffic"},
]
STEPS = {
    "more": {"ScalingAdjustment": 2, "MetricIntervalLowerBound": 0.0},
    "fewer": {"ScalingAdjustment": -1, "MetricIntervalUpperBound": 0.0},
}
BUSY = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "Invocations",
    "Statistic": "Sum",
    "Period": PERIOD,
    "Threshold": 25.0,
}
ALARMS = {
    "more": {
        **BUSY,
        "AlarmName": "busy",
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "EvaluationPeriods": 1,
    },
    "fewer": {
        **BUSY,
        "AlarmName": "quiet",
        "ComparisonOperator": "LessThanThreshold",
        "EvaluationPeriods": 2,
    },
}
"""By the policy that each acts on: twenty-five requests in ten seconds are many, far from both rates."""


def stepping(name: str) -> dict[str, Any]:
    """A request of PutScalingPolicy, but for its target."""
    configuration = {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [STEPS[name]],
        "Cooldown": 15,
    }
    return {
        "PolicyName": name,
        "PolicyType": "StepScaling",
        "StepScalingPolicyConfiguration": configuration,
    }


class Pace:
    """Requests at a steady rate, whatever each of them takes."""

    def __init__(self, platform: Platform, endpoint: str, body: bytes) -> None:
        self.rate = 1.0
        self.failed: list[BaseException] = []
        self._runtime = platform.client("sagemaker-runtime")
        self._asked = {"EndpointName": endpoint, "ContentType": "text/csv", "Body": body}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Pace":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += 1.0 / self.rate
            try:
                self._runtime.invoke_endpoint(**self._asked)
            except ClientError as error:
                self.failed.append(error)


@pytest.mark.timeout(600)
def test_a_step_load_scales_live_as_the_simulation_of_its_recorded_trace_does(
    platform: Platform, booster: Any, tmp_path: Path
) -> None:
    done = command("deploy", str(booster.archive), "--name", "paced", home=platform.home.root)
    assert done.returncode == 0, done.stderr
    sagemaker, scaling = platform.client("sagemaker"), platform.client("application-autoscaling")
    cloudwatch = platform.client("cloudwatch")
    target = {**TARGET, "ResourceId": "endpoint/paced/variant/AllTraffic"}
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
    began = time.time() // PERIOD * PERIOD
    with Pace(platform, "paced", booster.csv.read_bytes()) as pace:
        for name, alarm in ALARMS.items():
            put = scaling.put_scaling_policy(**target, **stepping(name))
            acts = [put["PolicyARN"]]
            cloudwatch.put_metric_alarm(**alarm, Dimensions=PACED, AlarmActions=acts)
        pace.rate = 12.0
        until(lambda: _count(sagemaker, "paced") == 3, meanwhile=lambda: time.sleep(0.2))
        pace.rate = 0.5
        until(lambda: _count(sagemaker, "paced") == 1, meanwhile=lambda: time.sleep(0.2))
        ended = time.time()
        # What decided is in the trace, and a period more: the simulation looks at its alarms at the end of each.
        until(lambda: max(_sums(cloudwatch, began)) > ended, meanwhile=lambda: time.sleep(0.5))
    assert pace.failed == [], "replicas came and went without a lost request"
    live = [
        (one["Description"], one["Cause"], one["StartTime"].timestamp())
        for one in reversed(
            scaling.describe_scaling_activities(
                ServiceNamespace="sagemaker", ResourceId=target["ResourceId"]
            )["ScalingActivities"]
        )
    ]
    sums = _sums(cloudwatch, began)
    rows = [f"{at},{sums.get(at, 0):g}" for at in range(min(sums), max(sums) + 1, PERIOD)]
    trace, scenario = tmp_path / "recorded.csv", tmp_path / "scenario.json"
    trace.write_text("\n".join(("time,requests", *rows)))
    alarms = [{**alarm, "AlarmActions": [name]} for name, alarm in ALARMS.items()]
    policies = [stepping(name) for name in ALARMS]
    scenario.write_text(
        json.dumps({"MaxCapacity": 3, "ScalingPolicies": policies, "Alarms": alarms})
    )
    done = command(
        "simulate", "scaling", "--policy", str(scenario), "--trace", str(trace), "--json",
        "--startup-seconds", "1", "--seconds-per-request", "0.01", home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    simulated = [
        (one["description"], one["cause"], one["started_at"])
        for one in json.loads(done.stdout)["activities"]
        if not one["not_scaled_reasons"] and one["status"] == "Successful"
    ]
    shown = f"live {live}\nsimulated {simulated}\ntrace {rows}"
    assert [one[:2] for one in live] == [one[:2] for one in simulated], shown
    assert [one[0][-2:] for one in live] == ["3.", "2.", "1."], shown
    # A period is closed for good a moment after its end, and a cool-down may end in this one or the next.
    for (_, _, then), (_, _, when) in zip(live, simulated, strict=True):
        assert abs(then - when) <= 3 * PERIOD, shown
    for name in ("busy", "quiet"):
        cloudwatch.delete_alarms(AlarmNames=[name])
    sagemaker.delete_endpoint(EndpointName="paced")


def _sums(cloudwatch: Any, began: float) -> dict[int, float]:
    """Invocations by the beginning of each period that was recorded."""
    recorded = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName="Invocations", Dimensions=PACED,
        StartTime=began, EndTime=time.time(), Period=PERIOD, Statistics=["Sum"],
    )["Datapoints"]  # fmt: skip
    return {int(one["Timestamp"].timestamp()): one["Sum"] for one in recorded}


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
