"""What a process uses of the machine, with all that it has started: processor time and memory (Linux: ``/proc``)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_DEPTH_MAX = 32
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``cpu_seconds`` since the process began, ended children included; memory as proportional set size."""

    cpu_seconds: float
    memory_bytes: int


def usage(pid: int) -> Usage | None:
    """Of the process and its descendants; None once it has ended."""
    ticks, memory, found = 0, 0, False
    for one in _tree(pid):
        used = _cpu_ticks(one)
        if used is None:
            continue  # It ended meanwhile.
        found = True
        ticks += used
        memory += _proportional_bytes(one)
    if not found:
        return None
    return Usage(cpu_seconds=ticks / _TICKS_PER_SECOND, memory_bytes=memory)


def machine_memory_bytes() -> int:
    """All of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _tree(pid: int, depth: int = 0) -> Iterator[int]:
    """The process, then what its threads have started. A sandboxed worker is a child of its keeper."""
    yield pid
    if depth == _DEPTH_MAX:
        return
    try:
        lists = [path.read_text() for path in (_PROC / str(pid) / "task").glob("*/children")]
    except OSError:
        return
    for child in " ".join(lists).split():
        yield from _tree(int(child), depth + 1)


def _cpu_ticks(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # utime, stime, and the same of children that were waited for: fields 14 to 17 of proc(5).
    return sum(int(field) for field in fields[11:15])


def _proportional_bytes(pid: int) -> int:
    """What would be freed if only this process ended: workers share the libraries that their host imported."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
