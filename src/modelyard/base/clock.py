"""Time as a parameter.

Only this module reads the system's clock. Durations are seconds. Wall time (``now``) is for what a user
sees; ``monotonic`` is for intervals, so that a stepped clock never changes a decision.
"""

import asyncio
import time
from typing import Protocol

NOTICED_SECONDS = 2.0


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


class SteadyTime:
    """Wall time as it would be had nobody set the clock since this was made.

    For due times that are stored, and compared with nothing but such times: a clock that is set, forward or back, makes
    nothing late and lets nothing wait.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()

    def now(self) -> float:
        """Seconds since the Unix epoch, near enough."""
        return self._offset + self._clock.monotonic()

    def set_by(self) -> float:
        """Seconds by which the clock was set forward since this was made; 0 for less than two."""
        moved = self._clock.now() - self.now()
        return moved if abs(moved) >= NOTICED_SECONDS else 0.0
