"""The reconciler of endpoints: reads the world, asks ``domain.endpoint_plan``, applies its steps in order."""

import asyncio
from collections.abc import Callable

import msgspec

from modelyard.base.arns import sagemaker_arn
from modelyard.base.clock import Clock, SteadyTime
from modelyard.base.failpoint import failpoint
from modelyard.base.settings import Limits
from modelyard.control.fleets import CannotPlan, Fleets, instance_id
from modelyard.control.hibernation import Activity
from modelyard.control.ledgers import (
    BookReader,
    close_drained,
    is_draining,
    ledgers_of,
    open_rollouts,
    with_ledgers,
)
from modelyard.control.processes import Processes
from modelyard.control.rollout_watch import TRIALS, RolloutWatch, alarms_of, is_hurried
from modelyard.control.routes import RoutePublisher
from modelyard.domain.capture import rule_of
from modelyard.domain.deployment import policy_of
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_plan import plan, wants_rollout
from modelyard.domain.endpoint_steps import (
    Endpoint,
    ForgetWorker,
    PublishRoutes,
    RemoveEndpoint,
    Rules,
    SaveStatus,
    Sizing,
    StartWorker,
    Step,
    StopWorker,
    TryFleet,
)
from modelyard.domain.endpoint_update import rollout_id
from modelyard.domain.fleet import (
    Capacity,
    Fleet,
    Placement,
    heirs,
    placements,
    to_json,
    with_shadows,
)
from modelyard.domain.hibernation import Idle, after_of
from modelyard.domain.ledger import Ledger, Now, follow, totals_of
from modelyard.domain.rollout import Policy, Rollout
from modelyard.domain.rollout_checks import Check
from modelyard.domain.rollout_tags import with_tags
from modelyard.domain.routes import EndpointRoute
from modelyard.runtimes.runtime import LogStream
from modelyard.store.resources import Delete, Json, Key, Resource, ResourceStore, Update

_MEMORY = "control"
_WATCH_SECONDS = 1.0
"""An update is looked at so often: its alarms may have rung."""
_DRAIN_SECONDS = 0.5
"""So often it is looked whether the last request of a rollout has ended."""
ASYNC_SECONDS = 3600.0
"""A worker of an asynchronous endpoint is not ended before this: each request brings its own limit, AWS's longest at most."""


class EndpointReconciler:
    """One pass: load, plan, idempotent steps, a guarded write in the middle of them."""

    def __init__(  # noqa: PLR0913 - what a reconciler acts upon
        self,
        *,
        store: ResourceStore,
        processes: Processes,
        routes: RoutePublisher,
        fleets: Fleets,
        clock: Clock,
        limits: Limits,
        watch: RolloutWatch | None = None,
        zones: Callable[[], tuple[str, ...]] = tuple,
        books: BookReader | None = None,
        activity: Activity | None = None,
    ) -> None:
        self._activity = activity or Activity(clock)
        self._books = books
        self._draining_since: dict[Key, float] = {}
        self._zones = zones
        self._watch = watch or RolloutWatch(clock)
        self._store = store
        self._processes = processes
        self._routes = routes
        self._fleets = fleets
        self._clock = clock
        self._steady = SteadyTime(clock)
        self._limits = limits

    async def reconcile(self, key: Key) -> float:
        """Seconds until the next look. Raises ``VersionConflict`` and ``RuntimeUnavailable``."""
        resource = self._store.get(key)
        if resource is None:
            await self._routes.set(key, None)
            await self._processes.abandon(key, grace_seconds=self._limits.drain_seconds)
            self._activity.forget(key)
            self._watch.forget(key)
            return float("inf")
        observed = await self._processes.observed()
        memory = endpoint_memory(resource)
        wished = Endpoint(
            generation=_fleet_generation(resource.spec),
            deleting=resource.spec.get("deleting", False),
            memory=memory,
            proposal=await self._proposal(resource, memory),
            policy=_policy(resource.spec),
            sizing=_sizing(resource.spec),
            idle=self._idle(resource, memory),
        )
        rules = Rules(
            startup_seconds=self._limits.startup_seconds,
            restart_attempts=self._limits.restart_attempts,
            zones=self._zones(),
        )
        watch = await self._watch.look(resource, memory)
        decided = plan(wished, observed, now=self._steady.now(), rules=rules, watch=watch)
        for step in decided.steps:
            resource = await self._apply(step, resource)
        if not wished.deleting and not await self._close_ledgers(resource):
            return min(decided.seconds, _DRAIN_SECONDS)
        return min(decided.seconds, _WATCH_SECONDS) if memory.rollout else decided.seconds

    async def _close_ledgers(self, resource: Resource) -> bool:
        """Whether no ledger waits for the last requests of its rollout; those that need not any more are closed."""
        key = resource.key
        if self._books is None or not is_draining(resource.status):
            self._draining_since.pop(key, None)
            return True
        now = self._clock.monotonic()
        since = self._draining_since.setdefault(key, now)
        longest = max(self._limits.invocation_seconds, self._limits.stream_seconds)
        is_late = now - since > longest + _WATCH_SECONDS
        ledgers = ledgers_of(resource.status)
        found = await asyncio.to_thread(close_drained, ledgers, self._books, is_late=is_late)
        if found is None:
            return False
        status = with_ledgers(resource.status, found)
        await self._store.write(Update(key=key, version=resource.version, status=status))
        await asyncio.to_thread(self._books.sweep, open_rollouts(self._store))
        return not is_draining(status)

    async def _followed(
        self, resource: Resource, after: Memory, ended: Rollout | None
    ) -> list[Ledger] | None:
        """The endpoint's ledgers with what the next status decides, and what from; None where that is nothing."""
        key, memory = resource.key, endpoint_memory(resource)
        rollout = memory.rollout or after.rollout
        if self._books is None or rollout is None:
            return None
        ledgers = ledgers_of(resource.status)
        at = self._clock.now()
        if follow(ledgers, memory, after, Now(at=at, ended=ended)) == ledgers:
            return None
        target = memory.target if memory.rollout else after.target
        assert target is not None
        counts = await asyncio.to_thread(self._books.counts, rollout_id(target))
        names = alarms_of(rollout)
        alarms = await asyncio.to_thread(self._watch.alarms.seen, key.account, key.region, names)
        now = Now(
            at=at,
            alarms=alarms,
            totals=totals_of(counts),
            by_hand=is_hurried(resource, memory.rollout),
            ended=ended,
        )
        return follow(ledgers, memory, after, now)

    def _idle(self, resource: Resource, memory: Memory) -> Idle:
        """Which variants may hibernate, and for how long nobody has used them."""
        spec = resource.spec
        seconds = self._limits.hibernate_seconds
        after = after_of(spec["config"], spec.get("Tags", ()), serverless_seconds=seconds)
        if memory.serving is None:  # What was used by this name was another endpoint.
            self._activity.forget(resource.key)
        if not after or memory.serving is None:
            return Idle(after=after)
        awake = [one.name for one in memory.serving.variants if one.name not in memory.asleep]
        return Idle(after=after, ages=self._activity.ages(resource.key, awake))

    async def _proposal(self, resource: Resource, memory: Memory) -> Fleet | str | None:
        spec = resource.spec
        generation = _fleet_generation(spec)
        if spec.get("deleting") or not wants_rollout(generation, memory):
            return None
        try:
            shadows = spec["config"].get("ShadowProductionVariants") or []
            fleet = await self._fleets.plan(
                owner=fleet_owner(resource),
                generation=generation,
                now=self._steady.now(),
                config_name=spec["EndpointConfigName"],
                variants=[*spec["config"]["ProductionVariants"], *shadows],
                models=spec["models"],
            )
            return with_shadows(fleet, {one["VariantName"] for one in shadows})
        except CannotPlan as error:
            return str(error)

    async def _apply(self, step: Step, resource: Resource) -> Resource:
        """Apply one step; the resource as it is after it."""
        key = resource.key
        match step:
            case PublishRoutes(variants=variants, rollout=rollout):
                route = None
                if variants is not None:
                    route = EndpointRoute(
                        name=key.name,
                        arn=_arn(key),
                        account=key.account,
                        region=key.region,
                        variants=tuple(one for one in variants if not one.shadow),
                        shadows=tuple(one for one in variants if one.shadow),
                        rollout=rollout,
                        log_group=_log_group(key),
                        capture=rule_of(resource.spec["config"].get("DataCaptureConfig")),
                        asynchronous=_is_async(resource),
                    )
                await self._routes.set(key, route)
                failpoint("endpoint.after-publish")
            case SaveStatus():
                resource = await self._save(step, resource)
                self._watch.kept(key)
                failpoint("endpoint.after-save")
            case StartWorker(placement=placement):
                await self._processes.start(
                    self._fleets.worker(
                        placement,
                        arn=_arn(key),
                        log=_log_stream(resource, placement),
                        invocation_seconds=ASYNC_SECONDS if _is_async(resource) else 0.0,
                    )
                )
                failpoint("endpoint.after-start")
            case TryFleet():
                self._watch.test(resource, step)
            case StopWorker(id=worker):
                await self._processes.stop(worker, grace_seconds=self._limits.drain_seconds)
            case ForgetWorker(id=worker):
                await self._processes.forget(worker)
            case RemoveEndpoint():
                failpoint("endpoint.before-remove")
                await self._store.write(Delete(key=key, version=resource.version))
        return resource

    async def _save(self, step: SaveStatus, resource: Resource) -> Resource:
        """Write the status if it says anything new; claim the processes that it names."""
        self._processes.claim(resource.key, worker_ids(step.memory))
        before = resource.status
        status: Json = {
            **before,
            "EndpointStatus": step.endpoint_status,
            "generation": step.generation,
            "variants": step.variants,
            "shadows": step.shadows,
            "config_name": step.config_name
            or before.get("config_name")
            or resource.spec["EndpointConfigName"],
            _MEMORY: to_json(step.memory),
        }
        status.pop("pending", None)
        if step.pending is not None:
            status["pending"] = step.pending
        status.pop("FailureReason", None)
        if step.failure_reason:
            status["FailureReason"] = step.failure_reason
        followed = await self._followed(resource, step.memory, step.ended)
        if followed is not None:
            status = with_ledgers(status, followed)
        if status == before:
            return resource
        if status["EndpointStatus"] != before.get("EndpointStatus"):
            status["last_modified"] = max(
                self._clock.now(), before.get("last_modified", resource.created_at)
            )
        update = Update(key=resource.key, version=resource.version, status=status)
        (written,) = await self._store.write(update)
        return written


def _policy(spec: Json) -> Policy:
    asked = (spec.get("update") or {}).get("DeploymentConfig")
    policy = with_tags(policy_of(asked), spec.get("Tags", ()))
    trials = spec.get(TRIALS, {})
    kept = [one["check"] for one in trials.get("checks", ())]
    return msgspec.structs.replace(
        policy, checks=msgspec.convert(kept, tuple[Check, ...]), tests=len(trials.get("test", ()))
    )


def _fleet_generation(spec: Json) -> int:
    """The last generation that asked for another fleet, and not for another size of the one that serves."""
    generation: int = spec["rolled"] if "rolled" in spec else spec["generation"]
    return generation


def _sizing(spec: Json) -> Sizing | None:
    if "capacity" not in spec:
        return None
    wanted = msgspec.convert(spec["capacity"], dict[str, Capacity])
    return Sizing(revision=spec["generation"], capacities=wanted)


def endpoint_memory(resource: Resource) -> Memory:
    """What the last pass remembered."""
    return msgspec.convert(resource.status.get(_MEMORY, {}), Memory)


def worker_ids(memory: Memory) -> set[str]:
    """Every worker that the endpoint still has a use for, or still has to stop."""
    ids = set(memory.retired)
    for fleet in (memory.serving, memory.target):
        if fleet is not None:
            workers = (*placements(fleet, memory.slots), *heirs(fleet, memory.slots))
            ids.update(placement.id for placement in workers)
    return ids


def fleet_owner(resource: Resource) -> str:
    """An endpoint of the same name that is created later is another one."""
    key = resource.key
    return f"{key.kind}/{key.account}/{key.region}/{key.name}@{resource.created_at!r}"


def _is_async(resource: Resource) -> bool:
    return bool(resource.spec["config"].get("AsyncInferenceConfig"))


def _arn(key: Key) -> str:
    return sagemaker_arn(key.region, key.account, "endpoint", key.name)


def _log_group(key: Key) -> str:
    return f"/aws/sagemaker/Endpoints/{key.name}"


def _log_stream(resource: Resource, placement: Placement) -> LogStream:
    instance = instance_id(placement, fleet_owner(resource))
    stream = f"{placement.variant.name}/{instance}"
    if len(placement.variant.containers) > 1:
        stream += f"/{placement.container.name}"
    key = resource.key
    return LogStream(account=key.account, region=key.region, group=_log_group(key), stream=stream)
