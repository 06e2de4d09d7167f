"""The work queue: which resources are to be looked at, and when. Each key is in it once, and in work once."""

import asyncio
import heapq
from collections import deque
from typing import Any

from modelyard.base.clock import Clock
from modelyard.store.resources import Key


class WorkQueue:
    """For one consumer; a key that is added while it is in work comes again after it is done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[Key] = deque()
        self._waiting: set[Key] = set()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._entries = 0
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Look at it as soon as possible."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def done(self, key: Key, seconds: float) -> None:
        """Its look is over; look again after ``seconds``, or at once if it was added meanwhile."""
        self._working.discard(key)
        if key in self._again or seconds <= 0:
            self._again.discard(key)
            self.add(key)
        elif key not in self._waiting and seconds != float("inf"):
            due = self._clock.monotonic() + seconds
            self._due[key] = due
            self._entries += 1
            heapq.heappush(self._heap, (due, self._entries, key))
            self._wake.set()

    async def take(self) -> Key:
        """The next key; it is in work until ``done``."""
        while True:
            self._wake.clear()
            wait = self._move_due()
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                self._working.add(key)
                return key
            await self._sleep(wait)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is ready or in work; what is due later does not count."""
        return not self._ready and not self._working

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
