"""``python -m benchmarks idle``: what a platform costs on which nothing happens, by process."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelyard.cli.platform import Platform
from modelyard.server import supervisor
from modelyard.testing.platform import running_platform

REST_SECONDS = 15.0
"""After the start, before anything is measured."""
_MODULE = "modelyard.server."


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one process. Memory is its proportional share, in MiB."""

    name: str
    memory_mib: float
    cpu_percent: float
    wakes_per_second: float
    """How often it went to sleep of its own accord."""


def measure(seconds: float) -> list[Cost]:
    """A platform with nothing deployed."""
    with (
        tempfile.TemporaryDirectory(prefix="idle-") as folder,
        running_platform(Path(folder) / "home") as platform,
    ):
        time.sleep(REST_SECONDS)
        processes = list(_processes(platform))
        before = [_used(one) for one in processes]
        began = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        return [
            Cost(
                name=_name(one),
                memory_mib=one.memory_full_info().pss / (1 << 20),
                cpu_percent=(after[0] - earlier[0]) / passed * 100.0,
                wakes_per_second=(after[1] - earlier[1]) / passed,
            )
            for one, earlier in zip(processes, before, strict=True)
            for after in (_used(one),)
        ]


def _processes(platform: Platform) -> Iterator[psutil.Process]:
    pid = supervisor.running_pid(platform.home)
    if pid is None:
        raise SystemExit("The platform has ended.")
    yield psutil.Process(pid)
    yield from psutil.Process(pid).children(recursive=True)


def _used(process: psutil.Process) -> tuple[float, int]:
    times = process.cpu_times()
    return times.user + times.system, process.num_ctx_switches().voluntary


def _name(process: psutil.Process) -> str:
    modules = [word for word in process.cmdline() if word.startswith(_MODULE)]
    return modules[0].removeprefix(_MODULE) if modules else "supervisor"
