"""Serverless endpoints, and instances with the tag: stopped when nobody asks, woken by who does, through boto3."""

import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from modelyard.cli.platform import Platform
from modelyard.control.routes import last_published
from modelyard.testing import losses
from modelyard.testing.platform import running_platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
CONCURRENCY = 4
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory, booster: Any) -> Iterator[Platform]:
    """A platform with two endpoints that hibernate soon: ``serverless``, and ``tagged`` with an instance."""
    home = tmp_path_factory.mktemp("sleepy") / "home"
    with running_platform(home, "--limit", "hibernate_seconds=6", "--gateways", "2") as platform:
        s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
        s3.create_bucket(Bucket="sleepy")
        s3.put_object(Bucket="sleepy", Key="model.tar.gz", Body=booster.archive.read_bytes())
        container = {"Image": "modelyard/xgboost", "ModelDataUrl": "s3://sleepy/model.tar.gz"}
        sagemaker.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        kinds: dict[str, dict[str, Any]] = {
            "serverless": {
                "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": CONCURRENCY}
            },
            "tagged": {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1},
        }
        for name, kind in kinds.items():
            sagemaker.create_endpoint_config(
                EndpointConfigName=name,
                ProductionVariants=[{"VariantName": "v", "ModelName": "m", **kind}],
            )
            tag = {"Key": "modelyard:hibernate-after-seconds", "Value": "10"}
            tags = [tag] if name == "tagged" else []
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
        for name in kinds:
            waiter = sagemaker.get_waiter("endpoint_in_service")
            waiter.wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 150})
        yield platform


def is_asleep(platform: Platform, name: str) -> bool:
    table = last_published(platform.home.run)
    (route,) = [one for one in table.endpoints if one.name == name]
    return not route.variants[0].replicas


def fall_asleep(platform: Platform, name: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_asleep(platform, name):
        assert time.monotonic() < deadline, f"{name} does not hibernate"
        threading.Event().wait(0.1)


def rows(booster: Any) -> bytes:
    body: bytes = booster.csv.read_bytes()
    return body


def invoke(runtime: Any, name: str, body: bytes) -> int:
    answer = runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)
    return len(answer["Body"].read().split())


@pytest.mark.parametrize("name", ["serverless", "tagged"])
def test_requests_wait_while_it_wakes_and_every_one_is_answered(
    sleepy: Platform, booster: Any, name: str
) -> None:
    fall_asleep(sleepy, name)
    sagemaker = sleepy.client("sagemaker")
    assert sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    runtime = sleepy.client("sagemaker-runtime")
    with ThreadPoolExecutor(CONCURRENCY) as callers:
        bodies = [rows(booster)] * CONCURRENCY
        found = list(callers.map(lambda body: invoke(runtime, name, body), bodies))
    assert found == [len(booster.rows)] * CONCURRENCY
    assert not is_asleep(sleepy, name)


def test_what_a_wake_takes_is_a_metric(sleepy: Platform, booster: Any) -> None:
    fall_asleep(sleepy, "serverless")
    begun = datetime.datetime.now(datetime.UTC)
    invoke(sleepy.client("sagemaker-runtime"), "serverless", rows(booster))
    end, found = time.monotonic() + WAIT_SECONDS, []
    while not found:
        assert time.monotonic() < end
        time.sleep(0.25)
        found = sleepy.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="ModelSetupTime",
            Dimensions=[
                {"Name": "EndpointName", "Value": "serverless"},
                {"Name": "VariantName", "Value": "v"},
            ],
            StartTime=begun - datetime.timedelta(seconds=5),
            EndTime=begun + datetime.timedelta(minutes=2),
            Period=1,
            Statistics=["Minimum", "Maximum"],
        )["Datapoints"]
    assert {point["Unit"] for point in found} == {"Microseconds"}
    assert all(0 < point["Minimum"] <= point["Maximum"] < 60e6 for point in found)


def test_a_serverless_endpoint_shows_its_configuration(sleepy: Platform) -> None:
    found = sleepy.client("sagemaker").describe_endpoint(EndpointName="serverless")
    (variant,) = found["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == {
        "MemorySizeInMB": 2048,
        "MaxConcurrency": CONCURRENCY,
    }
    assert variant["DesiredServerlessConfig"] == variant["CurrentServerlessConfig"]
    assert variant["CurrentInstanceCount"] == 0


def impatient(platform: Platform) -> Any:
    """A client that asks once, on many connections."""
    return platform._session.create_client(
        "sagemaker-runtime",
        endpoint_url=platform.url,
        region_name=platform.region,
        aws_access_key_id=platform.credentials.access_key_id,
        aws_secret_access_key=platform.credentials.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=64),
    )


def outcome(runtime: Any, name: str, booster: Any) -> str:
    """The number of predictions, or the error's code."""
    try:
        return str(invoke(runtime, name, rows(booster)))
    except ClientError as error:
        code: str = error.response["Error"]["Code"]
        return code


@contextlib.contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """They do nothing while the block runs."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


def test_more_than_max_concurrency_is_throttled(sleepy: Platform, booster: Any) -> None:
    """Many at once, to an endpoint that sleeps: some wait, all others are refused at once, and nobody is lost."""
    fall_asleep(sleepy, "serverless")
    runtime = impatient(sleepy)
    with ThreadPoolExecutor(32) as callers:
        with stopped(
            losses.victims(sleepy, "control")
        ):  # Nothing wakes before somebody has been refused.
            asked = [callers.submit(outcome, runtime, "serverless", booster) for _ in range(32)]
            wait(asked, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED)
        found = [one.result() for one in asked]
    answered = found.count(str(len(booster.rows)))
    assert answered >= CONCURRENCY
    assert found.count("ThrottlingException") == 32 - answered > 0


def test_an_endpoint_with_too_many_callers_takes_nothing_from_another(
    sleepy: Platform, booster: Any
) -> None:
    """One is asked by so many that some are refused, all the time that the other is asked, of which none is."""
    hot, calm = impatient(sleepy), impatient(sleepy)
    ending = threading.Event()
    begun = threading.Barrier(16 + 1, timeout=WAIT_SECONDS)

    def ask_on(_: int) -> list[str]:
        found = [outcome(hot, "serverless", booster)]
        begun.wait()
        while not ending.is_set():
            found.append(outcome(hot, "serverless", booster))
        return found

    with ThreadPoolExecutor(16) as callers:
        asking = callers.map(ask_on, range(16))
        begun.wait()
        try:
            found = [outcome(calm, "tagged", booster) for _ in range(30)]
        finally:
            ending.set()
        of_hot = [one for own in asking for one in own]
    assert found == [str(len(booster.rows))] * 30
    assert set(of_hot) == {str(len(booster.rows)), "ThrottlingException"}


def test_a_killed_control_wakes_what_sleeps_when_it_is_back(sleepy: Platform, booster: Any) -> None:
    fall_asleep(sleepy, "tagged")
    losses.kill(losses.victims(sleepy, "control"))
    runtime = sleepy.client("sagemaker-runtime")
    assert invoke(runtime, "tagged", rows(booster)) == len(booster.rows)


def test_an_instance_cannot_become_serverless(sleepy: Platform) -> None:
    with pytest.raises(ClientError, match="cannot become serverless"):
        sleepy.client("sagemaker").update_endpoint(
            EndpointName="tagged", EndpointConfigName="serverless"
        )
