"""How control asks workers: the gateway's own dispatcher, for the endpoints that no gateway invokes for it."""

import asyncio
import contextlib
from collections.abc import Callable

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute
from modelyard.domain.routing import choose_variant
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.in_flight import Invocation, VariantKey
from modelyard.server.routing_table import Routes
from modelyard.transport.channel import Channel, Listener
from modelyard.transport.frames import RequestMeta

TICK_SECONDS = 0.1
IDLE_SECONDS = 2.0
"""While nothing is asked, a new table is looked for so often; a question looks by itself."""
FRAME_MARGIN = 1 << 20


class Replicas:
    """The replicas of the endpoints that are ``own``."""

    def __init__(
        self,
        *,
        home: Home,
        limits: Limits,
        clock: Clock,
        random: RandomSource,
        own: Callable[[EndpointRoute], bool],
    ) -> None:
        self._clock = clock
        self._random = random
        self._frame_limit = limits.payload_bytes + FRAME_MARGIN
        self._dispatcher = Dispatcher(
            channel=self._channel,
            now=clock.monotonic,
            queue_limit=limits.replica_queue,
            wait_seconds=limits.replica_wait_seconds,
        )
        self._asked = asyncio.Event()
        self._routes = Routes(home, self._dispatcher, own=own)
        self.find = self._routes.find

    def _channel(self, address: str, listener: Listener) -> Channel:
        return Channel(address, listener, frame_limit=self._frame_limit)

    async def ask(
        self, route: EndpointRoute, *, meta: RequestMeta, body: bytes, seconds: float
    ) -> tuple[str, Final | ServiceError]:
        """The variant, and its answer or why there is none. Raises ``ServiceError`` where it is not even tried."""
        variant = choose_variant(route, target="", draw=self._random.uniform())
        key = (route.account, route.region, route.name, variant.name, variant.fleet)
        deadline = self._clock.monotonic() + seconds
        self._asked.set()
        outcome = await ask(self._dispatcher, key, meta=meta, body=body, deadline=deadline)
        return variant.name, outcome

    async def run(self) -> None:
        """End what is past its deadline, for ever. A table is decoded whole: seldom, while nobody waits for it."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._routes.look()
            self._dispatcher.tick()
            if not self._dispatcher.in_flight:
                self._asked.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), IDLE_SECONDS)


async def ask(
    dispatcher: Dispatcher, key: VariantKey, *, meta: RequestMeta, body: bytes, deadline: float
) -> Final | ServiceError:
    """One request's answer, or why there is none. Raises ``ServiceError`` where it is not even tried."""
    answered: asyncio.Future[Final | ServiceError] = asyncio.get_running_loop().create_future()

    def finish(outcome: Final | ServiceError) -> None:
        if not answered.done():
            answered.set_result(outcome)

    invocation = Invocation(body=body, meta=meta, deadline=deadline, finish=finish)
    dispatcher.submit(key, invocation)
    try:
        return await answered
    except asyncio.CancelledError:
        dispatcher.cancel(invocation)
        raise
