"""A resource store in memory: a fake that keeps state, and passes the conformance suite of the real one."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from modelyard.base.clock import Clock
from modelyard.store.resources import (
    CASE_BLIND,
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    Update,
    VersionConflict,
)

_Table = dict[Key, Resource]


class MemoryResourceStore:
    """``ResourceStore`` without a disk. ``fail_next_write`` is raised by the next write, instead of writing."""

    def __init__(self, *, clock: Clock, case_blind: Collection[str] = CASE_BLIND) -> None:
        self.fail_next_write: Exception | None = None
        self._clock = clock
        self._case_blind = frozenset(case_blind)
        self._table: _Table = {}
        self._version = 0
        self._listeners: list[Callable[[Key], None]] = []

    def get(self, key: Key) -> Resource | None:
        """The resource, or None."""
        found = self._table.get(self._identity(key))
        return _copy(found) if found is not None and found.key == key else None

    def versions(self, kind: str) -> Mapping[Key, int]:
        """The version of each of a kind, of all accounts and regions."""
        return {one.key: one.version for one in self._table.values() if one.key.kind == kind}

    def list(
        self,
        kind: str,
        *,
        account: str | None = None,
        region: str | None = None,
        prefix: str = "",
    ) -> Sequence[Resource]:
        """All of a kind whose names begin with ``prefix``, by name; of all accounts and regions unless given."""
        found = [
            _copy(one)
            for one in self._table.values()
            if one.key.kind == kind
            and account in (None, one.key.account)
            and region in (None, one.key.region)
            and one.key.name.startswith(prefix)
        ]
        return sorted(found, key=lambda one: (one.key.name, one.key.account, one.key.region))

    async def write(self, *changes: Change) -> Sequence[Resource]:
        """Apply all or none."""
        await asyncio.sleep(0)  # as with the real one, others run while a write is under way
        if self.fail_next_write is not None:
            error, self.fail_next_write = self.fail_next_write, None
            raise error
        table, version = dict(self._table), self._version
        written = []
        for change in changes:
            version += 1
            written.append(self._apply(table, change, version))
        self._table, self._version = table, version
        self._tell(written)
        return [_copy(one) for one in written]

    async def clear(self) -> None:
        """Delete everything, at once; versions go on rising."""
        await asyncio.sleep(0)
        removed = list(self._table.values())
        self._table = {}
        self._tell(removed)

    def subscribe(self, listener: Callable[[Key], None]) -> None:
        """Call ``listener`` on the event loop after each committed change."""
        self._listeners.append(listener)

    def _tell(self, changed: Sequence[Resource]) -> None:
        for resource in changed:
            for listener in self._listeners:
                listener(resource.key)

    def _identity(self, key: Key) -> Key:
        if key.kind not in self._case_blind:
            return key
        return Key(kind=key.kind, account=key.account, region=key.region, name=key.name.lower())

    def _apply(self, table: _Table, change: Change, version: int) -> Resource:
        identity, now = self._identity(change.key), self._clock.now()
        current = table.get(identity)
        if isinstance(change, Create):
            if current is not None:
                raise AlreadyExists(change.key)
            table[identity] = Resource(
                key=change.key,
                version=version,
                created_at=now,
                updated_at=now,
                spec=_json(change.spec),
                status=_json(change.status),
            )
            return table[identity]
        if current is None or current.key != change.key:
            raise VersionConflict(change.key)
        if change.version not in (None, current.version):
            raise VersionConflict(change.key)
        if isinstance(change, Delete):
            return table.pop(identity)
        table[identity] = _updated(current, change, version, now)
        return table[identity]


def _updated(current: Resource, change: Update, version: int, now: float) -> Resource:
    return Resource(
        key=current.key,
        version=version,
        created_at=current.created_at,
        updated_at=now,
        spec=current.spec if change.spec is None else _json(change.spec),
        status=current.status if change.status is None else _json(change.status),
    )


def _copy(resource: Resource) -> Resource:
    return Resource(
        key=resource.key,
        version=resource.version,
        created_at=resource.created_at,
        updated_at=resource.updated_at,
        spec=_json(resource.spec),
        status=_json(resource.status),
    )


def _json(value: Json) -> Json:
    """A copy that has been through JSON, as a database's would."""
    copy: Json = msgspec.json.decode(msgspec.json.encode(value))
    return copy
