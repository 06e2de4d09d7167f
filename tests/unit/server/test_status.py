"""What ``modelyard status`` says of protections and memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard import native
from modelyard.base.settings import Home, Settings
from modelyard.server.host import save_protections
from modelyard.server.status import platform_status, protections, worker_memory
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore


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


class Store(MemoryResourceStore):
    def slowest_write(self) -> float:
        return 0.0


class NoProcesses:
    async def current(self) -> dict[str, object]:
        return {}


@pytest.mark.anyio
async def test_a_queue_that_cannot_be_written_is_told_and_one_that_can_is_not(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.create()
    home.process_table.write_text("{}")
    settings, store = Settings(home=tmp_path), Store(clock=ManualClock())
    for trouble, expected in (("the disk is full", "the disk is full"), ("", None)):
        status = await platform_status(
            settings,
            store,
            NoProcesses(),  # type: ignore[arg-type]
            queue_trouble=trouble,
        )
        assert status["facts"].get("Asynchronous queue") == expected


@pytest.mark.anyio
async def test_hot_paths_that_are_left_to_python_are_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.create()
    home.process_table.write_text("{}")
    told = []
    for built, why_not in ((native, ""), (None, "no compiler")):
        monkeypatch.setattr(native, "built", built)
        monkeypatch.setattr(native, "why_not", why_not)
        status = await platform_status(
            Settings(home=tmp_path),
            Store(clock=ManualClock()),
            NoProcesses(),  # type: ignore[arg-type]
        )
        told.append(status["facts"]["Hot paths"])
    assert told == ["in C", "in Python, which is slower: no compiler"]
