"""Four projects (``projects/``), each from a script to an endpoint, an invocation, a transform and its end, by boto3.

Booster, text and image run on the platform of this folder; the deep one on a platform that has torch, which `make clients`
installs.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
FAST = {"Delay": 1, "MaxAttempts": 240}
REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"


class Project:
    """A model's life on a platform, by boto3 alone."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform, self.name = platform, name
        self.s3, self.sagemaker = platform.client("s3"), platform.client("sagemaker")
        self.runtime = platform.client("sagemaker-runtime")
        self.s3.create_bucket(Bucket=name)

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)
        return f"s3://{self.name}/{key}"

    def deploy(self, image: str, archive: bytes, **environment: str) -> None:
        container = {
            "Image": image,
            "ModelDataUrl": self.put("model.tar.gz", archive),
            "Environment": environment,
        }
        self.sagemaker.create_model(
            ModelName=self.name, ExecutionRoleArn=ROLE, PrimaryContainer=container
        )
        variant = {
            "VariantName": "all",
            "ModelName": self.name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=self.name, ProductionVariants=[variant]
        )
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=self.name)

    def wait(self) -> None:
        waiter = self.sagemaker.get_waiter("endpoint_in_service")
        try:
            waiter.wait(EndpointName=self.name, WaiterConfig=FAST)
        except Exception as error:
            described = self.sagemaker.describe_endpoint(EndpointName=self.name)
            raise AssertionError(described.get("FailureReason")) from error

    def invoke(self, body: bytes, **options: str) -> Any:
        return self.runtime.invoke_endpoint(EndpointName=self.name, Body=body, **options)

    def transform(self, body: bytes, content_type: str, accept: str, **data: str) -> bytes:
        self.put("in/data", body)
        self.sagemaker.create_transform_job(
            TransformJobName=self.name,
            ModelName=self.name,
            TransformInput={
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.name}/in/"}
                },
                "ContentType": content_type,
                **data,
            },
            TransformOutput={"S3OutputPath": f"s3://{self.name}/out", "Accept": accept},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        self.sagemaker.get_waiter("transform_job_completed_or_stopped").wait(
            TransformJobName=self.name, WaiterConfig=FAST
        )
        found: bytes = self.s3.get_object(Bucket=self.name, Key="out/data.out")["Body"].read()
        return found

    def logs(self) -> str:
        logs, group = self.platform.client("logs"), f"/aws/sagemaker/Endpoints/{self.name}"
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        return "\n".join(
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        )

    def delete(self) -> None:
        self.sagemaker.delete_endpoint(EndpointName=self.name)
        self.sagemaker.get_waiter("endpoint_deleted").wait(
            EndpointName=self.name, WaiterConfig=FAST
        )
        self.sagemaker.delete_endpoint_config(EndpointConfigName=self.name)
        self.sagemaker.delete_model(ModelName=self.name)


def packed(files: Mapping[str, bytes], tmp_path: Path) -> bytes:
    from modelyard.testing.models import archive

    return archive(tmp_path / "model.tar.gz", files=files).read_bytes()


def test_a_booster_with_a_script(platform: Platform, booster_project: Any, tmp_path: Path) -> None:
    rows, expected = booster_project.body, booster_project.expected
    project = Project(platform, "script-booster")
    project.deploy(
        f"{REGISTRY}/sagemaker-xgboost:1.7-1", packed(booster_project.archive(), tmp_path)
    )
    project.wait()
    answer = project.invoke(rows, ContentType="text/csv")
    found = json.load(answer["Body"])
    assert isinstance(found, list), "AWS's container answers a bare array"
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    scored = project.transform(rows, "text/csv", "text/csv", SplitType="Line")
    np.testing.assert_allclose([float(one) for one in scored.split()], expected, rtol=1e-5)
    with pytest.raises(project.runtime.exceptions.ModelError, match="415"):
        project.invoke(b"[[1]]", ContentType="application/json")
    project.delete()


def test_a_text_pipeline_with_requirements_of_its_own(
    platform: Platform, text_project: Any, tmp_path: Path
) -> None:
    files = {**text_project.archive(), "code/shouting/look": str(platform.home.root).encode()}
    project = Project(platform, "script-text")
    project.deploy(f"{REGISTRY}/sagemaker-scikit-learn:1.2-1-cpu-py3", packed(files, tmp_path))
    project.wait()
    body = text_project.body
    assert project.invoke(body, ContentType="text/plain")["Body"].read() == b"up\ndown\n"
    with pytest.raises(project.runtime.exceptions.ModelError, match="ValueError: send text/plain"):
        project.invoke(b"x", ContentType="text/html")
    scored = project.transform(body, "text/plain", "text/plain", SplitType="Line")
    assert scored == b"up\ndown\n"
    logs = project.logs()
    assert "Successfully installed shouting-1.0" in logs
    if json.loads(platform.home.protections.read_text())["isolation"] == "":
        assert "its installation saw ['artifacts', 'environments']" in logs
    assert 'raise ValueError("send text/plain, a text a line")' in logs
    project.delete()


def test_images_reach_a_script_as_bytes(
    platform: Platform, image_project: Any, tmp_path: Path
) -> None:
    project = Project(platform, "script-image")
    project.deploy("modelyard/python", packed(image_project.archive(), tmp_path))
    project.wait()
    kind = "image/x-portable-graymap"
    light = image_project.body
    dark = light.replace(bytes([200]), bytes([50]))
    answer = project.invoke(light, ContentType=kind)
    assert json.load(answer["Body"]) == {"bright": True}
    assert answer["CustomAttributes"] == "seen=1"
    assert json.load(project.invoke(dark, ContentType=kind)["Body"]) == {"bright": False}
    assert project.transform(light, kind, "application/json") == b'{"bright": true}'
    project.delete()


def test_what_fails_says_why(platform: Platform, tmp_path: Path) -> None:
    cases = {
        "import": (
            b"import nowhere_to_be_found\n",
            "ModuleNotFoundError: No module named 'nowhere_to",
        ),
        "model": (
            b"def model_fn(d):\n    raise OSError('no weights')\n",
            r"OSError: no weights \(inf",
        ),
        "both": (
            b"def transform_fn(*a): ...\ndef predict_fn(*a): ...\n",
            "transform_fn, which exc",
        ),
        "none": (b"def predict_fn(data, model): ...\n", "has no model_fn"),
    }
    projects = {}
    for name, (script, _) in cases.items():
        projects[name] = Project(platform, f"script-fails-{name}")
        projects[name].deploy(
            f"{REGISTRY}/sagemaker-scikit-learn:1.2-1",
            packed({"code/inference.py": script}, tmp_path),
        )
    files = {"code/inference.py": b"", "code/requirements.txt": b"--no-index\nno-such-thing==9\n"}
    projects["pip"] = Project(platform, "script-fails-pip")
    projects["pip"].deploy(f"{REGISTRY}/sagemaker-scikit-learn:1.2-1", packed(files, tmp_path))
    reasons: dict[str, str] = {}
    expected = {name: words for name, (_, words) in cases.items()}
    expected["pip"] = "No matching distribution found for no-such-thing==9"
    for name, project in projects.items():
        with pytest.raises(Exception, match="ailed"):
            project.sagemaker.get_waiter("endpoint_in_service").wait(
                EndpointName=project.name, WaiterConfig=FAST
            )
        described = project.sagemaker.describe_endpoint(EndpointName=project.name)
        reasons[name] = described["FailureReason"]
        project.delete()
    for name, words in expected.items():
        assert re.search(words, reasons[name]), (name, reasons[name])


@pytest.mark.timeout(600)
def test_a_deep_model_with_a_script(
    torch_platform: Platform, deep_project: Any, tmp_path: Path
) -> None:
    expected, lines = deep_project.expected, deep_project.body
    project = Project(torch_platform, "script-deep")
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.0-cpu-py310"
    project.deploy(image, packed(deep_project.archive(), tmp_path))
    project.wait()
    rows = [[float(cell) for cell in line.split(b",")] for line in lines.split()]
    answer = project.invoke(json.dumps(rows).encode(), ContentType="application/json")
    np.testing.assert_allclose(json.load(answer["Body"]), expected, rtol=1e-5)
    scored = project.transform(lines, "text/csv", "text/csv", SplitType="Line")
    found = [[float(cell) for cell in line.split(b",")] for line in scored.split()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    project.delete()
