"""The work queue: who is looked at first, and that nobody is forgotten."""

import asyncio

import pytest

from modelyard.control.queue import AWAITED_SECONDS, Urgency, WorkQueue
from modelyard.store.resources import Key
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


def key(name: str) -> Key:
    return Key(kind="endpoint", account="1", region="us-east-1", name=name)


async def taken(queue: WorkQueue, count: int) -> list[str]:
    names = []
    for _ in range(count):
        one = await queue.take()
        names.append(one.name)
        queue.done(one, float("inf"))
    return names


async def test_what_a_caller_waits_for_comes_before_what_changed_and_that_before_routine() -> None:
    queue = WorkQueue(ManualClock(), calm=1)
    queue.add(key("routine"), Urgency.ROUTINE)
    queue.add(key("changed"))
    queue.hurry(key("awaited"))
    assert await taken(queue, 3) == ["awaited", "changed", "routine"]
    assert queue.is_idle


async def test_a_key_that_waits_already_is_moved_forward_and_taken_once() -> None:
    queue = WorkQueue(ManualClock(), calm=1)
    for name in "abc":
        queue.add(key(name), Urgency.ROUTINE)
    queue.hurry(key("c"))
    assert await taken(queue, 3) == ["c", "a", "b"]
    assert queue.is_idle
    queue.add(key("c"), Urgency.ROUTINE)
    assert await taken(queue, 1) == ["c"]
    assert queue.is_idle


async def test_what_becomes_of_an_awaited_key_is_as_urgent_while_somebody_waits() -> None:
    clock = ManualClock()
    queue = WorkQueue(clock, calm=1)
    queue.hurry(key("a"))
    assert await taken(queue, 1) == ["a"]
    queue.add(key("b"))
    queue.add(key("a"))
    assert await taken(queue, 2) == ["a", "b"]
    clock.advance(AWAITED_SECONDS)
    queue.add(key("b"))
    queue.add(key("a"))
    assert await taken(queue, 2) == ["b", "a"]


async def test_a_flood_of_awaited_keys_starves_nothing() -> None:
    queue = WorkQueue(ManualClock(), calm=1)
    queue.add(key("changed"))
    queue.add(key("routine"), Urgency.ROUTINE)
    seen = []
    for number in range(40):
        queue.hurry(key(f"awaited{number}"))
        queue.hurry(key(f"more{number}"))
        seen += await taken(queue, 1)
    assert {"changed", "routine"} <= set(seen)


async def test_places_are_kept_for_who_is_awaited() -> None:
    queue = WorkQueue(ManualClock(), calm=2)
    for name in "abc":
        queue.add(key(name))
    in_work = [await queue.take(), await queue.take()]
    taking = asyncio.ensure_future(queue.take())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not taking.done()
    queue.hurry(key("awaited"))
    assert (await taking).name == "awaited"
    queue.done(in_work[0], float("inf"))
    assert (await queue.take()).name == "c"


async def test_a_key_that_is_awaited_while_it_is_in_work_is_looked_at_again_first() -> None:
    queue = WorkQueue(ManualClock(), calm=2)
    queue.add(key("a"))
    one = await queue.take()
    queue.add(key("b"))
    queue.hurry(key("a"))
    queue.done(one, 60.0)
    assert await taken(queue, 2) == ["a", "b"]
