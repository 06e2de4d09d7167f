"""The table of access keys that gateways, control and objects verify signatures with."""

import asyncio
from typing import Any

from modelyard.control.routes import TablePublisher
from modelyard.store.resources import ResourceStore


class KeyPublisher:
    """Publishes every ``iam-access-key`` of the store; control calls it at start, IAM after each change.

    And control now and then: a publication may have failed, or whoever changed a key was gone before it was published.
    """

    def __init__(self, *, store: ResourceStore, publisher: TablePublisher) -> None:
        self._store = store
        self._publisher = publisher
        self._lock = asyncio.Lock()
        self._published: dict[str, Any] | None = None

    async def publish_keys(self) -> None:
        """On return no process accepts a key that was deleted before the call, and each accepts a new one."""
        async with self._lock:
            # Read inside the lock: a table that was read earlier can never replace one that was read later.
            table = self._table()
            if table != self._published:
                await asyncio.to_thread(self._publisher.publish, table)
                self._published = table

    def _table(self) -> dict[str, Any]:
        return {
            "keys": {
                resource.key.name: {
                    "secret": resource.spec["Secret"],
                    "principal": resource.spec["principal"],
                    "active": resource.spec["Status"] == "Active",
                }
                for resource in self._store.list("iam-access-key")
            }
        }
