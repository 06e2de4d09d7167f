"""When a gateway looks at what waits in it: many times a second while anything does, once a second otherwise.

A look ends what is past its deadline and takes a new routing table for requests that wait for a replica. A request that
comes looks for a new table itself, so that nobody has to look for it in a gateway that has nothing to do.
"""

import asyncio
import contextlib
from collections.abc import Callable

from modelyard.base.clock import Clock

BUSY_SECONDS = 0.05
"""A request that waits for a replica learns of it within so long."""
WAKING_SECONDS = 0.01
"""The same while somebody waits for a variant to wake."""
IDLE_SECONDS = 1.0
_AFTER_SECONDS = 0.002
"""A timer may be early by a millisecond, and is not to be early for the second."""


class Looks:
    """``is_idle``: nothing waits. ``is_waking``: what waits is a variant that sleeps."""

    def __init__(
        self, *, clock: Clock, is_idle: Callable[[], bool], is_waking: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._is_idle = is_idle
        self._is_waking = is_waking
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """Something waits, where nothing did."""
        self._begun.set()

    async def pause(self) -> None:
        """Until the next look. Of an idle gateway that is when a second of the wall's clock begins: reports are due then."""
        if self._is_idle():
            self._begun.clear()
            seconds = IDLE_SECONDS - self._clock.now() % IDLE_SECONDS + _AFTER_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._begun.wait(), seconds)
            if not self._begun.is_set():
                return
        await self._clock.sleep(WAKING_SECONDS if self._is_waking() else BUSY_SECONDS)
