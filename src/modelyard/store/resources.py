"""Resources: what users asked for (``spec``) and what is (``status``), with versions.

The interface; ``sqlite.py`` implements it. Reads are immediate and see all that was acknowledged. Writes are atomic
over all changes of one call, conditional on versions, and durable when the call returns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]
CASE_BLIND = frozenset({"endpoint", "iam-user", "iam-role", "iam-policy"})
"""Kinds whose names may not differ by case alone; part of the format of what is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Identity of a resource. ``region`` is empty for what has none (IAM)."""

    kind: str
    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource as it was read. ``version`` rises with each write of any resource."""

    key: Key
    version: int
    created_at: float
    updated_at: float
    spec: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Fails with ``AlreadyExists``."""

    key: Key
    spec: Json
    status: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace spec or status or both (None keeps).

    Fails with ``VersionConflict`` unless ``version`` is the current one.
    """

    key: Key
    version: int
    spec: Json | None = None
    status: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Fails with ``VersionConflict`` unless ``version`` is the current one (None: whatever it is)."""

    key: Key
    version: int | None = None


Change = Create | Update | Delete


class AlreadyExists(Exception):
    """A ``Create`` met a resource of its key. Kinds in ``case_blind`` compare names without case."""

    def __init__(self, key: Key) -> None:
        super().__init__(str(key))
        self.key = key


class VersionConflict(Exception):
    """Someone else wrote or deleted the resource since it was read: read again, decide again."""

    def __init__(self, key: Key) -> None:
        super().__init__(str(key))
        self.key = key


class ResourceStore(Protocol):
    """Used by services and reconcilers from one event loop."""

    def get(self, key: Key) -> Resource | None:
        """The resource, or None."""

    def versions(self, kind: str) -> Mapping[Key, int]:
        """The version of each of a kind, of all accounts and regions: what ``list`` has, without reading it."""

    def list(
        self,
        kind: str,
        *,
        account: str | None = None,
        region: str | None = None,
        prefix: str = "",
    ) -> Sequence[Resource]:
        """All of a kind whose names begin with ``prefix``, by name; of all accounts and regions unless given."""

    async def write(self, *changes: Change) -> Sequence[Resource]:
        """Apply all or none; the written resources in order (of a Delete: as it was)."""

    def subscribe(self, listener: Callable[[Key], None]) -> None:
        """Call ``listener`` on the event loop after each committed change."""
