"""Everything that is no invocation goes to control or objects as it came: a byte stream both ways, with back-pressure.

The head is written anew without hop-by-hop headers, the body passes in the framing that it came in. The answer's bytes
go to the client as they are; they are parsed only to know where the answer ends, so that both connections can be kept.
A small answer is held until it is whole: a process that is killed between head and body would leave an answer of status 200
without one, which AWS's clients take for an empty one. A small request is held as well: clients send head and body apart, and the
process behind would wake for each.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import httptools

from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection

logger = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 0.05
IDLE_LIMIT = 64
WAITING_BODY_LIMIT = 256 * 1024
"""Body bytes held while the connection upstream is being made; then the client is paused."""
REQUEST_BYTES = 16 * 1024
"""A request with a body of up to this length is sent on once it is whole, unless its sender waits to be told to go on."""
HELD_BYTES = 256 * 1024
"""An answer of up to this length is passed on once it is whole; a longer one, and one without a length, as it comes."""
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"x-modelyard-peer")
)


class Upstream:
    """One process behind the gateway, and its idle connections."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: deque[_UpstreamConnection] = deque()

    def idle(self) -> "_UpstreamConnection | None":
        """A kept connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def connect(self) -> "_UpstreamConnection":
        """A new connection. Raises ``OSError`` when nobody listens for ``CONNECT_SECONDS``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_SECONDS
        while True:
            try:
                _, made = await loop.create_unix_connection(
                    lambda: _UpstreamConnection(self), self._path
                )
                return made
            except OSError:
                # The process is being restarted; nothing has been sent yet, so waiting is safe.
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    def keep(self, connection: "_UpstreamConnection") -> None:
        if len(self._idle) < IDLE_LIMIT:
            self._idle.append(connection)
        else:
            connection.close()

    def drop(self, connection: "_UpstreamConnection") -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)


class Relay:
    """One request's exchange with an upstream process."""

    def __init__(
        self,
        head: Head,
        client: ClientConnection,
        upstream: Upstream,
        *,
        unavailable: Callable[[Head], tuple[int, bytes, bytes]],
    ) -> None:
        self._head = head
        self._client = client
        self._upstream = upstream
        self._unavailable = unavailable
        self._connection: _UpstreamConnection | None = None
        self._waiting: list[bytes] = [_request_head(head)]
        self._waiting_bytes = 0
        self._complete = False
        self._gone = False
        self._chunked = "chunked" in head.joined.get("transfer-encoding", "").lower()
        self._task: asyncio.Task[None] | None = None
        self._is_held = (
            not self._chunked and head.length <= REQUEST_BYTES and "expect" not in head.joined
        )
        if not self._is_held:
            self._begin()

    def _begin(self) -> None:
        """Over a kept connection at once; else over a new one."""
        connection = self._upstream.idle()
        if connection is not None:
            self._send(connection)
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect(), name="relay")

    async def _connect(self) -> None:
        try:
            connection = await self._upstream.connect()
        except OSError:
            if not self._gone:
                self._refuse()
            return
        if self._gone:
            connection.close()
            return
        self._send(connection)

    def _send(self, connection: "_UpstreamConnection") -> None:
        """What waits so far."""
        self._connection = connection
        connection.begin(self, is_head=self._head.method == "HEAD")
        self._client.resume_reading()  # Before: what is written may be more than the connection likes to hold.
        connection.write(b"".join(self._waiting))
        if not self._is_held:
            self._waiting.clear()

    # ---- from the client

    def body(self, data: bytes) -> None:
        piece = b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data
        if self._connection is not None:
            self._connection.write(piece)
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > WAITING_BODY_LIMIT:
            self._client.pause_reading()

    def whole(self, data: bytes) -> None:
        if data:
            self.body(data)
        self.complete()

    def complete(self) -> None:
        self._complete = True
        if self._is_held:
            self._begin()
        elif self._chunked:
            end = b"0\r\n\r\n"
            if self._connection is not None:
                self._connection.write(end)
            else:
                self._waiting.append(end)

    def client_gone(self) -> None:
        self._gone = True
        if self._connection is not None:
            self._connection.close()
        elif self._task is not None:
            self._task.cancel()

    def client_paused(self, paused: bool) -> None:
        if self._connection is not None:
            self._connection.pause(paused)

    # ---- from upstream

    def upstream_paused(self, paused: bool) -> None:
        if paused:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    def received(self, data: bytes) -> None:
        self._client.write(data)

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete, perhaps before the request is (a refusal): the rest of the body is dropped."""
        connection, self._connection = self._connection, None
        assert connection is not None
        if keep_alive and self._complete:
            connection.pause(False)  # The client may yet be slow to take the end of this answer.
            self._upstream.keep(connection)
        else:
            connection.close()
        self._client.resume_reading()
        self._client.finish(keep_alive=keep_alive)

    def broken(self, *, began: bool, unread: bool = False) -> None:
        """The process died, or closed the connection, before the answer was whole; ``unread``: and before it had the request."""
        self._connection = None
        if self._gone:
            return
        if began:
            self._client.finish(keep_alive=False)
        elif unread and self._is_held:
            self._is_held = False  # Once: it has all been written, and nobody has executed it.
            self._task = asyncio.get_running_loop().create_task(self._connect(), name="relay")
        else:
            self._refuse()

    def _refuse(self) -> None:
        """What is left of the body is read and dropped: a client that sends reads no answer before."""
        self._client.resume_reading()
        self._client.respond(*self._unavailable(self._head))


class _UpstreamConnection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._relay: Relay | None = None
        self._parser: Any = None
        self._is_head = False
        self._held: list[bytes] = []
        self._length: int | None = None
        self._passes = False
        """Whether bytes need not be held."""
        self._began = False
        """Whether the client has some of them."""
        self._finished = False
        self._keep_alive = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, relay: Relay, *, is_head: bool) -> None:
        self._relay = relay
        self._is_head = is_head
        self._held.clear()
        self._began = self._finished = False
        self._parser = httptools.HttpResponseParser(self)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, paused: bool) -> None:
        if self._transport is not None:
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def close(self) -> None:
        self._relay = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        relay = self._relay
        if relay is None:
            self.close()  # An answer that nobody asked for.
            return
        self._held.append(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            logger.warning("an answer from upstream is not HTTP: %s", error)
            self.close()
            relay.broken(began=self._began)
            return
        if self._passes or self._finished:
            # An interim 100 is no answer yet: who dies after it is answered for.
            self._began = self._finished or self._parser.get_status_code() >= 200
            relay.received(b"".join(self._held))
            self._held.clear()
        if self._finished:
            self._relay = None
            relay.answered(keep_alive=self._keep_alive)

    def on_message_begin(self) -> None:
        self._length, self._passes = None, False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self._length = int(value)

    def on_headers_complete(self) -> None:
        is_interim = self._parser.get_status_code() < 200
        self._passes = is_interim or self._length is None or self._length > HELD_BYTES
        self._keep_alive = self._parser.should_keep_alive()  # Only here the parser knows.
        if self._is_head and self._parser.get_status_code() >= 200:
            self._finished = True  # The answer to HEAD has a length and no body.

    def on_message_complete(self) -> None:
        if (
            self._parser.get_status_code() >= 200
        ):  # An interim 100 is passed on; the answer follows.
            self._finished = True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._upstream.drop(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            # A UNIX socket that is closed with unread bytes resets its peer, which has sent nothing but this request.
            unread = isinstance(error, ConnectionResetError | BrokenPipeError)
            relay.broken(began=self._began, unread=unread)

    def pause_writing(self) -> None:
        if self._relay is not None:
            self._relay.upstream_paused(True)

    def resume_writing(self) -> None:
        if self._relay is not None:
            self._relay.upstream_paused(False)


def _request_head(head: Head) -> bytes:
    named = {
        item.strip().lower()
        for item in head.joined.get("connection", "").encode("latin-1").split(b",")
    }
    lines = [f"{head.method} {head.target} HTTP/1.1".encode("latin-1")]
    raw = head.raw_headers or [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in head.joined.items()
    ]
    for name, value in raw:
        lowered = name.lower()
        if lowered not in _HOP_BY_HOP and (lowered not in named or lowered == b"host"):
            lines.append(name + b": " + value)
    lines.append(b"X-Modelyard-Peer: " + head.peer.encode("latin-1"))
    return b"\r\n".join(lines) + b"\r\n\r\n"
