"""What a channel says of the requests that a dead worker leaves behind."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.transport import channel as channel_module
from modelyard.transport import frames
from modelyard.transport.channel import RETRY_FIRST_SECONDS, Channel
from modelyard.transport.line import TOGETHER, TOGETHER_IN_C, Line

pytestmark = pytest.mark.anyio
META = frames.encode_meta(frames.RequestMeta(content_type="text/csv"))


class Owner:
    """Remembers what became of each request."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.losses: dict[Any, bool] = {}
        self.is_told = asyncio.Event()

    def answered(self, tag: Any, frame: frames.Frame) -> None:
        frames.decode_answer_meta(frame.meta)

    def lost(self, tag: Any, *, executed: bool) -> None:
        self.losses[tag] = executed
        self.is_told.set()

    def ready(self) -> None:
        self.is_ready.set()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "w.sock"))
        listener.listen()
        listener.settimeout(10)
        yield listener


@pytest.mark.parametrize(
    ("requests", "reads", "executed"), [(1, False, False), (1, True, True), (2, False, True)]
)
async def test_only_a_lone_request_that_was_not_read_is_known_to_be_harmless(
    listener: socket.socket, requests: int, reads: bool, executed: bool
) -> None:
    owner = Owner()
    channel = Channel(f"unix:{listener.getsockname()}", owner, frame_limit=1 << 20)
    channel.connect()
    worker, _ = await asyncio.to_thread(listener.accept)
    worker.sendall(frames.encode_frame(frames.HELLO, 0, number=frames.VERSION, meta=b"", body=b""))
    async with asyncio.timeout(10):
        await owner.is_ready.wait()
    for number in range(requests):
        channel.send(number, 1000, 0, META, b"1")
    await asyncio.to_thread(worker.recv, 1, socket.MSG_PEEK)
    if reads:
        worker.recv(1 << 16)
    worker.close()
    async with asyncio.timeout(10):
        await owner.is_told.wait()
    assert owner.losses == dict.fromkeys(range(requests), executed)
    channel.close()


async def test_a_request_whose_answer_cannot_be_read_is_lost_as_its_neighbours_are(
    listener: socket.socket,
) -> None:
    owner = Owner()
    channel = Channel(f"unix:{listener.getsockname()}", owner, frame_limit=1 << 20)
    channel.connect()
    worker, _ = await asyncio.to_thread(listener.accept)
    with worker:
        worker.sendall(frames.encode_frame(frames.HELLO, 0))
        async with asyncio.timeout(10):
            await owner.is_ready.wait()
        ids = [channel.send(number, 1000, 0, META, b"1") for number in range(2)]
        worker.sendall(frames.encode_answer(ids[0], 200, 0, b"\xc1", b""))
        async with asyncio.timeout(10):
            await owner.is_told.wait()
    assert owner.losses == {0: True, 1: True}
    channel.close()


async def test_who_takes_connections_and_ends_them_is_asked_ever_more_seldom(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(channel_module.asyncio, "sleep", nap)
    channel = Channel(f"unix:{listener.getsockname()}", Owner(), frame_limit=1 << 20)
    channel.connect()
    for place in range(10):
        worker, _ = await asyncio.to_thread(listener.accept)
        with worker:
            if place == 5:
                worker.sendall(frames.encode_frame(frames.HELLO, 0))
    channel.close()
    first = RETRY_FIRST_SECONDS
    assert slept[:8] == [first, first * 2, first * 4, first * 8, first * 16, first, first * 2, first * 4]  # fmt: skip


class Wire:
    """A transport that keeps what is written, by write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None: ...


async def test_what_a_turn_sends_does_not_wait_for_the_next_turn_once_it_is_worth_a_write() -> None:
    channel, wire = Channel("unix:/nowhere", Owner(), frame_limit=1 << 20), Wire()
    channel.connection_made(wire)  # type: ignore[arg-type]
    together = TOGETHER if isinstance(channel.line, Line) else TOGETHER_IN_C
    for number in range(together + 3):
        channel.send(number, 1000, 0, META, b"1")
    assert [_ids(data) for data in wire.written] == [[1], [*range(2, together + 2)]]
    await asyncio.sleep(0)
    assert _ids(wire.written[-1]) == [together + 2, together + 3]
    channel.close()


def _ids(data: bytes) -> list[int]:
    return [frame.id for frame in frames.FrameDecoder(limit=1 << 20).feed(data)]
