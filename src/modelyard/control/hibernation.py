"""When variants were last used, as gateways tell, and who waits for one that sleeps.

Nothing of it is kept on disk: what a new control finds awake counts from its start, what it finds asleep sleeps on until
somebody waits for it, and says so again and again.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.clock import Clock
from modelyard.domain.hibernation import Wake, decode
from modelyard.store.resources import Key
from modelyard.transport.datagrams import bound

logger = logging.getLogger(__name__)


class Activity:
    """Monotonic seconds of the last use, by endpoint and variant; as many as there are endpoints."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used: dict[Key, dict[str, float]] = {}

    def heard(self, cells: Iterable[Any]) -> None:
        """What a gateway has counted (``gateway.counters.Cell``): requests that ended, and those on their way."""
        for cell in cells:
            if cell.requests or cell.in_flight:
                self.use(_key(cell), cell.variant)

    def use(self, endpoint: Key, variant: str) -> None:
        """It is in use now."""
        self._used.setdefault(endpoint, {})[variant] = self._clock.monotonic()

    def ages(self, endpoint: Key, awake: Collection[str]) -> Mapping[str, float]:
        """Seconds since each variant was used; what is awake and was never seen in use counts from now."""
        now = self._clock.monotonic()
        used = self._used.get(endpoint, {})
        for variant in awake:
            if variant not in used:
                self.use(endpoint, variant)
        return {variant: now - at for variant, at in self._used.get(endpoint, {}).items()}

    def forget(self, endpoint: Key) -> None:
        """It was deleted."""
        self._used.pop(endpoint, None)


class Wakes(asyncio.DatagramProtocol):
    """Listens for gateways on a UNIX datagram socket. The answer is the next routing table: they ask until it names a replica."""

    def __init__(
        self, *, activity: Activity, exists: Callable[[Key], bool], wake: Callable[[Key], None]
    ) -> None:
        self._activity = activity
        self._exists = exists
        self._wake = wake

    async def run(self, path: Path) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=bound(path))
        try:
            await asyncio.Event().wait()
        finally:
            transport.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            wake = decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            logger.warning("a gateway's word of who waits cannot be read: %s", error)
            return
        key = _key(wake)
        if self._exists(key):
            self._activity.use(key, wake.variant)
            self._wake(key)


def _key(of: Wake | Any) -> Key:
    return Key(kind="endpoint", account=of.account, region=of.region, name=of.endpoint)
