"""A head that is read by the form of the one before it says what the parser would have said of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.base.settings import Limits
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head, HeadForm, form_of
from modelyard.gateway.http import ClientConnection
from modelyard.testing.wire import Wire

LINES = (
    "POST /endpoints/churn/invocations HTTP/1.1",
    "Host: 127.0.0.1:8650",
    "Content-Type: text/csv",
    "X-Amz-Date: 20261128T120000Z",
    "Authorization: AWS4-HMAC-SHA256 Credential=A/20261128/r/sagemaker/aws4_request, Signature=ab",
    "amz-sdk-invocation-id: 1-2-3",
    "Content-Length: 3",
)


class Answers:
    """Every request, at once."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.bodies: list[bytes] = []

    def body(self, data: bytes) -> None:
        self.bodies.append(data)

    def complete(self) -> None:
        self.client.respond(200, b"", b"".join(self.bodies))

    def whole(self, data: bytes) -> None:
        self.body(data)
        self.complete()

    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...


class Client:
    """A connection, and the heads that its handler was given."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.wire = Wire()
        gate = Gate(Limits(), self.handle, lambda: 0.0)
        self.connection = ClientConnection(gate)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def handle(self, head: Head, client: ClientConnection) -> Answers:
        self.heads.append(head)
        head.memo = head.memo or object()
        return Answers(client)


def raw_of(lines: tuple[str, ...]) -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def parsed(raw: bytes) -> list[Head]:
    """By the parser, on a connection of its own."""
    client = Client()
    client.connection.data_received(raw)
    return client.heads


def form() -> HeadForm:
    found = form_of(raw_of(LINES), parsed(raw_of(LINES))[0])
    assert found is not None
    return found


def said(head: Head) -> tuple[object, ...]:
    return (head.method, head.target, head.path, head.version, head.length, head.headers)


def test_a_signed_head_like_the_last_is_read_without_the_parser() -> None:
    lines = [*LINES]
    lines[3] = "X-Amz-Date: 20261128T120001Z"
    lines[4] = LINES[4].replace("Signature=ab", "Signature=cd")
    lines[6] = "Content-Length: 41"
    read = form().read(raw_of((*lines,)))
    assert read is not None
    assert said(read) == said(parsed(raw_of((*lines,)))[0])


def test_another_path_of_plain_names_is_read_and_what_was_learnt_of_the_last_is_not_its() -> None:
    raw = raw_of(("POST /endpoints/other-2/invocations HTTP/1.1", *LINES[1:]))
    read = form().read(raw)
    assert read is not None
    assert said(read) == said(parsed(raw)[0])
    assert read.memo is None


def test_each_path_of_a_signed_client_gets_its_own_answer() -> None:
    client = Client()
    for name in ("one", "two", "two", "one"):
        lines = (f"POST /endpoints/{name}/invocations HTTP/1.1", *LINES[1:])
        client.connection.data_received(raw_of(lines) + b"abc")
    assert [head.path.split("/")[2] for head in client.heads] == ["one", "two", "two", "one"]
    assert [head.form is None for head in client.heads] == [True, False, False, False]
    assert len({id(head.memo) for head in client.heads}) == 3


texts = st.text(alphabet=st.characters(max_codepoint=255), max_size=12)


@given(place=st.integers(0, len(LINES) - 1), text=texts, keeps_name=st.booleans())
def test_what_a_form_reads_the_parser_reads_alike(place: int, text: str, keeps_name: bool) -> None:
    name, separator, _ = LINES[place].partition(": ")
    changed = f"{name}{separator}{text}" if keeps_name else text
    raw = raw_of((*LINES[:place], changed, *LINES[place + 1 :]))
    read = form().read(raw)
    if read is not None:
        (by_parser,) = parsed(raw)
        assert said(read) == said(by_parser)


@given(path=st.text(alphabet="/ab.~%?#\\ \t*:@\x7f\xe9", max_size=12))
def test_whatever_path_a_form_reads_the_parser_reads_alike(path: str) -> None:
    raw = raw_of((f"POST /{path} HTTP/1.1", *LINES[1:]))
    read = form().read(raw)
    if read is not None:
        (by_parser,) = parsed(raw)
        assert said(read) == said(by_parser)


@given(data=st.data())
def test_no_damaged_byte_makes_a_form_and_the_parser_differ(data: st.DataObject) -> None:
    raw = bytearray(raw_of(LINES))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read = form().read(bytes(raw))
    if read is not None:
        (by_parser,) = parsed(bytes(raw))
        assert said(read) == said(by_parser)


@pytest.mark.parametrize(
    "value", ["3\r\nX-More: 1", "3\nX-More: 1", " 3", "3 ", "+3", "3,3", "0x3", "", "3\x00", "٣"]
)
def test_a_length_that_is_not_plainly_one_is_left_to_the_parser(value: str) -> None:
    raw = b"\r\n".join(line.encode() for line in LINES[:-1])
    assert form().read(raw + b"\r\nContent-Length: " + value.encode() + b"\r\n\r\n") is None


def test_a_header_that_comes_twice_gives_no_form() -> None:
    raw = raw_of((*LINES, "X-Twice: 1", "x-twice: 2"))
    assert form_of(raw, parsed(raw)[0]) is None


def test_each_body_of_a_signed_client_gets_its_own_answer() -> None:
    client = Client()
    for number in range(3):
        lines = (*LINES[:3], f"X-Amz-Date: 20261128T12000{number}Z", *LINES[4:])
        client.connection.data_received(raw_of(lines) + b"%03d" % number)
    answers = client.wire.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer[-3:] for answer in answers] == [b"000", b"001", b"002"]
    assert client.heads[2].form is not None
    assert client.heads[2].joined["x-amz-date"] == "20261128T120002Z"


def test_a_body_that_comes_later_goes_to_the_parser_whatever_the_form_says() -> None:
    client = Client()
    client.connection.data_received(raw_of(LINES) + b"one")
    whole = raw_of(LINES) + b"two"
    client.connection.data_received(whole[:-1])
    client.connection.data_received(whole[-1:])
    assert client.wire.written.endswith(b"two")
    assert client.heads[1].form is None
