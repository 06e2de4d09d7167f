"""The control process: what it is built of, in the order in which it is built, and its start and stop."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from botocore.model import ServiceModel

from modelyard.base.call import Call, Principal
from modelyard.base.clock import SystemClock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import FastRandom, SystemRandom
from modelyard.base.settings import zone_names
from modelyard.control.alarms import AlarmReconciler, Measured, Ringing
from modelyard.control.async_invocations import AsyncInvoker, Outside
from modelyard.control.bot_builds import KIND as BOT_BUILD
from modelyard.control.bot_builds import BotBuildReconciler
from modelyard.control.endpoints import EndpointReconciler
from modelyard.control.exposition import Exposition
from modelyard.control.fleets import Fleets, ObjectReader
from modelyard.control.garbage import GarbageCollector
from modelyard.control.hibernation import Activity, Wakes
from modelyard.control.keys import KeyPublisher
from modelyard.control.ledgers import BookReader
from modelyard.control.loop import GARBAGE, Loop
from modelyard.control.measuring import Measuring
from modelyard.control.pre_traffic import Trials
from modelyard.control.processes import Processes
from modelyard.control.rollout_watch import CheckMeter, RolloutWatch
from modelyard.control.routes import RoutePublisher, last_published
from modelyard.control.scaling import ScalingReconciler
from modelyard.control.scaling_alarms import PolicyAlarms
from modelyard.control.shelves import Shelves
from modelyard.control.text_training import KINDS as TRAINED
from modelyard.control.text_training import TextTrainingReconciler
from modelyard.control.tracing import TraceExport
from modelyard.control.transform_jobs import TransformJobReconciler
from modelyard.control.utilisation import Utilisation
from modelyard.domain.hibernation import SOCKET as WAKES
from modelyard.domain.shelf import SOCKET as SHELVES
from modelyard.domain.tracing import SOCKET as TRACES
from modelyard.domain.tracing import Sampler
from modelyard.gateway.counters import decode_report
from modelyard.runtimes.addresses import worker_address
from modelyard.runtimes.engines import Engines
from modelyard.runtimes.images import LocalImages
from modelyard.runtimes.local import LocalRuntime
from modelyard.runtimes.zones import ZonedRuntime
from modelyard.server import scraping, steering
from modelyard.server.ai import AiServices
from modelyard.server.app import Exchange, Pipeline, Request
from modelyard.server.async_plane import AsyncDataPlane, SnsTopics, UriObjects
from modelyard.server.authentication import Authentication, key_table, make_verifier
from modelyard.server.control_app import ControlApp
from modelyard.server.data_plane import PackedObjects
from modelyard.server.process import Start, begin
from modelyard.server.scaling import EndpointCapacity, build_services, watch
from modelyard.server.standby import take_lease
from modelyard.server.status import platform_status
from modelyard.server.trace_headers import load_headers
from modelyard.server.traces import ApiSpans, Collector
from modelyard.server.trial_plane import ReplicaTrials
from modelyard.services import registry
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.services.cloudwatch.metric_data import MetricData
from modelyard.services.cloudwatch.metrics import Metrics
from modelyard.services.iam.access_keys import AccessKeys
from modelyard.services.iam.attachments import Attachments
from modelyard.services.iam.bootstrap import bootstrap as bootstrap_iam
from modelyard.services.iam.inline import InlinePolicies
from modelyard.services.iam.policies import Policies
from modelyard.services.iam.roles import Roles as IamRoles
from modelyard.services.iam.simulation import Account, Simulation
from modelyard.services.iam.users import Users
from modelyard.services.logs import Logs
from modelyard.services.sagemaker.endpoint_configs import EndpointConfigs
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.services.sagemaker.models import Models
from modelyard.services.sagemaker.resources import Roles
from modelyard.services.sagemaker.rollout_trials import DOCUMENT_BYTES_MAX
from modelyard.services.sagemaker.tags import Tags
from modelyard.services.sagemaker.transform_jobs import TransformJobs
from modelyard.services.sagemaker_runtime import AsyncInvocations
from modelyard.services.sts import Sts
from modelyard.store.alarms import ALARM
from modelyard.store.async_queue import AsyncQueue
from modelyard.store.external_s3 import open_external
from modelyard.store.logs import LogStore
from modelyard.store.metrics import MetricStore
from modelyard.store.objects import ObjectStore
from modelyard.store.published import Publisher
from modelyard.store.resources import AlreadyExists, Create, Key, Update
from modelyard.store.scaling import TARGET
from modelyard.store.sqlite import SqliteResourceStore
from modelyard.wire import sealed, sigv4
from modelyard.wire.models import load_service, protocol_of

if TYPE_CHECKING:
    from modelyard.store.external_objects import ExternalObjects

logger = logging.getLogger(__name__)
_READS = ("Describe", "List", "Get")
_ANSWERS = ("Detect", "BatchDetect", "ContainsPii", "Classify", "Translate", "Recognize")
"""Of a model, to one text: as with invocations it is the book of usage that has them, not the log."""
UNSIGNED_BODY = "v4-unsigned-body"
"""What service models say of operations whose streams need not be signed."""
OWN_SERVICE = "modelyard"
"""Signing name of the platform's own calls."""


class Control:
    """Everything of one control process."""

    def __init__(self, start: Start) -> None:
        settings, home = start.settings, start.home
        self._settings = settings
        self._home = home
        self._clock = clock = SystemClock()
        self._random = random = SystemRandom()
        self._store = store = SqliteResourceStore(home.state, clock=clock, deposed=_resign)
        self._logs = LogStore(home.logs_database, clock=clock)
        self._metrics = MetricStore(home.metrics_database)
        self._objects = ObjectStore(home.objects, clock=clock)
        self._keys = KeyPublisher(store=store, publisher=Publisher(home.run, "keys"))
        self._authentication = Authentication(settings, make_verifier(home, clock))
        self._key_table = key_table(home)
        self._runtime = _runtime(start, clock)
        self._processes = Processes(self._runtime)
        self._ai = AiServices(
            store=store,
            settings=settings,
            clock=clock,
            random=random,
            objects=self._data_objects(),
            shelf=self._objects,
        )
        self._exposition = Exposition(store)
        self._measuring = Measuring(
            metrics=self._metrics, clock=clock, decode=decode_report, heard=self._heard
        )
        self._async_queue = AsyncQueue(home.async_database, limit=settings.limits.async_queue)
        self._async_plane = AsyncDataPlane(
            home=home, limits=settings.limits, clock=clock, random=random
        )
        self._invoker = AsyncInvoker(
            store=store,
            queue=self._async_queue,
            plane=self._async_plane,
            outside=Outside(
                objects=UriObjects(self._data_objects(), limit=settings.limits.payload_bytes),
                topics=SnsTopics(home.topics, dict(one.split("=", 1) for one in settings.webhooks)),
            ),
            metrics=self._metrics,
            clock=clock,
        )
        self._traces = self._build_traces()
        self._loop = self._build_loop()
        self._reconciling: asyncio.Task[None] | None = None
        self._listening: list[asyncio.Task[None]] = []
        pipeline = Pipeline(
            registry=registry.operations(registry.SERVICES, self._build_services()),
            authenticate=self._authenticate,
            authorise=_allow,
            audit=_log_outcome,
            clock=clock,
            random=random,
        )
        pipeline.observe = self._observer(start.name)
        self.app = ControlApp(
            pipeline,
            own={
                "GET /_modelyard/health": _health,
                "GET /_modelyard/status": self._status,
                "POST /_modelyard/reset": self._reset,
                "GET /_modelyard/rollouts": self._rollout,
                "GET /_modelyard/rollouts/report": self._report,
                "POST /_modelyard/rollouts": self._steer,
                f"GET {scraping.PATH}": scraping.Scraping(
                    page=self._metrics_page, keys=self._key_table, require_root=self._require_root
                ),
            },
            body_limit=settings.limits.api_body_bytes,
            startup=self._begin,
            shutdown=self._end,
        )

    def _build_traces(self) -> TraceExport | None:
        tracing = self._settings.tracing
        if tracing is None:
            return None
        collector = Collector(tracing, load_headers(self._home.trace_headers))
        return TraceExport(post=collector.post, clock=self._clock)

    def _observer(self, process: str) -> Callable[[Exchange, int, float], None] | None:
        """What makes spans of API calls; None without traces."""
        tracing, traces = self._settings.tracing, self._traces
        if tracing is None or traces is None:
            return None
        return ApiSpans(
            process=process,
            sampler=Sampler(tracing.sampler, tracing.ratio),
            random=FastRandom(),
            now=self._clock.now,
            keep=traces.add,
        ).observe

    def _build_loop(self) -> Loop:
        settings, home, clock = self._settings, self._home, self._clock
        publisher = Publisher(home.run, "routes")
        self._routes = routes = RoutePublisher(publisher, initial=last_published(home.run))
        fleets = Fleets(
            objects=self._readable_objects(),
            home=home,
            limits=settings.limits,
            address_of=lambda process_id: worker_address(home, process_id),
            trusted_imports=settings.trusted_imports,
            programs=LocalImages(home.images).all,
            find_engine=Engines().find,
        )
        self._shelves = Shelves(store=self._store, fleets=fleets)
        self._trial_plane = ReplicaTrials(limits=settings.limits, clock=clock)
        self._trials = Trials(plane=self._trial_plane, clock=clock, wake=self._wake_rollout)
        activity = self._activity = Activity(clock)
        endpoints = EndpointReconciler(
            store=self._store,
            processes=self._processes,
            routes=routes,
            fleets=fleets,
            clock=clock,
            limits=settings.limits,
            watch=RolloutWatch(
                clock,
                alarms=Ringing(self._store, self._metrics, clock),
                meter=CheckMeter(self._metrics, clock),
                tests=self._trials,
            ),
            activity=activity,
            books=BookReader(home.ledgers),
            zones=self._runtime.zones_up if isinstance(self._runtime, ZonedRuntime) else tuple,
        )
        jobs = TransformJobReconciler(
            store=self._store,
            processes=self._processes,
            fleets=fleets,
            clock=clock,
            home=home,
            limits=settings.limits,
            logs=self._logs,
        )
        garbage = GarbageCollector(
            store=self._store,
            processes=self._processes,
            routes=routes,
            clock=clock,
            home=home,
            limits=settings.limits,
        )
        scaling = ScalingReconciler(
            store=self._store,
            alarms=PolicyAlarms(
                store=self._store, metrics=Measured(self._metrics, clock), clock=clock
            ),
            capacity=EndpointCapacity(
                endpoints=Endpoints(store=self._store, clock=clock),
                clock=clock,
                random=self._random,
            ),
            clock=clock,
        )
        training = TextTrainingReconciler(
            store=self._store, processes=self._processes, clock=clock, home=home
        )
        loop = Loop(
            store=self._store,
            processes=self._processes,
            reconcilers={
                "endpoint": endpoints,
                "transform-job": jobs,
                **dict.fromkeys(TRAINED, training),
                BOT_BUILD: BotBuildReconciler(
                    store=self._store, processes=self._processes, home=home
                ),
                TARGET: scaling,
                ALARM: AlarmReconciler(store=self._store, metrics=self._metrics, clock=clock),
                GARBAGE.kind: garbage,
            },
            clock=clock,
            random=self._random,
        )
        watch(self._store, scaling, loop.wake)
        self._wakes = Wakes(
            activity=activity,
            exists=lambda key: self._store.get(key) is not None,
            wake=loop.hurry,
        )
        if isinstance(self._runtime, ZonedRuntime):
            self._runtime.subscribe(lambda: _wake_endpoints(self._store, loop))
        return loop

    def _wake_rollout(self, key: Key) -> None:
        self._loop.wake(key)

    def _readable_objects(self) -> ObjectReader:
        """Where models lie."""
        return PackedObjects(self._data_objects(), self._home.packs)

    def _data_objects(self) -> "ObjectStore | ExternalObjects":
        """Where inputs and outputs lie."""
        return open_external(self._home.external_s3, self._home.fetched) or self._objects

    def _build_services(self) -> Mapping[type, object]:
        store, clock, random = self._store, self._clock, self._random
        roles = Roles(store=store, strict=self._settings.strict_roles)
        seal = sealed.Seal(sealed.create_or_load_key(self._home.sealing_key))

        def issue(key_id: str, secret: str, principal: Principal, expires: float) -> str:
            return seal.close(
                sealed.Session(
                    access_key_id=key_id, secret=secret, principal=principal, expires_at=expires
                )
            )

        built: list[object] = [
            Models(store=store, roles=roles),
            EndpointConfigs(store=store, roles=roles),
            alarms := Alarms(store=store, metrics=self._metrics, clock=clock),
            Endpoints(
                store=store,
                clock=clock,
                alarm_exists=alarms.exists,
                read=UriObjects(self._data_objects(), limit=DOCUMENT_BYTES_MAX).read,
            ),
            Metrics(metrics=self._metrics, clock=clock),
            MetricData(metrics=self._metrics, clock=clock),
            Tags(store=store),
            TransformJobs(store=store),
            Logs(store=self._logs, clock=clock),
            Sts(
                store=store,
                clock=clock,
                random=random,
                issue=issue,
                strict_roles=self._settings.strict_roles,
            ),
            AsyncInvocations(
                store=store,
                queue=self._async_queue,
                clock=clock,
                random=random,
                wake=self._invoker.wake,
            ),
            *self._build_iam(),
            *build_services(store=store, clock=clock, random=random),
            *self._ai.facades,
        ]
        return {type(one): one for one in built}

    def _build_iam(self) -> tuple[object, ...]:
        store, clock, random = self._store, self._clock, self._random
        publish = self._keys.publish_keys
        return (
            Users(store=store, clock=clock, random=random, publish_keys=publish),
            AccessKeys(store=store, random=random, publish_keys=publish),
            IamRoles(store=store, clock=clock, random=random),
            Policies(store=store, clock=clock, random=random),
            Attachments(store=store),
            InlinePolicies(store=store),
            Simulation(store=store),
            Account(store=store),
        )

    async def _begin(self) -> None:
        """Before the first request: the first key and role exist and are published; reconciling begins."""
        await self._bootstrap()
        self._reconciling = asyncio.create_task(self._loop.run(), name="control.loop")
        self._reconciling.add_done_callback(_die_with)
        sockets: dict[str, Measuring | Shelves | Wakes | TraceExport] = {
            "metrics": self._measuring,
            SHELVES: self._shelves,
            WAKES: self._wakes,
        }
        if self._traces is not None:
            sockets[TRACES] = self._traces
        self._listening = [
            asyncio.create_task(one.run(self._home.socket(name)), name=f"control.{name}")
            for name, one in sockets.items()
        ]
        self._listening.append(asyncio.create_task(self._ai.run(), name="control.ai"))
        for running in (self._async_plane.run(), self._invoker.run(), self._trial_plane.run()):
            self._listening.append(asyncio.create_task(running, name="control.data"))
        utilisation = Utilisation(
            store=self._store, processes=self._processes, metrics=self._metrics, clock=self._clock
        )
        self._listening.append(asyncio.create_task(utilisation.run(), name="control.utilisation"))
        for task in self._listening:
            task.add_done_callback(_die_with)

    async def _bootstrap(self) -> None:
        stored = json.loads(self._home.credentials.read_text())
        await _ensure_root_key(self._store, stored)
        await bootstrap_iam(
            self._store, account=stored["account"], clock=self._clock, random=self._random
        )
        await self._keys.publish_keys()

    async def _end(self) -> None:
        if self._reconciling is not None:
            self._reconciling.remove_done_callback(_die_with)
            self._reconciling.cancel()
            await asyncio.gather(self._reconciling, return_exceptions=True)
        for task in self._listening:
            task.remove_done_callback(_die_with)
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self._trials.close()
        await self._runtime.close()
        self._store.close()
        self._logs.close()
        self._metrics.close()
        self._ai.close()
        self._async_queue.close()
        self._objects.close()

    def _authenticate(
        self, service: ServiceModel, operation: str, request: Request
    ) -> tuple[Principal, str]:
        return self._authentication.check(
            may_be_unsigned=service.operation_model(operation).auth_type == UNSIGNED_BODY,
            family=sigv4.family_of(protocol_of(service, request.mapping())),
            service=service.signing_name,
            method=request.method,
            target=request.target,
            headers=list(request.headers),
            joined=request.mapping(),
            body=request.body,
        )

    def _heard(self, cells: Any) -> None:
        self._exposition.add(cells)
        self._activity.heard(cells)

    def _metrics_page(self) -> str:
        traces = self._traces.families() if self._traces is not None else ()
        return self._exposition.text(dropped_reports=self._measuring.dropped, more=traces)

    async def _status(self, request: Request) -> Mapping[str, Any]:
        self._require_root(request)
        runtime = self._runtime
        up = runtime.zones_up() if isinstance(runtime, ZonedRuntime) else ()
        trouble = self._invoker.trouble
        return await platform_status(
            self._settings, self._store, self._processes, up, queue_trouble=trouble
        )

    async def _rollout(self, request: Request) -> Mapping[str, Any]:
        self._require_root(request)
        return steering.state(self._store, self._settings.account, request.target)

    async def _report(self, request: Request) -> Mapping[str, Any]:
        self._require_root(request)
        books = BookReader(self._home.ledgers)
        return await steering.report(self._store, books, self._settings.account, request.target)

    async def _steer(self, request: Request) -> Mapping[str, Any]:
        self._require_root(request)
        return await steering.steer(self._store, self._settings.account, request.target)

    def _require_root(self, request: Request) -> None:
        """The platform's own calls are signed like AWS's, by a key of the account's root."""
        principal, _ = self._authentication.check(
            family="json",
            service=OWN_SERVICE,
            method=request.method,
            target=request.target,
            headers=list(request.headers),
            joined=request.mapping(),
            body=request.body,
        )
        if principal.kind != "root":
            raise ServiceError(
                "AccessDeniedException", "Only the account's root may ask this.", status=403
            )

    async def _reset(self, request: Request) -> Mapping[str, Any]:
        """Empty everything."""
        self._require_root(request)
        await self._store.clear()
        await self._routes.retain(())
        await asyncio.gather(
            asyncio.to_thread(self._objects.clear),
            asyncio.to_thread(self._logs.clear),
            asyncio.to_thread(self._metrics.clear),
            asyncio.to_thread(self._ai.clear),
            asyncio.to_thread(self._async_queue.clear),
        )
        await self._bootstrap()
        return {"state": "empty"}


def _wake_endpoints(store: SqliteResourceStore, loop: Loop) -> None:
    """A zone went away or came back: where replicas belong is another question now."""
    for endpoint in store.list("endpoint"):
        loop.wake(endpoint.key)


def _runtime(start: Start, clock: SystemClock) -> LocalRuntime | ZonedRuntime:
    """The one host, or one of each zone."""
    zones = zone_names(start.settings.zones)
    if len(zones) == 1:
        return LocalRuntime(start.home.socket("host"))
    return ZonedRuntime({zone: start.home.zone(zone) for zone in zones}, clock=clock)


async def _ensure_root_key(store: SqliteResourceStore, stored: Mapping[str, str]) -> None:
    """The key of ``<home>/credentials`` is one of the platform's keys, whatever else was deleted."""
    account = stored["account"]
    key = Key(kind="iam-access-key", account=account, region="", name=stored["access_key_id"])
    root = Principal(kind="root", arn=f"arn:aws:iam::{account}:root", id=account, account=account)
    spec = {
        "UserName": "",
        "Secret": stored["secret_access_key"],
        "Status": "Active",
        "principal": {"kind": root.kind, "arn": root.arn, "id": root.id, "account": root.account},
    }
    try:
        await store.write(Create(key=key, spec=spec))
    except AlreadyExists:
        found = store.get(key)
        if found is not None and found.spec != spec:
            await store.write(Update(key=key, version=found.version, spec=spec))


def _die_with(task: asyncio.Task[None]) -> None:
    """Control without its loop would accept work and never do it: better to be restarted."""
    if not task.cancelled() and task.exception() is not None:
        logger.critical("the reconcile loop ended", exc_info=task.exception())
        raise SystemExit(1)


def _load_services() -> None:
    """AWS's models of the services, which the first call of each would wait for."""
    for name in registry.SERVICES:
        load_service(name)


def _resign() -> None:
    """Another control has taken over, by a lease that this one should have had: leave at once."""
    logger.critical("another control process has taken over")
    os.kill(os.getpid(), signal.SIGTERM)


async def _health(request: Request) -> Mapping[str, Any]:
    """A sign of life, for who stands by."""
    return {"state": "running"}


def _allow(call: Call) -> None:
    """The authoriser of today: every verified caller may do everything."""


def _log_outcome(call: Call, outcome: Mapping[str, Any] | ServiceError | None) -> None:
    """The audit hook of today: a line for each call that changes something or is refused."""
    refused = isinstance(outcome, ServiceError)
    if refused or not call.action.partition(":")[2].startswith(_READS + _ANSWERS):
        result = outcome.code if isinstance(outcome, ServiceError) else "ok"
        logger.info("%s %s by %s: %s", call.request_id, call.action, call.principal.arn, result)


def serve(app: Any, path: Path, *, keep_alive_seconds: int = 600) -> None:
    """Run an ASGI application on a UNIX socket until SIGTERM."""
    path.unlink(missing_ok=True)
    config = uvicorn.Config(
        app,
        uds=str(path),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()


def main() -> None:
    """``python -m modelyard.server.control --settings FILE``."""
    start = begin("control")
    lease = take_lease(start, prepare=_load_services)
    serve(Control(start).app, start.home.socket("control"))
    lease.close()


if __name__ == "__main__":
    main()
