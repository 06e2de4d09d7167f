"""The whole platform with one durability boundary that kills its process again and again: work is done all the same."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import BotoCoreError, ClientError

import modelyard
from modelyard.cli.platform import Platform
from modelyard.testing import models
from modelyard.testing.platform import command, running_platform

SETTLED_SECONDS = 90.0
VISITS = 4
"""Each process that comes by dies at its fourth visit, and so does its successor."""


def _failpoints() -> list[str]:
    """Every boundary that the source names."""
    source = Path(modelyard.__file__).parent
    names = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r'failpoint\("([\w.-]+)"\)', path.read_text())
    }
    return sorted(names - {"name", "before-ack"})


def test_the_source_names_its_boundaries() -> None:
    assert len(_failpoints()) >= 10


@pytest.mark.parametrize("name", _failpoints())
def test_work_is_done_though_a_process_dies_at_this_boundary(name: str, tmp_path: Path) -> None:
    data = models.breast_cancer()
    model = models.xgboost_model(tmp_path)
    rows = np.asarray(data.rows)[:5]
    body = "\n".join(",".join(str(value) for value in row) for row in rows.tolist())
    environment = {"MODELYARD_FAILPOINTS": f"{name}={VISITS}"}
    with running_platform(tmp_path / "home", environment=environment) as platform:
        _until(
            lambda: (
                command("deploy", str(model), "--name", "e", home=platform.home.root).returncode
                == 0
            )
        )
        first = _until(lambda: _ask(platform, body))
        for number in range(6):
            key, value = f"k{number}", str(number).encode() * 100
            _until(lambda k=key, v=value: _put(platform, k, v))  # type: ignore[misc]
            assert _until(lambda k=key: _get(platform, k)) == value  # type: ignore[misc]
        assert _until(lambda: _ask(platform, body)) == first
        (tmp_path / "rows.csv").write_text(body + "\n")
        target = tmp_path / "out.csv"
        _until(
            lambda: command(
                "transform", str(tmp_path / "rows.csv"), str(target), "--model", "e",
                home=platform.home.root,
            ).returncode == 0
        )  # fmt: skip
        assert target.read_bytes() == first
        listed = _until(lambda: command("list", "--json", home=platform.home.root).stdout)
        assert json.loads(str(listed))["Endpoints"][0]["EndpointStatus"] == "InService"


def _until(attempt: object) -> object:
    """What ``attempt`` gives once it gives something; a process that is just being restarted refuses for a while."""
    assert callable(attempt)
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
