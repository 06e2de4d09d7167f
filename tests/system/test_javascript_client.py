"""The AWS SDK for JavaScript v3, unmodified, with nothing but what ``modelyard env`` prints."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "clients" / "javascript"
INSTALLED = ROOT / ".cache" / "javascript"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node on this machine")
    if not (INSTALLED / ".installed").exists():
        pytest.fail("The AWS SDK for JavaScript is not installed: make clients")
    if not (INSTALLED / "node_modules").exists():
        pytest.skip("npm could not install the AWS SDK for JavaScript on this machine")
    return found


def test_the_javascript_sdk_stores_serves_transforms_and_names_its_errors(
    platform: Platform, booster: Any, node: str, tmp_path: Path
) -> None:
    script = INSTALLED / "journey.mjs"  # beside node_modules, where node looks for packages
    script.write_bytes((SOURCE / "journey.mjs").read_bytes())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    finished = subprocess.run(
        [node, str(script), str(booster.archive), str(booster.csv), ROLE],
        env={**kept, **platform.environment(), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-4000:]
    assert "JavaScript: stored, deployed, predicted, transformed, deleted" in finished.stdout
