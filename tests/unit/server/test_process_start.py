"""A process whose supervisor died before it could ask for its death does not stay alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.base.settings import Settings


@pytest.mark.parametrize("is_there", [True, False])
def test_a_process_without_its_supervisor_ends_at_once(tmp_path: Path, is_there: bool) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(Settings(home=tmp_path).to_json())
    script = "from modelyard.server.process import begin; begin('objects'); print('goes on')"
    parent = os.getpid() if is_there else 2**22 + 1  # Beyond the largest process id of Linux.
    finished = subprocess.run(
        [sys.executable, "-c", script, "--settings", str(file), "--parent", str(parent)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (finished.returncode == 0, "goes on" in finished.stdout) == (is_there, is_there)
    assert ("the supervisor is gone" in finished.stderr) is not is_there
