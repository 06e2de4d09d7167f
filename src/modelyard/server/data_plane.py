"""How control asks workers: the gateway's own dispatcher, for the endpoints of the platform's reserved account only."""

import asyncio
import contextlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.settings import Home, Limits
from modelyard.control.fleets import ObjectReader, StoredObject
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, RoutingTable
from modelyard.domain.routing import choose_variant
from modelyard.gateway.dispatcher import Dispatcher, Invocation
from modelyard.services.hosted_models import ACCOUNT, BUCKET
from modelyard.store.published import Published
from modelyard.transport.channel import Channel, Listener
from modelyard.transport.frames import RequestMeta

TICK_SECONDS = 0.25
FRAME_MARGIN = 1 << 20
_OK, _BAD_REQUESTS = 200, range(400, 500)


class LocalDataPlane:
    """``services.hosted_models.DataPlane`` over UNIX sockets."""

    def __init__(self, *, home: Home, limits: Limits, clock: Clock, random: RandomSource) -> None:
        self._published: Published[RoutingTable] = Published(
            home.run,
            "routes",
            decode=lambda value: msgspec.convert(value, RoutingTable),
            empty=RoutingTable(),
        )
        self._table: RoutingTable | None = None
        self._endpoints: dict[tuple[str, str, str], EndpointRoute] = {}
        self._clock = clock
        self._random = random
        self._frame_limit = limits.payload_bytes + FRAME_MARGIN
        self._dispatcher = Dispatcher(
            channel=self._channel,
            now=clock.monotonic,
            queue_limit=limits.replica_queue,
            wait_seconds=limits.replica_wait_seconds,
        )

    def _channel(self, address: str, listener: Listener) -> Channel:
        return Channel(address, listener, frame_limit=self._frame_limit)

    def _refresh(self) -> None:
        table = self._published.current()
        if table is not self._table:
            self._table = table
            own = tuple(one for one in table.endpoints if one.account == ACCOUNT)
            self._endpoints = {(one.account, one.region, one.name): one for one in own}
            self._dispatcher.update(own)

    def is_routed(self, account: str, region: str, name: str) -> bool:
        """Whether the endpoint is in the routing table now."""
        self._refresh()
        return (account, region, name) in self._endpoints

    async def ask(
        self,
        account: str,
        region: str,
        name: str,
        *,
        body: bytes,
        content_type: str,
        seconds: float,
    ) -> bytes:
        """The answer's body. Raises ``ServiceError``."""
        self._refresh()
        route = self._endpoints.get((account, region, name))
        if route is None:
            raise ServiceError(
                "ServiceUnavailableException", f"The model {name} is being restarted.", status=503
            )
        variant = choose_variant(route, target="", draw=self._random.uniform())
        answered: asyncio.Future[Final | ServiceError] = asyncio.get_running_loop().create_future()

        def finish(outcome: Final | ServiceError) -> None:
            if not answered.done():
                answered.set_result(outcome)

        invocation = Invocation(
            body=body,
            meta=RequestMeta(content_type=content_type, accept=content_type),
            deadline=self._clock.monotonic() + seconds,
            finish=finish,
        )
        self._dispatcher.submit((account, region, name, variant.name, variant.fleet), invocation)
        try:
            outcome = await answered
        except asyncio.CancelledError:
            self._dispatcher.cancel(invocation)
            raise
        return _body(outcome, name)

    async def run(self) -> None:
        """End what is past its deadline, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._refresh()
            self._dispatcher.tick()


def _body(outcome: Final | ServiceError, name: str) -> bytes:
    if isinstance(outcome, ServiceError):
        if outcome.status == 429:
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        raise ServiceError(
            "InternalServerException",
            f"The model {name} did not answer: {outcome.message}",
            status=500,
        )
    if outcome.status == _OK:
        return outcome.body
    said = outcome.body.decode("utf-8", "replace")[:1000]
    if outcome.status in _BAD_REQUESTS:
        raise ServiceError("InvalidRequestException", said)
    raise ServiceError("InternalServerException", f"The model {name} failed: {said}", status=500)


class _PackArchive(NamedTuple):
    """``control.fleets.StoredObject`` of an installed pack."""

    etag: str
    size: int
    path: Path


class PackedObjects:
    """An object store that also has the installed packs, in a bucket that no user can make."""

    def __init__(self, objects: ObjectReader, packs: Path) -> None:
        self._objects = objects
        self._packs = packs

    def head(self, bucket: str, key: str) -> StoredObject | None:
        """The archive of a pack, while it has the content that the key names."""
        if bucket != BUCKET:
            return self._objects.head(bucket, key)
        name, _, content = key.partition("/")
        path = self._packs / name / "model.tar"
        with contextlib.suppress(FileNotFoundError):
            return _PackArchive(etag=content, size=path.stat().st_size, path=path)
        return None
