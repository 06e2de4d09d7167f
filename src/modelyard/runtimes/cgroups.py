"""Limits of CPU, memory and processes by the kernel's control groups, version 1 or 2, where they are writable."""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from modelyard.runtimes.runtime import Caps

ROOT = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 100_000
_CONTROLLERS = ("memory", "cpu", "pids")


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The platform's own subtree; ``reason`` says why limits are off, empty where they are on."""

    folders: dict[str, Path]
    version: int
    reason: str = ""

    def create(self, process_id: str, caps: Caps) -> None:
        """A group for one process. Does nothing where limits are off."""
        for controller, folder in self.folders.items():
            settings = _settings(self.version, controller, caps)
            group = folder / process_id
            if (
                settings
            ):  # The kernel stops the world for each group that is joined: none without a limit.
                group.mkdir(parents=True, exist_ok=True)
            for name, value in settings:
                (group / name).write_text(value)

    def join(self, process_id: str) -> None:
        """Move the calling process into its group."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(FileNotFoundError):  # Nothing of this controller's is limited.
                (folder / process_id / "cgroup.procs").write_text(str(os.getpid()))

    def was_killed_for_memory(self, process_id: str) -> bool:
        """Whether the kernel's out-of-memory killer ended a process of the group."""
        folder = self.folders.get("memory")
        if folder is None:
            return False
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError):
            for line in (folder / process_id / name).read_text().splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count) > 0
        return False

    def remove(self, process_id: str) -> bool:
        """Whether all is removed; it is busy while a process of the group is still ending."""
        is_removed = True
        for folder in set(self.folders.values()):
            try:
                (folder / process_id).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                is_removed = False
        return is_removed

    def close(self) -> None:
        """The host ends: remove the subtree, unless processes go on in it."""
        for folder in set(self.folders.values()):
            for group in (*folder.glob("*/"), folder):
                with contextlib.suppress(OSError):
                    group.rmdir()


def _settings(version: int, controller: str, caps: Caps) -> list[tuple[str, str]]:
    quota = int(caps.cpus * PERIOD_MICROSECONDS)
    if controller == "pids":
        return [("pids.max", str(caps.processes))]
    if controller == "memory" and caps.memory_bytes:
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        return [(name, str(caps.memory_bytes))]
    if controller == "cpu" and quota:
        if version == 2:
            return [("cpu.max", f"{quota} {PERIOD_MICROSECONDS}")]
        return [("cpu.cfs_period_us", str(PERIOD_MICROSECONDS)), ("cpu.cfs_quota_us", str(quota))]
    return []


def open_cgroups(home: Path, *, root: Path = ROOT) -> Cgroups:
    """The platform's subtree, made now; without the rights, an object that limits nothing and says why."""
    name = "modelyard-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    try:
        if (root / "cgroup.controllers").exists():
            return _open_v2(root, name)
        return _open_v1(root, name)
    except OSError as error:
        return Cgroups({}, 0, f"control groups are not writable ({error.strerror})")


def _open_v2(root: Path, name: str) -> Cgroups:
    current = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    parent = root / current
    folder = parent / name
    folder.mkdir(exist_ok=True)
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = [controller for controller in _CONTROLLERS if controller in available]
    if not wanted:
        return Cgroups({}, 2, "no controllers are delegated to this user")
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in wanted))
    return Cgroups(dict.fromkeys(wanted, folder), 2)


def _open_v1(root: Path, name: str) -> Cgroups:
    folders = {}
    for controller in _CONTROLLERS:
        if (root / controller).is_dir():
            folder = root / controller / name
            folder.mkdir(exist_ok=True)
            folders[controller] = folder
    if not folders:
        return Cgroups({}, 1, "this system has no control groups")
    return Cgroups(folders, 1)
