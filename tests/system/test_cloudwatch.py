"""Metrics and alarms through boto3 against a real platform."""

import base64
import json
import os
import signal
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform


@pytest.fixture(scope="module")
def cloudwatch(platform: Platform) -> Any:
    return platform.client("cloudwatch")


def test_values_come_back_as_statistics(cloudwatch: Any) -> None:
    now = datetime.now(UTC)
    cloudwatch.put_metric_data(
        Namespace="shop",
        MetricData=[
            {
                "MetricName": "latency",
                "Dimensions": [{"Name": "page", "Value": "start"}],
                "Timestamp": now,
                "Values": [1.0, 2.0, 10.0],
                "Counts": [2.0, 1.0, 1.0],
                "Unit": "Milliseconds",
            }
        ],
    )
    asked = {
        "Namespace": "shop",
        "MetricName": "latency",
        "Dimensions": [{"Name": "page", "Value": "start"}],
        "StartTime": now - timedelta(minutes=5),
        "EndTime": now + timedelta(minutes=5),
        "Period": 60,
    }
    (point,) = cloudwatch.get_metric_statistics(
        **asked, Statistics=["Average", "Sum", "SampleCount", "Minimum", "Maximum"]
    )["Datapoints"]
    assert (point["Sum"], point["SampleCount"], point["Average"]) == (14.0, 4.0, 3.5)
    assert (point["Minimum"], point["Maximum"], point["Unit"]) == (1.0, 10.0, "Milliseconds")
    (point,) = cloudwatch.get_metric_statistics(**asked, ExtendedStatistics=["p50", "p100"])[
        "Datapoints"
    ]
    assert point["ExtendedStatistics"] == {"p50": 1.0, "p100": 10.0}
    (metric,) = cloudwatch.list_metrics(Namespace="shop")["Metrics"]
    assert metric["Dimensions"] == [{"Name": "page", "Value": "start"}]


def test_metric_data_with_arithmetic(cloudwatch: Any) -> None:
    now = datetime.now(UTC)
    for name, value in (("errors", 5.0), ("requests", 50.0)):
        cloudwatch.put_metric_data(
            Namespace="math", MetricData=[{"MetricName": name, "Value": value, "Timestamp": now}]
        )

    def stat(query: str, name: str) -> dict[str, Any]:
        metric = {"Namespace": "math", "MetricName": name}
        return {
            "Id": query,
            "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"},
            "ReturnData": False,
        }

    window = {"StartTime": now - timedelta(minutes=5), "EndTime": now + timedelta(minutes=5)}
    rate = {"Id": "rate", "Expression": "100 * e / r", "Label": "error rate"}
    queries = [rate, stat("e", "errors"), stat("r", "requests")]
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    assert (result["Label"], result["Values"], result["StatusCode"]) == (
        "error rate",
        [10.0],
        "Complete",
    )
    for expression in ("e +", "nobody / 2", "__import__('os')"):
        with pytest.raises(ClientError):
            cloudwatch.get_metric_data(
                MetricDataQueries=[{"Id": "x", "Expression": expression}], **window
            )


def test_labels_tell_queries_of_one_metric_apart(cloudwatch: Any) -> None:
    now = datetime.now(UTC)

    def labels(*asked: tuple[str, str, int]) -> list[str]:
        queries = [
            {
                "Id": f"q{place}",
                "MetricStat": {
                    "Metric": {"Namespace": "labels", "MetricName": name},
                    "Stat": statistic,
                    "Period": period,
                },
            }
            for place, (name, statistic, period) in enumerate(asked)
        ]
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=queries, StartTime=now - timedelta(hours=1), EndTime=now
        )
        return [one["Label"] for one in answer["MetricDataResults"]]

    assert labels(("m", "Sum", 60), ("n", "Sum", 60)) == ["m", "n"]
    assert labels(("m", "Sum", 60), ("m", "Minimum", 60)) == ["m Sum", "m Minimum"]
    assert labels(("m", "Sum", 60), ("m", "Sum", 30)) == ["m 60", "m 30"]
    assert labels(("m", "Sum", 60), ("m", "Minimum", 30)) == ["m Sum 60", "m Minimum 30"]


def alarm(**changes: Any) -> dict[str, Any]:
    return {
        "AlarmName": "slow",
        "Namespace": "watch",
        "MetricName": "latency",
        "Statistic": "Average",
        "Period": 10,
        "EvaluationPeriods": 1,
        "Threshold": 100.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "ignore",
        **changes,
    }


def state(cloudwatch: Any, name: str) -> dict[str, Any]:
    (found,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return dict(found)


def test_an_alarm_rings_when_its_metric_crosses_the_threshold(cloudwatch: Any) -> None:
    cloudwatch.put_metric_alarm(**alarm())
    assert state(cloudwatch, "slow")["StateValue"] == "INSUFFICIENT_DATA"
    end = time.monotonic() + 90
    while state(cloudwatch, "slow")["StateValue"] != "ALARM":
        cloudwatch.put_metric_data(
            Namespace="watch",
            MetricData=[{"MetricName": "latency", "Value": 500.0, "StorageResolution": 1}],
        )
        assert time.monotonic() < end, state(cloudwatch, "slow")
        time.sleep(0.5)
    assert "500.0" in state(cloudwatch, "slow")["StateReason"]
    items = cloudwatch.describe_alarm_history(AlarmName="slow")["AlarmHistoryItems"]
    assert [item["HistoryItemType"] for item in items] == ["StateUpdate", "ConfigurationUpdate"]
    cloudwatch.delete_alarms(AlarmNames=["slow"])
    assert cloudwatch.describe_alarms(AlarmNames=["slow"])["MetricAlarms"] == []


def test_a_state_set_by_hand_and_actions_switched_off(cloudwatch: Any) -> None:
    cloudwatch.put_metric_alarm(**alarm(AlarmName="byhand", Period=3600))
    cloudwatch.set_alarm_state(AlarmName="byhand", StateValue="ALARM", StateReason="a drill")
    found = state(cloudwatch, "byhand")
    assert (found["StateValue"], found["StateReason"]) == ("ALARM", "a drill")
    cloudwatch.disable_alarm_actions(AlarmNames=["byhand", "nobody"])
    assert state(cloudwatch, "byhand")["ActionsEnabled"] is False
    arn = found["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "ops"}])
    tags = cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]
    assert tags == [{"Key": "team", "Value": "ops"}]
    (same,) = cloudwatch.describe_alarms_for_metric(Namespace="watch", MetricName="latency")[
        "MetricAlarms"
    ]
    assert same["AlarmName"] == "byhand"
    cloudwatch.delete_alarms(AlarmNames=["byhand"])


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("set_alarm_state", {"AlarmName": "none", "StateValue": "OK", "StateReason": "r"}, "ResourceNotFound"),
        ("delete_alarms", {"AlarmNames": ["none"]}, "ResourceNotFound"),
        ("put_metric_alarm", alarm(Period=7), "InvalidParameterValue"),
        ("put_metric_alarm", alarm(DatapointsToAlarm=2), "ValidationError"),
        ("put_metric_alarm", alarm(ExtendedStatistic="p99"), "InvalidParameterCombination"),
        ("put_metric_data", {"Namespace": "n", "MetricData": [{"MetricName": "m"}]}, "InvalidParameterCombination"),
        (
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0, "Timestamp": 1}]},
            "InvalidParameterValue",
        ),
        (
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0, "Values": [1.0]}]},
            "InvalidParameterCombination",
        ),
        (
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Values": [1.0], "Counts": [1.0, 2.0]}]},
            "InvalidParameterValue",
        ),
        (
            "get_metric_statistics",
            {"Namespace": "n", "MetricName": "m", "Period": 60, "Statistics": ["Sum"], "StartTime": 120, "EndTime": 60},
            "InvalidParameterValue",
        ),
        ("describe_alarms", {"NextToken": "nonsense"}, "InvalidNextToken"),
    ],
)  # fmt: skip
def test_bad_input_gets_cloudwatchs_own_errors(
    cloudwatch: Any, operation: str, members: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(cloudwatch, operation)(**members)
    assert caught.value.response["Error"]["Code"] == code


def test_invocations_are_measured_under_awss_names(platform: Platform, booster: Any) -> None:
    from modelyard.testing.platform import command

    deployed = command(
        "deploy", str(booster.archive), "--name", "measured", home=platform.home.root
    )
    assert deployed.returncode == 0, deployed.stderr
    runtime, cloudwatch = platform.client("sagemaker-runtime"), platform.client("cloudwatch")
    for body in (b"0.1," * 9 + b"0.1\n", b"a,b\n"):
        for _ in range(3):
            try:
                runtime.invoke_endpoint(EndpointName="measured", ContentType="text/csv", Body=body)
            except ClientError as error:
                assert error.response["Error"]["Code"] == "ModelError"
    dimensions = [
        {"Name": "EndpointName", "Value": "measured"},
        {"Name": "VariantName", "Value": "AllTraffic"},
    ]

    def total(name: str, statistic: str) -> float:
        now = datetime.now(UTC)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=name,
            Dimensions=dimensions,
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=[statistic],
        )["Datapoints"]
        return float(sum(point[statistic] for point in points))

    end = time.monotonic() + 90
    while total("Invocations", "Sum") < 6:
        assert time.monotonic() < end, total("Invocations", "Sum")
        time.sleep(0.25)
    assert total("Invocations", "Sum") == 6
    assert total("Invocation4XXErrors", "Sum") == 3
    assert total("Invocation5XXErrors", "Sum") == 0
    assert total("InvocationModelErrors", "Sum") == 3
    assert total("ModelLatency", "SampleCount") == 6
    assert 0 < total("ModelLatency", "Sum") < 30e6
    platform.client("sagemaker").delete_endpoint(EndpointName="measured")


def test_killed_at_once_control_has_kept_what_it_acknowledged(
    platform: Platform, cloudwatch: Any
) -> None:
    now = datetime.now(UTC)
    cloudwatch.put_metric_alarm(**alarm(AlarmName="kept", Period=3600))
    cloudwatch.put_metric_data(
        Namespace="kept",
        MetricData=[{"MetricName": "m", "Values": [1.0, 2.0, 40.0], "Timestamp": now}],
    )
    cloudwatch.set_alarm_state(AlarmName="kept", StateValue="ALARM", StateReason="a drill")
    before = cloudwatch.describe_alarm_history(AlarmName="kept")["AlarmHistoryItems"]
    pid = json.loads(platform.home.process_table.read_text())["control"]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 90
    while True:
        try:
            found = cloudwatch.describe_alarm_history(AlarmName="kept")["AlarmHistoryItems"]
            break
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert time.monotonic() < end
    # Evaluated when control begins, so that what was set by hand may be over; what happened stays.
    assert found[-len(before) :] == before
    (shown,) = cloudwatch.describe_alarms(AlarmNames=["kept"])["MetricAlarms"]
    assert shown["Threshold"] == 100.0
    (point,) = cloudwatch.get_metric_statistics(
        Namespace="kept",
        MetricName="m",
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=60,
        ExtendedStatistics=["p50", "p99"],
    )["Datapoints"]
    assert point["ExtendedStatistics"] == {"p50": 2.0, "p99": 40.0}
    cloudwatch.delete_alarms(AlarmNames=["kept"])


def test_prometheus_reads_the_metrics_with_an_access_key(platform: Platform) -> None:
    environment = platform.environment()
    key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]

    def page(password: str) -> str:
        encoded = base64.b64encode(f"{key}:{password}".encode()).decode()
        request = urllib.request.Request(
            f"{environment['AWS_ENDPOINT_URL']}/_modelyard/metrics",
            headers={"Authorization": f"Basic {encoded}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return str(answer.read().decode())

    assert "modelyard_metric_reports_dropped_total 0" in page(secret)
    with pytest.raises(urllib.error.HTTPError) as caught:
        page("wrong")
    assert caught.value.code == 401
    caught.value.close()
