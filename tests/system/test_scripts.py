"""Four projects, each from a script to an endpoint, an invocation, a transform and its end; and the SDK's SKLearnModel.

Booster, text and image run on the platform of this folder; the deep one on a platform that has torch, which `make clients`
installs.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.base.settings import Home
from modelyard.cli.platform import Platform, connect

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
FAST = {"Delay": 1, "MaxAttempts": 90}
REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
FRAMEWORKS = Path(__file__).parents[2] / ".cache" / "venvs" / "frameworks" / "bin" / "python"

BOOSTER_SCRIPT = b"""
import os
import xgboost

def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.json"))
    return booster
"""
TEXT_SCRIPT = b"""
import os
import joblib
from cleaning import clean

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))

def input_fn(body, content_type):
    if content_type != "text/plain":
        raise ValueError("send text/plain, a text a line")
    return clean(body.decode().splitlines())

def output_fn(prediction, accept):
    return "".join(f"{one}\\n" for one in prediction), "text/plain"
"""
CLEANING = b"""
from shouting import LOUD, SEEN  # of requirements.txt

print("its installation saw", SEEN)

def clean(lines):
    return [line.lower().replace(LOUD, "") for line in lines]
"""
IMAGE_SCRIPT = b"""
import json

def model_fn(model_dir):
    with open("threshold.json") as file:
        return json.load(file)["threshold"]

def transform_fn(model, body, content_type, accept, context):
    kind, size, depth, pixels = body.split(None, 3)
    assert kind == b"P5" and content_type == "image/x-portable-graymap", content_type
    bright = sum(pixels[1:]) / len(pixels[1:])
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "seen=1")
    return json.dumps({"bright": bright > model}), "application/json"
"""
DEEP_SCRIPT = b"""
import os
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, rows):
        return torch.softmax(self.inner(rows), dim=1)

def model_fn(model_dir):
    net = Net()
    net.load_state_dict(torch.load(os.path.join(model_dir, "weights.pth"), weights_only=True))
    return net.eval()
"""


SDK_SCRIPT = """
import io
import json
import os
import joblib
import numpy

def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))

def input_fn(body, content_type):
    if content_type == "application/x-npy":
        return numpy.load(io.BytesIO(body))
    return numpy.array([[float(cell) for cell in line.split(",")] for line in body.splitlines()])

def predict_fn(data, model):
    return model.predict(data)

def output_fn(prediction, accept):
    if accept == "application/x-npy":
        buffer = io.BytesIO()
        numpy.save(buffer, prediction)
        return buffer.getvalue()
    return ",".join(map(str, prediction)) if accept == "text/csv" else json.dumps(prediction.tolist())
"""


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


def source_package(name: str, home: Path) -> dict[str, bytes]:
    """A package whose build runs its own code, and tells what of the platform's home it saw. It needs no network."""
    backend = f"""
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    seen = sorted(os.listdir({str(home)!r})) if os.path.isdir({str(home)!r}) else []
    information = "{name}-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, "{name}-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("{name}.py", f"LOUD, SEEN = '!', {{seen!r}}")
        archive.writestr(information + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        archive.writestr(information + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(information + "/RECORD", "")
    return "{name}-1.0-py3-none-any.whl"
"""
    project = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return {
        f"code/{name}/backend.py": backend.encode(),
        f"code/{name}/pyproject.toml": project,
        "code/requirements.txt": f"--no-index\n./{name}\n".encode(),
    }


def test_a_booster_with_a_script(platform: Platform, booster: Any, tmp_path: Path) -> None:
    import xgboost

    model = tmp_path / "model.json"
    trained = xgboost.train(
        {"max_depth": 2, "nthread": 1}, xgboost.DMatrix(booster.rows, label=booster.expected), 5
    )
    trained.save_model(model)
    expected = trained.predict(xgboost.DMatrix(booster.rows))
    project = Project(platform, "script-booster")
    files = {"model.json": model.read_bytes(), "code/inference.py": BOOSTER_SCRIPT}
    project.deploy(f"{REGISTRY}/sagemaker-xgboost:1.7-1", packed(files, tmp_path))
    project.wait()
    rows = booster.csv.read_bytes().strip()
    answer = project.invoke(rows, ContentType="text/csv")
    found = json.load(answer["Body"])
    assert isinstance(found, list), "AWS's container answers a bare array"
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    scored = project.transform(rows, "text/csv", "text/csv", SplitType="Line")
    np.testing.assert_allclose([float(one) for one in scored.split()], expected, rtol=1e-5)
    with pytest.raises(project.runtime.exceptions.ModelError, match="415"):
        project.invoke(b"[[1]]", ContentType="application/json")
    project.delete()


def test_a_text_pipeline_with_requirements_of_its_own(platform: Platform, tmp_path: Path) -> None:
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good great fine", "great plot", "bad dull", "dull dull plot", "fine good", "bad"]
    labels = ["up", "up", "down", "down", "up", "down"]
    joblib.dump(
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels),
        tmp_path / "model.joblib",
    )
    files = {
        "model.joblib": (tmp_path / "model.joblib").read_bytes(),
        "code/inference.py": TEXT_SCRIPT,
        "code/cleaning.py": CLEANING,
        **source_package("shouting", platform.home.root),
    }
    project = Project(platform, "script-text")
    project.deploy(f"{REGISTRY}/sagemaker-scikit-learn:1.2-1-cpu-py3", packed(files, tmp_path))
    project.wait()
    body = b"GREAT!\nso dull\n"
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


def test_images_reach_a_script_as_bytes(platform: Platform, tmp_path: Path) -> None:
    project = Project(platform, "script-image")
    files = {"threshold.json": b'{"threshold": 100}', "code/inference.py": IMAGE_SCRIPT}
    project.deploy("modelyard/python", packed(files, tmp_path))
    project.wait()
    kind = "image/x-portable-graymap"
    light, dark = (b"P5 4 255\n" + bytes([value] * 4) for value in (200, 50))
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


@pytest.fixture(scope="module")
def torch_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs on the Python of the heavy frameworks."""
    if not FRAMEWORKS.exists():
        pytest.skip("torch is not installed: make clients")
    home = tmp_path_factory.mktemp("torch") / "home"
    environment = {**os.environ, "MODELYARD_HOME": str(home), "NO_COLOR": "1"}

    def command(*arguments: str) -> None:
        finished = subprocess.run(
            [str(FRAMEWORKS), "-m", "modelyard.cli.main", *arguments],
            env=environment, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr

    command("up", "--detach", "--port", "0")
    try:
        yield connect(Home(home).root)
    finally:
        command("down")


@pytest.mark.timeout(300)
def test_a_deep_model_with_a_script(torch_platform: Platform, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    rows = [[0.1, 0.2, 0.3, 0.4], [1.0, -1.0, 0.5, 0.0]]
    training = DEEP_SCRIPT.decode() + (
        "\nimport json, sys\ntorch.manual_seed(1)\nnet = Net().eval()\ntorch.save(net.state_dict(), sys.argv[1])\n"
        "print(json.dumps(net(torch.tensor(json.loads(sys.argv[2]))).tolist()))\n"
    )
    finished = subprocess.run(
        [str(FRAMEWORKS), "-c", training, str(weights), json.dumps(rows)],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    expected = json.loads(finished.stdout)
    project = Project(torch_platform, "script-deep")
    files = {"weights.pth": weights.read_bytes(), "code/inference.py": DEEP_SCRIPT}
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.0-cpu-py310"
    project.deploy(image, packed(files, tmp_path))
    project.wait()
    answer = project.invoke(json.dumps(rows).encode(), ContentType="application/json")
    np.testing.assert_allclose(json.load(answer["Body"]), expected, rtol=1e-5)
    lines = "\n".join(",".join(map(str, row)) for row in rows).encode()
    scored = project.transform(lines, "text/csv", "text/csv", SplitType="Line")
    found = [[float(cell) for cell in line.split(b",")] for line in scored.split()]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    project.delete()


@pytest.mark.timeout(300)
def test_the_sdk_deploys_models_with_an_entry_point(
    platform: Platform, clients_folder: Path, tmp_path: Path
) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    rows = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 4.0]])
    joblib.dump(LinearRegression().fit(rows, rows.sum(axis=1)), tmp_path / "model.joblib")
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(
        packed({"model.joblib": (tmp_path / "model.joblib").read_bytes()}, tmp_path)
    )
    (tmp_path / "serve.py").write_text(SDK_SCRIPT)
    script = Path(__file__).parent / "scripts" / "sagemaker_sdk_2_script_mode.py"
    finished = subprocess.run(
        [sys.executable, "-m", "modelyard.cli.main", "run", "--home", str(platform.home.root), "--",
         str(clients_folder / "sagemaker-2/bin/python"), str(script), str(archive), str(tmp_path / "serve.py"), ROLE],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    assert "SDK: scripts were deployed, asked, deleted" in finished.stdout
