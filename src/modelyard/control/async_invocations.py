"""Asynchronous invocations: requests of the queue to replicas, their outcomes to S3 and to topics.

At most ``MaxConcurrentInvocationsPerInstance`` requests are with an instance. Execution is at least once: a killed control begins
what had no outcome again. An outcome is kept in the queue before it is an object, and an object before anybody is told.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.domain.async_messages import message
from modelyard.domain.metrics import Dimensions, Summary
from modelyard.store.async_queue import AsyncQueue, Outcome, Queued
from modelyard.store.digests import Digests
from modelyard.store.metrics import Datum, Metric, MetricsNotKept, MetricStore
from modelyard.store.resources import Key, Resource, ResourceStore

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
IDLE_SECONDS = 2.5
"""Between two looks while there is nothing to do."""
GAUGE_SECONDS = 10.0
CONCURRENT_DEFAULT = 4
DELIVERIES_MAX = 16
IN_HAND_MAX = 64
"""Requests with their bodies that control holds at a time."""
RETRY_SECONDS = (0.2, 1.0, 3.0)
HOLD_SECONDS, HOLD_SECONDS_MAX = 1.0, 60.0
"""How long nothing is begun after the queue failed; twice as long each time."""
NAMESPACE = "AWS/SageMaker"
_UNANSWERED = ("ThrottlingException", "ServiceUnavailable")
"""Not executed: these wait for another try until they expire."""


class Answered(Protocol):
    """``domain.chain.Final``."""

    @property
    def status(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    @property
    def body(self) -> bytes: ...


class DataPlane(Protocol):
    """Asks replicas; ``server.async_plane``."""

    def instances(self, account: str, region: str, endpoint: str) -> int:
        """Replicas that may be asked now."""

    async def ask(self, queued: Queued, body: bytes) -> tuple[str, Answered]:
        """The variant that was asked, and its answer. Raises ``ServiceError``."""


class Objects(Protocol):
    """Reads and writes by S3 URI; both block and raise ``OSError`` or ``ValueError``."""

    def read(self, uri: str) -> bytes: ...
    def write(self, uri: str, data: bytes, content_type: str) -> None: ...


class Topics(Protocol):
    """Tells who subscribes. Blocks; raises ``OSError``."""

    def publish(self, topic: str, message_id: str, document: dict[str, Any], at: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Where inputs come from, and results and messages go."""

    objects: Objects
    topics: Topics


class AsyncInvoker:
    """One for each control process."""

    def __init__(
        self,
        *,
        store: ResourceStore,
        queue: AsyncQueue,
        plane: DataPlane,
        outside: Outside,
        metrics: MetricStore,
        clock: Clock,
    ) -> None:
        self._store = store
        self._is_async = Digests(store, "endpoint", _is_async)
        self._queue = queue
        self._plane = plane
        self._objects = outside.objects
        self._topics = outside.topics
        self._metrics = metrics
        self._clock = clock
        self._wanted = asyncio.Event()
        self._in_hand: dict[str, Key] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_at = float("-inf")
        self._hold = self._held_until = 0.0
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the queue cannot be used now; empty when it can."""
        return self._trouble

    def wake(self) -> None:
        """There is something to do."""
        self._wanted.set()

    async def run(self) -> None:
        """Until it is cancelled; what is in hand then begins again with the next control."""
        try:
            while True:
                while (rest := self._held_until - self._clock.monotonic()) > 0:
                    await self._clock.sleep(rest)
                self._wanted.clear()
                try:
                    is_busy = await self._look()
                    await self._tell_gauges()
                except sqlite3.OperationalError as error:
                    self._fail(error)
                    continue
                if not self._in_hand:
                    self._recover()
                try:
                    # Whatever is new comes through this process, which wakes it.
                    async with asyncio.timeout(LOOK_SECONDS if is_busy else IDLE_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fail(self, error: sqlite3.OperationalError) -> None:
        """Begin nothing for a while, so that no request is executed over and over without its outcome being kept."""
        now = self._clock.monotonic()
        if now < self._held_until:
            return
        if not self._trouble:
            logger.error(
                "the queue of asynchronous invocations fails, and is tried again: %s", error
            )
        self._trouble = str(error)
        self._hold = min(max(2 * self._hold, HOLD_SECONDS), HOLD_SECONDS_MAX)
        self._held_until = now + self._hold

    def _recover(self) -> None:
        if self._trouble and self._clock.monotonic() >= self._held_until:
            logger.warning("the queue of asynchronous invocations works again")
            self._trouble, self._hold = "", 0.0

    async def _look(self) -> bool:
        """Take in hand what may be; whether there is anything that may have to be looked at again."""
        decided = await asyncio.to_thread(
            self._queue.decided, besides=tuple(self._in_hand), most=DELIVERIES_MAX
        )
        for queued, outcome in decided:
            self._begin(queued, self._deliver(queued, outcome))
        backlogs = await asyncio.to_thread(self._queue.backlogs)
        for backlog in backlogs:
            key = Key(
                kind="endpoint",
                account=backlog.account,
                region=backlog.region,
                name=backlog.endpoint,
            )
            room = self._room(key)
            waiting = await asyncio.to_thread(
                self._queue.waiting,
                key.account,
                key.region,
                key.name,
                besides=[one for one, of in self._in_hand.items() if of == key],
                most=max(room, 1),
            )
            now = self._clock.now()
            for queued in waiting:
                if queued.expires_at <= now or self._store.get(key) is None:
                    self._begin(queued, self._expire(queued))
                elif room > 0:
                    room -= 1
                    self._begin(queued, self._execute(queued))
        return bool(decided or backlogs or self._in_hand)

    def _room(self, key: Key) -> int:
        endpoint = self._store.get(key)
        if endpoint is None:
            return 0
        config = endpoint.spec["config"].get("AsyncInferenceConfig") or {}
        client = config.get("ClientConfig") or {}
        each: int = client.get("MaxConcurrentInvocationsPerInstance", CONCURRENT_DEFAULT)
        busy = sum(1 for of in self._in_hand.values() if of == key)
        instances = self._plane.instances(key.account, key.region, key.name)
        return min(each * instances - busy, IN_HAND_MAX - len(self._in_hand))

    def _begin(self, queued: Queued, work: Any) -> None:
        self._in_hand[queued.id] = Key(
            kind="endpoint", account=queued.account, region=queued.region, name=queued.endpoint
        )
        task = asyncio.create_task(work, name=f"async {queued.id}")
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._in_hand.pop(queued.id, None)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, sqlite3.OperationalError):
                self._fail(error)
                self.wake()
            elif error is not None:
                logger.error("asynchronous invocation %s", queued.id, exc_info=error)
            else:
                self.wake()

        task.add_done_callback(done)

    async def _expire(self, queued: Queued) -> None:
        reason = "The request expired before it could be processed (RequestTTLSeconds)."
        if self._store.get(self._in_hand[queued.id]) is None:
            reason = "The endpoint was deleted before the request could be processed."
        await self._count(queued, "", ExpiredRequests=1.0)
        await self._settle(queued, _failure(reason, self._clock.now()))

    async def _execute(self, queued: Queued) -> None:
        began, variant = self._clock.now(), ""
        try:
            body = queued.body or await asyncio.to_thread(self._objects.read, queued.input_location)
        except (OSError, ValueError) as error:
            reason = f"The input {queued.input_location} cannot be read: {error}"
            await self._count(queued, "", RequestDownloadFailures=1.0)
            await self._settle(queued, _failure(reason, self._clock.now()))
            return
        downloaded = self._clock.now()
        try:
            variant, answer = await self._plane.ask(queued, body)
        except ServiceError as error:
            if error.code in _UNANSWERED:
                await self._clock.sleep(RETRY_SECONDS[0])
                return
            outcome = _failure(error.message, self._clock.now())
        else:
            outcome = _outcome(answer, self._clock.now())
        failed = {} if outcome.is_success else {"InvocationFailures": 1.0}
        await self._count(
            queued,
            variant,
            InvocationsProcesssed=1.0,
            TimeInBacklog=(began - queued.received_at) * 1e3,
            TotalProcessingTime=(outcome.at - began) * 1e3,
            RequestDownloadLatency=(downloaded - began) * 1e6,
            **failed,
        )
        await self._settle(queued, outcome)

    async def _settle(self, queued: Queued, outcome: Outcome) -> None:
        await asyncio.to_thread(self._queue.decide, queued.id, outcome)
        await self._deliver(queued, outcome)

    async def _deliver(self, queued: Queued, outcome: Outcome) -> None:
        """The object, then the message. Done again after a kill, it is the same object and the same message."""
        place = queued.output_location if outcome.is_success else queued.failure_location
        begin = self._clock.now()
        if place:
            written = await self._retried(
                "the object", self._objects.write, place, outcome.body, outcome.content_type
            )
            told = {"ResponseUploadLatency": (self._clock.now() - begin) * 1e6}
            await self._count(queued, "", **(told if written else {"ResponseUploadFailures": 1.0}))
        topic = queued.success_topic if outcome.is_success else queued.error_topic
        if topic:
            document = message(queued, outcome)
            told_of = await self._retried(
                "the notification", self._topics.publish, topic, queued.id, document, outcome.at
            )
            if not told_of:
                await self._count(queued, "", NotificationFailures=1.0)
        await asyncio.to_thread(self._queue.remove, queued.id)
        self._recover()

    async def _retried(self, what: str, act: Any, *arguments: Any) -> bool:
        for pause in (*RETRY_SECONDS, None):
            try:
                await asyncio.to_thread(act, *arguments)
            except (OSError, ValueError) as error:
                if pause is None:
                    logger.error("%s %s is given up: %s", what, arguments[0], error)
                    return False
                await self._clock.sleep(pause)
            else:
                return True
        return False

    # ---- metrics

    async def _tell_gauges(self) -> None:
        moment, now = self._clock.monotonic(), self._clock.now()
        if moment - self._told_at < GAUGE_SECONDS:
            return
        self._told_at = moment
        sizes = {
            (one.account, one.region, one.endpoint): one
            for one in await asyncio.to_thread(self._queue.backlogs)
        }
        data: list[Datum] = []
        for key, is_async in self._is_async.all().items():
            if not is_async:
                continue
            backlog = sizes.get((key.account, key.region, key.name))
            size = backlog.size if backlog else 0
            instances = self._plane.instances(key.account, key.region, key.name)
            values = {
                "ApproximateBacklogSize": float(size),
                "ApproximateAgeOfOldestRequest": now - backlog.oldest if backlog else 0.0,
                "HasBacklogWithoutCapacity": float(size > 0 and not instances),
            }
            if instances:
                values["ApproximateBacklogSizePerInstance"] = size / instances
            data += _data(key, (("EndpointName", key.name),), values, at=int(now))
        await self._put(data)

    async def _count(self, queued: Queued, variant: str, **values: float) -> None:
        key = Key(
            kind="endpoint", account=queued.account, region=queued.region, name=queued.endpoint
        )
        names = [variant] if variant else self._variants(key)
        now = int(self._clock.now())
        for name in names[:1]:
            dimensions = (("EndpointName", key.name), ("VariantName", name))
            await self._put(list(_data(key, dimensions, values, at=now)))

    def _variants(self, key: Key) -> list[str]:
        endpoint = self._store.get(key)
        variants = endpoint.spec["config"]["ProductionVariants"] if endpoint else ()
        return [one["VariantName"] for one in variants]

    async def _put(self, data: list[Datum]) -> None:
        try:
            await asyncio.to_thread(self._metrics.put, data, now=self._clock.now())
        except MetricsNotKept as error:
            logger.warning("measurements are dropped: %s", error)


def _is_async(endpoint: Resource) -> bool:
    return bool(endpoint.spec["config"].get("AsyncInferenceConfig"))


def _data(
    key: Key, dimensions: Dimensions, values: dict[str, float], *, at: int
) -> Iterator[Datum]:
    for name, value in values.items():
        summary = Summary()
        summary.add(value)
        metric = Metric(
            account=key.account,
            region=key.region,
            namespace=NAMESPACE,
            name=name,
            dimensions=dimensions,
        )
        yield Datum(metric=metric, at=at, summary=summary)


def _outcome(answer: Answered, at: float) -> Outcome:
    if answer.status == 200:
        return Outcome(is_success=True, body=answer.body, content_type=answer.content_type, at=at)
    said = answer.body[:4096].decode("utf-8", "replace")
    return _failure(f"Received error ({answer.status}) from the container: {said}", at)


def _failure(reason: str, at: float) -> Outcome:
    body = json.dumps({"message": reason}).encode()
    return Outcome(
        is_success=False, body=body, content_type="application/json", at=at, reason=reason
    )
