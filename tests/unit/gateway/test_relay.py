"""Relayed answers: whole or not at all, whenever the process behind the gateway dies."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from modelyard.gateway import relay
from modelyard.gateway.heads import Head
from modelyard.gateway.relay import HELD_BYTES, REQUEST_BYTES, Relay, Upstream

UNAVAILABLE = (503, b"", b"later")
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: "


class Client:
    """What the client got, and how its exchange ended."""

    def __init__(self) -> None:
        self.got = b""
        self.ended: list[Any] = []
        self.done = asyncio.Event()
        self.is_reading = True

    def write(self, data: bytes) -> None:
        self.got += data

    def respond(self, *answer: Any) -> None:
        self.ended.append(answer)
        self.done.set()

    def finish(self, *, keep_alive: bool) -> None:
        self.ended.append(keep_alive)
        self.done.set()

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


def relayed(folder: Path, *pieces: bytes) -> Client:
    """The client of a process that answers with these pieces, each in a turn of its own, and dies."""

    async def story() -> Client:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                for _ in range(10):
                    await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
            ended.set()

        ended = asyncio.Event()
        server = await asyncio.start_unix_server(answer, folder / "s")
        client = Client()
        upstream = Upstream(str(folder / "s"))
        head = Head(
            method="POST",
            target="/",
            path="/",
            version="1.1",
            peer="127.0.0.1",
            joined={},
            length=0,
        )
        Relay(
            head,
            client,  # type: ignore[arg-type]
            upstream,
            unavailable=lambda _: UNAVAILABLE,
        ).complete()
        async with asyncio.timeout(10):
            await client.done.wait()
            await ended.wait()
            while upstream._idle:  # It closed them, and they are noticed in a turn of their own.
                await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
        return client

    return asyncio.run(story())


@pytest.mark.parametrize("pieces", [(), (OK,), (OK + b"5\r\n\r\n",), (OK + b"5\r\n\r\n", b"abcd")])
def test_a_process_that_dies_within_an_answer_has_not_answered(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    client = relayed(tmp_path, *pieces)
    assert (client.got, client.ended) == (b"", [UNAVAILABLE])


@pytest.mark.parametrize("pieces", [(INTERIM,), (INTERIM + OK,), (INTERIM, OK + b"2\r\n\r\n")])
def test_a_process_that_dies_after_it_asked_for_the_body_has_not_answered(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    client = relayed(tmp_path, *pieces)
    assert client.got in (b"", INTERIM)
    assert client.ended == [UNAVAILABLE]


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"5\r\n\r\n", b"ab", b"cde"),
        (INTERIM, OK + b"2\r\n\r\n", b"ab"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"0\r\n\r\n"),
        (b"HTTP/1.1 204 No Content\r\n\r\n",),
    ],
)
def test_an_answer_passes_as_it_is(tmp_path: Path, pieces: tuple[bytes, ...]) -> None:
    client = relayed(tmp_path, *pieces)
    assert (client.got, client.ended) == (b"".join(pieces), [True])


def test_a_long_answer_is_not_held_and_ends_with_its_connection(tmp_path: Path) -> None:
    head = OK + b"%d\r\n\r\n" % (HELD_BYTES + 1)
    client = relayed(tmp_path, head, b"a")
    assert (client.got, client.ended) == (head + b"a", [False])


def test_a_client_slow_to_take_the_end_of_its_answer_holds_up_nobody_elses(tmp_path: Path) -> None:
    async def story() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for body in (b"x" * (HELD_BYTES + 1), b"next"):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(OK + b"%d\r\n\r\n%b" % (len(body), body))
            writer.close()

        class Slow(Client):
            """Is full with whatever comes."""

            relay: Relay

            def write(self, data: bytes) -> None:
                super().write(data)
                self.relay.client_paused(True)

        def ask(client: Client) -> Relay:
            head = Head(method="GET", target="/", path="/", version="1.1", peer="", joined={}, length=0)  # fmt: skip
            return Relay(head, client, upstream, unavailable=lambda _: UNAVAILABLE)  # type: ignore[arg-type]

        server = await asyncio.start_unix_server(answer, tmp_path / "s")
        upstream = Upstream(str(tmp_path / "s"))
        slow, other = Slow(), Client()
        slow.relay = ask(slow)
        slow.relay.complete()
        async with asyncio.timeout(10):
            while not slow.done.is_set():
                slow.relay.client_paused(False)
                await asyncio.sleep(0)
            ask(other).complete()
            await other.done.wait()
        server.close()
        await server.wait_closed()
        return other.got

    assert asyncio.run(story()).endswith(b"next")


def test_a_small_request_is_sent_on_when_it_is_whole_and_a_large_one_as_it_comes(
    tmp_path: Path,
) -> None:
    async def story(length: int) -> list[bytes]:
        """What the process behind read at a time: of the head and a first piece, and of the last byte."""
        read: list[bytes] = []
        came, ended = asyncio.Event(), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while not b"".join(read).endswith(b"!"):
                read.append(await reader.read(2 * REQUEST_BYTES))
                came.set()
            writer.close()
            ended.set()

        server = await asyncio.start_unix_server(answer, tmp_path / f"s{length}")
        head = Head(method="POST", target="/", path="/", version="1.1", peer="", joined={}, length=length)  # fmt: skip
        relay = Relay(
            head,
            Client(),  # type: ignore[arg-type]
            Upstream(str(tmp_path / f"s{length}")),
            unavailable=lambda _: UNAVAILABLE,
        )
        relay.body(b"." * (length - 1))
        async with asyncio.timeout(10):
            if length > REQUEST_BYTES:
                await came.wait()
            relay.whole(b"!")
            await ended.wait()
        server.close()
        await server.wait_closed()
        return read

    (whole,) = asyncio.run(story(10))
    assert whole.endswith(b"\r\n\r\n.........!")
    assert len(asyncio.run(story(REQUEST_BYTES + 1))) > 1


@pytest.mark.parametrize("listens", [False, True])
def test_a_body_that_was_held_back_is_read_on_when_nobody_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr(relay, "CONNECT_SECONDS", 0.0)

    async def story() -> Client:
        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            while client.is_reading:
                await asyncio.sleep(0)
            writer.transport.abort()
            ended.set()

        ended = asyncio.Event()
        server = await asyncio.start_unix_server(die, tmp_path / "s") if listens else None
        client, upstream = Client(), Upstream(str(tmp_path / "s"))
        head = Head(method="PUT", target="/", path="/", version="1.1", peer="", joined={}, length=1 << 30)  # fmt: skip
        one = Relay(head, client, upstream, unavailable=lambda _: UNAVAILABLE)  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            while client.is_reading and not client.done.is_set():
                one.body(b"x" * REQUEST_BYTES)
                if listens:  # Else it is held back before anybody could be asked.
                    await asyncio.sleep(0)
            await client.done.wait()
            if server is not None:
                await ended.wait()
                server.close()
                await server.wait_closed()
        return client

    client = asyncio.run(story())
    assert (client.ended, client.is_reading) == ([UNAVAILABLE], True)


@pytest.mark.parametrize(
    ("length", "reads", "is_sent_anew"),
    [(2, False, True), (2, True, False), (REQUEST_BYTES + 1, False, False)],
)
def test_a_small_request_that_nobody_has_read_is_sent_anew(
    tmp_path: Path, length: int, reads: bool, is_sent_anew: bool
) -> None:
    answer = OK + b"2\r\n\r\nab"

    async def story() -> Client:
        def ask(client: Client) -> None:
            head = Head(method="PUT", target="/", path="/", version="1.1", peer="", joined={}, length=length)  # fmt: skip
            one = Relay(head, client, upstream, unavailable=lambda _: UNAVAILABLE)  # type: ignore[arg-type]
            one.whole(b"x" * length)

        first, second, upstream = Client(), Client(), Upstream(str(tmp_path / "s"))
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            listener.setblocking(False)
            async with asyncio.timeout(10):
                ask(first)
                process, _ = await loop.sock_accept(listener)
                with process:
                    while not (await loop.sock_recv(process, 1 << 20)).endswith(b"x"):
                        pass
                    await loop.sock_sendall(process, answer)
                    await first.done.wait()
                    ask(second)
                    if reads:
                        await loop.sock_recv(process, 1 << 20)
                if is_sent_anew:
                    process, _ = await loop.sock_accept(listener)
                    with process:
                        assert (await loop.sock_recv(process, 1 << 20)).endswith(b"\r\n\r\nxx")
                        await loop.sock_sendall(process, answer)
                        await second.done.wait()
                await second.done.wait()
        return second

    client = asyncio.run(story())
    expected = (answer, [True]) if is_sent_anew else (b"", [UNAVAILABLE])
    assert (client.got, client.ended) == expected


def test_a_sender_is_held_back_though_its_process_came_late_and_takes_nothing(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        client, upstream = Client(), Upstream(str(tmp_path / "s"))
        head = Head(method="PUT", target="/", path="/", version="1.1", peer="", joined={}, length=1 << 30)  # fmt: skip
        one = Relay(head, client, upstream, unavailable=lambda _: UNAVAILABLE)  # type: ignore[arg-type]
        one.body(b"x" * 1_000_000)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(10):
                process, _ = await loop.sock_accept(listener)
                with process:
                    await loop.sock_recv(process, 1)
                    assert not client.is_reading
                await client.done.wait()
        assert client.is_reading

    asyncio.run(story())


def test_a_head_that_was_read_by_its_form_goes_on_with_all_its_headers(tmp_path: Path) -> None:
    joined = {
        "host": "h",
        "connection": "keep-alive",
        "authorization": "one",
        "content-length": "0",
    }

    async def story() -> bytes:
        came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.set_result(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        server = await asyncio.start_unix_server(answer, tmp_path / "s")
        head = Head(method="POST", target="/a?b", path="/a", version="1.1", peer="::1", joined=joined, length=0)  # fmt: skip
        client, upstream = Client(), Upstream(str(tmp_path / "s"))
        relay = Relay(head, client, upstream, unavailable=lambda _: UNAVAILABLE)  # type: ignore[arg-type]
        relay.complete()
        async with asyncio.timeout(10):
            await client.done.wait()
        server.close()
        await server.wait_closed()
        return await came

    assert asyncio.run(story()) == (
        b"POST /a?b HTTP/1.1\r\nhost: h\r\nauthorization: one\r\ncontent-length: 0\r\n"
        b"X-Modelyard-Peer: ::1\r\n\r\n"
    )
