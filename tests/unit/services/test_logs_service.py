from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.services.logs import Logs
from modelyard.store.log_values import GroupName, StreamName
from modelyard.store.logs import LogStore
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
MODEL = botocore.session.get_session().get_service_model("logs")
NOW = 1_700_000_000
GROUP = "/aws/sagemaker/Endpoints/live"
STREAM = "AllTraffic/i-1"


class CloudWatchLogs:
    """Calls operations as the server does, and checks every answer against the service model."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW)
        self.store = LogStore(folder / "logs.db", clock=self.clock)
        self._logs = Logs(store=self.store, clock=self.clock)

    async def __call__(self, operation: str, **members: Any) -> dict[str, Any]:
        call = Call(
            principal=Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1"),
            account="1",
            region="r",
            action=f"logs:{operation}",
            request_id="id",
            deadline=60.0,
        )
        method: Callable[..., Awaitable[Mapping[str, Any] | None]] = getattr(
            self._logs, xform_name(operation)
        )
        answer = await method(call, **{xform_name(name): one for name, one in members.items()})
        shape = MODEL.operation_model(operation).output_shape
        if shape is None:
            assert not answer
            return {}
        assert answer is not None
        assert set(answer) <= set(shape.members)
        report = ParamValidator().validate(dict(answer), shape)
        assert not report.has_errors(), report.generate_report()
        return dict(answer)

    def print(self, *lines: str, group: str = GROUP, stream: str = STREAM) -> None:
        name = StreamName(group=GroupName(account="1", region="r", name=group), name=stream)
        self.store.append(name, [(NOW * 1000 + n, line) for n, line in enumerate(lines)])


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[CloudWatchLogs]:
    logs = CloudWatchLogs(tmp_path)
    yield logs
    logs.store.close()


async def test_what_a_worker_printed_is_found_by_group_and_stream(logs: CloudWatchLogs) -> None:
    logs.print("loading", "ready")
    (group,) = (await logs("DescribeLogGroups", logGroupNamePrefix="/aws/sagemaker"))["logGroups"]
    assert group["logGroupName"] == GROUP
    assert group["arn"] == f"arn:aws:logs:r:1:log-group:{GROUP}:*"

    (stream,) = (await logs("DescribeLogStreams", logGroupName=GROUP))["logStreams"]
    assert stream["logStreamName"] == STREAM
    assert stream["lastEventTimestamp"] == NOW * 1000 + 1

    found = await logs("GetLogEvents", logGroupName=GROUP, logStreamName=STREAM)
    assert found["events"][0] == {
        "timestamp": NOW * 1000,
        "message": "loading",
        "ingestionTime": NOW * 1000,
    }


async def test_a_group_may_be_named_by_its_arn(logs: CloudWatchLogs) -> None:
    logs.print("a")
    arn = (await logs("DescribeLogGroups"))["logGroups"][0]["arn"]
    found = await logs("GetLogEvents", logGroupIdentifier=arn, logStreamName=STREAM)
    assert len(found["events"]) == 1


async def test_events_are_read_to_the_end_where_the_token_stays(logs: CloudWatchLogs) -> None:
    logs.print("a", "b", "c")
    where = {"logGroupName": GROUP, "logStreamName": STREAM, "limit": 2}
    first = await logs("GetLogEvents", **where, startFromHead=True)
    second = await logs("GetLogEvents", **where, nextToken=first["nextForwardToken"])
    third = await logs("GetLogEvents", **where, nextToken=second["nextForwardToken"])
    assert [len(one["events"]) for one in (first, second, third)] == [2, 1, 0]
    assert third["nextForwardToken"] == second["nextForwardToken"]
    assert first["nextForwardToken"].startswith("f/")
    assert first["nextBackwardToken"].startswith("b/")


async def test_what_does_not_exist_is_resource_not_found(logs: CloudWatchLogs) -> None:
    for operation, members in (
        ("DescribeLogStreams", {}),
        ("GetLogEvents", {"logStreamName": STREAM}),
        ("DeleteLogGroup", {}),
        ("CreateLogStream", {"logStreamName": STREAM}),
    ):
        with pytest.raises(ServiceError) as caught:
            await logs(operation, logGroupName=GROUP, **members)
        assert caught.value.code == "ResourceNotFoundException"
        assert caught.value.message == "The specified log group does not exist."

    logs.print("a")
    with pytest.raises(ServiceError) as caught:
        await logs("GetLogEvents", logGroupName=GROUP, logStreamName="other")
    assert caught.value.message == "The specified log stream does not exist."


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("DescribeLogStreams", {}),
        ("DescribeLogStreams", {"logGroupName": GROUP, "logGroupIdentifier": GROUP}),
        (
            "DescribeLogStreams",
            {"logGroupName": GROUP, "orderBy": "LastEventTime", "logStreamNamePrefix": "A"},
        ),
        ("DescribeLogStreams", {"logGroupName": GROUP, "nextToken": "x"}),
        ("GetLogEvents", {"logGroupName": GROUP, "logStreamName": STREAM, "nextToken": "x"}),
        (
            "GetLogEvents",
            {"logGroupIdentifier": "arn:aws:logs:q:2:log-group:g", "logStreamName": STREAM},
        ),
        ("DescribeLogGroups", {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}),
        ("DescribeLogGroups", {"nextToken": "x"}),
    ],
)
async def test_requests_that_break_a_rule_are_invalid_parameters(
    logs: CloudWatchLogs, operation: str, members: dict[str, Any]
) -> None:
    logs.print("a")
    with pytest.raises(ServiceError) as caught:
        await logs(operation, **members)
    assert caught.value.code == "InvalidParameterException"


async def test_streams_are_listed_in_pages_newest_first_if_asked(logs: CloudWatchLogs) -> None:
    for number in range(5):
        logs.print(*"abcdef"[: number + 1], stream=f"s{number}")
    request = {
        "logGroupName": GROUP,
        "orderBy": "LastEventTime",
        "descending": True,
        "limit": 3,
    }
    first = await logs("DescribeLogStreams", **request)
    second = await logs("DescribeLogStreams", **request, nextToken=first["nextToken"])
    names = [one["logStreamName"] for one in first["logStreams"] + second["logStreams"]]
    assert names == ["s4", "s3", "s2", "s1", "s0"]
    assert "nextToken" not in second


async def test_users_may_keep_logs_of_their_own(logs: CloudWatchLogs) -> None:
    await logs("CreateLogGroup", logGroupName="mine")
    await logs("CreateLogStream", logGroupName="mine", logStreamName="s")
    for operation, members in (("CreateLogGroup", {}), ("CreateLogStream", {"logStreamName": "s"})):
        with pytest.raises(ServiceError) as caught:
            await logs(operation, logGroupName="mine", **members)
        assert caught.value.code == "ResourceAlreadyExistsException"

    now = NOW * 1000
    day = 24 * 3600 * 1000
    times = [now - 15 * day, now - day, now, now + day]
    put = await logs(
        "PutLogEvents",
        logGroupName="mine",
        logStreamName="s",
        logEvents=[{"timestamp": ms, "message": str(ms)} for ms in times],
    )
    assert put["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 1,
        "tooNewLogEventStartIndex": 3,
    }
    found = await logs("GetLogEvents", logGroupName="mine", logStreamName="s")
    assert [one["timestamp"] for one in found["events"]] == times[1:3]

    await logs("DeleteLogStream", logGroupName="mine", logStreamName="s")
    await logs("DeleteLogGroup", logGroupName="mine")
    assert (await logs("DescribeLogGroups"))["logGroups"] == []


async def test_events_of_a_request_are_in_order(logs: CloudWatchLogs) -> None:
    logs.print("a")
    with pytest.raises(ServiceError, match="chronological"):
        await logs(
            "PutLogEvents",
            logGroupName=GROUP,
            logStreamName=STREAM,
            logEvents=[{"timestamp": 2, "message": "b"}, {"timestamp": 1, "message": "a"}],
        )


async def test_what_is_not_executed_is_refused(logs: CloudWatchLogs) -> None:
    with pytest.raises(Unsupported, match="kmsKeyId"):
        await logs("CreateLogGroup", logGroupName="g", kmsKeyId="k")
    with pytest.raises(Unsupported, match="logGroupClass DELIVERY"):
        await logs("CreateLogGroup", logGroupName="g", logGroupClass="DELIVERY")
    with pytest.raises(Unsupported, match="includeLinkedAccounts"):
        await logs("DescribeLogGroups", includeLinkedAccounts=True)


async def test_a_store_that_cannot_be_read_is_unavailable(logs: CloudWatchLogs) -> None:
    logs.store.close()
    with pytest.raises(ServiceError) as caught:
        await logs("DescribeLogGroups")
    assert (caught.value.code, caught.value.status) == ("ServiceUnavailableException", 503)


async def _pages(logs: CloudWatchLogs, **members: Any) -> list[list[str]]:
    """The messages of all pages."""
    pages, token = [], None
    while not pages or token:
        more = {"nextToken": token} if token else {}
        answer = await logs("FilterLogEvents", logGroupName=GROUP, **members, **more)
        pages.append([event["message"] for event in answer["events"]])
        token = answer.get("nextToken")
    return pages


async def test_a_search_goes_through_all_streams_in_order_of_time(logs: CloudWatchLogs) -> None:
    logs.print("a0", "b1", "a2")
    logs.print("c0", "a1", "d2", "a3", stream="AllTraffic/i-2")
    assert await _pages(logs, filterPattern="a") == [["a0", "a1", "a2", "a3"]]
    assert await _pages(logs, filterPattern="a", limit=3) == [["a0", "a1", "a2"], ["a3"]]
    newest = await _pages(logs, filterPattern="a", limit=3, startFromHead=False)
    assert newest == [["a3", "a2", "a1"], ["a0"]]
    two = {"startTime": NOW * 1000 + 1, "endTime": NOW * 1000 + 2}
    assert await _pages(logs, **two) == [["b1", "a1", "a2", "d2"]]
    assert await _pages(logs, logStreamNames=[STREAM]) == [["a0", "b1", "a2"]]
    assert await _pages(logs, logStreamNamePrefix="AllTraffic/i-2", filterPattern="-a") == [
        ["c0", "d2"]
    ]


async def test_a_found_event_says_its_stream_and_has_an_id(logs: CloudWatchLogs) -> None:
    logs.print("x", "x")
    first, second = (await logs("FilterLogEvents", logGroupName=GROUP))["events"]
    assert first["logStreamName"] == STREAM
    assert first["ingestionTime"] == NOW * 1000
    assert first["eventId"] != second["eventId"]


async def test_a_search_looks_at_so_many_events_and_goes_on_from_there(
    logs: CloudWatchLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.store.log_search.SCANNED_MAX", 3)
    logs.print(*(f"{'hit' if n % 5 == 0 else 'miss'}{n}" for n in range(11)))
    pages = await _pages(logs, filterPattern="hit")
    assert pages == [["hit0"], ["hit5"], [], ["hit10"]]


async def test_a_page_of_a_search_is_a_mebibyte_at_most(logs: CloudWatchLogs) -> None:
    logs.print(*(str(n) + "x" * 400_000 for n in range(5)))
    assert [len(page) for page in await _pages(logs)] == [2, 2, 1]


async def test_a_search_that_cannot_be_is_refused(logs: CloudWatchLogs) -> None:
    logs.print("x")
    for members, code in (
        ({"logStreamNames": [STREAM], "logStreamNamePrefix": "A"}, "InvalidParameterException"),
        ({"filterPattern": '"open'}, "InvalidParameterException"),
        ({"nextToken": "mine"}, "InvalidParameterException"),
        ({"filterPattern": "{ $.a = %x% }"}, "UnsupportedOperation"),
        ({"filterPattern": "{ $.a = }"}, "InvalidParameterException"),
        ({"logStreamNames": ["absent"]}, "ResourceNotFoundException"),
    ):
        with pytest.raises(ServiceError) as caught:
            await logs("FilterLogEvents", logGroupName=GROUP, **members)
        assert caught.value.code == code


async def test_a_search_finds_what_members_of_json_lines_say(logs: CloudWatchLogs) -> None:
    logs.print('{"level": "ERROR", "ms": 12}', '{"level": "ERROR", "ms": 7}', "level ERROR ms 99")
    pattern = '{ $.level = "ERROR" && $.ms > 10 }'
    assert await _pages(logs, filterPattern=pattern) == [['{"level": "ERROR", "ms": 12}']]


async def test_a_retention_is_kept_shown_and_taken_back(logs: CloudWatchLogs) -> None:
    logs.print("old")
    await logs("PutRetentionPolicy", logGroupName=GROUP, retentionInDays=3)
    (group,) = (await logs("DescribeLogGroups"))["logGroups"]
    assert group["retentionInDays"] == 3
    logs.clock.advance(3 * 86_400 + 1)
    logs.print("later", group="other")
    assert await _pages(logs) == [[]]
    await logs("DeleteRetentionPolicy", logGroupName=GROUP)
    groups = (await logs("DescribeLogGroups"))["logGroups"]
    assert all("retentionInDays" not in group for group in groups)


async def test_a_retention_that_aws_does_not_know_is_refused(logs: CloudWatchLogs) -> None:
    logs.print("x")
    with pytest.raises(ServiceError, match="has to be one of 1, 3, 5") as caught:
        await logs("PutRetentionPolicy", logGroupName=GROUP, retentionInDays=2)
    assert caught.value.code == "InvalidParameterException"
    with pytest.raises(ServiceError) as caught:
        await logs("PutRetentionPolicy", logGroupName="absent", retentionInDays=1)
    assert caught.value.code == "ResourceNotFoundException"
