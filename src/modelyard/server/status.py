"""What ``modelyard status`` shows: who runs, what it uses, which protections are on."""

import json
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from modelyard import native
from modelyard.base.settings import MIB, Home, Settings, zone_names
from modelyard.control.processes import Processes
from modelyard.runtimes.runtime import RuntimeUnavailable
from modelyard.store.lease import Holder, read_holder
from modelyard.store.resources import ResourceStore

FULL_BYTES = 16 * MIB
"""With less free space than this the disk counts as full."""
SLOW_SECONDS = 0.5
GIB = 1 << 30


class Store(ResourceStore, Protocol):
    """``store.sqlite.SqliteResourceStore``."""

    def slowest_write(self) -> float:
        """Seconds, in the last minute."""


async def platform_status(
    settings: Settings,
    store: Store,
    processes: Processes,
    zones_up: Collection[str] = (),
    *,
    queue_trouble: str = "",
) -> dict[str, Any]:
    """``facts`` for a table, and a row a process with its memory in bytes (PSS).

    ``zones_up`` are the zones whose host answers; empty where there is one zone only. ``queue_trouble`` is why no asynchronous
    request is begun now.
    """
    home = Home(settings.home)
    off = protections(home)
    states = Counter(one.status.get("EndpointStatus", "?") for one in store.list("endpoint"))
    zones = {}
    if settings.zones > 1:
        found = {zone: "up" if zone in zones_up else "away" for zone in zone_names(settings.zones)}
        zones["Zones"] = ", ".join(f"{zone} {state}" for zone, state in found.items())
    leader = read_holder(home.lease)
    rows = [
        {"name": name, "state": _state(home, name, pid, leader), "pid": pid, "memory": _memory(pid)}
        for name, pid in json.loads(home.process_table.read_text()).items()
    ]
    try:
        workers = list((await processes.current()).values())
    except RuntimeUnavailable:
        workers = []
    rows += [
        {
            "name": f"{one.kind} {one.id}" + (f" in zone {one.zone}" if one.zone else ""),
            "zone": one.zone,
            "state": one.state.value,
            "pid": one.pid,
            "memory": worker_memory(one.pid),
        }
        for one in workers
    ]
    return {
        "facts": {
            "Endpoints": ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            or "none",
            "CPU, memory limits": f"off: {off['limits']}"
            if off["limits"]
            else "on (control groups)",
            "Isolation": f"off: {off['isolation']}; models run as this user and see its files"
            if off["isolation"]
            else "on: each model sees its own files and processes only",
            "Hot paths": native.in_words(),
            "Memory in all": f"{sum(row['memory'] for row in rows) >> 20} MiB",
            "Disk": disk(home, slowest_write=store.slowest_write()),
            **zones,
            **({"Asynchronous queue": queue_trouble} if queue_trouble else {}),
        },
        "processes": rows,
    }


def _state(home: Home, name: str, pid: int, leader: Holder | None) -> str:
    """Of two control processes one stands by, as soon as it has loaded everything."""
    if not name.startswith("control") or leader is None or name == leader.name:
        return "running"
    waiting = read_holder(home.standing_by(name))
    return "standby" if waiting is not None and waiting.pid == pid else "starting"


def disk(home: Home, *, slowest_write: float = 0.0) -> str:
    """How the disk of the home is, in words; ``slowest_write`` in seconds, of the last minute."""
    try:
        free = shutil.disk_usage(home.root).free
    except OSError as error:
        return f"cannot be looked at: {error}"
    text = f"{free / GIB:.1f} GiB free"
    if free < FULL_BYTES:
        text = (
            f"full, {free >> 10} KiB free: what would be saved is refused, what runs goes on; "
            f"free some space in {home.root}"
        )
    if slowest_write >= SLOW_SECONDS:
        text += f"; slow, a write took {slowest_write:.1f} s in the last minute"
    return text


def protections(home: Home) -> dict[str, str]:
    """What is ``off``, as the host found it: the reason by ``isolation`` and ``limits``, empty where it is on."""
    try:
        found: dict[str, str] = json.loads(home.protections.read_text())
    except FileNotFoundError:
        return {"isolation": "the host has not started yet", "limits": "the host has not started"}
    return found


def worker_memory(pid: int) -> int:
    """Of a worker with its keeper and all that it has started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return _memory(pid) + sum(worker_memory(int(child)) for child in children)


def _memory(pid: int) -> int:
    """Proportional set size: what would be freed if only this process ended, shared pages divided. 0: it ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
