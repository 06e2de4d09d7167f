"""What a transform job needs next: replicas first, then the process that feeds them, then a clean end.

While replicas start, the process does so too, as far as it can without knowing them (``PrepareJob``); if they never get
ready it has done nothing, and goes.

Pure and level-based as ``endpoint_plan`` is. The job's process keeps a journal, so that starting it again after a death
costs only what was under way; it is given up when it dies again and again without finishing another object.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from modelyard.domain.fleet import (
    DELAY_SECONDS_MAX,
    Fleet,
    Loss,
    Observed,
    Placement,
    Slot,
    Slots,
    delay_seconds,
    describe_loss,
    limited_reason,
    look_at,
    placements,
    short_id,
)

Outcome = Literal["", "Completed", "Failed", "Stopped"]
_STOP_POLL_SECONDS = 5.0
_ENDED = ("dead", "failed", "succeeded")


class JobMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Kept in the job's status from one pass to the next; ``objects_done`` as of the process's last death."""

    fleet: Fleet | None = None
    slots: Slots = {}
    process: Slot | None = None
    objects_done: int = 0
    retired: tuple[str, ...] = ()
    outcome: Outcome = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is wished; ``proposal`` is its fleet, or why there is none, while ``memory`` has none."""

    owner: str
    stopping: bool
    memory: JobMemory
    proposal: Fleet | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveJob:
    """Remember, and show."""

    memory: JobMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class TellReplicas:
    """Let the job's process know where its replicas' workers are now."""

    workers: tuple[Placement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReplicaWorker:
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareJob:
    """Start its process ahead; it waits until ``StartJob``."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    id: str
    workers: tuple[Placement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopProcess:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetProcess:
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropJournal:
    """Nothing will be resumed any more."""


JobStep = (
    SaveJob
    | TellReplicas
    | StartReplicaWorker
    | PrepareJob
    | StartJob
    | StopProcess
    | ForgetProcess
    | DropJournal
)


@dataclass(slots=True, kw_only=True)
class JobPlan:
    """Steps in order, and when to look again."""

    steps: list[JobStep] = field(default_factory=list)
    seconds: float = float("inf")


FIRST = Slot()
"""Of the process that is prepared while there is none yet."""


def process_id(owner: str, slot: Slot) -> str:
    """The id of the job's own process."""
    return short_id(owner, "job", slot.attempt)


def plan_job(
    job: Job,
    observed: Mapping[str, Observed],
    *,
    now: float,
    startup_seconds: float,
    restart_attempts: int,
    objects_done: int,
) -> JobPlan:
    """Decide the next steps. ``objects_done`` is the progress that the process reports."""
    pass_ = _Pass(
        job=job,
        memory=job.memory,
        observed=observed,
        now=now,
        startup_seconds=startup_seconds,
        restart_attempts=restart_attempts,
    )
    if not job.memory.outcome:
        if job.stopping:
            pass_.stop()
        else:
            pass_.go_on(objects_done)
    return pass_.plan()


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One decision being made."""

    job: Job
    memory: JobMemory
    observed: Mapping[str, Observed]
    now: float
    startup_seconds: float
    restart_attempts: int
    starts: list[JobStep] = field(default_factory=list)
    stops: list[JobStep] = field(default_factory=list)
    seconds: float = float("inf")

    def stop(self) -> None:
        """The process first, so that no output is half way; the rest when it has ended."""
        process = self.memory.process
        worker = self.observed.get(process_id(self.job.owner, process)) if process else None
        if process is None or worker is None or worker.state in _ENDED:
            self.end("Stopped")
        else:
            self.stops.append(StopProcess(id=process_id(self.job.owner, process)))
            self.wait(_STOP_POLL_SECONDS)

    def go_on(self, objects_done: int) -> None:
        """Replicas, then the process, then its result."""
        match self.job.proposal:
            case str(reason):
                self.end("Failed", reason)
                return
            case Fleet() as fleet:
                self.remember(fleet=fleet)
            case None:
                pass
        if self.memory.fleet is None:
            return
        self._watch_replicas(self.memory.fleet)
        if self.memory.process is not None and not self.memory.outcome:
            self._watch_process(self.memory.process, objects_done)

    def _watch_replicas(self, fleet: Fleet) -> None:
        look = look_at(
            fleet,
            self.memory.slots,
            self.observed,
            now=self.now,
            startup_seconds=self.startup_seconds,
            forgiving=self.memory.process is not None,
        )
        self.remember(slots=look.slots, retired=(*self.memory.retired, *look.retired))
        self.starts += [StartReplicaWorker(placement=placement) for placement in look.start]
        self.wait(look.wake_at - self.now)
        if self.memory.process is None:
            fatal = next((loss for loss in look.losses if self._is_fatal(loss)), None)
            if fatal is not None:
                self.end("Failed", describe_loss(fatal))
            elif look.is_ready:
                self.remember(process=Slot(start_at=self.now))
            elif process_id(self.job.owner, FIRST) not in self.observed:
                self.starts.append(PrepareJob(id=process_id(self.job.owner, FIRST)))
        else:
            self.starts.append(TellReplicas(workers=self._workers(fleet)))

    def _is_fatal(self, loss: Loss) -> bool:
        return loss.deterministic or loss.deaths >= self.restart_attempts

    def _watch_process(self, slot: Slot, objects_done: int) -> None:
        fleet = self.memory.fleet
        assert fleet is not None
        process = self.observed.get(process_id(self.job.owner, slot))
        if process is not None and process.state == "dead":
            progressed = objects_done > self.memory.objects_done
            deaths = 1 if progressed else slot.deaths + 1
            if deaths >= self.restart_attempts:
                self.end("Failed", f"The job's process died {deaths} times: {process.reason}")
                return
            retired = (*self.memory.retired, process_id(self.job.owner, slot))
            slot = Slot(
                attempt=slot.attempt + 1, deaths=deaths, start_at=self.now + delay_seconds(deaths)
            )
            done = max(objects_done, self.memory.objects_done)
            self.remember(process=slot, retired=retired, objects_done=done)
            process = None
        if process is None or process.state == "waiting":
            rest = slot.start_at - self.now
            # A clock that was set back must not postpone a start for longer than the longest delay.
            rest = rest if rest <= DELAY_SECONDS_MAX else 0.0
            self.wait(rest)
            if rest <= 0:
                job_id = process_id(self.job.owner, slot)
                self.starts.append(StartJob(id=job_id, workers=self._workers(fleet)))
        elif process.state == "succeeded":
            self.end("Completed")
        elif process.state == "failed":
            self.end("Failed", process.reason)

    def _workers(self, fleet: Fleet) -> tuple[Placement, ...]:
        return tuple(placements(fleet, self.memory.slots))

    def end(self, outcome: Outcome, failure: str = "") -> None:
        """The job is over: all of its processes go."""
        gone = [*self.memory.retired]
        if self.memory.fleet is not None:
            gone += [placement.id for placement in self._workers(self.memory.fleet)]
        gone.append(process_id(self.job.owner, self.memory.process or FIRST))
        self.memory = JobMemory(
            outcome=outcome, failure=limited_reason(failure), retired=tuple(dict.fromkeys(gone))
        )
        self.starts.clear()
        self.seconds = float("inf")

    def plan(self) -> JobPlan:
        """Save, then start, then stop and forget."""
        retired = tuple(name for name in self.memory.retired if name in self.observed)
        self.remember(retired=retired)
        steps: list[JobStep] = [SaveJob(memory=self.memory), *self.starts, *self.stops]
        for name in retired:
            if self.observed[name].state in _ENDED:
                steps.append(ForgetProcess(id=name))
                self.wait(0.0)  # then it is seen to be gone
            else:
                steps.append(StopProcess(id=name))
                self.wait(_STOP_POLL_SECONDS)
        if self.memory.outcome and not retired:
            steps.append(DropJournal())
        return JobPlan(steps=steps, seconds=max(0.0, self.seconds))

    def remember(self, **changes: Any) -> None:
        self.memory = msgspec.structs.replace(self.memory, **changes)

    def wait(self, seconds: float) -> None:
        self.seconds = min(self.seconds, seconds)
