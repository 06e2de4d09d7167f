"""The objects process: S3, with an index and files of its own, so that hashing 5 GB never delays another API."""

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from modelyard.base.call import Call
from modelyard.base.clock import Clock, SystemClock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import FastRandom
from modelyard.base.settings import Home, Settings
from modelyard.server.authentication import allow, make_verifier
from modelyard.server.objects_app import ObjectsApp
from modelyard.server.process import begin
from modelyard.services.s3.operations import build_operations
from modelyard.store.objects import ObjectStore
from modelyard.wire import checksums

logger = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 600
SHUTDOWN_SECONDS = 5
SWEEP_SECONDS = 3600.0
"""Jobs write objects, too, and one that is killed leaves as much as it had written."""
_READS = ("s3:Get", "s3:List")


def build_app(settings: Settings, store: ObjectStore, clock: Clock) -> ObjectsApp:
    """The application over a store."""
    return ObjectsApp(
        build_operations(store, create_checksum=checksums.create),
        settings=settings,
        verifier=make_verifier(Home(settings.home), clock),
        authorise=allow,
        audit=_log_outcome,
        clock=clock,
        random=FastRandom(),
    )


def _log_outcome(call: Call, outcome: Mapping[str, Any] | ServiceError | None) -> None:
    """The audit hook of today: a line for each call that changes something or is refused."""
    is_refused = isinstance(outcome, ServiceError) and outcome.status != 304
    if is_refused or not call.action.startswith(_READS):
        result = outcome.code if isinstance(outcome, ServiceError) else "ok"
        logger.info(
            "%s %s %s by %s: %s",
            call.request_id, call.action, call.resource, call.principal.arn, result,
        )  # fmt: skip


class _Server(uvicorn.Server):
    """Waits for its end, where uvicorn's own looks for it ten times a second; the application dates its answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        await self._ending.wait()


async def keep_swept(store: ObjectStore, clock: Clock) -> None:
    """Until cancelled."""
    while True:
        await clock.sleep(SWEEP_SECONDS)
        try:
            swept = await asyncio.to_thread(store.sweep_unfinished)
        except OSError:
            logger.exception("what unfinished writes have left cannot be removed")
            continue
        if swept:
            logger.info("removed %d files that unfinished writes had left", swept)


async def _serve(app: ObjectsApp, path: Path, store: ObjectStore, clock: Clock) -> None:
    config = uvicorn.Config(
        app,
        uds=str(path),
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    sweeping = asyncio.create_task(keep_swept(store, clock), name="objects.sweep")
    try:
        await _Server(config).serve()
    finally:
        sweeping.cancel()


def main() -> None:
    """``python -m modelyard.server.objects --settings FILE``."""

    start = begin("objects")
    clock = SystemClock()
    store = ObjectStore(start.home.objects, clock=clock)
    swept = store.sweep()
    if swept:
        logger.info("removed %d files that unfinished writes had left", swept)
    # uvicorn raises the signal that ended it once more; the store has still to be closed then.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    path = start.home.socket("objects")
    path.unlink(missing_ok=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(build_app(start.settings, store, clock), path, store, clock))
    finally:
        store.close()


if __name__ == "__main__":
    main()
