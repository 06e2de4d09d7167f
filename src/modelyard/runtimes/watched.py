"""What a host knows of one process: its record, its last report, the descriptors that it is watched and started by."""

import contextlib
import os
import signal
from dataclasses import dataclass

from modelyard.runtimes.output import Tail
from modelyard.runtimes.records import Record, Report
from modelyard.runtimes.runtime import Process, ProcessState


@dataclass(slots=True)
class Watched:
    """One process that is known. ``pidfd`` is -1 when it has ended; ``gate`` unless it waits for a byte from there."""

    record: Record
    tail: Tail
    report: Report | None = None
    pidfd: int = -1
    gate: int = -1
    kill_at: float | None = None
    ready_by: float | None = None
    killed_because: str = ""

    @property
    def is_starting(self) -> bool:
        return self.report is None or self.report.state is ProcessState.STARTING

    @property
    def waits(self) -> bool:
        """Whether it was started ahead, and its payload is not there yet."""
        return self.gate >= 0

    def begin(self) -> None:
        """The payload of one that waits is there."""
        with contextlib.suppress(BrokenPipeError):  # It has died meanwhile.
            os.write(self.gate, b"\n")
        self.close_gate()

    def close_gate(self) -> None:
        """Idempotent."""
        if self.gate >= 0:
            os.close(self.gate)
            self.gate = -1

    def send(self, number: signal.Signals) -> None:
        """A signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def describe(self) -> Process:
        """As a runtime lists it."""
        record, report = self.record, self.report
        state = record.ended or (report.state if report is not None else ProcessState.STARTING)
        return Process(
            id=record.spec.id,
            kind=record.spec.kind,
            pid=report.pid if report is not None else 0,
            state=ProcessState.WAITING if self.waits else state,
            address=record.spec.address,
            reason=record.reason or (report.reason if report is not None else ""),
            exit_code=record.exit_code,
            progress=report.progress if report is not None else {},
        )


def how_it_ended(exit_code: int | None, invocation_seconds: float) -> str:
    """For people; None: nobody saw it."""
    if exit_code is None:
        return "it ended"
    if exit_code == -signal.SIGALRM:
        return f"it did not return from predict within {invocation_seconds:g} s"
    if exit_code < 0:
        return f"it was killed by {_name(-exit_code)}"
    return f"it exited with status {exit_code}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # A real-time signal.
        return f"signal {number}"
