"""The asynchronous jobs of AI services as resources: start once for each token, list, stop. ``job_running`` does them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.changes import change
from modelyard.services.sagemaker.resources import seconds
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

RESULTS_DEFAULT, RESULTS_MAX = 100, 500
SUBMITTED = "SUBMITTED"
ENDED = ("COMPLETED", "COMPLETED_WITH_ERROR", "FAILED", "STOPPED")


def invalid_request(message: str) -> ServiceError:
    """As services whose jobs these are call a request that they do not understand."""
    return ServiceError("InvalidRequestException", message)


async def submit(
    store: ResourceStore,
    key: Key,
    spec: Json,
    *,
    taken: ServiceError,
    hold: Callable[[], tuple[Change, ...]] = tuple,
) -> str:
    """The status of a job that is there from now on, or was. ``hold`` is written with it. Raises ``taken`` where another
    job has its id."""
    status = {"JobStatus": SUBMITTED}
    try:
        await change(store, key, lambda _: (Create(key=key, spec=spec, status=status), *hold()))
    except AlreadyExists:
        found = store.get(key)
        if found is not None and found.spec != spec:
            raise taken from None
        status = found.status if found is not None else status
    return str(status["JobStatus"])


def job_id(call: Call, what: str, token: str) -> str:
    """The same for the same token of the same account and region."""
    asked = "/".join((call.account, call.region, what, token))
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


async def stop(store: ResourceStore, find: Callable[[], Resource]) -> str:
    """The job's status afterwards; one that has ended stays as it is. Raises what ``find`` does."""

    def decide(resource: Resource | None) -> Update:
        found = resource if resource is not None else find()
        status = dict(found.status)
        if status["JobStatus"] not in ENDED:
            status["JobStatus"] = "STOP_REQUESTED"
        return Update(key=found.key, version=found.version, status=status)

    written = await change(store, find().key, decide)
    return str(written.status["JobStatus"])


def listed(
    call: Call,
    jobs: Sequence[Resource],
    filter: Mapping[str, Any],
    *,
    after: str,
    before: str,
    oldest_first: bool = False,
    page_size: int | None,
    next_token: str | None,
) -> tuple[list[Resource], str | None]:
    """A page of jobs and the token of the next. A ``filter`` has one member; ``after`` and ``before`` are what it calls the
    times of submission. Raises ``InvalidFilterException`` and ``InvalidRequestException``."""
    if len(filter) > 1:
        raise ServiceError("InvalidFilterException", "A filter has one member only.")
    known = {
        one.key.name: one
        for one in jobs
        if filter.get("JobName") in (None, one.spec.get("JobName"))
    }
    query = Query(
        scope=f"{call.action}/{call.account}/{call.region}",
        sort_by="CreationTime",
        descending=not oldest_first,
        created_after=seconds(filter.get(after)),
        created_before=seconds(filter.get(before)),
        status=filter.get("JobStatus"),
        max_results=min(page_size or RESULTS_DEFAULT, RESULTS_MAX),
        next_token=next_token,
        refusal=invalid_request,
    )
    entries = (
        Entry(name=name, created_at=one.created_at, status=one.status["JobStatus"])
        for name, one in known.items()
    )
    found = page(entries, query)
    return [known[name] for name in found.names], found.next_token
