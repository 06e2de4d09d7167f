"""``modelyard run``: a program with AWS's own addresses, through the proxy that leads them to the platform."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command

SCRIPT = Path(__file__).parent / "scripts" / "hard_coded_addresses.py"


def test_a_program_with_aws_addresses_reaches_the_platform(
    platform: Platform, booster: Any
) -> None:
    home = platform.home.root
    deployed = command("deploy", str(booster.archive), "--name", "addresses", home=home)
    assert deployed.returncode == 0, deployed.stderr
    row = booster.csv.read_text().splitlines()[0]
    finished: subprocess.CompletedProcess[str] = command(
        *("run", "--", sys.executable, str(SCRIPT), "addresses", row), home=home
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Hard-coded addresses reached the platform" in finished.stdout
    assert command("delete", "addresses", home=home).returncode == 0
