"""What ``modelyard status`` says of protections and memory."""

import os
import subprocess
import sys
from pathlib import Path

from modelyard.base.settings import Home
from modelyard.server.host import save_protections
from modelyard.server.status import protections, worker_memory


def test_a_protection_that_is_off_is_shown_with_its_reason(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert "not started" in protections(home)["isolation"]
    save_protections(home, isolation="the kernel says no", limits="")
    assert protections(home) == {"isolation": "the kernel says no", "limits": ""}


def test_a_workers_memory_is_that_of_all_that_it_started() -> None:
    script = "held = bytearray(64 << 20); print(flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert worker_memory(process.pid) > 64 << 20
        process.communicate(b"\n")
    assert worker_memory(process.pid) == 0
    assert worker_memory(os.getpid()) > 0
