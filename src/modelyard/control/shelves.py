"""Models for multi-model endpoints: gateways ask for them by datagram, and are told when they are on the shelf.

How long it took to put one there is CloudWatch's ``ModelDownloadingTime``.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.clock import Clock
from modelyard.control.endpoints import endpoint_memory
from modelyard.control.fleets import Fleets
from modelyard.domain.endpoint_metrics import MODEL_DOWNLOADING, NAMESPACE, dimensions_of
from modelyard.domain.fleet import Container
from modelyard.domain.metrics import Summary
from modelyard.domain.shelf import Ask, Told, decode_ask, encode
from modelyard.store.metrics import Datum, Metric, MetricsNotKept, MetricStore
from modelyard.store.resources import Key, ResourceStore
from modelyard.transport.datagrams import bound

logger = logging.getLogger(__name__)
QUEUE_MAX = 1_000
AT_ONCE = 4


class Shelves(asyncio.DatagramProtocol):
    """Listens on a UNIX datagram socket; a wish that finds the queue full is dropped, and its gateway gives up in time."""

    def __init__(
        self, *, store: ResourceStore, fleets: Fleets, metrics: MetricStore, clock: Clock
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._fleets = fleets
        self._queue: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue(QUEUE_MAX)

    async def run(self, path: Path) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=bound(path))
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(AT_ONCE):
                    tasks.create_task(self._serve(transport), name=f"control.shelves-{number}")
        finally:
            transport.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            self._queue.put_nowait((data, address))
        except asyncio.QueueFull:
            logger.warning("a gateway's wish for a model is dropped: %d wait", QUEUE_MAX)

    async def _serve(self, transport: asyncio.DatagramTransport) -> None:
        while True:
            data, address = await self._queue.get()
            try:
                ask = decode_ask(data)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                logger.warning("a wish for a model cannot be read: %s", error)
                continue
            told = Told(ask.id, await self.put(ask))
            transport.sendto(encode(told), address)

    async def put(self, ask: Ask) -> str:
        """Put the model on the shelf of the variant, in every fleet that has one; else why not, in AWS's words."""
        containers = self._containers(ask)
        if not containers:
            return f"Endpoint {ask.endpoint} has no multi-model variant {ask.variant} any more."
        for config_name, container in containers:
            began = self._clock.monotonic()
            try:
                is_there = await asyncio.to_thread(self._fleets.shelve, container, ask.model)
            except OSError as error:
                return f"Model {ask.model} could not be fetched: {error}"
            if not is_there:
                bucket, _, prefix = container.data.uri.removeprefix("s3://").partition("/")
                return (
                    f"Failed to download model data(bucket: {bucket}, key: {prefix}{ask.model}). Please ensure that "
                    "there is an object located at the URL and that the role passed to CreateModel has permissions to "
                    "download the model."
                )
            await self._tell(ask, config_name, self._clock.monotonic() - began)
        return ""

    async def _tell(self, ask: Ask, config_name: str, seconds: float) -> None:
        summary = Summary()
        summary.add(seconds * 1e6)
        now = self._clock.now()
        data = [
            Datum(
                metric=Metric(
                    account=ask.account,
                    region=ask.region,
                    namespace=NAMESPACE,
                    name=MODEL_DOWNLOADING,
                    dimensions=dimensions,
                ),
                at=int(now),
                summary=summary,
                unit="Microseconds",
            )
            for dimensions in dimensions_of(ask.endpoint, ask.variant, config_name)
        ]
        try:
            await asyncio.to_thread(self._metrics.put, data, now=now)
        except MetricsNotKept as error:
            logger.warning("measurements are dropped: %s", error)

    def _containers(self, ask: Ask) -> list[tuple[str, Container]]:
        """With the endpoint config of the fleet of each."""
        key = Key(kind="endpoint", account=ask.account, region=ask.region, name=ask.endpoint)
        resource = self._store.get(key)
        if resource is None:
            return []
        memory = endpoint_memory(resource)
        return [
            (fleet.config_name, container)
            for fleet in (memory.serving, memory.target)
            if fleet is not None
            for variant in fleet.variants
            if variant.name == ask.variant
            for container in variant.containers
            if container.multi_model
        ]
