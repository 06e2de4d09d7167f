"""CloudWatch Logs, as far as it shows what workers and jobs print, and takes what users write."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from modelyard.base.arns import Arn
from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.domain import log_filter
from modelyard.domain.listing import Entry, Query, page
from modelyard.services.members import EXECUTED, REFUSED, Members, check, only, present
from modelyard.store import log_retention
from modelyard.store.log_search import LAST_MS, Search
from modelyard.store.log_values import (
    AlreadyThere,
    GroupName,
    InvalidToken,
    LogGroup,
    NotThere,
    Stream,
    StreamName,
)
from modelyard.store.logs import EVENTS_MAX, LogStore, LogsUnavailable
from modelyard.store.resources import Json

T = TypeVar("T")
_LIST_MAX = 50
_TOO_OLD_MS = 14 * 24 * 3600 * 1000
_TOO_NEW_MS = 2 * 3600 * 1000

MEMBERS: Mapping[str, Members] = {
    "DescribeLogGroups": {
        "accountIdentifiers": REFUSED,
        "logGroupNamePrefix": EXECUTED,
        "logGroupNamePattern": EXECUTED,
        "nextToken": EXECUTED,
        "limit": EXECUTED,
        "includeLinkedAccounts": REFUSED,
        "logGroupClass": only("STANDARD"),
        "logGroupIdentifiers": REFUSED,
    },
    "CreateLogGroup": {
        "logGroupName": EXECUTED,
        "kmsKeyId": REFUSED,
        "tags": REFUSED,
        "logGroupClass": only("STANDARD"),
        "deletionProtectionEnabled": REFUSED,
    },
    "PutLogEvents": {
        "logGroupName": EXECUTED,
        "logStreamName": EXECUTED,
        "logEvents": EXECUTED,
        "sequenceToken": EXECUTED,
        "entity": REFUSED,
    },
}


class Logs:
    """Groups and streams: create, describe, delete; events: put and get."""

    def __init__(self, *, store: LogStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def describe_log_groups(
        self,
        call: Call,
        *,
        account_identifiers: Sequence[str] | None = None,
        log_group_name_prefix: str | None = None,
        log_group_name_pattern: str | None = None,
        next_token: str | None = None,
        limit: int | None = None,
        include_linked_accounts: bool | None = None,
        log_group_class: str | None = None,
        log_group_identifiers: Sequence[str] | None = None,
    ) -> Json:
        given = present(
            {
                "accountIdentifiers": account_identifiers,
                "includeLinkedAccounts": include_linked_accounts,
                "logGroupClass": log_group_class,
                "logGroupIdentifiers": log_group_identifiers,
            }
        )
        check("DescribeLogGroups", MEMBERS["DescribeLogGroups"], given)
        if log_group_name_prefix and log_group_name_pattern:
            raise _invalid("logGroupNamePrefix and logGroupNamePattern are mutually exclusive.")
        found = await _run(
            lambda: self._store.groups(
                account=call.account, region=call.region, prefix=log_group_name_prefix or ""
            )
        )
        groups = {group.name: group for group in found}
        query = Query(
            scope=_scope(call, log_group_name_prefix or ""),
            sort_by="Name",
            name_contains=log_group_name_pattern,
            max_results=limit or _LIST_MAX,
            next_token=next_token,
            refusal=_invalid,
        )
        wanted = page((Entry(name=name) for name in groups), query)
        shown = [_group_shown(call, groups[name]) for name in wanted.names]
        return present({"logGroups": shown, "nextToken": wanted.next_token})

    async def describe_log_streams(
        self,
        call: Call,
        *,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        log_stream_name_prefix: str | None = None,
        order_by: Literal["LogStreamName", "LastEventTime"] | None = None,
        descending: bool | None = None,
        next_token: str | None = None,
        limit: int | None = None,
    ) -> Json:
        by_time = order_by == "LastEventTime"
        if by_time and log_stream_name_prefix:
            raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        group = _group(call, log_group_name, log_group_identifier)
        found = await _run(lambda: self._store.streams(group, prefix=log_stream_name_prefix or ""))
        streams = {stream.name: stream for stream in found}
        query = Query(
            scope=_scope(call, group.name, log_stream_name_prefix or ""),
            sort_by="LastModifiedTime" if by_time else "Name",
            descending=bool(descending),
            max_results=limit or _LIST_MAX,
            next_token=next_token,
            refusal=_invalid,
        )
        entries = (Entry(name=one.name, modified_at=float(one.last_ms or 0)) for one in found)
        wanted = page(entries, query)
        shown = [_stream_shown(group, streams[name]) for name in wanted.names]
        return present({"logStreams": shown, "nextToken": wanted.next_token})

    async def get_log_events(
        self,
        call: Call,
        *,
        log_stream_name: str,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
        next_token: str | None = None,
        limit: int | None = None,
        start_from_head: bool | None = None,
        unmask: bool | None = None,
    ) -> Json:
        """``unmask`` asks for what is stored; nothing is ever masked."""
        del unmask
        group = _group(call, log_group_name, log_group_identifier)
        found = await _run(
            lambda: self._store.events(
                StreamName(group=group, name=log_stream_name),
                start_ms=start_time,
                end_ms=end_time,
                limit=limit or EVENTS_MAX,
                token=next_token,
                from_head=bool(start_from_head),
            )
        )
        return {
            "events": [
                {"timestamp": one.ms, "message": one.message, "ingestionTime": one.ingested_ms}
                for one in found.events
            ],
            "nextForwardToken": found.forward_token,
            "nextBackwardToken": found.backward_token,
        }

    async def filter_log_events(
        self,
        call: Call,
        *,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        log_stream_names: Sequence[str] | None = None,
        log_stream_name_prefix: str | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
        filter_pattern: str | None = None,
        next_token: str | None = None,
        limit: int | None = None,
        start_from_head: bool | None = None,
        interleaved: bool | None = None,
        unmask: bool | None = None,
    ) -> Json:
        """Streams are always interleaved, as AWS does since 2019; nothing is ever masked."""
        del interleaved, unmask
        if log_stream_names and log_stream_name_prefix:
            raise _invalid("logStreamNames and logStreamNamePrefix are mutually exclusive.")
        group = _group(call, log_group_name, log_group_identifier)
        asked = Search(
            matches=_line_filter(filter_pattern or "").matches,
            streams=log_stream_names,
            prefix=log_stream_name_prefix or "",
            first_ms=start_time or 0,
            last_ms=LAST_MS if end_time is None else end_time,
        )
        events, token = await _run(
            lambda: self._store.search(
                group,
                asked,
                limit=limit or EVENTS_MAX,
                token=next_token,
                from_head=start_from_head is not False,
            )
        )
        shown = [
            {
                "logStreamName": one.stream,
                "timestamp": one.ms,
                "message": one.message,
                "ingestionTime": one.ingested_ms,
                "eventId": f"{one.id:056d}",
            }
            for one in events
        ]
        return present({"events": shown, "searchedLogStreams": [], "nextToken": token})

    async def create_log_group(
        self,
        call: Call,
        *,
        log_group_name: str,
        kms_key_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        log_group_class: str | None = None,
        deletion_protection_enabled: bool | None = None,
    ) -> None:
        given = present(
            {
                "kmsKeyId": kms_key_id,
                "tags": tags,
                "logGroupClass": log_group_class,
                "deletionProtectionEnabled": deletion_protection_enabled,
            }
        )
        check("CreateLogGroup", MEMBERS["CreateLogGroup"], given)
        group = _group(call, log_group_name, None)
        await _run(lambda: self._store.create_group(group), existing="group")

    async def create_log_stream(
        self, call: Call, *, log_group_name: str, log_stream_name: str
    ) -> None:
        stream = StreamName(group=_group(call, log_group_name, None), name=log_stream_name)
        await _run(lambda: self._store.create_stream(stream), existing="stream")

    async def delete_log_group(self, call: Call, *, log_group_name: str) -> None:
        group = _group(call, log_group_name, None)
        await _run(lambda: self._store.delete_group(group))

    async def delete_log_stream(
        self, call: Call, *, log_group_name: str, log_stream_name: str
    ) -> None:
        stream = StreamName(group=_group(call, log_group_name, None), name=log_stream_name)
        await _run(lambda: self._store.delete_stream(stream))

    async def put_retention_policy(
        self, call: Call, *, log_group_name: str, retention_in_days: int
    ) -> None:
        """Events that are older go within minutes, and before the log store's own limit asks for it."""
        if retention_in_days not in log_retention.DAYS:
            days = ", ".join(map(str, log_retention.DAYS))
            raise _invalid(f"retentionInDays has to be one of {days}; not {retention_in_days}.")
        group = _group(call, log_group_name, None)
        await _run(lambda: self._store.set_retention(group, retention_in_days))

    async def delete_retention_policy(self, call: Call, *, log_group_name: str) -> None:
        group = _group(call, log_group_name, None)
        await _run(lambda: self._store.set_retention(group, None))

    async def put_log_events(
        self,
        call: Call,
        *,
        log_group_name: str,
        log_stream_name: str,
        log_events: Sequence[Json],
        sequence_token: str | None = None,
        entity: Json | None = None,
    ) -> Json:
        """``sequence_token`` is accepted whatever it is, as AWS does since 2023."""
        del sequence_token
        check("PutLogEvents", MEMBERS["PutLogEvents"], present({"entity": entity}))
        times = [event["timestamp"] for event in log_events]
        if times != sorted(times):
            raise _invalid(
                "Log events in a single PutLogEvents request must be in chronological order."
            )
        now = int(self._clock.now() * 1000)
        old = sum(ms < now - _TOO_OLD_MS for ms in times)
        new = len(times) - sum(ms > now + _TOO_NEW_MS for ms in times)
        accepted = [(event["timestamp"], event["message"]) for event in log_events[old:new]]
        stream = StreamName(group=_group(call, log_group_name, None), name=log_stream_name)
        await _run(lambda: self._store.put(stream, accepted))
        rejected = present(
            {
                "tooOldLogEventEndIndex": old or None,
                "tooNewLogEventStartIndex": new if new < len(times) else None,
            }
        )
        return present(
            {"nextSequenceToken": f"{now:056d}", "rejectedLogEventsInfo": rejected or None}
        )


async def _run(work: Callable[[], T], *, existing: str = "") -> T:
    """On a thread, for it may wait for another process's write; the store's errors in AWS's words."""
    try:
        return await asyncio.to_thread(work)
    except NotThere as error:
        raise ServiceError(
            "ResourceNotFoundException", f"The specified log {error.what} does not exist."
        ) from None
    except AlreadyThere:
        raise ServiceError(
            "ResourceAlreadyExistsException", f"The specified log {existing} already exists"
        ) from None
    except InvalidToken:
        raise _invalid("The specified nextToken is invalid.") from None
    except LogsUnavailable as error:
        raise ServiceError("ServiceUnavailableException", f"{error}.", status=503) from error


def _line_filter(pattern: str) -> log_filter.LogFilter:
    try:
        return log_filter.parse(pattern)
    except log_filter.NotExecuted as error:
        raise Unsupported(f"filterPattern: {error}.") from None
    except log_filter.NotAPattern as error:
        raise _invalid(f"Invalid filter pattern: {error}.") from None


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


def _group(call: Call, name: str | None, identifier: str | None) -> GroupName:
    """By name, or by an identifier, which is a name or an ARN of the caller's own group."""
    if name and identifier:
        raise _invalid("logGroupName and logGroupIdentifier are mutually exclusive.")
    given = name or identifier
    if not given:
        raise _invalid("Either logGroupName or logGroupIdentifier is required.")
    if given.startswith("arn:"):
        try:
            arn = Arn.parse(given)
        except ValueError as error:
            raise _invalid(f"{error}.") from None
        if (arn.account, arn.region) != (call.account, call.region):
            raise _invalid(f"The log group is in another account or region: {given}")
        given = arn.resource.removeprefix("log-group:").removesuffix(":*")
    return GroupName(account=call.account, region=call.region, name=given)


def _scope(call: Call, *parts: str) -> str:
    return "/".join((call.action, call.account, call.region, *parts))


def _arn(account: str, region: str, resource: str) -> str:
    return str(Arn(service="logs", region=region, account=account, resource=resource))


def _group_shown(call: Call, group: LogGroup) -> Json:
    arn = _arn(call.account, call.region, f"log-group:{group.name}")
    return present(
        {
            "logGroupName": group.name,
            "creationTime": group.created_ms,
            "retentionInDays": group.retention_days,
            "metricFilterCount": 0,
            "arn": f"{arn}:*",
            "logGroupArn": arn,
            "storedBytes": group.bytes,
            "logGroupClass": "STANDARD",
        }
    )


def _stream_shown(group: GroupName, stream: Stream) -> Json:
    resource = f"log-group:{group.name}:log-stream:{stream.name}"
    return present(
        {
            "logStreamName": stream.name,
            "creationTime": stream.created_ms,
            "firstEventTimestamp": stream.first_ms,
            "lastEventTimestamp": stream.last_ms,
            "lastIngestionTime": stream.ingested_ms,
            "arn": _arn(group.account, group.region, resource),
            "storedBytes": stream.bytes,
        }
    )
