"""The control process: what it is built of, in the order in which it is built, and its start and stop.

What it keeps is ``server/stores.py``; what it reconciles with, ``reconciling.py``; the services over both, ``facades.py`` and
``ai.py``; what it measures, ``telemetry.py``; what the platform answers about itself, ``own_calls.py``.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Coroutine, Mapping
from typing import Any

import uvloop
from botocore.model import ServiceModel

from modelyard.base.call import Call, Principal
from modelyard.base.clock import SystemClock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SystemRandom
from modelyard.control.async_invocations import AsyncInvoker, Outside
from modelyard.control.keys import KeyPublisher
from modelyard.control.utilisation import Utilisation
from modelyard.domain.hibernation import SOCKET as WAKES
from modelyard.domain.shelf import SOCKET as SHELVES
from modelyard.domain.tracing import SOCKET as TRACES
from modelyard.server import scraping
from modelyard.server.ai import AiServices
from modelyard.server.app import Pipeline, Request
from modelyard.server.async_plane import AsyncDataPlane, SnsTopics, UriObjects
from modelyard.server.authentication import Authentication, allow, key_table, make_verifier
from modelyard.server.bootstrap import bootstrap
from modelyard.server.control_app import ControlApp
from modelyard.server.facades import build_facades
from modelyard.server.own_calls import OwnCalls
from modelyard.server.process import Start, begin
from modelyard.server.reconciling import Reconciling
from modelyard.server.standby import take_lease
from modelyard.server.stores import Stores
from modelyard.server.telemetry import Telemetry
from modelyard.services import registry
from modelyard.store.published import Publisher
from modelyard.wire import sigv4
from modelyard.wire.models import load_service, protocol_of

logger = logging.getLogger(__name__)
_READS = ("Describe", "List", "Get")
_ANSWERS = ("Detect", "BatchDetect", "ContainsPii", "Classify", "Translate", "Recognize")
"""Of a model, to one text: as with invocations it is the book of usage that has them, not the log."""
UNSIGNED_BODY = "v4-unsigned-body"
"""What service models say of operations whose streams need not be signed."""


class Control:
    """Everything of one control process."""

    def __init__(self, start: Start) -> None:
        settings, home = start.settings, start.home
        self._home = home
        self._clock = clock = SystemClock()
        self._random = random = SystemRandom()
        self._stores = stores = Stores(settings, clock=clock, deposed=_resign)
        self._keys = KeyPublisher(store=stores.resources, publisher=Publisher(home.run, "keys"))
        self._authentication = Authentication(settings, make_verifier(home, clock))
        self._reconciling = Reconciling(
            settings, stores=stores, keys=self._keys, clock=clock, random=random
        )
        self._ai = AiServices(
            store=stores.resources,
            settings=settings,
            clock=clock,
            random=random,
            objects=stores.data_objects(),
            shelf=stores.objects,
        )
        self._telemetry = Telemetry(
            settings, stores=stores, clock=clock, heard=self._reconciling.activity.heard
        )
        self._async_plane = AsyncDataPlane(
            home=home, limits=settings.limits, clock=clock, random=random
        )
        self._invoker = AsyncInvoker(
            store=stores.resources,
            queue=stores.async_queue,
            plane=self._async_plane,
            outside=Outside(
                objects=UriObjects(stores.data_objects(), limit=settings.limits.payload_bytes),
                topics=SnsTopics(home.topics, dict(one.split("=", 1) for one in settings.webhooks)),
            ),
            metrics=stores.metrics,
            clock=clock,
        )
        facades = (
            *build_facades(
                settings,
                stores=stores,
                clock=clock,
                random=random,
                publish_keys=self._keys.publish_keys,
                wake_invoker=self._invoker.wake,
            ),
            *self._ai.facades,
        )
        pipeline = Pipeline(
            registry=registry.operations(registry.SERVICES, {type(one): one for one in facades}),
            authenticate=self._authenticate,
            authorise=allow,
            audit=_log_outcome,
            clock=clock,
            random=random,
        )
        pipeline.observe = self._telemetry.observer(start.name)
        self._own = own = OwnCalls(
            settings,
            stores=stores,
            reconciling=self._reconciling,
            authentication=self._authentication,
            queue_trouble=lambda: self._invoker.trouble,
        )
        metrics_page = scraping.Scraping(
            page=self._telemetry.page, keys=key_table(home), require_root=own.require_root
        )
        self._running: list[asyncio.Task[None]] = []
        self.app = ControlApp(
            pipeline,
            own={
                **own.handlers,
                "POST /_modelyard/reset": self._reset,
                f"GET {scraping.PATH}": metrics_page,
            },
            limits=settings.limits,
            clock=clock,
        )

    async def run(self) -> None:
        """Until SIGTERM."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        await self._begin()
        path = self._home.socket("control")
        path.unlink(missing_ok=True)
        server = await loop.create_unix_server(self.app.connection, str(path))
        # What exists now exists for good: collections look at what calls leave behind only.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self._run("control.connections", self.app.run())
        logger.info("Started server process [%d]", os.getpid())
        await stopping.wait()
        server.close()
        await self.app.close()
        await self._end()

    async def _begin(self) -> None:
        """Before the first request: the first key and role exist and are published; reconciling begins."""
        await self._bootstrap()
        reconciling, telemetry, socket = self._reconciling, self._telemetry, self._home.socket
        self._run("control.loop", reconciling.loop.run())
        self._run("control.metrics", telemetry.measuring.run(socket("metrics")))
        self._run("control.shelves", reconciling.shelves.run(socket(SHELVES)))
        self._run("control.wakes", reconciling.wakes.run(socket(WAKES)))
        if telemetry.traces is not None:
            self._run("control.traces", telemetry.traces.run(socket(TRACES)))
        self._run("control.ai", self._ai.run())
        self._run("control.async-plane", self._async_plane.run())
        self._run("control.invoker", self._invoker.run())
        self._run("control.trials", reconciling.trial_plane.run())
        utilisation = Utilisation(
            store=self._stores.resources,
            processes=reconciling.processes,
            metrics=self._stores.metrics,
            clock=self._clock,
        )
        self._run("control.utilisation", utilisation.run())

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """As long as the process lives."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_die_with)
        self._running.append(task)

    async def _bootstrap(self) -> None:
        await bootstrap(self._stores.resources, self._home, clock=self._clock, random=self._random)
        await self._keys.publish_keys()

    async def _end(self) -> None:
        for tasks in (
            self._running[:1],
            self._running[1:],
        ):  # The loop ends first: it uses the others.
            for task in tasks:
                task.remove_done_callback(_die_with)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._reconciling.close()
        self._stores.close()
        self._ai.close()

    def _authenticate(
        self, service: ServiceModel, operation: str, request: Request
    ) -> tuple[Principal, str]:
        joined = request.mapping()
        family = sigv4.family_of(protocol_of(service, joined))
        may_be_unsigned = service.operation_model(operation).auth_type == UNSIGNED_BODY
        if request.head is not None and family == "json" and not may_be_unsigned:
            return self._authentication.of_head(
                request.head, request.body, service=service.signing_name
            )
        return self._authentication.check(
            may_be_unsigned=may_be_unsigned,
            family=family,
            service=service.signing_name,
            method=request.method,
            target=request.target,
            headers=list(request.headers),
            joined=joined,
            body=request.body,
        )

    async def _reset(self, request: Request) -> Mapping[str, Any]:
        """Empty everything."""
        self._own.require_root(request)
        await self._stores.resources.clear()
        await self._reconciling.routes.retain(())
        await asyncio.gather(self._stores.clear(), asyncio.to_thread(self._ai.clear))
        await self._bootstrap()
        return {"state": "empty"}


def _die_with(task: asyncio.Task[None]) -> None:
    """Control without its loop, say, would accept work and never do it: better to be restarted."""
    if not task.cancelled() and task.exception() is not None:
        logger.critical("%s ended", task.get_name(), exc_info=task.exception())
        raise SystemExit(1)


def _load_services() -> None:
    """AWS's models of the services, which the first call of each would wait for."""
    for name in registry.SERVICES:
        load_service(name)


def _resign() -> None:
    """Another control has taken over, by a lease that this one should have had: leave at once."""
    logger.critical("another control process has taken over")
    os.kill(os.getpid(), signal.SIGTERM)


def _log_outcome(call: Call, outcome: Mapping[str, Any] | ServiceError | None) -> None:
    """The audit hook of today: a line for each call that changes something or is refused."""
    refused = isinstance(outcome, ServiceError)
    if refused or not call.action.partition(":")[2].startswith(_READS + _ANSWERS):
        result = outcome.code if isinstance(outcome, ServiceError) else "ok"
        logger.info("%s %s by %s: %s", call.request_id, call.action, call.principal.arn, result)


def main() -> None:
    """``python -m modelyard.server.control --settings FILE``."""
    start = begin("control")
    lease = take_lease(start, prepare=_load_services)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Control(start).run())
    lease.close()


if __name__ == "__main__":
    main()
