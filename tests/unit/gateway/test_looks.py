"""How often a gateway looks at what waits."""

import asyncio

import pytest

from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.in_flight import Invocation, WorkerChannel, nobody
from modelyard.gateway.looks import BUSY_SECONDS, IDLE_SECONDS, WAKING_SECONDS, Looks
from modelyard.testing.clock import ManualClock
from modelyard.transport.channel import Listener
from modelyard.transport.frames import RequestMeta


class Waiting:
    """What waits in a gateway, and its looks at it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.is_idle, self.is_waking = False, False
        self.looks = Looks(
            clock=self.clock, is_idle=lambda: self.is_idle, is_waking=lambda: self.is_waking
        )

    async def is_still_paused_after(self, seconds: float, pause: asyncio.Task[None]) -> bool:
        self.clock.advance(seconds)
        for _ in range(10):
            await asyncio.sleep(0)
        return not pause.done()

    async def pause(self) -> asyncio.Task[None]:
        pause = asyncio.create_task(self.looks.pause())
        assert await self.is_still_paused_after(0, pause)
        return pause


@pytest.mark.parametrize(("is_waking", "seconds"), [(False, BUSY_SECONDS), (True, WAKING_SECONDS)])
@pytest.mark.anyio
async def test_while_somebody_waits_there_are_many_looks_a_second(
    is_waking: bool, seconds: float
) -> None:
    waiting = Waiting()
    waiting.is_waking = is_waking
    pause = await waiting.pause()
    assert await waiting.is_still_paused_after(seconds * 0.9, pause)
    assert not await waiting.is_still_paused_after(seconds * 0.2, pause)


@pytest.mark.anyio
async def test_an_idle_gateway_looks_when_the_second_is_over() -> None:
    waiting = Waiting()
    waiting.is_idle = True
    waiting.clock.step_wall_time(IDLE_SECONDS - 0.01)
    await waiting.looks.pause()


@pytest.mark.anyio
async def test_who_comes_to_an_idle_gateway_is_looked_at_soon() -> None:
    waiting = Waiting()
    waiting.is_idle = True
    pause = await waiting.pause()
    assert not waiting.clock.sleepers
    waiting.looks.begin()
    assert await waiting.is_still_paused_after(0, pause)
    assert not await waiting.is_still_paused_after(BUSY_SECONDS, pause)


@pytest.mark.anyio
async def test_who_came_before_the_pause_does_not_shorten_it() -> None:
    waiting = Waiting()
    waiting.is_idle = True
    waiting.looks.begin()
    pause = await waiting.pause()
    assert not waiting.clock.sleepers
    waiting.looks.begin()
    assert await waiting.is_still_paused_after(0, pause)
    assert not await waiting.is_still_paused_after(BUSY_SECONDS, pause)


def test_the_first_who_waits_in_a_dispatcher_begins_the_looks_that_end_with_the_last() -> None:
    clock, begun = ManualClock(), []
    dispatcher = Dispatcher(
        channel=no_worker, now=clock.monotonic, queue_limit=5, wait_seconds=10.0
    )
    dispatcher.begin = lambda: begun.append(clock.monotonic())
    variant = VariantRoute(name="v", weight=1.0, replicas=(), fleet=1)
    dispatcher.update(
        (EndpointRoute(name="e", arn="a", account="1", region="r", variants=(variant,)),)
    )
    for deadline in (1.0, 2.0):
        meta = RequestMeta(content_type="text/csv")
        invocation = Invocation(body=b"", meta=meta, deadline=deadline, finish=nobody)
        dispatcher.submit(("1", "r", "e", "v", 1), invocation)
    assert begun == [0.0]
    for is_idle in (False, False, True):
        clock.advance(0.8)
        dispatcher.tick()
        assert dispatcher.is_idle == is_idle


def no_worker(address: str, listener: Listener) -> WorkerChannel:
    raise AssertionError(f"there is no worker, and {address} is asked")
