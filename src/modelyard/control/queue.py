"""The work queue: which resources are to be looked at, and when. Each key is in it once, and in work once.

Three urgencies: a caller waits for it, it changed, or it is its turn. The urgent come first, and a few places are kept for
them, so that a request for a variant that sleeps does not wait behind a thousand looks that nobody waits for. Of eight
keys one is taken from the others, in turn: nothing starves.
"""

import asyncio
import heapq
from collections import deque
from enum import IntEnum
from typing import Any

from modelyard.base.clock import Clock
from modelyard.store.resources import Key

AWAITED_SECONDS = 2.0
"""Whoever waits says so each second; what happens to the key meanwhile is as urgent."""
_AWAITED_MAX = 1_000
_FAIR = 8


class Urgency(IntEnum):
    """Of a look."""

    AWAITED = 0
    CHANGED = 1
    ROUTINE = 2


class WorkQueue:
    """For one consumer; a key that is added while it is in work comes again after it is done.

    Of keys for which no caller waits only ``calm`` are in work at a time.
    """

    def __init__(self, clock: Clock, *, calm: int) -> None:
        self._clock = clock
        self._calm = calm
        self._ready: dict[Urgency, deque[Key]] = {urgency: deque() for urgency in Urgency}
        self._waiting: dict[Key, Urgency] = {}
        """An entry of ``_ready`` that says something else is of before."""
        self._working: dict[Key, Urgency] = {}
        self._again: dict[Key, Urgency] = {}
        self._awaited: dict[Key, float] = {}
        self._taken = 0
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._entries = 0
        self._wake = asyncio.Event()

    def hurry(self, key: Key) -> None:
        """A caller waits for what the look will do, and for what follows from it."""
        now = self._clock.monotonic()
        if len(self._awaited) >= _AWAITED_MAX:
            self._awaited = {one: until for one, until in self._awaited.items() if until > now}
        self._awaited[key] = now + AWAITED_SECONDS
        self.add(key)

    def add(self, key: Key, urgency: Urgency = Urgency.CHANGED) -> None:
        """Look at it as soon as possible."""
        self._due.pop(key, None)
        if self._awaited and self._is_awaited(key):
            urgency = Urgency.AWAITED
        if key in self._working:
            self._again[key] = min(urgency, self._again.get(key, urgency))
        elif urgency < self._waiting.get(key, len(Urgency)):
            self._waiting[key] = urgency
            self._ready[urgency].append(key)
            self._wake.set()

    def done(self, key: Key, seconds: float) -> None:
        """Its look is over; look again after ``seconds``, or at once if it was added meanwhile."""
        self._working.pop(key, None)
        self._wake.set()
        if key in self._again or seconds <= 0:
            self.add(key, self._again.pop(key, Urgency.CHANGED))
        elif key not in self._waiting and seconds != float("inf"):
            due = self._clock.monotonic() + seconds
            self._due[key] = due
            self._entries += 1
            heapq.heappush(self._heap, (due, self._entries, key))

    async def take(self) -> Key:
        """The next key; it is in work until ``done``."""
        while True:
            self._wake.clear()
            wait = self._move_due()
            urgency = self._choose()
            if urgency is not None:
                key = self._ready[urgency].popleft()
                del self._waiting[key]
                self._working[key] = urgency
                return key
            await self._sleep(wait)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or in work; what is due later does not count."""
        return not self._waiting and not self._working

    def _is_awaited(self, key: Key) -> bool:
        until = self._awaited.get(key)
        if until is None:
            return False
        if until <= self._clock.monotonic():
            del self._awaited[key]
            return False
        return True

    def _choose(self) -> Urgency | None:
        """Whose turn it is, if anything may be taken."""
        calm = sum(urgency is not Urgency.AWAITED for urgency in self._working.values())
        found = []
        for urgency, ready in self._ready.items():
            while ready and self._waiting.get(ready[0]) is not urgency:
                ready.popleft()
            if ready and (urgency is Urgency.AWAITED or calm < self._calm):
                found.append(urgency)
        if not found:
            return None
        self._taken += 1
        rounds, place = divmod(self._taken, _FAIR)
        return found[rounds % len(found)] if place == 0 else found[0]

    def _move_due(self) -> float | None:
        """Make ready what is due; seconds until the next is, None if nothing waits for a time."""
        now = self._clock.monotonic()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # replaced or added since
            elif due <= now:
                heapq.heappop(self._heap)
                self.add(key)
            else:
                return due - now
        return None

    async def _sleep(self, seconds: float | None) -> None:
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._wake.wait())}
        if seconds is not None:
            waits.add(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
