"""What a job process does: the host forks it and calls ``main`` with the payload that control wrote.

``report`` tells the host the job's state (``running``, ``succeeded``, ``failed``), its reason and its progress. A job
that ends without a last word was killed or stopped; control decides whether it starts again.
"""

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.base.clock import SystemClock
from modelyard.domain.record_join import Stamp
from modelyard.domain.transform import MIB, Location, TransformOptions
from modelyard.jobs.columns import columns_for
from modelyard.jobs.data_log import DataLog, ErrorLog
from modelyard.jobs.inputs import JobFailed, Objects, inputs_of
from modelyard.jobs.journal import Journal
from modelyard.jobs.replica import ReplicaClient, ReplicaLost, Stopped
from modelyard.jobs.sharing import Parts
from modelyard.jobs.summaries import Summaries
from modelyard.jobs.transform import Progress, TransformJob
from modelyard.store.external_s3 import open_external
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
    if payload["job"] == "text-training":
        from modelyard.jobs.text_training import run_training  # and with it scikit-learn

        return run_training(payload, report, objects=_objects(payload))
    if payload["job"] == "bot-training":
        from modelyard.jobs.bot_training import run_bot_training  # and with it scikit-learn

        return run_bot_training(payload, report)
    if payload["job"] != "transform":
        report("failed", f"unknown kind of job {payload['job']!r}")
        return 1
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with closing(DataLog(Path(payload["journal"]), SystemClock())) as errors:
        return run_transform(
            payload,
            report,
            objects=_objects(payload),
            stop=stop,
            errors=errors,
        )


def _objects(payload: dict[str, Any]) -> Objects:
    """The platform's own store, or the S3 in its place."""
    file = payload.get("external_s3")  # Not there in a job that an older control has started.
    external = open_external(Path(file), Path(payload["fetched"])) if file else None
    return external or ObjectStore(Path(payload["objects"]))


def run_transform(
    payload: dict[str, Any],
    report: Report,
    *,
    objects: Objects,
    stop: threading.Event,
    errors: ErrorLog,
) -> int:
    """A batch transform job; see ``jobs.transform``."""
    last: dict[str, Any] = {}
    reporting = threading.Lock()

    def progress(value: Progress) -> None:
        with reporting:
            last.update(asdict(value))
            report("running", "", dict(last))

    report("running")
    with closing(Journal(Path(payload["journal"]))) as journal:
        try:
            reason = _run(payload, objects, stop, errors, journal, progress)
        except Stopped:
            _say("stopped; unfinished objects are not stored")
            return EXIT_STOPPED
        except (ReplicaLost, JobFailed) as error:
            reason = str(error)
        if reason:
            _say(f"FAILED: {reason}")
        # Nobody has to wait until the journal, which is of no use any more, is closed.
        report("failed" if reason else "succeeded", reason, last)
    return 0


def _run(
    payload: dict[str, Any],
    objects: Objects,
    stop: threading.Event,
    errors: ErrorLog,
    journal: Journal,
    progress: Callable[[Progress], None],
) -> str:
    """The reason of the job's failure, if it failed. Raises ``Stopped``, ``ReplicaLost``, ``JobFailed``."""
    spec = payload["spec"]
    clock = SystemClock()
    options = TransformOptions.of(spec, payload.get("execution"))
    errors.tell(
        f"MaxConcurrentTransforms={options.concurrency}, "
        f"MaxPayloadInMB={options.payload_bytes // MIB}, BatchStrategy={options.strategy}"
    )
    began = float(journal.fact("began", repr(clock.now())))
    name = spec.get("TransformJobName", "")
    processing = options.processing
    stamp = None
    if processing is not None and processing.generates_ids:
        time = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seed = f"{payload.get('account')}/{payload.get('region')}/{name}/{began!r}"
        stamp = Stamp(seed, time)
    job = TransformJob(
        objects=objects,
        journal=journal,
        options=options,
        inputs=inputs_of(spec, objects),
        target=Location.parse(spec["TransformOutput"]["S3OutputPath"]),
        clock=clock,
        stop=stop,
        progress=progress,
        say=_say,
        errors=errors,
        parts=Parts(Path(payload["journal"]) / "parts", journal),
        stamp=stamp,
    )
    reason = job.run(_replicas(payload, options, stop))
    summaries = Summaries(
        objects=objects,
        journal=journal,
        job=name,
        began=began,
        source=job.inputs.prefix,
        target=job.target,
        output_key=job.output_key,
    )
    destination = (spec.get("DataCaptureConfig") or {}).get("DestinationS3Uri")
    try:
        if destination:
            summaries.capture(Location.parse(destination))
        if options.has_manifest:
            summaries.completeness()
    except OSError as error:
        return reason or f"The manifests of the job could not be written: {error}"
    return reason


def _replicas(
    payload: dict[str, Any], options: TransformOptions, stop: threading.Event
) -> list[ReplicaClient]:
    """One for each instance. ``takes_arrays`` is what the workers of each container said when they were ready."""
    file = Path(payload["journal"]) / REPLICAS_FILE
    array_types: Sequence[str] = payload.get("takes_arrays") or ()
    return [
        ReplicaClient(
            addresses=_addresses(file, number, workers),
            containers=tuple(payload["containers"]),
            options=options,
            clock=SystemClock(),
            stop=stop,
            columns=columns_for(options, array_types[0]) if len(array_types) == 1 else None,
            takes_arrays=tuple(map(bool, array_types)),
        )
        for number, workers in enumerate(payload["replicas"])
    ]


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
