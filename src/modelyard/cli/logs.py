"""``logs``: what workers and jobs print."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

import typer

from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, connect

POLL_SECONDS = 0.5
LATE_MS = 10_000
"""A line of one stream may be kept so much later than a younger one of another."""


def logs(
    name: Annotated[
        str, typer.Argument(help="An endpoint's name, or with --job a transform job's.")
    ],
    job: Annotated[bool, typer.Option("--job", help="NAME is a transform job.")] = False,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing what comes.")
    ] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=1, help="Last lines of each stream.")
    ] = 100,
    pattern: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="PATTERN",
            help="Only lines that match a CloudWatch filter pattern; then --lines counts matches of all streams.",
        ),
    ] = "",
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an endpoint's workers or a job printed."""
    client = connect(home, region=region).client("logs")
    where = _where(name, job=job)
    reader: _Source = (
        _Searcher(client, *where, pattern=pattern, limit=lines)
        if pattern
        else _Reader(client, *where, limit=lines)
    )
    events = reader.newest()
    if not events and not follow:
        what = f"line of {name} that matches" if pattern else f"output of {name}"
        raise CommandFailed(f"No {what} is kept.", "See what exists: modelyard list")
    if as_json and not follow:
        output.print_json(events)
        return
    for event in events:
        _print(event, as_json=as_json)
    while follow:
        time.sleep(POLL_SECONDS)
        for event in reader.more():
            _print(event, as_json=as_json)


def _where(name: str, *, job: bool) -> tuple[str, str]:
    """Log group, and prefix of the streams."""
    if job:
        return "/aws/sagemaker/TransformJobs", f"{name}/"
    return f"/aws/sagemaker/Endpoints/{name}", ""


def _print(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(event)
        return
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, tz=UTC).astimezone()
    output.console.print(
        f"{moment:%H:%M:%S.%f}"[:-3],
        event["stream"],
        event["message"],
        markup=False,
        soft_wrap=True,
    )


class _Source(Protocol):
    """Where lines come from."""

    def newest(self) -> list[dict[str, Any]]: ...
    def more(self) -> list[dict[str, Any]]: ...


class _Searcher:
    """Lines that match a pattern, each once, also where streams are a little behind each other."""

    def __init__(self, client: Any, group: str, prefix: str, *, pattern: str, limit: int) -> None:
        self._client = client
        self._request = {"logGroupName": group, "filterPattern": pattern}
        if prefix:
            self._request["logStreamNamePrefix"] = prefix
        self._limit = limit
        self._from = 0
        self._last = ""

    def newest(self) -> list[dict[str, Any]]:
        """The last lines, in order of time."""
        return self._taken(self._search(self._limit, startFromHead=False)[::-1])

    def more(self) -> list[dict[str, Any]]:
        """What came since the last call: the platform numbers events as they come."""
        found = self._search(None, startTime=max(0, self._from - LATE_MS))
        return self._taken([event for event in found if event["eventId"] > self._last])

    def _taken(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._from = max([self._from, *(event["timestamp"] for event in events)])
        self._last = max([self._last, *(event["eventId"] for event in events)])
        return [
            {
                "stream": event["logStreamName"],
                "timestamp": event["timestamp"],
                "message": event["message"],
            }
            for event in events
        ]

    def _search(self, limit: int | None, **members: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            answer: dict[str, Any] = {"nextToken": None}
            while "nextToken" in answer and (limit is None or len(found) < limit):
                page = {"nextToken": answer["nextToken"]} if answer["nextToken"] else {}
                answer = self._client.filter_log_events(**self._request, **members, **page)
                found += answer["events"]
        except self._client.exceptions.ResourceNotFoundException:
            return []
        return found[:limit]


class _Reader:
    """Remembers, for each stream of a group, up to where it has been read."""

    def __init__(self, client: Any, group: str, prefix: str, *, limit: int) -> None:
        self._client = client
        self._group = group
        self._prefix = prefix
        self._limit = limit
        self._tokens: dict[str, str] = {}

    def newest(self) -> list[dict[str, Any]]:
        """The last lines of each stream, in order of time."""
        return sorted(
            (e for stream in self._streams() for e in self._read(stream)),
            key=lambda event: event["timestamp"],
        )

    def more(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        return self.newest()

    def _streams(self) -> Iterator[str]:
        request = {"logGroupName": self._group}
        if self._prefix:
            request["logStreamNamePrefix"] = self._prefix
        try:
            for page in self._client.get_paginator("describe_log_streams").paginate(**request):
                for stream in page["logStreams"]:
                    yield stream["logStreamName"]
        except self._client.exceptions.ResourceNotFoundException:
            return

    def _read(self, stream: str) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "logGroupName": self._group,
            "logStreamName": stream,
            "limit": self._limit,
        }
        if stream in self._tokens:
            request |= {"nextToken": self._tokens[stream], "startFromHead": True}
        answer = self._client.get_log_events(**request)
        self._tokens[stream] = answer["nextForwardToken"]
        for event in answer["events"]:
            yield {"stream": stream, "timestamp": event["timestamp"], "message": event["message"]}
