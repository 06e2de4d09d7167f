"""Asynchronous invocations: a queue that fails, and outcomes that cannot be delivered."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.control.async_invocations import GAUGE_SECONDS, AsyncInvoker, Outside
from modelyard.store.async_queue import AsyncQueue, Outcome, Queued
from modelyard.store.metrics import Datum, MetricStore
from modelyard.store.resources import Create, Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

KEY = Key(kind="endpoint", account="123456789012", region="us-east-1", name="e")


class FullDisk(AsyncQueue):
    """Keeps no outcome while ``is_full``."""

    is_full = False

    def decide(self, request_id: str, outcome: Outcome) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        super().decide(request_id, outcome)


class Counting(MetricStore):
    """Remembers the names of what was put."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.names: list[str] = []

    def put(self, data: Iterable[Datum], *, now: float) -> None:
        self.names += [datum.metric.name for datum in data]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b"yes"


class Plane:
    """One instance that always answers."""

    def __init__(self) -> None:
        self.asked = 0

    def instances(self, account: str, region: str, endpoint: str) -> int:
        return 1

    async def ask(self, queued: Queued, body: bytes) -> tuple[str, Answer]:
        self.asked += 1
        return "v", Answer()


class World:
    """Objects and topics, of which the next ``failures`` writes fail."""

    def __init__(self) -> None:
        self.failures = 0
        self.tries = 0
        self.objects: dict[str, bytes] = {}
        self.messages: list[dict[str, Any]] = []

    def read(self, uri: str) -> bytes:
        return self.objects[uri]

    def write(self, uri: str, data: bytes, content_type: str) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise FileNotFoundError("there is no such bucket")
        self.objects[uri] = data

    def publish(self, topic: str, message_id: str, document: dict[str, Any], at: float) -> None:
        self.messages.append(document)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.queue = FullDisk(folder / "async.db", limit=10)
        self.metrics = Counting(folder / "metrics.db")
        self.plane, self.world = Plane(), World()
        self.invoker = AsyncInvoker(
            store=self.store,
            queue=self.queue,
            plane=self.plane,
            outside=Outside(objects=self.world, topics=self.world),
            metrics=self.metrics,
            clock=self.clock,
        )

    async def add(self, *, lasts: float = 1e6) -> None:
        config = {"ProductionVariants": [{"VariantName": "v"}]}
        await self.store.write(Create(key=KEY, spec={"config": config}, status={}))
        now = self.clock.now()
        self.queue.add(
            Queued(
                id="1",
                account=KEY.account,
                region=KEY.region,
                endpoint=KEY.name,
                inference_id="1",
                received_at=now,
                expires_at=now + lasts,
                timeout_seconds=60.0,
                output_location="s3://b/out",
                failure_location="s3://b/failed",
                body=b"x",
            )
        )

    @property
    def is_empty(self) -> bool:
        return not self.queue.backlogs() and not self.queue.decided(besides=(), most=1)

    async def until(self, condition: Callable[[], bool], *, step: float = 0.0) -> None:
        """Let the loop turn, and time pass by ``step`` whenever somebody sleeps."""
        async with asyncio.timeout(20):
            while not condition():
                if step and self.clock.sleepers:
                    self.clock.advance(step)
                await asyncio.sleep(0.001)

    async def drain(self) -> None:
        running = asyncio.create_task(self.invoker.run())
        await self.until(lambda: self.is_empty, step=3.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def close(self) -> None:
        self.queue.close()
        self.metrics.close()


def test_a_queue_on_a_full_disk_is_tried_ever_more_seldom_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.add()
        bench.queue.is_full = True
        running = asyncio.create_task(bench.invoker.run())
        for tries, pause in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0), 1):
            await bench.until(lambda: bench.clock.sleepers == 1)
            assert bench.plane.asked == tries
            assert bench.invoker.trouble == "database or disk is full"
            bench.clock.advance(pause - 0.5)
            assert bench.clock.sleepers == 1
            bench.queue.is_full = tries < 8
            bench.clock.advance(0.5)
        await bench.until(lambda: bench.is_empty and not bench.invoker.trouble)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        bench.close()

        assert bench.world.objects == {"s3://b/out": b"yes"}
        assert [one.levelno for one in caplog.records].count(logging.ERROR) == 1

    asyncio.run(scenario())


def test_an_expired_request_is_not_executed_and_gets_its_failure_object(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.add(lasts=0.0)
        await bench.drain()
        bench.close()

        assert bench.plane.asked == 0
        assert "RequestTTLSeconds" in json.loads(bench.world.objects["s3://b/failed"])["message"]
        assert "ExpiredRequests" in bench.metrics.names

    asyncio.run(scenario())


def test_an_object_that_is_written_at_the_fourth_try_is_delivered(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.add()
        bench.world.failures = 3
        await bench.drain()
        bench.close()

        assert (bench.plane.asked, bench.world.tries) == (1, 4)
        assert bench.world.objects == {"s3://b/out": b"yes"}
        assert "ResponseUploadFailures" not in bench.metrics.names

    asyncio.run(scenario())


def test_a_result_whose_bucket_is_missing_is_given_up_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)
        await bench.add()
        bench.world.failures = 100
        await bench.drain()
        bench.close()

        assert (bench.plane.asked, bench.world.tries) == (1, 4)
        assert "ResponseUploadFailures" in bench.metrics.names
        assert "s3://b/out is given up: there is no such bucket" in caplog.text

    asyncio.run(scenario())


def test_the_backlog_is_told_also_when_the_machines_clock_was_set_back(tmp_path: Path) -> None:
    """An endpoint without an instance is woken by it."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        config = {"ProductionVariants": [], "AsyncInferenceConfig": {"OutputConfig": {}}}
        await bench.store.write(Create(key=KEY, spec={"config": config}, status={}))
        await bench.invoker._tell_gauges()
        assert bench.metrics.names.count("ApproximateBacklogSize") == 1
        bench.clock.step_wall_time(-3600.0)
        bench.clock.advance(GAUGE_SECONDS)
        await bench.invoker._tell_gauges()
        bench.close()
        assert bench.metrics.names.count("ApproximateBacklogSize") == 2

    asyncio.run(scenario())
