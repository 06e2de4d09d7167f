"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools


class ManualClock:
    """``Clock`` for tests: time passes only by ``advance``."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), waiter))
        await waiter

    def advance(self, seconds: float) -> None:
        """Let time pass. Sleepers that are due wake in order, at the loop's next turn."""
        self._now += seconds
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():  # a cancelled sleeper has gone
                waiter.set_result(None)

    def step_wall_time(self, seconds: float) -> None:
        """Somebody set the machine's clock: wall time jumps, intervals do not notice."""
        self._now += seconds

    @property
    def sleepers(self) -> int:
        """How many wait, so that a test can see that a loop has settled."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)
