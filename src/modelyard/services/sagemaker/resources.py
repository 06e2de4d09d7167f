"""What the families share: keys, ARNs, AWS's words for what is missing or exists already, roles, listing."""

import datetime
from collections.abc import Callable, Mapping

from modelyard.base.arns import Arn, sagemaker_arn
from modelyard.base.call import Call
from modelyard.base.errors import ServiceError, ValidationError
from modelyard.domain.listing import DEFAULT_RESULTS, Entry, Query, SortKey, page
from modelyard.services.members import present
from modelyard.store.resources import AlreadyExists, Create, Json, Key, Resource, ResourceStore

Moment = datetime.datetime | float | None
"""A time as the wire gives it."""

NOUNS = {
    "model": "model",
    "endpoint-config": "endpoint configuration",
    "endpoint": "endpoint",
    "transform-job": "transform job",
}
"""Resource kinds, which are also the types in ARNs, and what AWS's messages call them."""


def key_of(call: Call, kind: str, name: str) -> Key:
    """The caller's resource of this name."""
    return Key(kind=kind, account=call.account, region=call.region, name=name)


def arn_of(key: Key) -> str:
    """Its ARN."""
    return sagemaker_arn(key.region, key.account, key.kind, key.name)


def missing(key: Key) -> ValidationError:
    """AWS answers ``ValidationException`` even where the model lists ``ResourceNotFound``."""
    return ValidationError(f'Could not find {NOUNS[key.kind]} "{arn_of(key)}".')


def find(store: ResourceStore, key: Key) -> Resource:
    """The resource. Raises ``missing``."""
    resource = store.get(key)
    if resource is None:
        raise missing(key)
    return resource


async def create(store: ResourceStore, change: Create) -> str:
    """Create; the ARN. Raises ``ValidationError`` for a name that is taken."""
    arn = arn_of(change.key)
    try:
        await store.write(change)
    except AlreadyExists:
        noun = NOUNS[change.key.kind]
        raise ValidationError(f'Cannot create already existing {noun} "{arn}".') from None
    return arn


class Roles:
    """Which role ARNs are accepted: all, or with ``strict`` those that name a role of the platform."""

    def __init__(self, *, store: ResourceStore, strict: bool) -> None:
        self._store = store
        self._strict = strict

    def check(self, call: Call, role_arn: str | None) -> None:
        """Raises ``ValidationError``. Called for every role that a resource will act as."""
        if role_arn is None or not self._strict:
            return
        try:
            arn = Arn.parse(role_arn)
        except ValueError as error:
            raise ValidationError(f"{error}.") from None
        key = Key(
            kind="iam-role",
            account=arn.account,
            region="",
            name=arn.resource.rpartition("/")[2],
        )
        if arn.account != call.account or self._store.get(key) is None:
            raise ValidationError(
                f"Could not assume role {role_arn}. Please ensure that the role exists and allows "
                "principal 'sagemaker.amazonaws.com' to assume the role."
            )


def list_page(
    resources: Mapping[str, Resource],
    query: Query,
    *,
    summaries: str,
    summarise: Callable[[Resource], Json],
    status_of: Callable[[Resource], str] = lambda _resource: "",
    modified_of: Callable[[Resource], float] = lambda resource: resource.updated_at,
) -> Json:
    """The answer of a ``List*``; ``summaries`` is its irregular name for the list."""
    entries = (
        Entry(
            name=name,
            created_at=resource.created_at,
            modified_at=modified_of(resource),
            status=status_of(resource),
        )
        for name, resource in resources.items()
    )
    found = page(entries, query)
    return present(
        {
            summaries: [summarise(resources[name]) for name in found.names],
            "NextToken": found.next_token,
        }
    )


def resources_of(store: ResourceStore, call: Call, kind: str) -> dict[str, Resource]:
    """All of the caller's, by name."""
    found = store.list(kind, account=call.account, region=call.region)
    return {resource.key.name: resource for resource in found}


def list_query(
    call: Call,
    *,
    sort_by: SortKey | None,
    sort_order: str | None,
    max_results: int | None,
    next_token: str | None,
    name_contains: str | None,
    creation_time_after: Moment,
    creation_time_before: Moment,
    last_modified_time_after: Moment = None,
    last_modified_time_before: Moment = None,
    status_equals: str | None = None,
) -> Query:
    """With the defaults of the lists whose order is descending unless asked otherwise."""
    return Query(
        scope=f"{call.action}/{call.account}/{call.region}",
        sort_by=sort_by or "CreationTime",
        descending=sort_order != "Ascending",
        max_results=max_results or DEFAULT_RESULTS,
        next_token=next_token,
        name_contains=name_contains,
        created_after=seconds(creation_time_after),
        created_before=seconds(creation_time_before),
        modified_after=seconds(last_modified_time_after),
        modified_before=seconds(last_modified_time_before),
        status=status_equals,
    )


def seconds(moment: Moment) -> float | None:
    """Epoch seconds."""
    return moment.timestamp() if isinstance(moment, datetime.datetime) else moment


def not_found(message: str) -> ServiceError:
    """``ResourceNotFound``, for the verbs of jobs."""
    return ServiceError("ResourceNotFound", message)
