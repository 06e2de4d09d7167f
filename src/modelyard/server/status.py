"""What ``modelyard status`` shows: who runs, what it uses, which protections are on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from modelyard.base.settings import Home, Settings
from modelyard.control.processes import Processes
from modelyard.runtimes.cgroups import open_cgroups
from modelyard.runtimes.runtime import RuntimeUnavailable
from modelyard.store.resources import ResourceStore


async def platform_status(
    settings: Settings, store: ResourceStore, processes: Processes
) -> dict[str, Any]:
    """``facts`` for a table, and a row a process with its memory in bytes (PSS)."""
    home = Home(settings.home)
    reason = open_cgroups(home.root).reason
    states = Counter(one.status.get("EndpointStatus", "?") for one in store.list("endpoint"))
    rows = [
        {"name": name, "state": "running", "pid": pid, "memory": _memory(pid)}
        for name, pid in json.loads(home.process_table.read_text()).items()
    ]
    try:
        workers = list((await processes.current()).values())
    except RuntimeUnavailable:
        workers = []
    rows += [
        {
            "name": f"{one.kind} {one.id}",
            "state": one.state.value,
            "pid": one.pid,
            "memory": _memory(one.pid),
        }
        for one in workers
    ]
    return {
        "facts": {
            "Endpoints": ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            or "none",
            "CPU, memory limits": f"off: {reason}" if reason else "on (control groups)",
            "Isolation": "off: workers run as this user and see the network",
            "Memory in all": f"{sum(row['memory'] for row in rows) >> 20} MiB",
        },
        "processes": rows,
    }


def _memory(pid: int) -> int:
    """Proportional set size: what would be freed if only this process ended, shared pages divided. 0: it ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
