"""Frames on one side, a scripted HTTP server on the other."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.worker.batcher import Bounds
from modelyard.worker.bridge import Bridge
from modelyard.worker.http_client import ProgramClient, ProgramError

pytestmark = pytest.mark.anyio
SECONDS = 20.0
PAYLOAD_BYTES = 100_000


@dataclass
class Program:
    """Answers as its ``say`` does; counts its connections and what is in flight."""

    say: Callable[[bytes], Awaitable[bytes]]
    connections: int = 0
    in_flight: int = 0
    most: int = 0
    seen: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                self.seen.append(body)
                self.heads.append(head.decode())
                self.in_flight += 1
                self.most = max(self.most, self.in_flight)
                answer = await self.say(body)
                self.in_flight -= 1
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
            writer.close()
            await writer.wait_closed()


def ok(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body)


async def echo(body: bytes) -> bytes:
    return ok(body)


@asynccontextmanager
async def serving(program: Program) -> AsyncIterator[int]:
    server = await asyncio.start_server(program.serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in program.tasks:
            task.cancel()
        await asyncio.gather(*program.tasks, return_exceptions=True)
        await asyncio.sleep(0)


class Caller:
    """A gateway's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._decoder = frames.FrameDecoder(limit=1 << 20)
        self._ready: list[frames.Frame] = []

    async def next(self) -> frames.Frame:
        async with asyncio.timeout(SECONDS):
            while not self._ready:
                data = await self._reader.read(65536)
                assert data, "the bridge closed the connection"
                self._ready += self._decoder.feed(data)
        return self._ready.pop(0)

    def ask(
        self,
        number: int,
        body: bytes,
        *,
        flags: int = 0,
        seconds: float = 10,
        asked: frames.RequestMeta | None = None,
    ) -> None:
        meta = frames.encode_meta(asked or frames.RequestMeta())
        self.writer.write(
            frames.encode_frame(
                frames.REQUEST,
                number,
                number=int(seconds * 1000),
                flags=flags,
                meta=meta,
                body=body,
            )
        )

    def cancel(self, number: int) -> None:
        self.writer.write(frames.encode_frame(frames.CANCEL, number))


@dataclass
class Bridged:
    bridge: Bridge
    caller: Caller
    clock: ManualClock


@asynccontextmanager
async def bridged(
    program: Program, folder: Path, *, concurrency: int = 4, queue: int = 100
) -> AsyncIterator[Bridged]:
    clock = ManualClock()
    async with serving(program) as port:
        client = ProgramClient(port, answer_bytes=PAYLOAD_BYTES)
        bounds = Bounds(worker_id="w", payload_bytes=PAYLOAD_BYTES, queue=queue, max_batch=1)
        bridge = Bridge(
            client, bounds=bounds, concurrency=concurrency, seconds=SECONDS, now=clock.monotonic
        )
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "w.sock"))
        async with bridge.listening(listener):
            caller = Caller(*await asyncio.open_unix_connection(str(folder / "w.sock")))
            assert (await caller.next()).kind == frames.HELLO
            yield Bridged(bridge, caller, clock)
            caller.writer.close()
            await caller.writer.wait_closed()
        client.close()


async def test_each_request_has_its_own_answer_and_connections_are_kept(tmp_path: Path) -> None:
    program = Program(echo)
    async with bridged(program, tmp_path, concurrency=3) as at:
        for number in range(30):
            at.caller.ask(number, b"body %d" % number)
        answers = [await at.caller.next() for _ in range(30)]
    assert {answer.id: answer.body for answer in answers} == {
        number: b"body %d" % number for number in range(30)
    }
    assert all(answer.flags == frames.OWN_STATUS for answer in answers)
    assert program.connections <= 3
    assert program.most <= 3


async def test_a_trace_goes_to_the_program_as_headers_and_its_times_come_back(
    tmp_path: Path,
) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"

    async def say(body: bytes) -> bytes:
        if body == b"slow":
            at.clock.advance(2.0)
        return ok(body)

    program = Program(say)
    async with bridged(program, tmp_path, concurrency=1) as at:
        meta = frames.RequestMeta(trace=parent, trace_state="shop=1")
        at.caller.ask(1, b"slow", flags=frames.TRACED, asked=meta)
        at.caller.ask(2, b"quick", asked=meta)
        traced, plain = [await at.caller.next() for _ in range(2)]
    for head in program.heads:
        assert f"Traceparent: {parent}\r\n" in head and "Tracestate: shop=1\r\n" in head
    assert traced.flags == frames.OWN_STATUS | frames.TRACED
    times = frames.decode_traced_meta(traced.meta)
    assert (times.worked, times.requests) == (2_000_000, 1)
    assert plain.flags == frames.OWN_STATUS
    assert frames.decode_answer_meta(traced.meta) == frames.decode_answer_meta(plain.meta)


async def test_a_suspect_has_the_program_to_itself(tmp_path: Path) -> None:
    release = asyncio.Event()
    alone: list[int] = []

    async def say(body: bytes) -> bytes:
        if body == b"solo":
            alone.append(program.in_flight)
        else:
            await release.wait()
        return ok(body)

    program = Program(say)
    async with bridged(program, tmp_path) as at:
        at.caller.ask(1, b"first")
        at.caller.ask(2, b"solo", flags=frames.SOLO)
        at.caller.ask(3, b"later")
        while program.in_flight < 1:
            await asyncio.sleep(0)
        release.set()
        answers = [await at.caller.next() for _ in range(3)]
    assert [answer.id for answer in answers] == [1, 2, 3]
    assert alone == [1]


async def test_what_waits_can_be_cancelled_expires_and_overflows(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def say(body: bytes) -> bytes:
        await release.wait()
        return ok(body)

    async with bridged(Program(say), tmp_path, concurrency=1, queue=3) as at:
        at.caller.ask(1, b"runs")
        at.caller.ask(2, b"is cancelled")
        at.caller.ask(3, b"expires", seconds=5)
        at.caller.ask(4, b"waits", seconds=100)
        at.caller.ask(5, b"is too many")
        full = await at.caller.next()
        assert (full.id, full.number, full.flags) == (5, 429, 0)
        at.caller.cancel(2)
        cancelled = await at.caller.next()
        assert (cancelled.id, cancelled.number) == (2, 499)
        at.clock.advance(6)
        release.set()
        answers = {answer.id: answer for answer in [await at.caller.next() for _ in range(3)]}
    assert answers[1].body == b"runs"
    assert (answers[3].number, answers[3].flags) == (408, 0)
    assert answers[4].body == b"waits"


async def test_an_answer_that_does_not_come_in_time_is_told_and_the_next_is_right(
    tmp_path: Path,
) -> None:
    async def say(body: bytes) -> bytes:
        if body == b"hang":
            await asyncio.Event().wait()
        return ok(body)

    async with bridged(Program(say), tmp_path, concurrency=1) as at:
        at.caller.ask(1, b"hang", seconds=0.05)
        at.caller.ask(2, b"fine")
        late, fine = await at.caller.next(), await at.caller.next()
    assert (late.id, late.number) == (1, 408)
    assert fine.body == b"fine"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", b"closed the connection"),
        (b"nonsense\r\n\r\n", b"not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 150_000, b"more than"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"headers"),
    ],
)
async def test_what_is_no_answer_is_the_callers_error(
    tmp_path: Path, answer: bytes, words: bytes
) -> None:
    async def say(body: bytes) -> bytes:
        return answer if body == b"bad" else ok(body)

    async with bridged(Program(say), tmp_path, concurrency=1) as at:
        at.caller.ask(1, b"bad")
        at.caller.ask(2, b"good")
        bad, good = await at.caller.next(), await at.caller.next()
    assert bad.number == 500
    assert words in bad.body
    assert good.body == b"good"


async def test_a_kept_connection_that_was_closed_is_replaced_without_a_word(tmp_path: Path) -> None:
    async def say(body: bytes) -> bytes:
        return ok(body) if program.connections > 1 or body == b"first" else b""

    program = Program(say)
    async with bridged(program, tmp_path) as at:
        at.caller.ask(1, b"first")
        assert (await at.caller.next()).body == b"first"
        at.caller.ask(2, b"second")
        assert (await at.caller.next()).body == b"second"
    assert program.connections == 2


async def test_an_interim_answer_is_not_the_answer(tmp_path: Path) -> None:
    async def say(body: bytes) -> bytes:
        return b"HTTP/1.1 100 Continue\r\n\r\n" + ok(body, b"Content-Type: text/x\r\n")

    async with bridged(Program(say), tmp_path) as at:
        at.caller.ask(1, b"body")
        answer = await at.caller.next()
    assert answer.body == b"body"
    assert frames.decode_answer_meta(answer.meta).content_type == "text/x"


async def test_a_draining_bridge_answers_what_was_sent_and_says_goodbye(tmp_path: Path) -> None:
    async with bridged(Program(echo), tmp_path) as at:
        at.caller.ask(1, b"last")
        answer = await at.caller.next()
        draining = asyncio.ensure_future(at.bridge.drain())
        while not draining.done() and not at.caller._ready:
            at.clock.advance(0.1)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    at.caller._ready.append(await at.caller.next())
        goodbye = await at.caller.next()
        at.caller.writer.close()
        async with asyncio.timeout(SECONDS):
            await draining
    assert answer.body == b"last"
    assert goodbye.kind == frames.GOAWAY


async def test_what_comes_after_the_goodbye_is_not_executed(tmp_path: Path) -> None:
    """It was said that whatever has no answer was not: its sender asks another worker."""

    async def say(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with bridged(Program(say), tmp_path) as at:
        draining = asyncio.ensure_future(at.bridge.drain())
        await asyncio.sleep(0)
        at.clock.advance(1.0)
        assert (await at.caller.next()).kind == frames.GOAWAY
        at.caller.ask(1, b"late")
        at.caller.writer.close()
        async with asyncio.timeout(SECONDS):
            await draining
        assert not at.bridge._active


async def test_a_stream_that_is_cancelled_before_it_is_begun_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    async def say(body: bytes) -> bytes:
        if body == b"endless":
            await asyncio.Event().wait()
        return ok(body)

    async with bridged(Program(say), tmp_path, concurrency=1) as at:
        at.caller.ask(1, b"endless", flags=frames.STREAM, seconds=5)
        at.caller.cancel(1)  # With the same write: both are read at once.
        at.caller.ask(2, b"next")
        cancelled, answer = await at.caller.next(), await at.caller.next()
    assert (cancelled.id, cancelled.number) == (1, 499)
    assert (answer.id, answer.body) == (2, b"next")


@pytest.mark.parametrize("is_closed", [False, True])
async def test_a_suspect_that_waits_for_its_turn_is_not_executed_when_nobody_waits_for_it(
    tmp_path: Path, is_closed: bool
) -> None:
    release = asyncio.Event()

    async def say(body: bytes) -> bytes:
        if body == b"first":
            await release.wait()
        return ok(body)

    program = Program(say)
    async with bridged(program, tmp_path) as at:
        other = Caller(*await asyncio.open_unix_connection(str(tmp_path / "w.sock")))
        assert (await other.next()).kind == frames.HELLO
        at.caller.ask(1, b"first")
        while not program.in_flight:
            await asyncio.sleep(0)
        other.ask(2, b"suspect", flags=frames.SOLO)
        if is_closed:
            other.writer.close()
            while len(at.bridge._peers) > 1:
                await asyncio.sleep(0)
        else:
            other.cancel(2)
            async with asyncio.timeout(2):
                cancelled = await other.next()
            assert (cancelled.id, cancelled.number) == (2, 499)
        release.set()
        at.caller.ask(3, b"last")
        assert [(await at.caller.next()).id for _ in range(2)] == [1, 3]
        other.writer.close()
    assert program.seen == [b"first", b"last"]


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = ProgramClient(unused.getsockname()[1], answer_bytes=100)
        with pytest.raises(ProgramError, match="does not accept connections"):
            await client.ask("GET", "/ping")


async def test_a_chunked_answer_comes_in_parts_and_waits_for_its_reader(tmp_path: Path) -> None:
    """As far as its reader has room: a program that never ends is ended by its caller's leaving."""

    class Endless(Program):
        gone = False

        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.add(task)
            try:
                await reader.readuntil(b"\r\n\r\n")
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: x/y\r\n\r\n"
                writer.write(head)
                while True:
                    writer.write(b"2710\r\n" + bytes(10_000) + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                self.gone = True
            finally:
                writer.transport.abort()

    program = Endless(echo)
    async with bridged(program, tmp_path) as at:
        at.caller.ask(1, b"", flags=frames.STREAM)
        taken = 0
        while taken < frames.STREAM_WINDOW:
            part = await at.caller.next()
            assert (part.kind, part.id) == (frames.PART, 1)
            assert frames.decode_answer_meta(part.meta).content_type == "x/y"
            taken += len(part.body) + frames.PART_WEIGHT
        credit = frames.encode_frame(frames.CREDIT, 1, number=taken)
        at.caller.writer.write(credit)
        assert (await at.caller.next()).kind == frames.PART
        at.caller.cancel(1)
        while (last := await at.caller.next()).kind == frames.PART:
            pass
        assert (last.kind, last.id, last.number) == (frames.ANSWER, 1, 499)
        async with asyncio.timeout(SECONDS):
            while not program.gone:
                await asyncio.sleep(0.01)


async def test_a_stream_ends_with_its_program_and_a_whole_answer_is_no_stream(
    tmp_path: Path,
) -> None:
    async def say(body: bytes) -> bytes:
        if body == b"whole":
            return ok(body)
        end = b"" if body == b"broken" else b"0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + end

    program = Program(say)
    async with bridged(program, tmp_path) as at:
        at.caller.ask(1, b"chunks", flags=frames.STREAM)
        part, end = await at.caller.next(), await at.caller.next()
        assert (part.kind, part.body) == (frames.PART, b"a")
        assert (end.kind, end.number, end.body) == (frames.ANSWER, 200, b"")
        at.caller.ask(2, b"whole", flags=frames.STREAM)
        whole = await at.caller.next()
        assert (whole.kind, whole.body) == (frames.ANSWER, b"whole")
        at.caller.ask(3, b"chunks")
        joined = await at.caller.next()
        assert (joined.kind, joined.body) == (frames.ANSWER, b"a")
        at.caller.ask(4, b"broken", flags=frames.STREAM)
        assert (await at.caller.next()).kind == frames.PART
        for task in program.tasks:
            task.cancel()
        broken = await at.caller.next()
        assert (broken.kind, broken.number) == (frames.ANSWER, 500)
