"""What control keeps, opened together: resources, logs, metrics, asynchronous requests; and where users' data lies."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelyard.base.clock import Clock
from modelyard.base.settings import Home, Settings
from modelyard.control.fleets import ObjectReader
from modelyard.server.data_plane import PackedObjects
from modelyard.store.async_queue import AsyncQueue
from modelyard.store.external_s3 import open_external
from modelyard.store.logs import LogStore
from modelyard.store.metrics import MetricStore
from modelyard.store.objects import ObjectStore
from modelyard.store.sqlite import SqliteResourceStore

if TYPE_CHECKING:
    from modelyard.store.external_objects import ExternalObjects


class Stores:
    """Of one control process. ``deposed`` is called when another control has taken over."""

    def __init__(self, settings: Settings, *, clock: Clock, deposed: Callable[[], None]) -> None:
        self._home = home = Home(settings.home)
        self.resources = SqliteResourceStore(home.state, clock=clock, deposed=deposed)
        self.logs = LogStore(home.logs_database, clock=clock)
        self.metrics = MetricStore(home.metrics_database)
        self.objects = ObjectStore(home.objects, clock=clock)
        """The platform's own."""
        self.async_queue = AsyncQueue(home.async_database, limit=settings.limits.async_queue)

    def data_objects(self) -> "ObjectStore | ExternalObjects":
        """Where inputs and outputs lie."""
        return open_external(self._home.external_s3, self._home.fetched) or self.objects

    def readable_objects(self) -> ObjectReader:
        """Where models lie."""
        return PackedObjects(self.data_objects(), self._home.packs)

    async def clear(self) -> None:
        """Empty all but the resources."""
        await asyncio.gather(
            asyncio.to_thread(self.objects.clear),
            asyncio.to_thread(self.logs.clear),
            asyncio.to_thread(self.metrics.clear),
            asyncio.to_thread(self.async_queue.clear),
        )

    def close(self) -> None:
        """When nobody writes any more."""
        self.resources.close()
        self.logs.close()
        self.metrics.close()
        self.async_queue.close()
        self.objects.close()
