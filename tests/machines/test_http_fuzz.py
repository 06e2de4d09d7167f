"""The gateway's reading of HTTP against bytes of every kind: it never breaks, never loses step, never reads one request as two.

The judge is h11, a strict parser: whatever the gateway executes, h11 has to read as the same request at the same place.
"""

import asyncio
import itertools
import re

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.base.settings import Limits
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.testing.wire import Wire

ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n((?:[^\r\n]+\r\n)*)\r\n")
LENGTH = re.compile(rb"Content-Length: (\d+)\r\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LIMITS = Limits()
RUNNER = asyncio.Runner()
"""One loop for all examples: a new one for each would be most of the time."""

Request = tuple[str, str, bytes]
"""Method, target, body."""


class Execute:
    """Keeps what it was asked, and answers it."""

    def __init__(self, head: Head, client: ClientConnection, executed: list[Request]) -> None:
        self._head, self._client, self._executed = head, client, executed
        self._body = b""
        if head.joined.get("expect", "").lower() == "100-continue":
            client.expect_more()

    def body(self, data: bytes) -> None:
        self._body += data

    def complete(self) -> None:
        self._executed.append((self._head.method, self._head.target, self._body))
        self._client.respond(200, b"Content-Type: text/plain\r\n", self._body)

    def whole(self, data: bytes) -> None:
        self.body(data)
        self.complete()

    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...


async def converse(pieces: list[bytes]) -> tuple[list[Request], Wire]:
    """What is executed of bytes that come in these pieces, and what was written."""
    executed: list[Request] = []
    gate = Gate(LIMITS, lambda head, client: Execute(head, client, executed), lambda: 0.0)
    gate.tick()
    wire = Wire()
    connection = ClientConnection(gate)
    connection.connection_made(wire)  # type: ignore[arg-type]
    for piece in pieces:
        if wire.is_closed:
            break
        connection.data_received(piece)
        for _ in range(3):  # Pipelined requests come in turns of their own.
            await asyncio.sleep(0)
    for _ in range(8):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return executed, wire


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def answers(written: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, header lines and body of each. Fails on anything that is no sequence of answers."""
    found = []
    while written:
        if written.startswith(CONTINUE):
            written = written[len(CONTINUE) :]
            continue
        match = ANSWER.match(written)
        assert match, f"no answer begins here: {written[:80]!r}"
        length = LENGTH.search(match[2])
        assert length
        end = match.end() + int(length[1])
        found.append((int(match[1]), match[2], written[match.end() : end]))
        written = written[end:]
    return found


def judged(data: bytes) -> list[Request]:
    """The whole requests that h11 reads, up to the first that it refuses.

    Empty lines before a request are nothing, and spaces within its first line are one (RFC 9112, 2.2 and 3).
    """
    found: list[Request] = []
    while data := re.sub(rb"^[\r\n]+", b"", data):
        data = re.sub(rb"^(\S+) +(\S+) +", rb"\1 \2 ", data)
        judge = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        judge.receive_data(data)
        method = target = ""
        body = b""
        try:
            while not isinstance(event := judge.next_event(), h11.EndOfMessage):
                match event:
                    case h11.Request():
                        method, target = event.method.decode(), event.target.decode("latin-1")
                    case h11.Data():
                        body += bytes(event.data)
                    case _:
                        return found
        except h11.ProtocolError:
            return found
        found.append((method, target, body))
        data = judge.trailing_data[0]
    return found


bodies = st.binary(max_size=30) | st.sampled_from(
    [b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b"0\r\n\r\n", b"\r\n\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Request, bytes]:
    """A valid request, and its bytes."""
    method = draw(st.sampled_from(["POST", "POST", "PUT", "GET"]))
    target = draw(st.sampled_from(["/endpoints/e/invocations", "/a?b=c", "/%2e%2e/x"]))
    headers = draw(
        st.lists(
            st.sampled_from(
                ["Content-Type: text/csv", "Expect: 100-continue", "X-Empty:", "Accept: */*", "Connection: keep-alive"]
            ),
            unique=True,
            max_size=3,
        )
    )  # fmt: skip
    body = b"" if method == "GET" else draw(bodies)
    lines = [f"{method} {target} HTTP/1.1", "Host: h", *headers]
    if method == "GET":
        framed = b""
    elif draw(st.booleans()):
        lines.append(f"Content-Length: {len(body)}")
        framed = body
    else:
        lines.append("Transfer-Encoding: chunked")
        middle = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:middle], body[middle:]) if part]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return (method, target, body), "\r\n".join(lines).encode() + b"\r\n\r\n" + framed


@settings(max_examples=150, deadline=None)
@given(
    st.lists(requests(), min_size=1, max_size=4),
    st.lists(st.integers(0, 2000), max_size=8),
    st.booleans(),
)
def test_valid_requests_are_answered_in_order_however_they_are_cut(
    sent: list[tuple[Request, bytes]], places: list[int], one_by_one: bool
) -> None:
    """One by one: as most clients do. In one stream, what follows a chunked body may be refused, but never misread."""
    wanted = [request for request, _ in sent]
    if one_by_one:
        pieces = [piece for _, data in sent for piece in cut(data, places)]
    else:
        pieces = cut(b"".join(data for _, data in sent), places)
    executed, wire = RUNNER.run(converse(pieces))
    assert executed == wanted[: len(executed)]
    found = answers(wire.written)
    assert [body for status, _, body in found if status == 200] == [body for *_, body in executed]
    assert len(executed) == len(wanted) or wire.is_closed
    if one_by_one:
        assert executed == wanted


noise = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\xff", b"\x0b", b"0", b"5", b"-1", b"+", b"0x1",
        b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"content-length : 1\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n", b"transfer-encoding:\tchunked\r\n", b"Transfer-Encoding : chunked\r\n",
        b" folded: 1\r\n", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.0", b"HTTP/2.0", b"0\r\n\r\n",
        b"ffffffffffffffff1\r\n", b"chunked",
    ]
)  # fmt: skip
edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 6), noise | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(requests(), min_size=1, max_size=3), edits, st.lists(st.integers(0, 2000), max_size=5)
)
@example(
    [(("POST", "/a?b=c", b"x"), b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")],
    [(30, 0, b"Transfer-Encoding: chunked\r\n")],
    [],
)
def test_damaged_requests_are_executed_only_as_a_strict_parser_reads_them(
    sent: list[tuple[Request, bytes]], damage: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    data = b"".join(one for _, one in sent)
    for place, dropped, added in damage:
        at = place % (len(data) + 1)
        data = data[:at] + added + data[at + dropped :]
    executed, wire = RUNNER.run(converse(cut(data, places)))
    strict = judged(data)
    assert executed == strict[: len(executed)], f"{data!r}: h11 reads {strict}"
    found = answers(wire.written)
    assert len(found) <= len(executed) + 1
    refused = [place for place, (status, *_) in enumerate(found) if status != 200]
    assert refused in ([], [len(found) - 1]), "nothing is answered behind a refusal"
    assert not refused or wire.is_closed


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_bytes_of_any_kind_break_nothing(data: bytes, places: list[int]) -> None:
    executed, wire = RUNNER.run(converse(cut(data, places)))
    assert executed == judged(data)[: len(executed)]
    answers(wire.written)
