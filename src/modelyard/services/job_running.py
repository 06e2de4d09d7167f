"""Runs the asynchronous jobs of an AI service: each to its end, whatever happens on the way.

A job that was cut off begins again when control is back; its output replaces what was written before. What it has used is
written into its status before it is metered under the job's id, and metered before the job ends: so it counts once, with the
quantity that was found first, wherever control dies. No engine runs here; what blocks runs in threads.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.services.hosted_models import PackNotInstalled
from modelyard.services.job_objects import JobFailed
from modelyard.services.metering import Metering
from modelyard.store.resources import Json, Key, ResourceStore, Update, VersionConflict

T = TypeVar("T")
logger = logging.getLogger(__name__)
JOBS_AT_ONCE = 4
"""Of one service."""
ATTEMPTS = 8
ACTIVE = ("SUBMITTED", "IN_PROGRESS", "STOP_REQUESTED")
_RETRY_SECONDS = 0.5
_SAY_SECONDS_MAX = 30.0
_QUESTION_SECONDS = 60.0
_ENDING = "Ending"
"""In the status of a job that is done, and whose usage is not metered yet."""


class Stopped(Exception):
    """Somebody asked for the end of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a job is to be metered as; ``action`` as in ``comprehend:StartSentimentDetectionJob``."""

    action: str
    usage_type: str
    quantity: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended; ``details`` go to its status."""

    status: str = "COMPLETED"
    used: Used | None = None
    details: Json = field(default_factory=dict)


class Job:
    """A running one, as its work sees it."""

    def __init__(self, key: Key, *, store: ResourceStore, clock: Clock) -> None:
        self.key = key
        self._store = store
        self._clock = clock

    def spec(self) -> Json:
        """What was asked for. Raises ``Stopped`` if that is not wanted any more."""
        resource = self._store.get(self.key)
        if resource is None or resource.status["JobStatus"] == "STOP_REQUESTED":
            raise Stopped
        return resource.spec

    async def say(self, change: Json, *, although_stopped: bool = True) -> None:
        """Change the status, whoever else does; a job that was deleted meanwhile has none.

        While the state cannot be saved it is tried again: a disk that is full for a while ends no job, and not control.
        Raises ``Stopped`` where that is not to be overruled.
        """
        failures = 0
        while (resource := self._store.get(self.key)) is not None:
            if not although_stopped:
                self.spec()
            status = {**resource.status, **change}
            try:
                await self._store.write(
                    Update(key=self.key, version=resource.version, status=status)
                )
            except VersionConflict:
                continue
            except ServiceError as error:
                logger.warning("the status of %s is not kept yet: %s", self.key.name, error)
                await self._clock.sleep(min(_RETRY_SECONDS * 2**failures, _SAY_SECONDS_MAX))
                failures = min(failures + 1, ATTEMPTS)
                continue
            return

    def ending(self) -> Json | None:
        """How it has ended already, when control died before it was over."""
        resource = self._store.get(self.key)
        return None if resource is None else resource.status.get(_ENDING)

    def call(self, action: str) -> Call:
        """For one question to a model."""
        key = self.key
        return Call(
            principal=Principal(kind="root", arn="", id=key.account, account=key.account),
            account=key.account,
            region=key.region,
            action=action,
            request_id=key.name,
            deadline=self._clock.monotonic() + _QUESTION_SECONDS,
        )

    async def patiently(
        self, ask: Callable[[], Awaitable[T]], *, although_stopped: bool = False
    ) -> T:
        """The answer; asked for again where the model is restarting. Raises ``Stopped`` and ``ServiceError``."""
        for attempt in itertools.count():
            try:
                return await ask()
            except PackNotInstalled:
                raise
            except ServiceError as error:
                if not error.retryable or attempt >= ATTEMPTS:
                    raise
                await self._clock.sleep(_RETRY_SECONDS * 2**attempt)
                if not although_stopped:
                    self.spec()
        raise AssertionError("counting does not end")


class JobRunner:
    """All jobs that are resources of one ``kind``. ``execute`` does one; ``release`` lets go of what a job that ended held."""

    def __init__(
        self,
        *,
        kind: str,
        execute: Callable[[Job], Awaitable[Outcome]],
        release: Callable[[Job], Awaitable[None]] | None = None,
        store: ResourceStore,
        metering: Metering,
        clock: Clock,
    ) -> None:
        self._kind = kind
        self._execute = execute
        self._release = release
        self._store = store
        self._metering = metering
        self._clock = clock
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._changed: dict[Key, None] = {}
        """Jobs that may be active, in their order: of all that there ever were, only those are looked at again."""
        self._wake = asyncio.Event()
        store.subscribe(self._notice)

    def _notice(self, key: Key) -> None:
        if key.kind == self._kind:
            self._changed[key] = None
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        self._changed |= dict.fromkeys(one.key for one in self._store.list(self._kind))
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for key in [one for one in self._changed if one not in self._running]:
                    if len(self._running) >= JOBS_AT_ONCE:
                        break
                    resource = self._store.get(key)
                    if resource is None or resource.status["JobStatus"] not in ACTIVE:
                        del self._changed[key]
                        continue
                    task = tasks.create_task(self._work(key), name=f"{self._kind}.{key.name}")
                    self._running[key] = task
                await self._wake.wait()

    async def _work(self, key: Key) -> None:
        """One job to its end, whatever that is."""
        job = Job(key, store=self._store, clock=self._clock)
        try:
            ending = job.ending()
            if ending is None:
                ending = await self._outcome(job)
                if "Used" in ending:
                    await job.say({_ENDING: ending})
            status = await self._metered(job, ending)
            await job.say({**status, "EndTime": self._clock.now(), _ENDING: None})
            await self._let_go(job)
        finally:
            del self._running[key]
            self._wake.set()

    async def _let_go(self, job: Job) -> None:
        """Of what the job held. What cannot be let go now is when control starts the next time."""
        release = self._release
        if release is not None:
            try:
                await job.patiently(lambda: release(job), although_stopped=True)
            except ServiceError as error:
                logger.warning(
                    "%s %s still holds what it used: %s", self._kind, job.key.name, error
                )

    async def _outcome(self, job: Job) -> Json:
        """``Status``, which the job has at its end, and what it has ``Used``."""
        try:
            job.spec()
            await job.say({"JobStatus": "IN_PROGRESS"}, although_stopped=False)
            outcome = await self._execute(job)
        except Stopped:
            return {"Status": {"JobStatus": "STOPPED"}}
        except JobFailed as failure:
            return _failure(str(failure))
        except ServiceError as error:
            return _failure(f"{error.code}: {error.message}")
        except (
            Exception
        ) as error:  # As the reconcile loop: a bug is this job's end, and no other's.
            logger.exception("%s %s failed", self._kind, job.key.name)
            return _failure(f"INTERNAL_SERVER_ERROR: {type(error).__name__}: {error}")
        ending: Json = {"Status": {"JobStatus": outcome.status, **outcome.details}}
        used = outcome.used
        if used is not None and used.quantity:
            ending["Used"] = [used.action, used.usage_type, used.quantity, used.unit]
        return ending

    async def _metered(self, job: Job, ending: Json) -> Json:
        """The status to end with, once what was used is written down."""
        if "Used" not in ending:
            return dict(ending["Status"])
        action, usage_type, quantity, unit = ending["Used"]

        async def meter() -> None:
            self._metering.meter(
                job.call(action),
                usage_type=usage_type,
                quantity=quantity,
                unit=unit,
                repeat_id=job.key.name,
            )

        try:
            await job.patiently(meter, although_stopped=True)
        except ServiceError as error:
            logger.error("%s %s is not metered: %s", self._kind, job.key.name, error)
            return dict(_failure(f"The job's usage could not be written down: {error}")["Status"])
        return dict(ending["Status"])


def _failure(message: str) -> Json:
    return {"Status": {"JobStatus": "FAILED", "Message": message}}
