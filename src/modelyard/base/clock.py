"""Time as a parameter.

Only this module reads the system's clock. Durations are seconds. Wall time (``now``) is for what a user
sees; ``monotonic`` is for intervals, so that a stepped clock never changes a decision.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The time that a component lives in: the system's, a manual one in tests, a simulated one."""

    def now(self) -> float:
        """Seconds since the Unix epoch, for time stamps that users see."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back, for intervals and deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Return when ``seconds`` of this clock have passed."""


class SystemClock:
    """The machine's own clock. A request asks for the time four times: there is nothing between it and the answer."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
