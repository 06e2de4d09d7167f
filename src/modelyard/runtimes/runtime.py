"""What control asks of whatever runs workers and jobs: start, stop, list, and a hint that something changed."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol


class ProcessState(StrEnum):
    """Of a worker: ``STARTING`` → ``READY`` → ``DEAD``, or ``FAILED`` before it was ready.

    Of a job: ``STARTING`` → ``RUNNING`` → ``SUCCEEDED``, ``FAILED`` or ``DEAD`` (killed: start it again); ``WAITING``
    before that where it was started ahead of its payload.
    """

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStream:
    """Where the output of a process is found through CloudWatch Logs."""

    account: str
    region: str
    group: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Resource limits of one process, from its instance type; 0 is unlimited."""

    cpus: float = 0.0
    memory_bytes: int = 0
    processes: int = 4096
    """Processes and threads; never unlimited."""
    accelerators: int = 0
    """Where it is not 0, an isolated process sees the machine's; they are not divided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One worker or job. ``id`` is deterministic, so that starting it again is a no-op.

    ``payload`` is what the process reads (``worker.main`` and ``jobs.main`` define theirs); ``address`` the URI it
    listens on, empty for a job.
    """

    id: str
    kind: Literal["worker", "job"]
    address: str = ""
    payload: dict[str, Any] = field(default_factory=dict)
    log: LogStream
    caps: Caps = Caps()
    network_isolation: bool = False
    """``EnableNetworkIsolation``: no network at all; it fails where that cannot be had."""
    startup_seconds: float = 0.0
    """A worker has so long to become ready; 0 leaves it to the platform's bound."""
    zone: str = ""
    """Where it is to run; empty leaves it to the runtime."""
    prepares_for: str | None = None
    """Given: it is started ahead of its payload, prepares for this (a job: the content type of its requests), and waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process as it is. ``reason`` says why it failed or died, with its last output lines."""

    id: str
    kind: Literal["worker", "job"]
    pid: int
    state: ProcessState
    address: str = ""
    reason: str = ""
    exit_code: int | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    zone: str = ""


class Runtime(Protocol):
    """Idempotent; a call that cannot reach the runtime raises ``RuntimeUnavailable``."""

    async def start(self, spec: ProcessSpec) -> None:
        """Start it unless a process of this id is known, whatever its state. Returns before it is ready.

        A process that waits for its payload begins when it is started once more, with the payload.
        """

    async def stop(self, process_id: str, *, grace_seconds: float) -> None:
        """SIGTERM now, SIGKILL after the grace; returns at once. Unknown ids are stopped already."""

    async def forget(self, process_id: str) -> None:
        """Drop the record of an ended process."""

    async def list(self) -> list[Process]:
        """All that are known, ended ones until they are forgotten."""

    async def changed(self) -> None:
        """Return when something may have changed since the last call; a hint, never a promise."""


class RuntimeUnavailable(Exception):
    """The host is down or restarting; what runs keeps running. Try again later."""


class Refused(RuntimeUnavailable):
    """The host is there and cannot do it now: a full disk, no more processes."""
