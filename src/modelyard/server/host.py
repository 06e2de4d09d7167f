"""The host process: the fork server with what it forks, warmed up."""

import importlib
import json
import logging
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modelyard.base.clock import SystemClock
from modelyard.base.settings import FIRST_ZONE, Home
from modelyard.domain.images import Program
from modelyard.frameworks.archive import ArtifactError, ArtifactLimits, unpack_once
from modelyard.jobs.columns import prepare as prepare_job
from modelyard.jobs.main import main as job_main
from modelyard.runtimes.cgroups import open_cgroups
from modelyard.runtimes.child import Prepare
from modelyard.runtimes.host import Host
from modelyard.runtimes.images import readable_folders
from modelyard.runtimes.isolation import open_isolation
from modelyard.runtimes.runtime import LogStream
from modelyard.runtimes.sandbox import View
from modelyard.server.preparing import Preparation
from modelyard.server.process import begin
from modelyard.store.log_values import GroupName, StreamName
from modelyard.store.logs import LogStore, LogsUnavailable
from modelyard.worker.main import FRAMEWORKS
from modelyard.worker.main import main as worker_main
from modelyard.worker.program import PLACE, program_of

logger = logging.getLogger(__name__)
WARM = ("numpy", "onnxruntime")
"""Imported before the first fork; others at their first use, by the worker that needs them."""


class Sink:
    """What processes print, into the log store; a store that cannot take it now, or be opened, costs lines, not the host."""

    def __init__(self, open_store: Callable[[], LogStore]) -> None:
        self._open = open_store
        self._store: LogStore | None = None

    def __call__(self, stream: LogStream, events: Sequence[tuple[int, str]]) -> None:
        group = GroupName(account=stream.account, region=stream.region, name=stream.group)
        try:
            if self._store is None:
                self._store = self._open()
            self._store.append(StreamName(group=group, name=stream.stream), list(events))
        except (LogsUnavailable, OSError) as error:
            logger.warning("%d lines of %s are lost: %s", len(events), stream.stream, error)

    def close(self) -> None:
        """At the end."""
        if self._store is not None:
            self._store.close()


def run_worker(payload: dict[str, Any], address: str, report: Callable[..., None]) -> int:
    """A worker's main: a model of a built-in runtime, or somebody's program."""
    if payload.get("program") or payload.get("engine"):
        from modelyard.worker.container import main as container_main

        return container_main(payload, address, report)
    return worker_main(payload, address, report)


def view_of_container(payload: dict[str, Any], report: Callable[..., None]) -> View | None:
    """Unpack the artifact, once for all workers, and show this one its own. None: a container engine isolates it."""
    folder = _unpack(payload, report)
    payload["folder"] = str(folder or "")
    if payload.get("engine"):
        return None
    return view_of_program(program_of(payload), folder)


def views_of_workers(prepare: Preparation) -> Prepare:
    """What each kind of worker sees."""

    def view(payload: dict[str, Any], report: Callable[..., None]) -> View | None:
        if payload.get("program") or payload.get("engine"):
            return view_of_container(payload, report)
        if payload.get("multi_model"):
            shelf = Path(payload["model"]["path"])
            return View(binds=((shelf, shelf),))
        return prepare(payload, report)

    return view


def _unpack(payload: dict[str, Any], report: Callable[..., None]) -> Path | None:
    artifact, limits = payload["model"], payload["limits"]
    if not artifact["path"]:
        return None
    try:
        return unpack_once(
            Path(artifact["path"]),
            name=artifact["name"],
            key=artifact["key"],
            artifacts=Path(payload["artifacts"]),
            limits=ArtifactLimits(
                total_bytes=limits["artifact_bytes"], files=limits["artifact_files"]
            ),
        )
    except ArtifactError as error:
        report("failed", str(error))
        raise SystemExit(1) from error


def view_of_program(program: Program, model: Path | None) -> View:
    """Its folder in two places, its own and that of AWS's examples; and what else it may read."""
    binds = [(path, path) for path in readable_folders(program)]
    if program.folder:
        binds.append((Path(program.folder), Path(PLACE)))
    return View(
        model=model,
        binds=tuple(binds),
        has_network=program.network == "shared",
        is_program=True,
    )


def save_protections(home: Home, *, isolation: str, limits: str) -> None:
    """For ``modelyard up`` and ``status``: why each is off, empty where it is on."""
    for name, reason in (("isolation", isolation), ("limits of CPU and memory", limits)):
        if reason:
            logger.warning("%s: off, %s", name, reason)
    temporary = home.protections.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"isolation": isolation, "limits": limits}))
        os.replace(temporary, home.protections)
    except OSError as error:  # A full disk: what an earlier host found is likely still true.
        logger.warning("the protections are not on disk: %s", error)


def _allow_many_files() -> None:
    """Three descriptors a process; a thousand workers are more than the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """``python -m modelyard.server.host --settings FILE``."""
    # Threads of a linear algebra library would not survive a fork, and replicas are the parallelism here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    start = begin("host")
    _allow_many_files()
    clock = SystemClock()
    zone = start.name.partition("-")[2] or FIRST_ZONE
    for name in WARM:
        try:
            importlib.import_module(name)
        except ImportError:
            logger.info("%s is not installed", name)
    cgroups = open_cgroups(start.home.root)
    isolation = open_isolation(
        start.home.root, start.home.zone(zone) / "sandbox", start.settings.isolation
    )
    save_protections(start.home, isolation=isolation.reason, limits=cgroups.reason)
    sink = Sink(lambda: LogStore(start.home.logs_database, clock=clock))
    Host(
        home=start.home,
        limits=start.settings.limits,
        mains={"worker": run_worker, "job": job_main},
        sink=sink,
        cgroups=cgroups,
        isolation=isolation,
        ahead={"job": prepare_job},
        views={"worker": views_of_workers(Preparation(start.home, isolation))},
        clock=clock,
        warm=FRAMEWORKS,
        zone=zone,
    ).run()
    cgroups.close()
    sink.close()


if __name__ == "__main__":
    main()
