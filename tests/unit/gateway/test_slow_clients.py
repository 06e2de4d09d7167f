"""Clients that take their time: who is cut off, after how long, and who is not."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from modelyard.base.settings import Limits
from modelyard.cli.interception import Authority
from modelyard.gateway.accepting import Acceptor
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.relay import Relay, Upstream
from modelyard.testing.wire import Wire

LIMITS = Limits(header_seconds=20.0, idle_seconds=120.0)
HEAD = b"POST /endpoints/e/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"


class Exchange:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.is_complete = self.is_gone = False

    def body(self, data: bytes) -> None: ...

    def complete(self) -> None:
        self.is_complete = True

    def whole(self, data: bytes) -> None:
        self.complete()

    def client_gone(self) -> None:
        self.is_gone = True

    def client_paused(self, paused: bool) -> None: ...


class Client:
    def __init__(self) -> None:
        self.now = 0.0
        self.exchanges: list[Exchange] = []
        self.wire = Wire()
        self.gate = Gate(LIMITS, self.handle, lambda: self.now)
        self.gate.tick()
        self.connection = ClientConnection(self.gate)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def handle(self, head: Head, client: ClientConnection) -> Exchange:
        self.exchanges.append(Exchange())
        return self.exchanges[-1]

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.gate.tick()


def test_a_head_that_comes_byte_by_byte_has_to_be_whole_in_time() -> None:
    client = Client()
    for byte in HEAD[:20]:
        client.send(bytes([byte]))
        client.wait(1)
    assert not client.wire.is_closed
    client.send(HEAD[20:21])
    client.wait(1)
    assert client.wire.is_closed
    assert client.wire.written.startswith(b"HTTP/1.1 408 ")
    assert not client.exchanges


def test_a_body_that_stops_is_given_up_and_what_it_was_for_is_told() -> None:
    client = Client()
    client.send(HEAD + b"12")
    client.wait(20)
    assert not client.wire.is_closed
    client.wait(1)
    assert client.wire.is_closed
    assert client.wire.written.startswith(b"HTTP/1.1 408 ")
    assert client.exchanges[0].is_gone


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    client = Client()
    client.wait(120)
    assert not client.wire.is_closed
    client.wait(2)
    assert client.wire.is_closed
    assert client.wire.written == b""


def test_a_client_that_waits_for_its_answer_is_not_slow() -> None:
    client = Client()
    client.send(HEAD + b"1234")
    assert client.exchanges[0].is_complete
    client.wait(1_000)
    assert not client.wire.is_closed
    assert not client.exchanges[0].is_gone


def test_who_has_not_read_its_answers_is_not_asked_for_more_requests() -> None:
    client = Client()
    client.connection.pause_writing()
    client.send(HEAD + b"1234" + HEAD)
    client.send(b"5678")
    assert not client.exchanges
    assert not client.wire.is_reading

    async def read() -> None:
        client.connection.resume_writing()
        await asyncio.sleep(0)

    asyncio.run(read())
    assert client.exchanges[0].is_complete
    client.connection.pause_writing()
    client.connection.respond(200, b"", b"")
    assert len(client.exchanges) == 1
    asyncio.run(read())
    assert [exchange.is_complete for exchange in client.exchanges] == [True, True]


def test_who_takes_nothing_of_its_last_answer_is_dropped_and_who_takes_some_is_not() -> None:
    steady, stuck = Client(), Client()
    for client in (steady, stuck):
        client.wire.unread = 1_000_000
        client.wait(122)
        assert client.wire.is_closed
    for _ in range(10):
        steady.wait(60)
        steady.wire.unread -= 1
    assert not steady.wire.is_aborted
    stuck.wait(119)
    assert not stuck.wire.is_aborted
    stuck.wait(3)
    assert stuck.wire.is_aborted


def test_who_is_refused_and_does_not_read_is_told_once() -> None:
    client = Client()
    client.wire.unread = 1
    client.send(HEAD + b"12")
    client.wait(30)
    assert client.wire.written.count(b"HTTP/1.1 408 ") == 1
    client.wait(120)
    assert client.wire.is_aborted


def test_who_asked_for_its_last_answer_and_does_not_read_it_is_dropped() -> None:
    client = Client()
    client.send(HEAD.replace(b"Host", b"Connection: close\r\nHost") + b"1234")
    client.wire.unread = 1
    client.connection.respond(200, b"", b"x")
    client.wait(122)
    assert client.wire.is_aborted


def long_head(length: int) -> bytes:
    return HEAD.replace(b"Content-Length: 4", b"Content-Length: %d" % length)


def test_a_body_that_trickles_ends_however_often_a_byte_comes() -> None:
    client = Client()
    client.send(long_head(1_000))
    for _ in range(3):
        client.send(b"x")
        client.wait(7)
    assert client.wire.is_closed
    assert client.wire.written.startswith(b"HTTP/1.1 408 ")


def test_a_large_body_that_is_sent_steadily_may_take_as_long_as_it_likes() -> None:
    client = Client()
    client.send(long_head(600 * 2048))
    for _ in range(600):
        client.wait(1)
        client.send(b"x" * 2048)
    assert client.exchanges[0].is_complete
    assert not client.wire.is_closed


def test_a_body_that_nobody_takes_is_not_its_senders_fault() -> None:
    client = Client()
    client.send(long_head(1_000) + b"x")
    client.connection.pause_reading()
    client.wait(1_000)
    assert not client.wire.is_closed
    client.connection.resume_reading()
    client.wait(19)
    assert not client.wire.is_closed
    client.wait(2)
    assert client.wire.is_closed


class Download:
    """An answer of 16 MiB, relayed or ours, over sockets that are real, by a clock that is not."""

    SIZE = 16 << 20

    def __init__(self, folder: Path, *, is_relayed: bool = True) -> None:
        self.now = 0.0
        self.is_relayed = is_relayed
        self.path = str(folder / "s")
        self.upstream = Upstream(self.path)
        self.gate = Gate(LIMITS, self.handle, lambda: self.now)
        self.is_upstream_closed = asyncio.Event()

    def handle(self, head: Head, client: ClientConnection) -> Relay | Exchange:
        if not self.is_relayed:
            client.respond(200, b"", bytes(self.SIZE))
            return Exchange()
        return Relay(head, client, self.upstream, unavailable=lambda _: (503, b"", b""))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
        writer.write(bytes(self.SIZE))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        self.is_upstream_closed.set()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[socket.socket]:
        """Who has asked for it."""
        self.gate.tick()
        loop = asyncio.get_running_loop()
        behind = await asyncio.start_unix_server(self.answer, self.path)
        front = await loop.create_server(lambda: ClientConnection(self.gate), "127.0.0.1", 0)
        try:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
                client.setblocking(False)
                await loop.sock_connect(client, front.sockets[0].getsockname())
                await loop.sock_sendall(client, b"GET /bucket/key HTTP/1.1\r\nHost: h\r\n\r\n")
                async with asyncio.timeout(30):
                    yield client
        finally:
            for connection in list(self.gate.connections):
                connection.abort()
            for idle in self.upstream._idle:
                idle.close()
            behind.close()
            front.close()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.gate.tick()


def run(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story)


def test_who_takes_nothing_more_of_an_answer_holds_no_connection_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        download = Download(tmp_path)
        async with download.client():
            while not download.is_upstream_closed.is_set():
                await asyncio.sleep(0.001)
                download.wait(1)
        assert download.now > LIMITS.idle_seconds

    run(story())


@pytest.mark.parametrize("is_relayed", [True, False])
def test_who_takes_its_answer_slowly_gets_all_of_it(tmp_path: Path, is_relayed: bool) -> None:
    async def story() -> None:
        download = Download(tmp_path, is_relayed=is_relayed)
        got = 0
        async with download.client() as client:
            while got < Download.SIZE:
                data = await asyncio.get_running_loop().sock_recv(client, 1 << 15)
                assert data, got
                if (got + len(data)) >> 17 > got >> 17:  # Now and then.
                    download.wait(LIMITS.idle_seconds - 1)
                got += len(data)

    run(story())


class Hours(uvloop.Loop):
    """Its timers ring when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: list[tuple[float, asyncio.TimerHandle, Callable[[], Any]]] = []

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, **named: Any
    ) -> asyncio.TimerHandle:
        handle = super().call_later(10_000, callback, *args, **named)
        self._timers.append((delay, handle, lambda: callback(*args)))
        return handle

    def pass_seconds(self, seconds: float) -> None:
        for delay, handle, ring in self._timers:
            if delay <= seconds and not handle.cancelled():
                handle.cancel()
                ring()


def test_who_takes_its_last_answer_slowly_over_tls_gets_all_of_it(tmp_path: Path) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    authority = Authority.load_or_create(tmp_path)

    def take(address: Any) -> int:
        trusted = ssl.create_default_context(cafile=str(authority.bundle({})))
        with (
            socket.create_connection(address, timeout=60) as plain,
            trusted.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            got = len(client.recv(1))
            begun.set()
            may_go_on.wait(60)
            while data := client.recv(1 << 16):
                got += len(data)
        return got

    async def story(loop: Hours) -> int:
        download = Download(tmp_path, is_relayed=False)
        download.gate.tick()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(
                listener.dup(),
                lambda: ClientConnection(download.gate),
                tls=authority.context("localhost"),
                held=lambda: 0,
                board=None,
            )
            taking = asyncio.create_task(asyncio.to_thread(take, listener.getsockname()))
            while not begun.is_set() and not taking.done():
                await asyncio.sleep(0)
            loop.pass_seconds(600)
            may_go_on.set()
            got = await taking
            acceptor.close()
        return got

    loop = Hours()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(story(loop)) > Download.SIZE
