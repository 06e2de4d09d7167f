"""The host process: the fork server with what it forks, warmed up."""

import importlib
import logging
import os
import resource
from collections.abc import Callable, Sequence
from typing import Any

from modelyard.base.clock import SystemClock
from modelyard.runtimes.cgroups import open_cgroups
from modelyard.runtimes.host import Host
from modelyard.runtimes.runtime import LogStream
from modelyard.server.process import begin
from modelyard.store.logs import GroupName, LogStore, LogsUnavailable, StreamName
from modelyard.worker.main import FRAMEWORKS
from modelyard.worker.main import main as worker_main

logger = logging.getLogger(__name__)
WARM = ("numpy", "onnxruntime")
"""Imported before the first fork; others at their first use, by the worker that needs them."""


def run_job(payload: dict[str, Any], address: str, report: Callable[..., None]) -> int:
    """A job's main; imported in the child, so that the host stays small."""
    from modelyard.jobs.main import main as job_main

    return job_main(payload, address, report)


class _Sink:
    """What processes print, into the log store; a store that cannot take it now costs lines, not the host."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def __call__(self, stream: LogStream, events: Sequence[tuple[int, str]]) -> None:
        group = GroupName(account=stream.account, region=stream.region, name=stream.group)
        try:
            self._store.append(StreamName(group=group, name=stream.stream), list(events))
        except LogsUnavailable as error:
            logger.warning("%d lines of %s are lost: %s", len(events), stream.stream, error)


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
    for name in WARM:
        try:
            importlib.import_module(name)
        except ImportError:
            logger.info("%s is not installed", name)
    cgroups = open_cgroups(start.home.root)
    if cgroups.reason:
        logger.warning("limits of CPU and memory are off: %s", cgroups.reason)
    store = LogStore(start.home.logs_database, clock=clock)
    Host(
        home=start.home,
        limits=start.settings.limits,
        mains={"worker": worker_main, "job": run_job},
        sink=_Sink(store),
        cgroups=cgroups,
        clock=clock,
        warm=FRAMEWORKS,
    ).run()
    cgroups.close()
    store.close()


if __name__ == "__main__":
    main()
