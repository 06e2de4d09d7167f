"""What a job process does: the host forks it and calls ``main`` with the payload that control wrote.

``report`` tells the host the job's state (``running``, ``succeeded``, ``failed``), its reason and its progress. A job
that ends without a last word was killed or stopped; control decides whether it starts again.
"""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.base.clock import SystemClock
from modelyard.domain.transform import Location, TransformOptions
from modelyard.jobs.journal import Journal
from modelyard.jobs.replica import ReplicaClient, ReplicaLost, Stopped
from modelyard.jobs.transform import Objects, Progress, TransformJob
from modelyard.store.objects import ObjectStore

EXIT_STOPPED = 128 + signal.SIGTERM
REPLICAS_FILE = "replicas.json"


class Report(Protocol):
    """Given by the host."""

    def __call__(
        self, state: str, reason: str = "", progress: dict[str, Any] | None = None
    ) -> None: ...


def main(payload: dict[str, Any], address: str, report: Report) -> int:
    """Run the job to its end; the exit code. Called in the main thread of its own process."""
    if payload["job"] != "transform":
        report("failed", f"unknown kind of job {payload['job']!r}")
        return 1
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return run_transform(payload, report, objects=ObjectStore(Path(payload["objects"])), stop=stop)


def run_transform(
    payload: dict[str, Any], report: Report, *, objects: Objects, stop: threading.Event
) -> int:
    """A batch transform job; see ``jobs.transform``."""
    spec = payload["spec"]
    folder = Path(payload["journal"])
    journal = Journal(folder)
    clock = SystemClock()
    options = TransformOptions.of(spec)

    last: dict[str, Any] = {}
    reporting = threading.Lock()

    def progress(value: Progress) -> None:
        with reporting:
            last.update(asdict(value))
            report("running", "", dict(last))

    job = TransformJob(
        objects=objects,
        journal=journal,
        options=options,
        source=Location.parse(spec["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]),
        target=Location.parse(spec["TransformOutput"]["S3OutputPath"]),
        clock=clock,
        stop=stop,
        progress=progress,
        say=_say,
    )
    replicas = [
        ReplicaClient(
            addresses=_addresses(folder / REPLICAS_FILE, number, workers),
            containers=tuple(payload["containers"]),
            options=options,
            clock=clock,
            stop=stop,
        )
        for number, workers in enumerate(payload["replicas"])
    ]
    report("running")
    try:
        reason = job.run(replicas)
    except Stopped:
        _say("stopped; unfinished objects are not stored")
        return EXIT_STOPPED
    except ReplicaLost as error:
        reason = str(error)
    finally:
        journal.close()
    report("failed" if reason else "succeeded", reason, last)
    return 0


def _addresses(file: Path, replica: int, workers: Sequence[str]) -> Callable[[], Sequence[str]]:
    """Control writes the file anew when a worker is started again at another address."""

    def addresses() -> Sequence[str]:
        try:
            replicas: list[list[str]] = msgspec.json.decode(file.read_bytes())
        except FileNotFoundError:
            return workers
        return replicas[replica]

    return addresses


def _say(text: str) -> None:
    """A line of the job's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
