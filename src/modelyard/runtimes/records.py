"""What the host remembers of each process on disk, so that its successor can adopt it.

Two files, because there are two writers: ``<id>.json`` by the host (what was asked for), ``<id>.state`` by the process itself
(its process id first of all, then how far it is). Both are replaced by rename.

A third, ``<id>.payload``, comes from control and is read and removed by the process: what is in it, environments of users'
containers above all, never enters the host's memory, which every later process inherits.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from modelyard.runtimes.runtime import ProcessSpec, ProcessState

logger = logging.getLogger(__name__)
FORMAT = 1
PROCESSES = "processes"
"""Its folder, beside the host's socket."""


class Record(msgspec.Struct, kw_only=True):
    """The host's own file. ``spec`` has no payload: a process that has started needs none any more."""

    format: int = FORMAT
    spec: ProcessSpec
    started_at: float
    stopping: bool = False
    ended: ProcessState | None = None
    reason: str = ""
    exit_code: int | None = None


class Report(msgspec.Struct, kw_only=True):
    """The process's own file. ``start`` is the kernel's start time, against reused process ids."""

    pid: int
    start: int
    state: ProcessState = ProcessState.STARTING
    reason: str = ""
    progress: dict[str, Any] = msgspec.field(default_factory=dict)


class Records:
    """The folder of both files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, record: Record) -> None:
        _replace(self._folder / f"{record.spec.id}.json", msgspec.json.encode(record))

    def save_report(self, process_id: str, report: Report) -> None:
        _replace(self._folder / f"{process_id}.state", msgspec.json.encode(report))

    def report(self, process_id: str) -> Report | None:
        """None before the process has written its first."""
        try:
            data = (self._folder / f"{process_id}.state").read_bytes()
            return msgspec.json.decode(data, type=Report)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            logger.warning("the state of %s cannot be read: %s", process_id, error)
            return None

    def take_payload(self, process_id: str) -> dict[str, Any]:
        """What the process is to do, once; empty where there is nothing to say."""
        path = self._payload(process_id)
        if not path.exists():
            return {}
        payload: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        path.unlink()
        return payload

    def save_payload(self, process_id: str, payload: dict[str, Any]) -> None:
        """Before the process is asked for. Asked for again, it stays until the process is forgotten."""
        _replace(self._payload(process_id), msgspec.json.encode(payload))

    def _payload(self, process_id: str) -> Path:
        return self._folder / f"{process_id}.payload"

    def all(self) -> Iterator[Record]:
        """Every record of this format; one of another is left alone, its process is not ours to judge.

        What a power cut left of a record is removed: its process has not survived either.
        """
        for path in sorted(self._folder.glob("*.json")):
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # Forgotten meanwhile, by the host whose folder it is.
                continue
            try:
                if json.loads(data)["format"] == FORMAT:
                    yield msgspec.json.decode(data, type=Record)
            except (ValueError, KeyError, TypeError) as error:
                logger.warning("%s is no record of a process and is removed: %s", path.name, error)
                self.remove(path.stem)

    def remove(self, process_id: str) -> None:
        for suffix in (".json", ".state", ".offset", ".payload"):
            (self._folder / f"{process_id}{suffix}").unlink(missing_ok=True)

    def offset_file(self, process_id: str) -> Path:
        """Where the output's tailer keeps its place."""
        return self._folder / f"{process_id}.offset"


def start_time(pid: int) -> int | None:
    """The kernel's start time of a process in clock ticks, None if there is none (or a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def age_seconds(start: int) -> float:
    """Of a process by the kernel's start time, whatever was done to the machine's clock."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK"))


def without_payload(spec: ProcessSpec) -> ProcessSpec:
    """A spec as it is kept: payloads hold environments of users' containers."""
    return msgspec.convert({**asdict(spec), "payload": {}}, ProcessSpec)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
