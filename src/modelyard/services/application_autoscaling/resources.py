"""What the families share: the kinds of resources, their keys, AWS's words for what is missing, writing and paging.

Policies and scheduled actions belong to a target. Each write of one also writes its target, which lists them; that wakes its
reconciler and makes "the target is gone" and "somebody else was faster" one check.
"""

from collections.abc import Callable, Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, Unsupported, ValidationError
from modelyard.domain.listing import Entry, Query, page
from modelyard.domain.scaling.targets import COPIES, NAMESPACE, Place
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Json,
    Key,
    Resource,
    ResourceStore,
    VersionConflict,
)
from modelyard.store.scaling import TARGET

PAGE_MAX = 50
_ATTEMPTS = 20


def place_of(service_namespace: str, resource_id: str, scalable_dimension: str) -> Place:
    """What is scaled. Raises ``Unsupported`` for other services' namespaces, ``ValidationError``."""
    check_namespace(service_namespace)
    if scalable_dimension == COPIES:
        raise Unsupported("Modelyard does not execute inference components yet.")
    return Place.parse(resource_id, scalable_dimension)


def check_namespace(service_namespace: str) -> None:
    """Raises ``Unsupported``."""
    if service_namespace != NAMESPACE:
        raise Unsupported(
            f"Modelyard scales the service namespace {NAMESPACE}, not {service_namespace}."
        )


def selection(
    service_namespace: str, resource_id: str | None, scalable_dimension: str | None
) -> Callable[[Place], bool]:
    """Which targets a Describe is about. Raises ``Unsupported``, ``ValidationError``."""
    check_namespace(service_namespace)
    if scalable_dimension is not None and resource_id is None:
        raise ValidationError("ResourceId is required with ScalableDimension.")
    return lambda place: (
        resource_id in (None, place.resource_id) and scalable_dimension in (None, place.dimension)
    )


def target_key(call: Call, place: Place) -> Key:
    """Of the target."""
    return Key(kind=TARGET, account=call.account, region=call.region, name=place.name)


def find_target(store: ResourceStore, call: Call, place: Place) -> Resource:
    """Raises ``ObjectNotFoundException``."""
    found = store.get(target_key(call, place))
    if found is None:
        raise ServiceError(
            "ObjectNotFoundException",
            f"No scalable target registered for service namespace: {NAMESPACE}, resource ID: "
            f"{place.resource_id}, scalable dimension: {place.dimension}",
        )
    return found


def not_found(noun: str, place: Place, name: str) -> ServiceError:
    """``ObjectNotFoundException`` for what a target owns."""
    return ServiceError(
        "ObjectNotFoundException",
        f"No {noun} found for service namespace: {NAMESPACE}, resource ID: {place.resource_id}, "
        f"scalable dimension: {place.dimension}, name: {name}",
    )


def _invalid_token(message: str) -> ServiceError:
    return ServiceError("InvalidNextTokenException", message)


def limit_exceeded(noun: str, most: int) -> ServiceError:
    """``LimitExceededException``."""
    return ServiceError(
        "LimitExceededException", f"A scalable target has at most {most} {noun}. Delete some first."
    )


async def write(store: ResourceStore, decide: Callable[[], Sequence[Change]]) -> None:
    """Write all that ``decide`` makes of what it reads; again if somebody was faster.

    Raises ``ConcurrentUpdateException`` when others keep winning.
    """
    for _ in range(_ATTEMPTS):
        try:
            await store.write(*decide())
        except (VersionConflict, AlreadyExists):
            continue
        return
    raise ServiceError(
        "ConcurrentUpdateException", "Too many writers compete for this scalable target. Try again."
    )


def list_page(
    found: Mapping[str, Json],
    *,
    scope: str,
    max_results: int | None,
    next_token: str | None,
    newest_first: bool = False,
) -> tuple[list[Json], str | None]:
    """Up to 50 of ``found``, by name. Raises ``InvalidNextTokenException``."""
    if max_results is not None and not 1 <= max_results <= PAGE_MAX:
        raise ValidationError(f"MaxResults must be between 1 and {PAGE_MAX}.")
    query = Query(
        scope=scope,
        sort_by="Name",
        descending=newest_first,
        max_results=max_results or PAGE_MAX,
        next_token=next_token,
        refusal=_invalid_token,
    )
    result = page((Entry(name=name) for name in found), query)
    return [found[name] for name in result.names], result.next_token
