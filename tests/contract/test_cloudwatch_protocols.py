"""CloudWatch through boto3 in each of its three protocols, against the real request path in this process."""

import asyncio
import functools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SystemRandom
from modelyard.server.app import Pipeline, Request
from modelyard.services import registry
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.services.cloudwatch.metric_data import MetricData
from modelyard.services.cloudwatch.metrics import Metrics
from modelyard.store.metrics import MetricStore
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
PROTOCOLS = ("json", "query", "smithy-rpc-v2-cbor")


@functools.cache
def _session(protocol: str) -> botocore.session.Session:
    """It reads models once, and a test needs a client only."""
    session = botocore.session.Session()
    model = session.get_component("data_loader").load_service_model("cloudwatch", "service-2")
    assert protocol in model["metadata"]["protocols"]
    model["metadata"]["protocols"] = [protocol]
    return session


class CloudWatch:
    """A server of the operations, and clients that speak one protocol each."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW.timestamp())
        store = MemoryResourceStore(clock=self.clock)
        self.metrics = MetricStore(folder / "metrics.db")
        built: tuple[object, ...] = (
            Metrics(metrics=self.metrics, clock=self.clock),
            MetricData(metrics=self.metrics, clock=self.clock),
            Alarms(store=store, metrics=self.metrics, clock=self.clock),
        )
        self._pipeline = Pipeline(
            registry=registry.operations(
                {"cloudwatch": registry.CLOUDWATCH}, {type(one): one for one in built}
            ),
            authenticate=lambda service, operation, request: (ROOT, "us-east-1"),
            authorise=lambda call: None,
            audit=_ignore,
            clock=self.clock,
            random=SystemRandom(),
        )
        self.content_types: set[str] = set()

    def client(self, protocol: str) -> Any:
        """botocore's own client of a model that offers one protocol only."""
        client = _session(protocol).create_client(
            "cloudwatch",
            region_name="us-east-1",
            endpoint_url="http://localhost:1",
            aws_access_key_id="AKIA",
            aws_secret_access_key="secret",
        )
        client.meta.events.register("before-send.cloudwatch", self._send)
        return client

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        headers = tuple((name.lower(), _text(value)) for name, value in request.headers.items())
        body = request.body or b""
        if not isinstance(body, bytes):
            body = body.encode()
        self.content_types.add(dict(headers)["content-type"].partition(";")[0])
        target = request.url.removeprefix("http://localhost:1")
        asked = Request(method=request.method, target=target, headers=headers, body=body)
        answer = asyncio.run(self._pipeline.handle(asked))
        return AWSResponse(request.url, answer.status, _Headers(answer.headers), _Raw(answer.body))


class _Headers(dict[str, str]):
    """As urllib3's: names in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})


class _Raw:
    """A body as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def _ignore(call: Call, outcome: Mapping[str, Any] | ServiceError | None) -> None:
    """No audit."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CloudWatch]:
    server = CloudWatch(tmp_path)
    yield server
    server.metrics.close()


@pytest.fixture(params=PROTOCOLS)
def cloudwatch(server: CloudWatch, request: pytest.FixtureRequest) -> Any:
    return server.client(request.param)


WINDOW = {"StartTime": NOW - timedelta(minutes=5), "EndTime": NOW + timedelta(minutes=5)}
PAGE = [{"Name": "page", "Value": "start & end"}]


def test_each_client_really_speaks_its_own_protocol(server: CloudWatch) -> None:
    for protocol in PROTOCOLS:
        server.client(protocol).list_metrics()
    assert server.content_types == {
        "application/x-amz-json-1.0",
        "application/x-www-form-urlencoded",
        "application/cbor",
    }


def test_values_come_back_as_statistics(cloudwatch: Any) -> None:
    cloudwatch.put_metric_data(
        Namespace="shop",
        MetricData=[
            {
                "MetricName": "latency", "Dimensions": PAGE, "Timestamp": NOW, "Unit": "Seconds",
                "Values": [1.0, 2.5, 10.0], "Counts": [2.0, 1.0, 1.0],
            },
            {
                "MetricName": "latency", "Dimensions": PAGE, "Timestamp": NOW, "Unit": "Seconds",
                "Value": 0.1,
            },
        ],
    )  # fmt: skip
    asked = {"Namespace": "shop", "MetricName": "latency", "Dimensions": PAGE, "Period": 60}
    (point,) = cloudwatch.get_metric_statistics(
        **asked, **WINDOW, Statistics=["Sum", "SampleCount", "Minimum", "Maximum", "Average"]
    )["Datapoints"]
    assert point == {
        "Timestamp": NOW.replace(second=0),
        "Sum": pytest.approx(14.6),
        "SampleCount": 5.0,
        "Minimum": 0.1,
        "Maximum": 10.0,
        "Average": pytest.approx(2.92),
        "Unit": "Seconds",
    }
    (point,) = cloudwatch.get_metric_statistics(
        **asked, **WINDOW, ExtendedStatistics=["p50", "p99.9"]
    )["Datapoints"]
    assert point["ExtendedStatistics"] == {"p50": 1.0, "p99.9": 10.0}
    (metric,) = cloudwatch.list_metrics(Namespace="shop", Dimensions=[{"Name": "page"}])["Metrics"]
    assert metric == {"Namespace": "shop", "MetricName": "latency", "Dimensions": PAGE}


def test_a_statistic_set_comes_back_whole(cloudwatch: Any) -> None:
    values = {"SampleCount": 4.0, "Sum": 10.0, "Minimum": 1.0, "Maximum": 4.0}
    cloudwatch.put_metric_data(
        Namespace="shop", MetricData=[{"MetricName": "set", "StatisticValues": values}]
    )
    (point,) = cloudwatch.get_metric_statistics(
        Namespace="shop", MetricName="set", Period=60, **WINDOW, Statistics=list(values)
    )["Datapoints"]
    assert {name: point[name] for name in values} == values


def put_minutes(cloudwatch: Any, count: int) -> None:
    for name in ("a", "b"):
        cloudwatch.put_metric_data(
            Namespace="many",
            MetricData=[
                {
                    "MetricName": name,
                    "Timestamp": NOW - timedelta(minutes=place),
                    "Value": float(place),
                }
                for place in range(count)
            ],
        )


def stat(query: str, name: str) -> dict[str, Any]:
    metric = {"Namespace": "many", "MetricName": name}
    return {"Id": query, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}


def test_metric_data_comes_in_pages_and_loses_nothing(cloudwatch: Any) -> None:
    put_minutes(cloudwatch, 7)
    queries = [stat("one", "a"), stat("two", "b"), {"Id": "sum", "Expression": "one + two"}]
    asked = {
        "MetricDataQueries": queries,
        "StartTime": NOW - timedelta(hours=1),
        "EndTime": NOW + timedelta(minutes=1),
    }
    whole = cloudwatch.get_metric_data(**asked)
    assert [result["StatusCode"] for result in whole["MetricDataResults"]] == ["Complete"] * 3
    found: dict[str, list[tuple[datetime, float]]] = {}
    pages = 0
    token: dict[str, str] = {}
    while True:
        page = cloudwatch.get_metric_data(**asked, MaxDatapoints=4, **token)
        pages += 1
        for result in page["MetricDataResults"]:
            assert len(result["Timestamps"]) == len(result["Values"])
            found.setdefault(result["Id"], []).extend(
                zip(result["Timestamps"], result["Values"], strict=True)
            )
        assert sum(len(result["Values"]) for result in page["MetricDataResults"]) <= 4
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages == 6
    for result in whole["MetricDataResults"]:
        points = list(zip(result["Timestamps"], result["Values"], strict=True))
        assert found[result["Id"]] == points
        assert points == sorted(points, reverse=True)


ALARM = {
    "AlarmName": "slow <&> ümlaut",
    "AlarmDescription": "too slow",
    "Namespace": "shop",
    "MetricName": "latency",
    "Dimensions": PAGE,
    "ExtendedStatistic": "p99",
    "Period": 60,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 0.25,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
    "AlarmActions": ["arn:aws:sns:us-east-1:1:topic"],
    "ActionsEnabled": False,
    "Unit": "Seconds",
}


def test_an_alarm_is_put_described_set_and_deleted(cloudwatch: Any) -> None:
    name = ALARM["AlarmName"]
    cloudwatch.put_metric_alarm(**ALARM, Tags=[{"Key": "team", "Value": "ops"}])
    (shown,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert {member: shown[member] for member in ALARM} == ALARM
    assert shown["StateValue"] == "INSUFFICIENT_DATA"
    assert shown["StateReason"] == "Unchecked: Initial alarm creation"
    assert shown["StateUpdatedTimestamp"] == NOW
    assert shown["AlarmConfigurationUpdatedTimestamp"] == NOW
    arn = shown["AlarmArn"]
    assert arn == f"arn:aws:cloudwatch:us-east-1:1:alarm:{name}"
    cloudwatch.enable_alarm_actions(AlarmNames=[name])
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    (shown,) = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
    assert (shown["StateReason"], shown["ActionsEnabled"]) == ("a drill", True)
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [
        {"Key": "team", "Value": "ops"}
    ]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "tier", "Value": "1"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [
        {"Key": "tier", "Value": "1"}
    ]
    (same,) = cloudwatch.describe_alarms_for_metric(
        Namespace="shop", MetricName="latency", Dimensions=PAGE
    )["MetricAlarms"]
    assert same["AlarmName"] == name
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    history = cloudwatch.describe_alarm_history(AlarmName=name)["AlarmHistoryItems"]
    assert [item["HistoryItemType"] for item in history] == [
        "ConfigurationUpdate", "Action", "StateUpdate", "ConfigurationUpdate", "ConfigurationUpdate",
    ]  # fmt: skip
    assert {item["Timestamp"] for item in history} == {NOW}


def test_alarms_come_in_pages(cloudwatch: Any) -> None:
    for number in range(5):
        cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": f"a{number}"})
    pages = list(
        cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    )
    assert [[alarm["AlarmName"] for alarm in page["MetricAlarms"]] for page in pages] == [
        ["a0", "a1"], ["a2", "a3"], ["a4"],
    ]  # fmt: skip


SET = {"AlarmName": "n", "StateValue": "OK", "StateReason": "r"}
ARN = "arn:aws:cloudwatch:us-east-1:1:alarm:none"


@pytest.mark.parametrize(
    ("operation", "members", "code", "exception", "status"),
    [
        ("set_alarm_state", SET, "ResourceNotFound", "ResourceNotFound", 404),
        ("set_alarm_state", {**SET, "StateReasonData": "{"}, "InvalidFormat", "InvalidFormatFault", 400),
        ("set_alarm_state", {**SET, "StateReasonData": "[" * 4000}, "InvalidFormat", "InvalidFormatFault", 400),
        ("list_tags_for_resource", {"ResourceARN": ARN}, "ResourceNotFoundException", "ResourceNotFoundException", 404),
        ("describe_alarms", {"NextToken": "x"}, "InvalidNextToken", "InvalidNextToken", 400),
        (
            "put_metric_data", {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1e200}]},
            "InvalidParameterValue", "InvalidParameterValueException", 400,
        ),
        (
            "put_metric_data", {"Namespace": "n", "MetricData": [{"MetricName": "m"}]},
            "InvalidParameterCombination", "InvalidParameterCombinationException", 400,
        ),
        ("put_metric_data", {"Namespace": "n"}, "MissingParameter", "MissingRequiredParameterException", 400),
        ("put_metric_alarm", {**ALARM, "Threshold": 1e200}, "InvalidParameterValue", None, 400),
        ("put_metric_alarm", {**ALARM, "Period": 45}, "InvalidParameterValue", None, 400),
        (
            "describe_alarm_history", {"AlarmContributorId": "c"}, "UnsupportedOperation", None, 501,
        ),
        (
            "put_metric_alarm",
            {
                **ALARM, "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
            },
            "UnsupportedOperation", None, 501,
        ),
        ("put_dashboard", {"DashboardName": "d", "DashboardBody": "{}"}, "UnsupportedOperation", None, 501),
    ],
)  # fmt: skip
def test_errors_have_cloudwatchs_codes_and_are_the_clients_exceptions(
    cloudwatch: Any,
    operation: str,
    members: dict[str, Any],
    code: str,
    exception: str | None,
    status: int,
) -> None:
    expected = getattr(cloudwatch.exceptions, exception) if exception else ClientError
    with pytest.raises(expected) as caught:
        getattr(cloudwatch, operation)(**members)
    response = caught.value.response  # type: ignore[union-attr]
    assert response["Error"]["Code"] == code
    assert response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
