"""Conditional requests: on reading (RFC 9110, section 13), and on writing (S3's If-Match and If-None-Match)."""

from datetime import datetime

from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import no_such_key, not_implemented
from modelyard.store.object_info import Condition, ObjectInfo


def _matches(header: str, etag: str) -> bool:
    candidates = [one.strip().removeprefix("W/").strip('"') for one in header.split(",")]
    return "*" in candidates or etag in candidates


def precondition_failed(name: str) -> ServiceError:
    return ServiceError(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        status=412,
        members={"Condition": name},
    )


def check_read(
    info: ObjectInfo,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
    if_modified_since: datetime | None = None,
    if_unmodified_since: datetime | None = None,
) -> None:
    """Raises ``PreconditionFailed`` (412) or ``NotModified`` (304)."""
    modified = int(info.last_modified)  # HTTP dates have no fractions.
    if if_match is not None:
        if not _matches(if_match, info.etag):
            raise precondition_failed("If-Match")
    elif if_unmodified_since is not None and modified > if_unmodified_since.timestamp():
        raise precondition_failed("If-Unmodified-Since")
    if if_none_match is not None:
        unchanged = _matches(if_none_match, info.etag)
    else:
        unchanged = if_modified_since is not None and modified <= if_modified_since.timestamp()
    if unchanged:
        raise ServiceError(
            "NotModified", "Not Modified", status=304, headers={"ETag": f'"{info.etag}"'}
        )


def check_copy_source(
    info: ObjectInfo,
    *,
    if_match: str | None,
    if_none_match: str | None,
    if_modified_since: datetime | None,
    if_unmodified_since: datetime | None,
) -> None:
    """As ``check_read``, but a copy that is not to be made always answers 412."""
    try:
        check_read(
            info,
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
        )
    except ServiceError as error:
        if error.code == "NotModified":
            raise precondition_failed("x-amz-copy-source-If-None-Match") from None
        raise


def write_condition(
    key: str, *, if_match: str | None = None, if_none_match: str | None = None
) -> Condition | None:
    """Asked within the transaction that replaces or deletes the object."""
    if if_match is None and if_none_match is None:
        return None
    if if_none_match not in (None, "*"):
        raise not_implemented("If-None-Match other than *")

    def condition(old: ObjectInfo | None) -> None:
        if if_none_match is not None and old is not None:
            raise precondition_failed("If-None-Match")
        if if_match is None:
            return
        if old is None:
            raise no_such_key(key)
        if not _matches(if_match, old.etag):
            raise precondition_failed("If-Match")

    return condition
