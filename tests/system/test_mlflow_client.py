"""mlflow's ``sagemaker`` deployment client, unmodified, as the command and in Python.

It runs in the SageMaker SDK 3's environment, of which mlflow is a dependency.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.cli.platform import Platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
IMAGE = "modelyard/python"
SCRIPT = Path(__file__).parent / "scripts" / "mlflow_deployments.py"


@pytest.mark.timeout(600)
def test_mlflow_creates_asks_updates_and_deletes_a_deployment(
    platform: Platform, clients_folder: Path, tmp_path: Path
) -> None:
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "modelyard.cli.main", "run"),
            *("--home", str(platform.home.root), "--"),
            *(str(clients_folder / "sagemaker-3/bin/python"), str(SCRIPT)),
            *(str(tmp_path), ROLE, IMAGE),
        ],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    assert "mlflow: created, predicted, updated, deleted" in finished.stdout
