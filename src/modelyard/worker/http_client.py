"""HTTP/1.1 to a program on this machine: a few kept connections, and a limit on everything that comes back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import httptools

CONNECT_SECONDS = 2.0
HEADER_BYTES = 64 * 1024
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_SUCCESS = range(200, 300)
_CONTINUE_LIMIT = 200
"""Statuses below it announce another answer."""


class ProgramError(Exception):
    """No answer, or none that can be used; the text is for the caller. ``is_stale``: nothing of one had come."""

    def __init__(self, message: str, *, is_stale: bool = False) -> None:
        super().__init__(message)
        self.is_stale = is_stale


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What the program said."""

    status: int
    content_type: str
    custom_attributes: str
    body: bytes


class Sink(Protocol):
    """Takes an answer of unknown length piece by piece."""

    def attach(self, pause: Callable[[bool], None]) -> None:
        """Before the request: ``pause`` stops the reading of its answer, or goes on with it."""

    def begin(self, content_type: str, custom_attributes: str) -> None:
        """The answer is a success, and its length unknown: it comes here, and the ``HttpAnswer`` has no body."""

    def write(self, data: bytes) -> None:
        """The next piece."""


class _Connection(asyncio.Protocol):
    """One request at a time. The parser calls the ``on_…`` methods."""

    def __init__(self, body_limit: int) -> None:
        self._limit = body_limit
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._sink: Sink | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.transport: asyncio.Transport | None = None
        self.is_reusable = True
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = self._header_size = 0
        self._has_begun = self._has_headers = self._is_streamed = False

    # ---- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"The program's answer is not HTTP: {error}.")
        if self._answer is None:
            self.is_reusable = False  # It speaks without being asked.

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reusable = False
        self._writable.set()
        names = self._headers.keys()
        ends_with_connection = not names & {"content-length", "transfer-encoding"}
        if self._has_headers and error is None and ends_with_connection:
            self.on_message_complete()
        self._fail("The program closed the connection without an answer.")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ---- the parser's calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_size += len(name) + len(value)
        if self._header_size > HEADER_BYTES:
            self._fail(f"The program's answer has more than {HEADER_BYTES} bytes of headers.")
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_headers = True
        is_success = self._parser.get_status_code() in _SUCCESS
        if self._sink is not None and is_success and "content-length" not in self._headers:
            self._is_streamed = True
            self._sink.begin(
                self._headers.get("content-type", ""), self._headers.get(ATTRIBUTES, "")
            )

    def on_body(self, data: bytes) -> None:
        if self._is_streamed and self._sink is not None:
            self._sink.write(data)
            return
        self._size += len(data)
        if self._size > self._limit:
            self._body.clear()
            self._fail(f"The answer has more than {self._limit} bytes, which is the limit.")
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _CONTINUE_LIMIT:
            self._headers, self._has_headers = {}, False
            return
        self.is_reusable = self.is_reusable and self._parser.should_keep_alive()
        answer = HttpAnswer(
            status=status,
            content_type=self._headers.get("content-type", ""),
            custom_attributes=self._headers.get(ATTRIBUTES, ""),
            body=b"".join(self._body),
        )
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    # ---- ours

    def _fail(self, message: str) -> None:
        self.is_reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProgramError(message, is_stale=not self._has_begun))

    async def ask(self, head: bytes, body: bytes, sink: Sink | None = None) -> HttpAnswer:
        """Send and wait. Raises ``ProgramError``; cancelled, the connection is of no more use."""
        assert self.transport is not None
        self._begin()
        self._sink = sink
        if sink is not None:
            sink.attach(self._pause)
        self._answer = asyncio.get_running_loop().create_future()
        is_whole = False
        try:
            self.transport.write(head)
            self.transport.write(body)
            answer = await self._answer
            # An answer to half a request leaves the other half on the connection.
            is_whole = self.transport.get_write_buffer_size() == 0
            self._pause(False)  # The sink had no room for more, but there is no more for it.
            return answer
        finally:
            self._answer = self._sink = None
            if not (is_whole and self.is_reusable):
                self.close()

    def _pause(self, paused: bool) -> None:
        if self.transport is not None and self._sink is not None:
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def close(self) -> None:
        self.is_reusable = False
        if self.transport is not None:
            self.transport.abort()


class ProgramClient:
    """Connections to one port of this machine. Callers bound how many requests are in flight.

    ``is_chunked``: bodies go without a length, as AWS sends those of a batch job with ``MaxPayloadInMB`` 0 (batch.md, section 1).
    """

    def __init__(self, port: int, *, answer_bytes: int, is_chunked: bool = False) -> None:
        self._port = port
        self._is_chunked = is_chunked
        self._limit = answer_bytes
        self._idle: list[_Connection] = []

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        sink: Sink | None = None,
    ) -> HttpAnswer:
        """Raises ``ProgramError``. An answer of unknown length goes into ``sink``, where there is one.

        A kept connection that the program closed meanwhile is replaced, once.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{self._port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items() if value]
        if method != "GET" and self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        elif method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        while self._idle:
            kept = self._idle.pop()
            if not kept.is_reusable:
                continue
            try:
                return await self._ask(kept, head, body, sink)
            except ProgramError as error:
                if not error.is_stale:
                    raise
                break
        return await self._ask(await self._connect(), head, body, sink)

    async def _ask(
        self, connection: _Connection, head: bytes, body: bytes, sink: Sink | None
    ) -> HttpAnswer:
        answer = await connection.ask(head, body, sink)
        if connection.is_reusable:
            self._idle.append(connection)
        return answer

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._limit), "127.0.0.1", self._port
                )
        except (OSError, TimeoutError) as error:
            raise ProgramError(
                f"The program does not accept connections on port {self._port}: {error}."
            ) from None
        return connection

    def close(self) -> None:
        """Idempotent."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()
