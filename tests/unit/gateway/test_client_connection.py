"""One client's connection, byte for byte: requests in order, refusals that leave it usable, heads that are known."""

import asyncio

import pytest

from modelyard.base.settings import Limits
from modelyard.gateway.gate import KNOWN_HEADS, Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.testing.wire import Wire


class Echo:
    """Answers when it is told to, with the path and the body."""

    def __init__(self, head: Head, client: ClientConnection, held: list["Echo"] | None) -> None:
        self.head, self.client, self.held = head, client, held
        self.received = b""
        if "x-refuse" in head.joined:
            client.respond(413, b"", b"too large")

    def body(self, data: bytes) -> None:
        self.received += data

    def complete(self) -> None:
        if self.held is None:
            self.answer()
        else:
            self.held.append(self)

    def whole(self, data: bytes) -> None:
        self.body(data)
        self.complete()

    def answer(self) -> None:
        self.client.respond(200, b"", self.head.path.encode() + b" " + self.received)

    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...


class Client:
    def __init__(self, *, holds: bool = False) -> None:
        self.heads: list[Head] = []
        self.held: list[Echo] = []
        self.wire = Wire()
        self.time = 0.0
        self.gate = Gate(Limits(), self.handle, lambda: self.time)
        self.gate.tick()
        self.connection = ClientConnection(self.gate)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self.holds = holds

    def handle(self, head: Head, client: ClientConnection) -> Echo:
        self.heads.append(head)
        return Echo(head, client, self.held if self.holds else None)

    def send(self, data: bytes) -> bytes:
        before = len(self.wire.written)
        self.connection.data_received(data)
        return self.wire.written[before:]


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_the_same_head_is_parsed_once_and_each_body_gets_its_own_answer() -> None:
    client = Client()
    first = client.send(post("/a", b"one"))
    second = client.send(post("/a", b"two"))
    assert first.endswith(b"/a one")
    assert second.endswith(b"/a two")
    assert client.heads[0] is client.heads[1]


@pytest.mark.parametrize(
    "header",
    ["Authorization: AWS4-HMAC-SHA256 x", "Expect: 100-continue", "Connection: keep-alive, te"],
)
def test_what_is_signed_or_negotiated_is_parsed_each_time(header: str) -> None:
    client = Client()
    client.send(post("/a", b"one", header))
    client.send(post("/a", b"two", header))
    assert client.heads[0] is not client.heads[1]


def test_a_known_head_whose_body_comes_later_goes_to_the_parser() -> None:
    client = Client()
    client.send(post("/a", b"one"))
    whole = post("/a", b"two")
    assert client.send(whole[:-1]) == b""
    assert client.send(whole[-1:]).endswith(b"/a two")


def test_a_known_head_with_more_than_its_body_goes_to_the_parser() -> None:
    client = Client()
    client.send(post("/a", b"one"))
    answers = client.send(post("/a", b"two") + post("/b", b"three"))
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.index(b"/a two") < answers.index(b"/b three")


def test_every_cut_of_two_requests_gives_the_same_two_answers() -> None:
    data = post("/a", b"one") + post("/b", b"three")
    for place in range(1, len(data)):
        client = Client()
        client.send(data[:place])
        client.send(data[place:])
        assert client.wire.written.count(b"HTTP/1.1 200") == 2, place
        assert client.wire.written.endswith(b"/b three")


def test_known_heads_are_bounded() -> None:
    client = Client()
    for number in range(KNOWN_HEADS + 10):
        client.send(post(f"/{number}", b""))
    assert len(client.gate.known) <= KNOWN_HEADS


def test_a_request_refused_by_its_head_leaves_the_connection_usable() -> None:
    client = Client()
    refused = client.send(post("/a", b"long", "X-Refuse: yes"))
    assert b" 413 " in refused
    assert client.send(post("/b", b"x")).endswith(b"/b x")
    assert client.send(post("/a", b"long", "X-Refuse: yes")) == refused
    assert client.send(post("/b", b"x")).endswith(b"/b x")


def test_a_body_that_its_sender_was_not_told_to_send_is_not_waited_for() -> None:
    client = Client()
    head = post("/a", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4")
    refused = client.send(head.replace(b"\r\n\r\n", b"\r\nX-Refuse: yes\r\n\r\n"))
    assert b"Connection: close" in refused
    assert client.wire.is_closed
    relayed = Client(holds=True)
    relayed.send(head)
    relayed.connection.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    relayed.connection.finish()
    assert relayed.wire.is_closed


def test_a_body_that_was_waited_for_leaves_the_connection_usable() -> None:
    client = Client()
    client.send(post("/a", b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 4"))
    assert client.send(b"body").endswith(b"/a body")
    assert client.send(post("/a", b"", "Expect: 100-continue")).endswith(b"/a ")
    assert client.send(post("/b", b"x")).endswith(b"/b x")


def test_who_is_refused_while_it_sends_its_last_request_gets_to_read_why() -> None:
    client = Client()
    whole = post("/a", b"long", "X-Refuse: yes", "Connection: close")
    assert b"Connection: close" in client.send(whole[:-4])
    client.send(whole[-4:-1])
    assert not client.wire.is_closed
    client.send(whole[-1:])
    assert client.wire.is_closed
    broken = Client(holds=True)
    broken.send(whole[:-4].replace(b"X-Refuse", b"X"))
    broken.connection.finish(keep_alive=False)
    assert broken.wire.is_closed


def test_two_requests_in_one_piece_are_answered_in_order_though_the_first_takes_its_time() -> None:
    async def main() -> bytes:
        client = Client(holds=True)
        client.send(post("/a", b"one") + post("/b", b"two") + post("/c", b"three"))
        while b"/c three" not in client.wire.written:
            assert len(client.held) == 1, "one request of a connection is answered at a time"
            client.held.pop().answer()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return client.wire.written

    written = asyncio.run(main())
    assert written.index(b"/a one") < written.index(b"/b two") < written.index(b"/c three")
    assert written.count(b"HTTP/1.1 200") == 3


def test_what_comes_behind_a_pipeline_does_not_overtake_it() -> None:
    async def main() -> None:
        client = Client(holds=True)
        client.send(post("/a", b"one") + post("/b", b"two"))
        client.held.pop().answer()
        assert not client.wire.is_reading
        await asyncio.sleep(0)
        assert [one.head.path for one in client.held] == ["/b"]
        assert client.wire.is_reading

    asyncio.run(main())


def test_what_follows_a_chunked_body_ends_the_connection_with_the_answer() -> None:
    client = Client(holds=True)
    chunked = (
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
    )
    client.send(chunked + post("/b", b"two"))
    (only,) = client.held
    only.answer()
    assert b"Connection: close" in client.wire.written
    assert client.wire.is_closed
    assert len(client.held) == 1


def test_chunked_bodies_one_after_the_other() -> None:
    client = Client()
    chunked = (
        b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
    )
    assert client.send(chunked).endswith(b"/a one")
    assert client.send(chunked + chunked).count(b"/a one") == 2
    assert client.send(post("/b", b"x")).endswith(b"/b x")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"X: y", 400),
        (b"Host: a\r\nHost: b", 400),
        (b"Host: h\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        (b"Host: h\r\nTransfer-Encoding: gzip, chunked", 501),
    ],
)
def test_a_head_without_one_host_or_with_another_coding_ends_the_connection(
    line: bytes, status: int
) -> None:
    client = Client()
    answer = client.send(b"POST /a HTTP/1.1\r\n" + line + b"\r\n\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert client.wire.is_closed
    assert not client.heads
