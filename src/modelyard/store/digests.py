"""What is needed of each resource of a kind, made anew only where the resource has changed.

To read a thousand resources takes a tenth of a second, in which an event loop does nothing else; to read their versions, a
fiftieth of that. Who looks at all of a kind again and again keeps what it needs of each.
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from modelyard.store.resources import Key, Resource, ResourceStore

T = TypeVar("T")
_AT_ONCE = 4
"""With more than one in so many changed, all are read in one statement."""


class Digests(Generic[T]):
    """Belongs to the store's event loop. ``make`` is pure, and its result is not to be edited."""

    def __init__(self, store: ResourceStore, kind: str, make: Callable[[Resource], T]) -> None:
        self._store = store
        self._kind = kind
        self._make = make
        self._known: dict[Key, tuple[int, T]] = {}

    def all(self) -> Mapping[Key, T]:
        """As of now."""
        versions = self._store.versions(self._kind)
        before, self._known = self._known, {}
        changed = []
        for key, version in versions.items():
            known = before.get(key)
            if known is not None and known[0] == version:
                self._known[key] = known
            else:
                changed.append(key)
        if len(changed) * _AT_ONCE > len(versions):
            for resource in self._store.list(self._kind):
                self._take(resource)
        else:
            for key in changed:
                found = self._store.get(key)
                if found is not None:
                    self._take(found)
        return {key: made for key, (_, made) in self._known.items()}

    def _take(self, resource: Resource) -> None:
        known = self._known.get(resource.key)
        if known is None or known[0] != resource.version:
            self._known[resource.key] = resource.version, self._make(resource)
