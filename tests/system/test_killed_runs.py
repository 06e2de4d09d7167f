"""A run of tests that is killed leaves no platform behind."""

import subprocess
import sys
from pathlib import Path

import psutil

from modelyard.base.settings import Home
from modelyard.server import supervisor
from modelyard.testing.platform import start

GUARD = Path(__file__).parents[1] / "guard.py"


def test_when_the_process_that_ran_tests_is_gone_so_are_its_platforms(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    start(home.root)
    platform = psutil.Process(supervisor.running_pid(home))
    processes = [platform, *platform.children(recursive=True)]
    other = tmp_path.with_name(f"{tmp_path.name}0")  # not below the guarded folder
    for folder, is_left in ((other, True), (tmp_path, False)):
        with subprocess.Popen(
            [sys.executable, str(GUARD), str(folder)], stdin=subprocess.PIPE
        ) as guard:
            assert platform.is_running()
        assert guard.returncode == 0
        assert [one.is_running() for one in processes] == [is_left] * len(processes)
