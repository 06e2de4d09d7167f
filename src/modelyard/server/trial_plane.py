"""How control asks replicas that take no traffic yet: the gateway's own dispatcher, for routes that nobody published."""

import asyncio
from collections.abc import Sequence

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.settings import Limits
from modelyard.domain.pre_traffic import Trial
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.shadow import Answer
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.server.replicas import FRAME_MARGIN, TICK_SECONDS, ask
from modelyard.store.resources import Key
from modelyard.transport.channel import Channel, Listener
from modelyard.transport.frames import RequestMeta

_WAIT_SECONDS = 5.0
"""All of them are ready: one that is not there by then is gone."""


class ReplicaTrials:
    """``control.pre_traffic.TrialPlane`` over UNIX sockets."""

    def __init__(self, *, limits: Limits, clock: Clock) -> None:
        self._clock = clock
        self._seconds = limits.invocation_seconds
        self._frame_limit = limits.payload_bytes + FRAME_MARGIN
        self._dispatcher = Dispatcher(
            channel=self._channel,
            now=clock.monotonic,
            queue_limit=limits.replica_queue,
            wait_seconds=_WAIT_SECONDS,
        )
        self._routes: dict[Key, EndpointRoute] = {}
        self._asked = asyncio.Event()

    def _channel(self, address: str, listener: Listener) -> Channel:
        return Channel(address, listener, frame_limit=self._frame_limit)

    def open(self, key: Key, variants: Sequence[VariantRoute]) -> None:
        self._routes[key] = EndpointRoute(
            name=key.name, arn="", account=key.account, region=key.region, variants=tuple(variants)
        )
        self._dispatcher.update(tuple(self._routes.values()))

    def close(self, key: Key) -> None:
        self._routes.pop(key, None)
        self._dispatcher.update(tuple(self._routes.values()))

    async def ask(self, key: Key, variant: str, trial: Trial) -> Answer:
        route = next(one for one in self._routes[key].variants if one.name == variant)
        self._asked.set()
        outcome = await ask(
            self._dispatcher,
            (key.account, key.region, key.name, variant, route.fleet),
            meta=RequestMeta(content_type=trial.content_type, accept=trial.accept),
            body=trial.body,
            deadline=self._clock.monotonic() + self._seconds,
        )
        if isinstance(outcome, ServiceError):
            raise outcome
        return Answer(outcome.status, outcome.content_type, outcome.body)

    async def run(self) -> None:
        """End what is past its deadline, for ever. While nothing is asked there is nothing to look at."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._dispatcher.in_flight:
                await asyncio.sleep(TICK_SECONDS)
                self._dispatcher.tick()
