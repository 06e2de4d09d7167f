"""Read, decide, write with the version that was read; and once more if somebody else was faster."""

from collections.abc import Callable

from modelyard.base.errors import ServiceError
from modelyard.store.resources import (
    Change,
    Delete,
    Key,
    Resource,
    ResourceStore,
    Update,
    VersionConflict,
)

ATTEMPTS = 20


async def change(
    store: ResourceStore,
    key: Key,
    decide: Callable[[Resource | None], Update | Delete | tuple[Change, ...]],
) -> Resource:
    """Apply what ``decide`` makes of the current resource; it may be asked again, and raises to refuse.

    Several changes are all made or none; the first one's resource is returned.
    Raises ``ServiceUnavailable`` when others keep winning, which AWS's clients retry.
    """
    for _ in range(ATTEMPTS):
        decided = decide(store.get(key))
        try:
            written, *_ = await store.write(
                *(decided if isinstance(decided, tuple) else (decided,))
            )
        except VersionConflict:
            continue
        return written
    raise ServiceError(
        "ServiceUnavailable", f"Too many writers compete for {key.kind} {key.name}.", status=503
    )
