"""Batch transform through real boto3: each way of reading, filtering and writing, with a real model."""

import gzip
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
SECONDS = 120


@pytest.fixture(scope="module")
def bench(platform: Platform, booster: Any) -> "Bench":
    s3 = platform.client("s3")
    s3.create_bucket(Bucket="batch")
    s3.put_object(Bucket="batch", Key="model.tar.gz", Body=booster.archive.read_bytes())
    platform.client("sagemaker").create_model(
        ModelName="batch",
        PrimaryContainer={"Image": "modelyard/xgboost", "ModelDataUrl": "s3://batch/model.tar.gz"},
        ExecutionRoleArn=ROLE,
    )
    return Bench(platform)


class Bench:
    def __init__(self, platform: Platform) -> None:
        self.s3 = platform.client("s3")
        self.sagemaker = platform.client("sagemaker")
        self.logs = platform.client("logs")

    def run(self, job: str, inputs: dict[str, bytes], **changes: Any) -> dict[str, Any]:
        for key, data in inputs.items():
            self.s3.put_object(Bucket="batch", Key=f"{job}/in/{key}", Body=data)
        source = {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://batch/{job}/in/"}
            },
            "ContentType": "text/csv",
            "SplitType": "Line",
            **changes.pop("TransformInput", {}),
        }
        target = {
            "S3OutputPath": f"s3://batch/{job}/out",
            "Accept": "text/csv",
            "AssembleWith": "Line",
            **changes.pop("TransformOutput", {}),
        }
        self.sagemaker.create_transform_job(
            TransformJobName=job,
            ModelName="batch",
            TransformInput=source,
            TransformOutput=target,
            **{
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
                **changes,
            },
        )
        end = time.monotonic() + SECONDS
        while True:
            shown: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=job)
            if shown["TransformJobStatus"] not in ("InProgress", "Stopping"):
                return shown
            assert time.monotonic() < end, shown
            time.sleep(0.05)

    def output(self, job: str, key: str) -> str:
        body = self.s3.get_object(Bucket="batch", Key=f"{job}/out/{key}")["Body"]
        return str(body.read().decode())

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket="batch", Prefix=prefix)
        return [item["Key"] for item in listed.get("Contents", [])]


def scores(text: str) -> Any:
    return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)


def test_ids_are_filtered_from_the_input_and_joined_to_the_answers(
    bench: Bench, booster: Any
) -> None:
    lines = booster.csv.read_text().splitlines()
    body = "".join(f"id-{number},{line}\n" for number, line in enumerate(lines)).encode()
    shown = bench.run(
        "joined",
        {"a.csv": body, "deep/b.csv": body[: body.index(b"\n")]},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=4,
        DataProcessing={
            "InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"
        },
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 2},
    )  # fmt: skip
    assert shown["TransformJobStatus"] == "Completed", shown
    rows = [line.split(",") for line in bench.output("joined", "a.csv.out").splitlines()]
    assert [row[0] for row in rows] == [f"id-{number}" for number in range(len(lines))]
    assert np.allclose([float(row[1]) for row in rows], booster.expected)
    assert bench.output("joined", "deep/b.csv.out").startswith("id-0,")


def test_gzip_a_manifest_ids_and_capture_go_together(bench: Bench, booster: Any) -> None:
    manifest = json.dumps([{"prefix": "s3://batch/listed/in/"}, "rows.csv.gz"]).encode()
    bench.s3.put_object(Bucket="batch", Key="listed/manifest", Body=manifest)
    data = {"S3DataType": "ManifestFile", "S3Uri": "s3://batch/listed/manifest"}
    shown = bench.run(
        "listed",
        {"rows.csv.gz": gzip.compress(booster.csv.read_bytes()), "other.csv": b"not read"},
        TransformInput={"CompressionType": "Gzip", "DataSource": {"S3DataSource": data}},
        DataCaptureConfig={
            "DestinationS3Uri": "s3://batch/listed/captured", "GenerateInferenceId": True
        },
        Environment={"MODELYARD_TRANSFORM_MANIFEST": "true"},
    )  # fmt: skip
    assert shown["TransformJobStatus"] == "Completed", shown
    rows = [line.split(",") for line in bench.output("listed", "rows.csv.gz.out").splitlines()]
    assert np.allclose([float(row[0]) for row in rows], booster.expected)
    assert len({row[1] for row in rows}) == len(rows)
    captured = bench.keys("listed/captured/")
    assert [key.split("/")[2] for key in captured] == ["input", "output"]
    *_, sums = bench.output("listed", "listed.manifest.jsonl").splitlines()
    assert json.loads(sums)["records"] == len(rows)


def test_json_lines_are_joined_under_aws_name(bench: Bench, booster: Any) -> None:
    lines = [{"id": number, "features": list(row)} for number, row in enumerate(booster.rows[:5])]
    kind = "application/jsonlines"
    shown = bench.run(
        "lines",
        {"a.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()},
        TransformInput={"ContentType": kind},
        TransformOutput={"Accept": kind},
        DataProcessing={
            "InputFilter": "$.features", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"
        },
    )  # fmt: skip
    assert shown["TransformJobStatus"] == "Completed", shown
    answers = [json.loads(line) for line in bench.output("lines", "a.jsonl.out").splitlines()]
    assert [one["id"] for one in answers] == [0, 1, 2, 3, 4]
    found = [one["SageMakerOutput"]["prediction"] for one in answers]
    assert np.allclose(found, booster.expected[:5])


def test_a_bad_object_fails_the_job_and_its_request_error_is_in_the_data_log(
    bench: Bench, booster: Any
) -> None:
    shown = bench.run("partly", {"bad.csv": b"1,2,oops\n", "good.csv": booster.csv.read_bytes()})
    assert shown["TransformJobStatus"] == "Failed"
    assert (
        "1 of 2 objects could not be transformed: s3://batch/partly/in/bad.csv"
        in shown["FailureReason"]
    )
    assert bench.keys("partly/out/") == ["partly/out/good.csv.out"]
    group = "/aws/sagemaker/TransformJobs"
    streams = [
        stream["logStreamName"]
        for stream in bench.logs.describe_log_streams(
            logGroupName=group, logStreamNamePrefix="partly/"
        )["logStreams"]
    ]
    (told,) = [stream for stream in streams if stream.endswith("/data-log")]
    events = bench.logs.get_log_events(logGroupName=group, logStreamName=told)["events"]
    messages = [event["message"] for event in events]
    assert messages[0].startswith("[sagemaker logs]: MaxConcurrentTransforms=1")
    assert any(text.startswith("[sagemaker logs]: batch/partly/in/bad.csv: ") for text in messages)


def test_the_command_filters_joins_and_brings_the_answers(
    bench: Bench, platform: Platform, booster: Any, tmp_path: Path
) -> None:
    lines = booster.csv.read_text().splitlines()
    rows = tmp_path / "rows.csv.gz"
    rows.write_bytes(
        gzip.compress("".join(f"{n},{line}\n" for n, line in enumerate(lines)).encode())
    )
    target = tmp_path / "scores.csv"
    options = ["--input-filter", "$[1:]", "--output-filter", "$[0,-1]", "--join", "--singly"]
    done = command(
        "transform", str(rows), str(target), "--model", "batch", *options, home=platform.home.root
    )
    assert done.returncode == 0, done.stderr
    found = scores(target.read_text())
    assert list(found[:, 0]) == list(range(len(lines)))
    assert np.allclose(found[:, 1], booster.expected)
