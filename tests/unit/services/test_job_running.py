"""What becomes of jobs when the state cannot be saved for a while."""

import asyncio
from typing import Any

from modelyard.base.errors import ServiceError
from modelyard.services.job_records import stop
from modelyard.services.job_running import Job, JobRunner, Outcome, Used
from modelyard.services.metering import Metering
from modelyard.store.resources import Change, Create, Key, Update
from modelyard.store.usage import Usage
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

KIND = "a-job"


class FailingStore(MemoryResourceStore):
    """Each second change of a job fails."""

    fails = True

    async def write(self, *changes: Change) -> Any:
        if isinstance(changes[0], Update):
            self.fails = not self.fails
            if not self.fails:
                raise ServiceError("InternalFailure", "The state could not be saved.", status=500)
        return await super().write(*changes)


class CountingStore(MemoryResourceStore):
    """Counts how often all of a kind are read."""

    listed = 0

    def list(self, kind: str, **which: Any) -> Any:
        self.listed += 1
        return super().list(kind, **which)


class StoppedBetween(MemoryResourceStore):
    """Somebody stops the job between the look at it and the word that it has begun."""

    async def write(self, *changes: Change) -> Any:
        change, found = changes[0], self.get(changes[0].key)
        if isinstance(change, Update) and change.status and found is not None:
            before, after = found.status["JobStatus"], change.status["JobStatus"]
            if (before, after) == ("SUBMITTED", "IN_PROGRESS"):
                await stop(self, lambda: found)
        return await super().write(*changes)


class Recorded:
    def __init__(self) -> None:
        self.ids: list[str] = []

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        self.ids.append(usage_id)


def test_a_state_that_cannot_be_saved_for_a_while_ends_neither_the_job_nor_its_runner() -> None:
    asyncio.run(_two_jobs())


async def _two_jobs() -> None:
    clock, recorded = ManualClock(), Recorded()
    store = FailingStore(clock=clock)
    executed: list[str] = []
    released: list[str] = []

    async def execute(job: Job) -> Outcome:
        executed.append(job.key.name)
        await job.say({"Progress": 1})
        used = Used(action="x:Y", usage_type="t", quantity=1, unit="u")
        return Outcome(details={"Answer": 42}, used=used)

    async def release(job: Job) -> None:
        released.append(job.key.name)
        if job.key.name == "one":
            raise ServiceError("InternalFailure", "It cannot be let go.", status=500)

    runner = JobRunner(
        kind=KIND,
        execute=execute,
        release=release,
        store=store,
        metering=Metering(usage=recorded, clock=clock),
        clock=clock,
    )
    running = asyncio.ensure_future(runner.run())
    for name in ("one", "two"):
        key = Key(kind=KIND, account="1", region="r", name=name)
        await store.write(Create(key=key, spec={}, status={"JobStatus": "SUBMITTED"}))
        async with asyncio.timeout(10):
            while (found := store.get(key)) and found.status["JobStatus"] != "COMPLETED":
                clock.advance(1.0)
                await asyncio.sleep(0)
                assert not running.done(), running
        assert found is not None and found.status["Answer"] == 42
    async with asyncio.timeout(10):
        while clock.sleepers or "two" not in released:
            clock.advance(100.0)
            await asyncio.sleep(0)
    assert not running.done()
    assert executed == ["one", "two"] and len(recorded.ids) == 2
    assert set(released) == {"one", "two"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_jobs_that_are_over_are_not_read_again_with_each_word_of_a_running_one() -> None:
    asyncio.run(_one_job_after_many())


async def _one_job_after_many() -> None:
    clock = ManualClock()
    store = CountingStore(clock=clock)

    async def execute(job: Job) -> Outcome:
        for number in range(10):
            await job.say({"Progress": number})
        return Outcome()

    for number in range(100):
        key = Key(kind=KIND, account="1", region="r", name=f"old-{number}")
        await store.write(Create(key=key, spec={}, status={"JobStatus": "COMPLETED"}))
    metering = Metering(usage=Recorded(), clock=clock)
    runner = JobRunner(kind=KIND, execute=execute, store=store, metering=metering, clock=clock)
    running = asyncio.ensure_future(runner.run())
    key = Key(kind=KIND, account="1", region="r", name="new")
    await store.write(Create(key=key, spec={}, status={"JobStatus": "SUBMITTED"}))
    async with asyncio.timeout(10):
        while (found := store.get(key)) and found.status["JobStatus"] != "COMPLETED":
            await asyncio.sleep(0)
    assert store.listed <= 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_job_that_is_stopped_in_the_moment_when_it_begins_is_stopped() -> None:
    asyncio.run(_one_stopped_job())


async def _one_stopped_job() -> None:
    clock = ManualClock()
    store = StoppedBetween(clock=clock)
    executed: list[str] = []

    async def execute(job: Job) -> Outcome:
        executed.append(job.key.name)
        return Outcome()

    metering = Metering(usage=Recorded(), clock=clock)
    runner = JobRunner(kind=KIND, execute=execute, store=store, metering=metering, clock=clock)
    running = asyncio.ensure_future(runner.run())
    key = Key(kind=KIND, account="1", region="r", name="one")
    await store.write(Create(key=key, spec={}, status={"JobStatus": "SUBMITTED"}))
    async with asyncio.timeout(10):
        while (found := store.get(key)) and "EndTime" not in found.status:
            await asyncio.sleep(0)
    assert found is not None and found.status["JobStatus"] == "STOPPED"
    assert executed == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
