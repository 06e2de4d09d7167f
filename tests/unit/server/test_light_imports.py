"""What starts often, many times, or for ever stays light: nobody there has what it does not need."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["modelyard.server.gateway", "modelyard.jobs.main", "modelyard.worker.main"]
)
def test_a_process_of_the_data_plane_does_without_botocore(module: str) -> None:
    script = f"import sys, {module}; sys.exit('botocore' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert finished.returncode == 0


def test_control_does_without_numpy() -> None:
    script = "import sys, modelyard.server.control; sys.exit('numpy' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert finished.returncode == 0
