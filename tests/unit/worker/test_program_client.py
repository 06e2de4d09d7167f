"""What a program is sent, byte for byte."""

import asyncio
from collections.abc import Callable

import pytest

from modelyard.domain.transform import has_no_payload_limit
from modelyard.worker.http_client import ProgramClient

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("body", "framed"),
    [(b"ab" * 10, b"14\r\n" + b"ab" * 10 + b"\r\n0\r\n\r\n"), (b"", b"0\r\n\r\n")],
)
async def test_a_body_without_a_limit_is_sent_in_chunks(body: bytes, framed: bytes) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = ProgramClient(port, answer_bytes=100, is_chunked=True)
        answer = await client.ask("POST", "/invocations", {"Content-Type": "text/csv"}, body)
        client.close()
    head, sent = seen
    assert answer.body == b"ok"
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert b"Content-Length" not in head
    assert sent == framed


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, True),
        ({"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}, False),
        ({"SAGEMAKER_BATCH": "true"}, False),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, False),
    ],
)
def test_only_a_job_that_asks_for_it_has_no_limit(
    environment: dict[str, str], expected: bool
) -> None:
    assert has_no_payload_limit(environment) is expected


async def test_a_connection_is_read_again_although_a_streams_reader_had_no_room_at_its_end() -> (
    None
):
    class Full:
        """Has no room after the first piece, which is the last one too."""

        def attach(self, pause: Callable[[bool], None]) -> None:
            self.pause = pause

        def begin(self, content_type: str, custom_attributes: str) -> None:
            pass

        def write(self, data: bytes) -> None:
            self.pause(True)

    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        client = ProgramClient(server.sockets[0].getsockname()[1], answer_bytes=100)
        await client.ask("POST", "/invocations", sink=Full())
        async with asyncio.timeout(5):
            answer = await client.ask("POST", "/invocations")
        client.close()
        for connection in connections:
            connection.transport.abort()
    assert (answer.body, len(connections)) == (b"ok", 1)
