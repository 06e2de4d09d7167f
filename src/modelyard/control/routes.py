"""The routing table's one writer: collects each endpoint's routes and publishes them together.

It starts from the table on disk, so that a restarted control takes nothing away from the gateways before it has looked
at the endpoint itself. Publishing costs an fsync; calls that wait at the same time share one.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.domain.routes import EndpointRoute, RoutingTable
from modelyard.store.published import Published
from modelyard.store.resources import Key


class TablePublisher(Protocol):
    """``store.published.Publisher``."""

    def publish(self, table: Any) -> None:
        """Blocks; on return every reader's next look sees the table."""


def last_published(folder: Path) -> RoutingTable:
    """The table that the gateways use now; empty before the first."""
    decode = msgspec.json.Decoder(RoutingTable).decode
    published = Published(folder, "routes", decode=decode, empty=RoutingTable())
    return published.current()


class RoutePublisher:
    """Used by all reconcilers of one event loop."""

    def __init__(self, publisher: TablePublisher, *, initial: RoutingTable) -> None:
        self._publisher = publisher
        self._routes = {_key(route): route for route in initial.endpoints}
        self._lock = asyncio.Lock()
        self._wanted = 1
        # Nothing counts as published by this process: its predecessor may have died between the table's rename and
        # its epoch, and then no gateway has looked at it.
        self._published = 0

    def get(self, key: Key) -> EndpointRoute | None:
        """The endpoint's routes as they were last set."""
        return self._routes.get(key)

    async def set(self, key: Key, route: EndpointRoute | None) -> None:
        """On return every gateway uses ``route`` for its next request; None: the endpoint is not invocable."""
        if self._routes.get(key) != route:
            if route is None:
                del self._routes[key]
            else:
                self._routes[key] = route
            self._wanted += 1
        await self._flush(self._wanted)

    async def retain(self, endpoints: Collection[Key]) -> None:
        """Drop the routes of endpoints that exist no more."""
        gone = self._routes.keys() - set(endpoints)
        for key in gone:
            del self._routes[key]
        if gone:
            self._wanted += 1
        await self._flush(self._wanted)

    async def _flush(self, wanted: int) -> None:
        if self._published >= wanted:
            return
        async with self._lock:
            if self._published >= wanted:
                return
            number = self._wanted
            table = RoutingTable(endpoints=tuple(self._routes.values()))
            await asyncio.to_thread(self._publisher.publish, table)
            self._published = number


def _key(route: EndpointRoute) -> Key:
    return Key(kind="endpoint", account=route.account, region=route.region, name=route.name)
