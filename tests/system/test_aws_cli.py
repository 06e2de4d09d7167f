"""The AWS CLI, unmodified: files in and out of S3, waiters, pagination, output formats, errors."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
MIB = 1 << 20

Aws = Callable[..., str]


@pytest.fixture
def aws(platform: Platform, clients_folder: Path, tmp_path: Path) -> Aws:
    """Runs a command; answers what it printed. of one that ``fails``, what it complained of."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, **platform.environment(), "HOME": str(tmp_path)}

    def run(*arguments: str, fails: bool = False) -> str:
        finished = subprocess.run(
            [str(clients_folder / "aws-cli/bin/aws"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert (finished.returncode != 0) is fails, finished.stdout + finished.stderr
        return finished.stderr if fails else finished.stdout

    return run


def test_folders_are_copied_synced_moved_and_removed(aws: Aws, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    files = {
        "a.txt": b"a",
        "sub/with space & plus+.txt": b"b",
        "sub/ümlaut.txt": b"c",
        "big.bin": os.urandom(9 * MIB),  # past the CLI's threshold: in parts
        "empty": b"",
    }
    for name, data in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    aws("s3", "mb", "s3://cli-files")
    aws("s3", "cp", "--recursive", str(here), "s3://cli-files/copy/")
    assert aws("s3", "sync", str(here), "s3://cli-files/copy/") == "", "nothing has changed"
    (here / "a.txt").write_bytes(b"longer")
    (here / "empty").unlink()
    synced = aws("s3", "sync", "--no-progress", "--delete", str(here), "s3://cli-files/copy/")
    assert sorted(line.split(":")[0] for line in synced.splitlines()) == ["delete", "upload"]
    aws("s3", "mv", "s3://cli-files/copy/a.txt", "s3://cli-files/moved.txt")
    aws("s3", "sync", "s3://cli-files/", str(there))
    found = {
        str(path.relative_to(there)): path.read_bytes()
        for path in there.rglob("*")
        if path.is_file()
    }
    assert found == {
        "moved.txt": b"longer",
        **{f"copy/{name}": files[name] for name in ("big.bin", *list(files)[1:3])},
    }
    assert "Total Objects: 4" in aws("s3", "ls", "--recursive", "--summarize", "s3://cli-files/")
    aws("s3", "rm", "--recursive", "--exclude", "*", "--include", "copy/sub/*", "s3://cli-files/")
    keys = aws("s3api", "list-objects-v2", "--bucket", "cli-files", "--query", "Contents[].Key",
               "--output", "text")  # fmt: skip
    assert keys.split() == ["copy/big.bin", "moved.txt"]
    assert "BucketNotEmpty" in aws("s3", "rb", "s3://cli-files", fails=True)
    aws("s3", "rb", "--force", "s3://cli-files")


def test_objects_stream_through_pipes_and_presigned_addresses(aws: Aws, tmp_path: Path) -> None:
    aws("s3", "mb", "s3://cli-links")
    (tmp_path / "note").write_text("for everybody with the link")
    aws("s3", "cp", str(tmp_path / "note"), "s3://cli-links/a note", "--content-type", "text/x-note",
        "--metadata", "team=web")  # fmt: skip
    assert aws("s3", "cp", "s3://cli-links/a note", "-") == "for everybody with the link"
    url = aws("s3", "presign", "s3://cli-links/a note", "--expires-in", "60").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"for everybody with the link"
        assert answer.headers["Content-Type"] == "text/x-note"
    head = json.loads(aws("s3api", "head-object", "--bucket", "cli-links", "--key", "a note"))
    assert head["Metadata"] == {"team": "web"}
    missing = aws("s3api", "get-object", "--bucket", "cli-links", "--key", "no", "-", fails=True)
    assert "NoSuchKey" in missing
    aws("s3", "rb", "--force", "s3://cli-links")


def test_models_are_listed_by_pages_and_printed_in_every_format(aws: Aws) -> None:
    container = f"Image={IMAGE},ModelDataUrl=s3://nowhere/model.tar.gz"
    names = [f"cli-page-{n}" for n in range(5)]
    for name in names:
        aws("sagemaker", "create-model", "--model-name", name, "--primary-container", container,
            "--execution-role-arn", ROLE, "--tags", "Key=team,Value=web")  # fmt: skip
    listing = ("sagemaker", "list-models", "--name-contains", "cli-page", "--sort-by", "Name",
               "--sort-order", "Ascending")  # fmt: skip
    query = ("--query", "Models[].ModelName")
    assert json.loads(aws(*listing, *query, "--page-size", "2")) == names
    cut = json.loads(aws(*listing, "--max-items", "3"))
    assert [one["ModelName"] for one in cut["Models"]] == names[:3]
    rest = aws(*listing, *query, "--starting-token", cut["NextToken"], "--output", "text")
    assert rest.split() == names[3:]
    assert "|  cli-page-0  |" in aws(*listing, *query, "--output", "table")
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model/cli-page-0"
    assert "web" in aws("sagemaker", "list-tags", "--resource-arn", arn, "--output", "text")
    taken = aws("sagemaker", "create-model", "--model-name", names[0], "--primary-container", container,
                "--execution-role-arn", ROLE, fails=True)  # fmt: skip
    assert "An error occurred (ValidationException) when calling the CreateModel operation" in taken
    for name in names:
        aws("sagemaker", "delete-model", "--model-name", name)


def test_a_waiter_tells_an_endpoint_that_failed_and_one_that_is_gone(aws: Aws) -> None:
    container = f"Image={IMAGE},ModelDataUrl=s3://nowhere/model.tar.gz"
    aws("sagemaker", "create-model", "--model-name", "cli-wait", "--primary-container", container,
        "--execution-role-arn", ROLE)  # fmt: skip
    variant = "VariantName=all,ModelName=cli-wait,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", "cli-wait",
        "--production-variants", variant)  # fmt: skip
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli-wait",
        "--endpoint-config-name", "cli-wait")  # fmt: skip
    status = "Creating"
    while status == "Creating":
        status = aws("sagemaker", "describe-endpoint", "--endpoint-name", "cli-wait",
                     "--query", "EndpointStatus", "--output", "text").strip()  # fmt: skip
    waiting = ("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", "cli-wait")
    assert "Waiter encountered a terminal failure state" in aws(*waiting, fails=True)
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "cli-wait")
    aws("sagemaker", "wait", "endpoint-deleted", "--endpoint-name", "cli-wait")
    aws("sagemaker", "delete-endpoint-config", "--endpoint-config-name", "cli-wait")
    aws("sagemaker", "delete-model", "--model-name", "cli-wait")


def test_metrics_and_alarms(aws: Aws) -> None:
    data = [{"MetricName": "basket", "Values": [1, 2, 3], "Counts": [1, 1, 2], "Unit": "Count"}]
    aws("cloudwatch", "put-metric-data", "--namespace", "cli", "--metric-data", json.dumps(data))
    window = (
        "--start-time", "2020-01-01T00:00:00Z", "--end-time", "2099-01-01T00:00:00Z",
        "--period", "2592000",
    )  # fmt: skip
    named = ("--namespace", "cli", "--metric-name", "basket")
    found = json.loads(
        aws(
            "cloudwatch", "get-metric-statistics", *named, *window, "--statistics", "Sum", "SampleCount",
        )
    )  # fmt: skip
    (point,) = found["Datapoints"]
    assert (point["Sum"], point["SampleCount"], point["Unit"]) == (9.0, 4.0, "Count")
    aws(
        "cloudwatch", "put-metric-alarm", "--alarm-name", "cli-alarm", *named, "--period", "3600",
        "--statistic", "Sum", "--evaluation-periods", "2", "--threshold", "5",
        "--comparison-operator", "GreaterThanThreshold",
    )  # fmt: skip
    aws(
        "cloudwatch", "set-alarm-state", "--alarm-name", "cli-alarm", "--state-value", "ALARM",
        "--state-reason", "a drill",
    )  # fmt: skip
    # Of the history: the state itself lasts until the next evaluation, which a slow machine sees before the next command.
    history = aws(
        "cloudwatch", "describe-alarm-history", "--alarm-name", "cli-alarm", "--history-item-type", "StateUpdate",
        "--query", "AlarmHistoryItems[].HistoryData", "--output", "text",
    )  # fmt: skip
    assert "a drill" in history
    aws("cloudwatch", "delete-alarms", "--alarm-names", "cli-alarm")
    refused = aws("cloudwatch", "delete-alarms", "--alarm-names", "cli-alarm", fails=True)
    assert "(ResourceNotFound)" in refused
