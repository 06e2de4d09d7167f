"""Captured invocations: their lines, their keys, and that they never hold up or harm what they are captured of."""

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.ids import SeededRandom
from modelyard.domain.capture import CaptureRule, Side, is_sampled, rule_of
from modelyard.gateway import capture as module
from modelyard.gateway.capture import Capture
from modelyard.testing.clock import ManualClock

RULE = CaptureRule(
    destination="s3://b/seen",
    percent=100,
    inputs=True,
    outputs=True,
    csv_types=("text/csv",),
    json_types=("application/json",),
)


class Store:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.is_broken = False

    def write(self, uri: str, data: bytes) -> None:
        if self.is_broken:
            raise OSError("no bucket")
        self.files[uri] = data


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def capture(store: Store, tmp_path: Path) -> Capture:
    return Capture(
        write=store.write, disk=tmp_path, clock=ManualClock(1_700_000_000.0), random=SeededRandom(7)
    )


def add(capture: Capture, request: Side, answer: Side, rule: CaptureRule = RULE) -> None:
    capture.add(
        (rule, "e", "v"), event_id="id", inference_id="mine", request=request, answer=answer
    )


def lines(store: Store) -> list[dict[str, Any]]:
    return [json.loads(line) for data in store.files.values() for line in data.splitlines()]


def test_a_line_has_both_sides_in_their_encodings(capture: Capture, store: Store) -> None:
    add(capture, Side("text/csv; charset=utf-8", b"1,2\n"), Side("application/x-npy", b"\x93NUMPY"))
    asyncio.run(capture.flush())
    (line,) = lines(store)
    assert line["captureData"]["endpointInput"] == {
        "observedContentType": "text/csv; charset=utf-8", "mode": "INPUT", "data": "1,2\n", "encoding": "CSV",
    }  # fmt: skip
    output = line["captureData"]["endpointOutput"]
    assert (output["encoding"], base64.b64decode(output["data"])) == ("BASE64", b"\x93NUMPY")
    assert line["eventMetadata"] == {
        "eventId": "id", "inferenceId": "mine", "inferenceTime": "2023-11-14T22:13:20Z",
    }  # fmt: skip
    assert line["eventVersion"] == "0"
    (uri,) = store.files
    assert uri.startswith("s3://b/seen/e/v/2023/11/14/22/13-20-")
    assert uri.endswith(".jsonl")


def test_text_that_is_none_goes_as_base64(capture: Capture, store: Store) -> None:
    add(capture, Side("text/csv", b"\xff"), Side("application/json", b"{}"))
    asyncio.run(capture.flush())
    (line,) = lines(store)
    assert line["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert line["captureData"]["endpointOutput"]["data"] == "{}"


def test_big_captures_are_parted_into_files(
    capture: Capture, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 1_000)
    for _ in range(10):
        add(capture, Side("text/csv", b"1" * 300), Side("text/csv", b"2"))
    asyncio.run(capture.flush())
    assert len(store.files) > 1
    assert len(lines(store)) == 10


def test_what_cannot_be_kept_or_written_is_dropped_and_counted(
    capture: Capture, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.is_broken = True
    add(capture, Side("text/csv", b"1"), Side("text/csv", b"2"))
    asyncio.run(capture.flush())
    assert capture.dropped == 1
    monkeypatch.setattr(module, "BUFFER_BYTES", 10)
    add(capture, Side("text/csv", b"1"), Side("text/csv", b"2"))
    assert capture.dropped == 2
    monkeypatch.setattr(module, "BUFFER_BYTES", 10_000)
    monkeypatch.setattr(module, "FREE_SHARE", 1.1)
    store.is_broken = False
    add(capture, Side("text/csv", b"1"), Side("text/csv", b"2"))
    asyncio.run(capture.flush())
    assert (capture.dropped, store.files) == (3, {})


def test_what_is_being_written_when_the_gateway_ends_is_written_to_its_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 1)
    begun, go_on = threading.Event(), threading.Event()

    def write(uri: str, data: bytes) -> None:
        begun.set()
        assert go_on.wait(10)
        store.write(uri, data)

    clock = ManualClock(1_700_000_000.0)
    capture = Capture(write=write, disk=tmp_path, clock=clock, random=SeededRandom(7))

    async def main() -> None:
        for _ in range(3):
            add(capture, Side("text/csv", b"1"), Side("text/csv", b"2"))
        running = asyncio.create_task(capture.run())
        await asyncio.sleep(0)
        clock.advance(module.FLUSH_SECONDS)
        assert await asyncio.to_thread(begun.wait, 10)
        add(capture, Side("text/csv", b"1"), Side("text/csv", b"2"))
        running.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([running])

    asyncio.run(main())
    assert len(lines(store)) == 4


def test_the_rule_of_a_configuration() -> None:
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 25,
        "DestinationS3Uri": "s3://b/p/",
        "CaptureOptions": [{"CaptureMode": "Output"}],
    }
    rule = rule_of(config)
    assert rule is not None
    assert (rule.destination, rule.inputs, rule.outputs) == ("s3://b/p", False, True)
    assert [is_sampled(rule, draw) for draw in (0.0, 0.2499, 0.25, 0.99)] == [
        True,
        True,
        False,
        False,
    ]
    assert rule_of({**config, "EnableCapture": False}) is None
    assert rule_of(None) is None
