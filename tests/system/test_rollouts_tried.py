"""A test before traffic and checks on metrics, each with a good and a bad candidate, through boto3 and a killed control."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.testing.candidates import archive
from modelyard.testing.platform import command

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
PATIENCE_SECONDS = 180.0
BUCKET = "tried"


@pytest.fixture(scope="module")
def tried(platform: Platform) -> Platform:
    """Configs ``tried-good``, ``tried-better``… of versions that behave so, and their bucket."""
    s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=archive())
    behaviours = {
        "good": "good",
        "better": "good",
        "errors": "errors",
        "wrong": "wrong",
        "slow": "slow",
    }
    for name, behaviour in behaviours.items():
        container = {
            "Image": "modelyard/python",
            "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz",
            "Environment": {"BEHAVIOUR": behaviour, "EVERY": "2"},
        }
        names = {"ModelName": f"tried-{name}"}
        sagemaker.create_model(**names, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {**names, "VariantName": "all", "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"tried-{name}",
            ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        )
    return platform


@pytest.fixture
def endpoint(tried: Platform, request: pytest.FixtureRequest) -> Iterator[str]:
    """One that serves ``tried-good``."""
    name = f"tried-{request.node.name[5:12].strip('_').replace('_', '-')}"
    with_endpoint(tried, name, "tried-good")
    yield name
    tried.client("sagemaker").delete_endpoint(EndpointName=name)


def with_endpoint(platform: Platform, name: str, config: str) -> None:
    sagemaker = platform.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
    settled(sagemaker, name)


def until(seen: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = seen()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def later(platform: Platform, name: str, model: str) -> None:
    """A config of an asynchronous endpoint that asks one thing at a time."""
    variant = {"VariantName": "all", "ModelName": model, "InstanceType": "ml.m5.large"}
    output = {"S3OutputPath": f"s3://{BUCKET}/out"}
    client = {"MaxConcurrentInvocationsPerInstance": 1}
    platform.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        AsyncInferenceConfig={"OutputConfig": output, "ClientConfig": client},
    )


def is_moving(sagemaker: Any, name: str) -> bool:
    status: str = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
    return status in ("Creating", "Updating")


def settled(sagemaker: Any, name: str) -> Any:
    until(lambda: not is_moving(sagemaker, name))
    return sagemaker.describe_endpoint(EndpointName=name)


def tag(platform: Platform, endpoint: str, key: str, document: str) -> None:
    """Put the document, and name it in the endpoint's tag."""
    platform.client("s3").put_object(Bucket=BUCKET, Key=f"{endpoint}/{key}", Body=document.encode())
    sagemaker = platform.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"]
    uri = f"s3://{BUCKET}/{endpoint}/{key}"
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"modelyard:{key}", "Value": uri}])


def status(platform: Platform, endpoint: str) -> Any:
    query = f"endpoint={endpoint}&region={platform.region}"
    return json.loads(platform.own_call("GET", f"/_modelyard/rollouts?{query}"))["rollout"]


def is_tried(platform: Platform, endpoint: str) -> bool:
    """Whether its new version starts or is tested; who looks on a busy machine may come after that."""
    found = status(platform, endpoint)
    return bool(found) and found["doing"] == "starting, to be tested"


def begun(platform: Platform, endpoint: str) -> Any:
    """Its rollout's state, which is there once control has seen the update."""
    return until(lambda: status(platform, endpoint))


def ledger(platform: Platform, endpoint: str) -> Any:
    def seen() -> Any:
        query = f"endpoint={endpoint}&region={platform.region}"
        told = platform.own_call("GET", f"/_modelyard/rollouts/report?{query}")
        found = json.loads(told)["rollouts"][-1]
        return found["closed"] and found

    return until(seen)


def kill_control(platform: Platform) -> None:
    """And wait for the next one."""
    os.kill(json.loads(platform.home.process_table.read_text())["control"], signal.SIGKILL)
    sagemaker = platform.client("sagemaker")

    def is_back() -> bool:
        try:
            sagemaker.list_endpoints()
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            return False
        return True

    until(is_back)


def all_at_once(wait: int) -> dict[str, Any]:
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
            "TerminationWaitInSeconds": wait,
        }
    }


CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            "WaitIntervalInSeconds": 600,
        }
    }
}


class Load:
    """Callers of several endpoints; what they were answered, by endpoint."""

    def __init__(self, platform: Platform, *endpoints: str) -> None:
        self.answers: dict[str, Counter[str]] = {name: Counter() for name in endpoints}
        self._runtime = platform.client("sagemaker-runtime")
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(name,)) for name in endpoints]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, endpoint: str) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            asked = {"EndpointName": endpoint, "ContentType": "text/csv", "Accept": "text/csv"}
            try:
                answer = self._runtime.invoke_endpoint(**asked, Body=f"{number}\n".encode())
                said = "own" if float(answer["Body"].read()) == number else "another"
            except self._runtime.exceptions.ModelError:
                said = "error"
            self.answers[endpoint][said] += 1


TEST = "\n".join(
    json.dumps(
        {
            "Body": f"{n}\n",
            "ContentType": "text/csv",
            "Accept": "text/csv",
            "Expect": {"Body": f"{n}.0"},
        }
    )
    for n in range(1, 11)
)


def test_tested_before_traffic_a_wrong_version_meets_no_caller(
    tried: Platform, endpoint: str
) -> None:
    sagemaker = tried.client("sagemaker")
    tag(tried, endpoint, "pre-traffic-test", '{"Body": "1", "Expects": {}}')
    update = {"EndpointName": endpoint, "DeploymentConfig": all_at_once(0)}
    with pytest.raises(sagemaker.exceptions.ClientError, match=r"request 1: .*Expects"):
        sagemaker.update_endpoint(**update, EndpointConfigName="tried-wrong")
    tag(tried, endpoint, "pre-traffic-test", TEST)
    with Load(tried, endpoint) as load:
        sagemaker.update_endpoint(**update, EndpointConfigName="tried-wrong")
        last = settled(sagemaker, endpoint)
        assert last["EndpointConfigName"] == "tried-good"
        assert "request 1 of 10 to variant all was answered 200 '-1.0'" in last["FailureReason"]
        found = ledger(tried, endpoint)
        assert (found["outcome"], found["reason"]) == ("rolled back", last["FailureReason"])
        assert found["test"]["sent"] == 1
        assert found["totals"]["green"]["answered"] == 0
        sagemaker.update_endpoint(**update, EndpointConfigName="tried-slow")
        until(lambda: is_tried(tried, endpoint) or not is_moving(sagemaker, endpoint))
        kill_control(tried)
        last = settled(sagemaker, endpoint)
    assert (last["EndpointConfigName"], last.get("FailureReason")) == ("tried-slow", None)
    assert set(load.answers[endpoint]) == {"own"}
    found = ledger(tried, endpoint)
    assert [one["act"] for one in found["decisions"]] == [
        "begun",
        "tested",
        "traffic moved",
        "promoted",
    ]
    assert (found["test"]["sent"], found["test"]["passed"]) == (10, 10)
    shown = command("rollout", "report", endpoint, home=tried.home.root).stdout
    assert "10 of 10 answers were as they should be" in " ".join(shown.split())


def checks(**changes: Any) -> str:
    def query(name: str, metric: str, config: str) -> Any:
        dimensions = {
            "EndpointName": "{EndpointName}",
            "VariantName": "{VariantName}",
            "EndpointConfigName": config,
        }
        shown = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        stat = {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": shown}
        return {"Id": name, "MetricStat": {"Metric": stat, "Period": 10, "Stat": "Average"}}

    check = {
        "Name": "more errors",
        "Expression": "100 * (new - old)",
        "Metrics": [
            query("new", "Invocation5XXErrors", "{GreenEndpointConfigName}"),
            query("old", "Invocation5XXErrors", "{BlueEndpointConfigName}"),
        ],
        "Condition": "<= 5",
        "IntervalSeconds": 10,
    }
    return json.dumps([{**check, **changes}])


@pytest.mark.timeout(600)
def test_checks_compare_both_fleets_and_keep_their_counts_when_control_dies(
    tried: Platform,
) -> None:
    sagemaker = tried.client("sagemaker")
    names = ("tried-bad", "tried-fine", "tried-quiet")
    for name in names:
        with_endpoint(tried, name, "tried-good")
    tag(tried, "tried-bad", "rollout-checks", checks(FailureLimit=1, InconclusiveLimit=-1))
    alone = [json.loads(checks())[0]["Metrics"][0]]
    fine = {"Expression": "100 * new", "Metrics": alone, "InconclusiveLimit": 1}
    tag(tried, "tried-fine", "rollout-checks", checks(**fine))
    tag(tried, "tried-quiet", "rollout-checks", checks(InitialDelaySeconds=1))
    with pytest.raises(sagemaker.exceptions.ClientError, match="would never be measured"):
        sagemaker.update_endpoint(EndpointName="tried-fine", EndpointConfigName="tried-better")

    def update(name: str, config: str, deployment: Any) -> None:
        names = {"EndpointName": name, "EndpointConfigName": config}
        sagemaker.update_endpoint(**names, DeploymentConfig=deployment)

    with Load(tried, "tried-bad", "tried-fine"):
        update("tried-bad", "tried-errors", CANARY)
        update("tried-fine", "tried-better", all_at_once(25))
        update("tried-quiet", "tried-better", all_at_once(15))
        until(lambda: [one["failed"] for one in begun(tried, "tried-bad")["checks"]] == [1])
        kill_control(tried)
        bad, fine_ = (settled(sagemaker, name) for name in names[:2])
    assert bad["EndpointConfigName"] == "tried-good"
    assert (
        "Check more errors failed 2 times, which is more than its limit of 1"
        in bad["FailureReason"]
    )
    found = ledger(tried, "tried-bad")
    assert found["reason"] == bad["FailureReason"]
    (check,) = found["checks"]
    assert check["failed"] == 2
    assert check["inputs"]["new"] > check["inputs"]["old"] == 0
    assert fine_["EndpointConfigName"] == "tried-better", fine_
    assert ledger(tried, "tried-fine")["checks"][0]["passed"] >= 1
    arn = bad["EndpointArn"]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["modelyard:rollout-checks"])
    with Load(tried, "tried-bad") as load:
        update("tried-bad", "tried-errors", all_at_once(1))
        last = settled(sagemaker, "tried-bad")
        until(lambda: load.answers["tried-bad"]["error"])
    assert last["EndpointConfigName"] == "tried-errors", "errors that nobody watches stop nothing"

    found = until(
        lambda: (one := begun(tried, "tried-quiet"))["doing"] == "waiting in doubt" and one
    )
    assert "had no data once" in found["doubt"]
    shown = command("rollout", "status", "tried-quiet", home=tried.home.root).stdout
    assert "no data yet" in shown
    command("rollout", "promote", "tried-quiet", home=tried.home.root)
    assert settled(sagemaker, "tried-quiet")["EndpointConfigName"] == "tried-better"
    acts = [one["act"] for one in ledger(tried, "tried-quiet")["decisions"]]
    assert acts[:4] == ["begun", "traffic moved", "check inconclusive", "waits in doubt"]
    assert acts[-1] == "promoted"
    for name in names:
        sagemaker.delete_endpoint(EndpointName=name)


def test_a_backlog_survives_the_switch_and_a_test_before_it_is_none_of_it(tried: Platform) -> None:
    sagemaker, s3 = tried.client("sagemaker"), tried.client("s3")
    runtime = tried.client("sagemaker-runtime")
    later(tried, "tried-later-slow", "tried-slow")
    later(tried, "tried-later", "tried-better")
    with_endpoint(tried, "tried-later", "tried-later-slow")
    tag(tried, "tried-later", "pre-traffic-test", TEST)
    asked = {"EndpointName": "tried-later", "ContentType": "text/csv", "Accept": "text/csv"}
    wanted = {}
    for number in range(1, 16):
        answer = runtime.invoke_endpoint_async(**asked, Body=f"{number}\n".encode())
        wanted[answer["OutputLocation"].removeprefix(f"s3://{BUCKET}/")] = number
    sagemaker.update_endpoint(
        EndpointName="tried-later",
        EndpointConfigName="tried-later",
        DeploymentConfig=all_at_once(0),
    )
    assert settled(sagemaker, "tried-later")["EndpointConfigName"] == "tried-later"

    def results() -> list[str]:
        found = s3.list_objects_v2(Bucket=BUCKET, Prefix="out/").get("Contents", ())
        return [one["Key"] for one in found]

    until(lambda: len(results()) >= len(wanted))
    answers = {
        key: float(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in results()
    }
    assert answers == wanted, "each request has its own result, and the test has none"
    assert ledger(tried, "tried-later")["test"]["passed"] == 10
    sagemaker.delete_endpoint(EndpointName="tried-later")
