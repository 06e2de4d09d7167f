"""The whole platform with a durability boundary that kills its process, again and again or once: work is done all the same."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import BotoCoreError, ClientError

import modelyard
from modelyard.cli.platform import Platform
from modelyard.testing import models
from modelyard.testing.losses import PATIENT
from modelyard.testing.platform import command, running_platform

SETTLED_SECONDS = 180.0
TESTS = Path(__file__).parents[1]
VISITS = 4
"""Each process that comes by dies at its fourth visit, and so does its successor."""
REPEATED = (
    "endpoint.after-publish", "endpoint.after-save", "objects.after-commit", "objects.after-rename", "objects.before-commit",
    "objects.before-rename", "objects.before-sync", "objects.write", "store.after-commit", "store.before-commit",
    "transform-job.after-save",
)  # fmt: skip
"""Boundaries that this work passes over and over."""
ONCE = (
    "async.after-add", "async.after-decide", "endpoint.after-start", "endpoint.before-remove", "published.before-epoch",
    "published.before-rename", "transform-job.after-prepare", "transform-job.after-start",
)  # fmt: skip
"""Those that it passes a few times: each kills one process."""
ELSEWHERE = {
    "artifact.before-rename": "unit/frameworks/test_archive.py",
    "environment.before-rename": "unit/worker/test_environments.py",
    "lex.after-put": "crash/test_conversation_crash.py",
    "transform.after-commit": "crash/test_transform_crash.py",
    "transform.after-intent": "crash/test_transform_crash.py",
    "transform.after-journal": "crash/test_transform_crash.py",
    "transform.before-journal": "crash/test_transform_crash.py",
    "usage.after-append": "crash/test_usage_crash.py",
    "usage.after-commit": "crash/test_usage_crash.py",
    "usage.before-append": "crash/test_usage_crash.py",
    "usage.before-commit": "crash/test_usage_crash.py",
}
"""Those of work that is not done here, and the tests that let processes die there."""


def test_processes_die_at_every_boundary_that_the_source_names() -> None:
    source = Path(modelyard.__file__).parent
    named = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r'failpoint\("([\w.-]+)"\)', path.read_text())
    }
    assert named == {*REPEATED, *ONCE, *ELSEWHERE}
    for name, place in ELSEWHERE.items():
        assert f'"{name}' in (TESTS / place).read_text(), f"{place} does not name {name}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.xgboost_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("name", REPEATED)
def test_work_is_done_though_every_process_dies_at_this_boundary(
    name: str, model: Path, tmp_path: Path
) -> None:
    with _dying({name: str(VISITS)}, tmp_path) as platform:
        _work(platform, model, tmp_path)
    assert _marks(tmp_path) == {name}


def test_work_is_done_though_a_process_dies_once_at_each_other_boundary(
    model: Path, tmp_path: Path
) -> None:
    with _dying(dict.fromkeys(ONCE, "once:1"), tmp_path) as platform:
        answer = _work(platform, model, tmp_path)
        assert _queued(platform) == answer
        _until(lambda: command("delete", "e", home=platform.home.root).returncode == 0)
        _until(lambda: "endpoint.before-remove" in _marks(tmp_path))
    assert _marks(tmp_path) == set(ONCE)


@contextmanager
def _dying(failpoints: Mapping[str, str], folder: Path) -> Iterator[Platform]:
    marks = folder / "marks"
    marks.mkdir()
    environment = {
        "MODELYARD_FAILPOINTS": ",".join(f"{name}={how}" for name, how in failpoints.items()),
        "MODELYARD_FAILPOINT_MARKS": str(marks),
    }
    with running_platform(folder / "home", environment=environment) as platform:
        yield platform


def _marks(folder: Path) -> set[str]:
    """Where processes died."""
    return {path.name for path in (folder / "marks").iterdir()}


def _work(platform: Platform, model: Path, folder: Path) -> bytes:
    """A model deployed, asked, objects written and read, a file scored; what the model answers."""
    body = _body()
    home = platform.home.root
    _until(lambda: command("deploy", str(model), "--name", "e", home=home).returncode == 0)
    first = _until(lambda: _ask(platform, body))
    for number in range(6):
        key, value = f"k{number}", str(number).encode() * 100
        _until(lambda k=key, v=value: _put(platform, k, v))
        assert _until(lambda k=key: _get(platform, k)) == value
    assert _until(lambda: _ask(platform, body)) == first
    source, target = folder / "rows.csv", folder / "out.csv"
    source.write_text(body + "\n")
    scored = ("transform", str(source), str(target), "--model", "e")
    _until(lambda: command(*scored, home=home).returncode == 0)
    assert target.read_bytes() == first
    (described,) = _until(lambda: platform.client("sagemaker").list_endpoints()["Endpoints"])
    assert described["EndpointStatus"] == "InService"
    answer: bytes = first
    return answer


def _body() -> str:
    rows = np.asarray(models.breast_cancer().rows)[:5]
    return "\n".join(",".join(str(value) for value in row) for row in rows.tolist())


def _queued(platform: Platform) -> bytes:
    """The answer of the same model to a request that waits in a queue."""
    sagemaker = platform.client("sagemaker", retries=PATIENT)
    bucket = f"modelyard-us-east-1-{platform.credentials.account}"
    described = sagemaker.describe_endpoint(EndpointName="e")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    sagemaker.create_endpoint_config(
        EndpointConfigName="queued",
        ProductionVariants=config["ProductionVariants"],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{bucket}/queued"}},
    )
    sagemaker.create_endpoint(EndpointName="queued", EndpointConfigName="queued")
    _until(
        lambda: sagemaker.describe_endpoint(EndpointName="queued")["EndpointStatus"] == "InService"
    )
    accepted = platform.client("sagemaker-runtime", retries=PATIENT).invoke_endpoint_async(
        EndpointName="queued", ContentType="text/csv", Accept="text/csv", Body=_body().encode()
    )
    key = accepted["OutputLocation"].removeprefix(f"s3://{bucket}/")
    content: bytes = _until(lambda: _get(platform, key))
    return content


def _until(attempt: Callable[[], Any]) -> Any:
    """What ``attempt`` gives once it gives something; a process that is just being restarted refuses for a while."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        try:
            result = attempt()
        except (BotoCoreError, ClientError) as error:
            result, last = None, error
        else:
            last = None
        if result:
            return result
        assert time.monotonic() < deadline, f"it never worked: {last}"
        time.sleep(0.1)


def _ask(platform: Platform, body: str) -> bytes:
    client = platform.client("sagemaker-runtime")
    answer = client.invoke_endpoint(
        EndpointName="e", ContentType="text/csv", Accept="text/csv", Body=body
    )
    content: bytes = answer["Body"].read()
    return content


def _put(platform: Platform, key: str, value: bytes) -> bool:
    s3 = platform.client("s3")
    bucket = f"modelyard-us-east-1-{platform.credentials.account}"
    s3.put_object(Bucket=bucket, Key=key, Body=value)
    return True


def _get(platform: Platform, key: str) -> bytes:
    bucket = f"modelyard-us-east-1-{platform.credentials.account}"
    content: bytes = platform.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content
