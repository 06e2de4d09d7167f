"""Captured files of several gateways and variants are read as one sequence, as far as it is wanted."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.response import StreamingBody

from modelyard.cli.captured import OWN, Wanted, read
from modelyard.cli.platform import CommandFailed
from modelyard.domain.capture import (
    CaptureRule,
    Seen,
    Side,
    capture_line,
    capture_uri,
    place_of,
    read_line,
)

RULE = CaptureRule(
    destination="s3://b/seen", percent=100, inputs=True, outputs=True, csv_types=("text/csv",)
)
BEGIN = 1_700_000_000.0


class Bucket:
    """As much of S3 as is asked; ``read`` are the keys that were."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.read: list[str] = []

    def add(self, variant: str, flushed: float, *lines: bytes, endpoint: str = "churn") -> None:
        uri = capture_uri(
            RULE, endpoint=endpoint, variant=variant, moment=BEGIN + flushed, name="f"
        )
        self.objects[uri.removeprefix("s3://b/")] = b"".join(lines)

    def get_paginator(self, operation: str) -> "Bucket":
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        for key in sorted(self.objects):
            if key.startswith(Prefix):
                yield {"Contents": [{"Key": key}]}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.read.append(Key)
        body = self.objects[Key]
        return {"Body": StreamingBody(io.BytesIO(body), len(body))}


def line(name: str, at: float, *, inference_id: str = "") -> bytes:
    seen = Seen(
        event_id=name,
        inference_id=inference_id,
        moment=BEGIN + at,
        request=Side("text/csv", name.encode()),
        answer=Side("application/x-npy", b"\x00\xff"),
    )
    return capture_line(RULE, seen)


def events(bucket: Bucket, **wanted: Any) -> list[str]:
    request = Wanted(endpoint="churn", **{"limit": 100, **wanted})
    with read(bucket, "s3://b/seen", request) as spool:
        return [one.event_id for one, _ in spool]


def test_lines_of_several_files_come_in_order_of_time() -> None:
    bucket = Bucket()
    bucket.add("one", 5.0, line("a", 1), line("c", 3))
    bucket.add("two", 6.0, line("b", 2), line("d", 4))
    bucket.add("one", 7.0, line("late", 2))
    bucket.add("one", 5.0, line("other", 1), endpoint="churn-2")
    assert events(bucket) == ["a", "b", "late", "c", "d"]


def test_a_window_and_a_limit_spare_what_is_not_wanted() -> None:
    bucket = Bucket()
    for hour in range(5):
        bucket.add("one", 3600.0 * hour, line(f"h{hour}", 3600.0 * hour - 1))
    assert events(bucket, limit=2) == ["h0", "h1"]
    assert len(bucket.read) == 2
    after, before = BEGIN + 3600.0 - 1, BEGIN + 3 * 3600.0 - 1
    assert events(bucket, after=after, before=before) == ["h1", "h2"]


def test_a_rehearsals_own_requests_and_what_is_no_line_are_left_out() -> None:
    bucket = Bucket()
    bucket.add("one", 5.0, line("a", 1), b"no line\n", line("own", 2, inference_id=OWN))
    bucket.objects["seen/churn/one/readme.txt"] = b"hello"
    with read(bucket, "s3://b/seen", Wanted(endpoint="churn", limit=9)) as spool:
        assert [one.event_id for one, _ in spool] == ["a"]
        assert (len(spool), spool.left_out) == (1, 1)


def test_nothing_captured_is_said() -> None:
    with pytest.raises(CommandFailed, match="No captured requests"), read(
        Bucket(), "s3://b/seen", Wanted(endpoint="churn", limit=9)
    ):  # fmt: skip
        pass
    with pytest.raises(CommandFailed, match="is no s3://"), read(
        Bucket(), "b/seen", Wanted(endpoint="churn", limit=9)
    ):  # fmt: skip
        pass


def test_a_line_is_read_as_it_was_written() -> None:
    found = read_line(line("a", 1, inference_id="order-7"))
    assert found is not None
    assert (found.event_id, found.inference_id, found.moment) == ("a", "order-7", BEGIN + 1)
    assert found.request == Side("text/csv", b"a")
    assert found.answer == Side("application/x-npy", b"\x00\xff")
    for broken in (b"", b"{}", b"[]", b'{"captureData": {}, "eventMetadata": {}}', b"\xff"):
        assert read_line(broken) is None
    assert place_of("x/churn/all/2026/01/02/03/04-05-000006-f.jsonl") == (
        "churn",
        "all",
        "2026/01/02/03/04-05-000006-f",
    )
    assert place_of("x/churn/all/f.jsonl") is None
