"""Memory of a peer that is more than one process."""

from pathlib import Path


def highest_kib(pid: int) -> int:
    """The most that a process and those that it started, the JVM or Ray's workers, have each held, added up.

    Pages that they share count for each; one that has ended, and is not yet reaped, has none.
    """
    process = Path("/proc", str(pid))
    status = (process / "status").read_text().splitlines()
    own = next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)
    children = [pid for one in process.glob("task/*/children") for pid in one.read_text().split()]
    return own + sum(highest_kib(int(child)) for child in children)
