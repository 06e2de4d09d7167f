"""Conditional requests: on reading (RFC 9110, section 13), and on writing (S3's If-Match and If-None-Match)."""

import math
from datetime import datetime

from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import no_such_key
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
    now: float,
) -> None:
    """Raises ``PreconditionFailed`` (412) or ``NotModified`` (304). A date after ``now`` asks for nothing."""
    modified = int(info.last_modified)  # HTTP dates have no fractions.
    if if_match is not None:
        if not _matches(if_match, info.etag):
            raise precondition_failed("If-Match")
    elif if_unmodified_since is not None and modified > if_unmodified_since.timestamp():
        raise precondition_failed("If-Unmodified-Since")
    if if_none_match is not None:
        unchanged = _matches(if_none_match, info.etag)
    else:
        since = if_modified_since.timestamp() if if_modified_since is not None else math.inf
        unchanged = modified <= since <= now
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
    now: float,
) -> None:
    """As ``check_read``, but a copy that is not to be made always answers 412."""
    try:
        check_read(
            info,
            if_match=if_match,
            if_none_match=if_none_match,
            if_modified_since=if_modified_since,
            if_unmodified_since=if_unmodified_since,
            now=now,
        )
    except ServiceError as error:
        unchanged = "If-Modified-Since" if if_none_match is None else "If-None-Match"
        failed = error.members.get("Condition", unchanged)
        raise precondition_failed(f"x-amz-copy-source-{failed}") from None


def write_condition(
    key: str,
    *,
    if_match: str | None = None,
    if_none_match: str | None = None,
    accepts_any: bool = False,
) -> Condition | None:
    """Asked within the transaction that replaces or deletes the object. ``accepts_any``: whether If-Match may be ``*``."""
    if if_match is None and if_none_match is None:
        return None
    if if_match is not None and if_none_match is not None:
        raise _not_accepted(
            "If-Match,If-None-Match", "Multiple conditional request headers present in the request"
        )
    for header, is_accepted in (
        ("If-None-Match", if_none_match in (None, "*")),
        ("If-Match", if_match != "*" or accepts_any),
    ):
        if not is_accepted:
            raise _not_accepted(
                header, f"We don't accept the provided value of {header} header for this API"
            )

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


def _not_accepted(header: str, reason: str) -> ServiceError:
    return ServiceError(
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
        status=501,
        members={"Header": header, "additionalMessage": reason},
    )
