"""The gateway on the wire: what HTTP allows works, what would confuse a proxy is refused, slow and rude clients cost nothing."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.platform import running_platform

HEALTH = b"GET /_modelyard/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
NOWHERE = (
    b"POST /endpoints/nowhere/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
)
CHUNKED = NOWHERE + b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def open_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home: Path = tmp_path_factory.mktemp("open") / "home"
    with running_platform(home, "--no-auth", "--strict") as platform:
        yield platform


@contextlib.contextmanager
def _connection(platform: Platform) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", platform.settings.port), timeout=20) as connection:
        yield connection


def _answers(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of the next answers; all of ours have a length."""
    found: list[tuple[int, bytes]] = []
    data = b""
    while len(found) < count:
        while b"\r\n\r\n" not in data:
            data += _more(connection)
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(data) < length:
            data += _more(connection)
        found.append((status, data[:length]))
        data = data[length:]
    return found


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the gateway closed the connection"
    return data


def test_pipelined_requests_are_answered_in_order(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        missing = NOWHERE + b"Content-Length: 1\r\n\r\n1"
        connection.sendall((HEALTH + missing) * 5)
        statuses = [status for status, _ in _answers(connection, 10)]
    assert statuses == [200, 400] * 5


def test_a_request_may_come_byte_by_byte(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        for byte in NOWHERE + b"Transfer-Encoding: chunked\r\n\r\n3\r\n1,2\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))
        ((status, body),) = _answers(connection, 1)
    assert status == 400
    assert "Endpoint nowhere of account 123456789012 not found." in json.loads(body)["message"]


def test_a_client_that_expects_is_told_to_continue(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(NOWHERE + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"1,2")
        assert _answers(connection, 1)[0][0] == 400


def test_a_body_over_the_limit_is_refused_before_it_is_sent(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(NOWHERE + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        ((status, body),) = _answers(connection, 1)
    assert (status, body) == (413, b"HTTP content length exceeded 6291456 bytes.")


def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(NOWHERE + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b"1" * 0x100000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(8):
                connection.sendall(piece)
        assert _answers(connection, 1)[0][0] == 413


@pytest.mark.parametrize(
    "request_bytes",
    [
        NOWHERE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        NOWHERE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        NOWHERE + b"Content-Length: +5\r\n\r\n12345",
        NOWHERE + b"Content-Length: 5, 5\r\n\r\n12345",
        NOWHERE + b"Content-Length: -1\r\n\r\n",
        NOWHERE + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        NOWHERE + b"Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET /_modelyard/health HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /_modelyard/health HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET /_modelyard/health HTTP/1.1\rHost: a\r\r",
        b"GET /_modelyard/health\r\n\r\n",
        NOWHERE.replace(b"\r\n", b"\n") + b"Content-Length: 3\n\n1,2",
        NOWHERE + b"X-A: b\nContent-Length: 3\r\n\r\n1,2",
        NOWHERE + b"Content-Length: 3\r\n\n1,2",
        NOWHERE + b"X-A: b\0\r\nContent-Length: 3\r\n\r\n1,2",
        NOWHERE + b"X-A: b\rX-B: c\r\nContent-Length: 3\r\n\r\n1,2",
        NOWHERE + b": b\r\nContent-Length: 3\r\n\r\n1,2",
        NOWHERE + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n1,2",
        NOWHERE + b"Content-Length: 0x3\r\n\r\n1,2",
        NOWHERE + b"Content-Length: 1_0\r\n\r\n1234567890",
        NOWHERE + b"Content-Length:\r\n\r\n",
        NOWHERE + b"Content-Length: 18446744073709551619\r\n\r\n1,2",
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n0\r\n\r\n",
        CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        NOWHERE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        NOWHERE + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        NOWHERE + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
        NOWHERE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\n1,2\n0\n\n",
        CHUNKED + b"\r\n3;a=b\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\n0x3\r\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3 \r\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\n-3\r\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\nfffffffffffffffff3\r\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\r\n1,2X\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\r\n1,2\r\n0\r\nContent-Length: 50\r\n\r\n",
        b"GET /_modelyard/health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET /_modelyard/health x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(
    open_platform: Platform, request_bytes: bytes
) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(request_bytes + HEALTH)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
    assert len(re.findall(rb"HTTP/1.1 \d{3} ", answer)) <= 1, (
        "nothing behind a refused request is served"
    )
    assert b" 200 " not in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        CHUNKED + b"\r\n3;a=b;c\r\n1,2\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\r\n1,2\r\n0\r\nX-Checksum: a\r\nHost: evil\r\n\r\n",
        b"\r\n" + NOWHERE + b"Content-Length: 3\r\n\r\n1,2",
    ],
    ids=["a chunk's extension", "trailers", "an empty line in front"],
)
def test_what_http_lets_pass_means_nothing_and_the_connection_goes_on(
    open_platform: Platform, request_bytes: bytes
) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(request_bytes + HEALTH)
        (status, body), (following, _) = _answers(connection, 2)
    assert (status, following) == (400, 200)
    assert "Endpoint nowhere of account" in json.loads(body)["message"]


def test_headers_over_the_limit_are_refused(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 100_000)
        with contextlib.suppress(OSError):
            connection.sendall(b"\r\n\r\n")
        assert _answers(connection, 1)[0][0] == 431


def test_a_foreign_page_cannot_use_a_platform_without_signatures(open_platform: Platform) -> None:
    for header in (b"Host: evil.example", b"Host: localhost\r\nOrigin: https://evil.example"):
        with _connection(open_platform) as connection:
            connection.sendall(
                b"POST /endpoints/x/invocations HTTP/1.1\r\n"
                + header
                + b"\r\nContent-Length: 0\r\n\r\n"
            )
            assert _answers(connection, 1)[0][0] == 403


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(open_platform: Platform) -> None:
    for cut in (10, 40, len(NOWHERE), len(NOWHERE) + 20):
        with _connection(open_platform) as connection:
            connection.sendall((NOWHERE + b"Content-Length: 100\r\n\r\n12345")[:cut])
    with _connection(open_platform) as connection:
        connection.sendall(HEALTH)
        ((status, body),) = _answers(connection, 1)
    assert status == 200
    assert json.loads(body)["in_flight"] == 0


def test_a_header_that_is_not_executed_is_refused_by_name(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        connection.sendall(
            b"POST /endpoints/x/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
            b"X-Amzn-SageMaker-Inference-Component: c\r\n\r\n"
        )
        ((status, body),) = _answers(connection, 1)
    assert status == 501
    assert "Inference components" in json.loads(body)["message"]


def test_the_connection_outlives_a_refused_call(open_platform: Platform) -> None:
    with _connection(open_platform) as connection:
        unknown = (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.CreateDomain\r\n"
            b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}"
        )
        connection.sendall(unknown)
        ((status, body),) = _answers(connection, 1)
        assert status == 501
        assert json.loads(body)["__type"] == "UnsupportedOperation"
        connection.sendall(HEALTH)
        assert _answers(connection, 1)[0][0] == 200
