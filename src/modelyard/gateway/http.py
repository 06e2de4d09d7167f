"""The gateway's HTTP: one hand-written protocol, from bytes on a client's connection to invocations and relays.

httptools parses (and refuses what is ambiguous: two lengths, bad chunks). A connection answers its requests in order; while
one is being answered the next is not read. What a request costs is bounded from its first byte: time for the headers,
their size, the size of the body, the bytes that all bodies together may hold.
"""

import asyncio
import logging
from typing import Any, cast

import httptools

from modelyard.gateway.gate import Exchange, Gate
from modelyard.gateway.heads import Head, HeadForm, form_of
from modelyard.gateway.lane import Client, client_of
from modelyard.gateway.untaken import bytes_untaken

logger = logging.getLogger(__name__)
KNOWN_HEAD_BYTES = 2048
_LINE_BYTES = 4
_TOO_LARGE = "The request's headers are too large."
BODY_BYTES_A_SECOND = 1024
"""A body that is sent more slowly than this, for longer than a head may take, is refused."""
DISCARD_LIMIT = 64 << 20
"""So much of a refused request's body is read and dropped, so that its sender gets to read the refusal."""
_END = b"\r\n\r\n"
_END_BYTES = len(_END)
_NOT_SIMPLE = frozenset({"expect", "traceparent", "transfer-encoding", "upgrade"})
_REASONS = {100: b"Continue", 200: b"OK", 202: b"Accepted", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found",
            408: b"Request Timeout", 411: b"Length Required", 413: b"Payload Too Large", 424: b"Failed Dependency",
            429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
            501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable", 505: b"HTTP Version Not Supported",
            530: b"Dependency Failed"}  # fmt: skip


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status"))


_STATUS_LINES = {status: _status_line(status) for status in _REASONS}


class ClientConnection(asyncio.Protocol):
    """One client. ``respond`` and ``finish`` are for exchanges.

    Where there is a lane, what comes is its to look at first. It reads ``_exchange``, ``_mid_message``, ``_is_full``,
    ``_keep_alive``, ``_form`` and ``_peer``, and gives ``read`` what it does not take.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._backlog = b""
        self._target = b""
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._peer = ""
        self._keep_alive = True
        self._request_complete = False
        self._discarded = 0
        self._is_head = False
        self._deadline = 0.0
        self._untaken = 0
        self._taken_at: float | None = None
        """When a client with much to take, or with no more to come, was last seen to take some of it."""
        self._paused_for_answer = False
        self._is_full = False
        """Whether the client has more answers to read than the transport likes to hold."""
        self._mid_message = False
        self._has_answered = False
        self._is_unsent = False
        """Whether the client waits to be told to send its body, which after a final answer it never will."""
        self._head: Head | None = None
        self._form: HeadForm | None = None
        self._body_left: int | None = None
        self._lane: Client | None = None
        if gate.lane is not None:
            self._lane = client_of(gate.lane, self, gate.known)
            self.data_received = self._lane.data_received  # type: ignore[method-assign]

    # ---- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        gate = self._gate
        if len(gate.connections) >= gate.limits.connections or gate.is_closing:
            transport.close()
            return
        gate.connections.add(self)
        if self._lane is not None:
            self._lane.open(self._transport.write)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._deadline = gate.now() + gate.limits.idle_seconds

    def read(self, data: bytes) -> None:
        """What the client sent."""
        if self._exchange is None and not (self._mid_message or self._is_full):
            # Nearly always: one whole request, whose head came before or is like the last.
            gate = self._gate
            end = data.find(_END, 0, gate.limits.header_bytes) + _END_BYTES
            form = self._form
            head = form.read(data[:end]) if form is not None else gate.known.get(data[:end])
            if head is not None and len(data) == end + head.length and head.peer == self._peer:
                self._take_whole(head, data[end:])
                return
        self._take_all(data)

    data_received = read

    def _take_all(self, data: bytes) -> None:
        while data and self.is_open:
            if (self._is_full and not self._mid_message) or (
                self._exchange is not None and self._request_complete
            ):
                # Pipelined, or asked before earlier answers are read: the next request waits, bounded because reading is paused.
                self._backlog += data
                self._pause_reading()
                return
            data = self._take(data)

    def _take(self, data: bytes) -> bytes:
        """Read of one request what is there; what is left belongs to the next."""
        if self._mid_message:
            return self._take_body(data)
        end = data.find(_END, 0, self._gate.limits.header_bytes) + _END_BYTES
        if end < _END_BYTES:
            self._body_left = None
            self._feed(data)
            return b""
        known = self._gate.known.get(data[:end])
        if known is not None and known.peer == self._peer and len(data) - end >= known.length:
            self._take_whole(known, data[end : end + known.length])
            return data[end + known.length :]
        self._head = None
        self._feed(data[:end])
        if self._request_complete:
            return data[end:]
        self._body_left = length if (length := self._head_length()) >= 0 else None
        left = self._take_body(data[end:])
        self._remember(data, end)
        return left

    def _head_length(self) -> int:
        return self._head.length if self._head is not None else -1

    def _take_body(self, data: bytes) -> bytes:
        """Of a body with a length, not a byte more: the parser would begin the next request."""
        if self._body_left is None:
            self._feed(data)
            return b""
        body = data[: self._body_left]
        self._body_left -= len(body)
        if body:
            self._feed(body)
        return data[len(body) :]

    def _take_whole(self, head: Head, body: bytes) -> None:
        """A request whose head is known and whose body has come with it: nothing is left to parse."""
        self._request_complete = True
        self._is_head = False
        self._deadline = 0.0
        self._has_answered = False
        self._exchange = exchange = self._gate.handle(head, self)
        if self._has_answered:
            self._exchange = None
        else:
            exchange.whole(body)

    def _remember(self, data: bytes, end: int) -> None:
        """Keep the head of a request that came whole, if its bytes say all there is: one length, nothing negotiated, no trace.

        One that is signed comes only once: what is kept is its form.
        """
        head = self._head
        if head is None or self._mid_message or end > KNOWN_HEAD_BYTES or head.method != "POST":
            return
        if head.version != "1.1" or not head.joined.keys().isdisjoint(_NOT_SIMPLE):
            return
        if head.joined.get("connection", "keep-alive").lower() != "keep-alive":
            return
        if "authorization" not in head.joined:
            self._form = None
            self._gate.remember(data[:end], head)
        elif head.memo is not None:
            self._form = form_of(data[:end], head)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "Upgrades are not supported.")
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _Early):
                # Behind a chunked body nobody knows where the parser stands: the connection ends with this answer.
                self._keep_alive = False
                self._pause_reading()
            elif isinstance(error.__context__, _Refused):  # raised by one of the callbacks below
                self._refuse(*error.__context__.args)
            elif self.is_open:
                self._refuse(400, f"The request is not HTTP/1.1: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._gate.connections.discard(self)
        if self._lane is not None:
            self._lane.shut()
        self._transport = None
        if self._exchange is not None:
            self._exchange.client_gone()
            self._exchange = None
        self._parser = (
            None  # It knows the connection: a cycle would wait for the garbage collector.
        )

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_full = True
        self._taken_at = self._gate.now()
        if self._exchange is not None:
            self._exchange.client_paused(True)

    def resume_writing(self) -> None:
        self._is_full = False
        if self.is_open:
            self._taken_at = None
        if self._exchange is not None:
            self._exchange.client_paused(False)
        elif not self._mid_message:
            self._next()

    def check_time(self, now: float) -> None:
        """Close a client that is idle, slow to send what it began, or takes nothing of what it is answered."""
        transport = self._transport
        if transport is None:
            return
        if self._lane is not None and self._lane.was_active() and self._is_between:
            self._deadline = self._gate.idle_until
        if self._taken_at is not None:
            self._look_at_taken(transport, self._taken_at, now)
        if self._deadline and now > self._deadline and not transport.is_closing():
            if self._exchange is None and not self._mid_message:
                self._close()
            else:
                self._refuse(408, "The request did not arrive in time.")

    @property
    def _is_between(self) -> bool:
        """Whether no request has begun, but one of the lane's."""
        return self._exchange is None and not self._mid_message

    def _look_at_taken(self, transport: asyncio.Transport, taken_at: float, now: float) -> None:
        """Who takes a byte now and then has all the time there is."""
        untaken = bytes_untaken(transport)
        if untaken != self._untaken:
            self._untaken, self._taken_at = untaken, now
        elif now > taken_at + self._gate.limits.idle_seconds:
            transport.abort()

    def _close(self) -> None:
        """When what was answered has been taken; who takes nothing of it is dropped."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.close()
            self._deadline, self._taken_at = 0.0, self._gate.now()

    def close_when_idle(self) -> None:
        """The gateway stops: no further request on this connection."""
        if self._lane is not None:
            self._lane.settle()
        self._keep_alive = False
        if self._exchange is None:
            self._close()

    # ---- the parser's side

    def on_message_begin(self) -> None:
        if self._exchange is not None:
            raise _Early
        self._mid_message = True
        self._target = b""
        self._raw = []
        self._head_bytes = 0
        self._request_complete = False
        self._discarded = 0
        self._deadline = self._gate.now() + self._gate.limits.header_seconds

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._head_bytes += len(url) + _LINE_BYTES
        if self._head_bytes > self._gate.limits.header_bytes:
            raise _Refused(431, _TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw.append((name, value))
        self._head_bytes += len(name) + len(value) + _LINE_BYTES
        if self._head_bytes > self._gate.limits.header_bytes:
            raise _Refused(431, _TOO_LARGE)

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        joined: dict[str, str] = {}
        for raw_name, raw_value in self._raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Refused(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        host = joined.get("host")
        if (host is None and version == "1.1") or "," in (host or ""):
            raise _Refused(400, "A request names its host, once.")
        if joined.get("transfer-encoding", "chunked").lower() != "chunked":
            raise _Refused(501, "The only transfer coding is chunked.")
        self._keep_alive = self._keep_alive and parser.should_keep_alive()
        self._is_head = method == "HEAD"
        self._is_unsent = "expect" in joined
        target = self._target.decode("latin-1")
        length = joined.get("content-length", "")
        head = Head(
            method=method,
            target=target,
            path=target.partition("?")[0],
            version=version,
            peer=self._peer,
            joined=joined,
            length=int(length) if length.isdecimal() else -1,
            raw_headers=self._raw,
        )
        self._head = head
        self._begin(head)

    def _begin(self, head: Head) -> None:
        self._has_answered = False
        exchange = self._gate.handle(head, self)
        # It may have refused the request already, by its head alone; then what follows is dropped.
        self._exchange = None if self._has_answered else exchange

    def on_body(self, data: bytes) -> None:
        self._is_unsent = False
        # Bytes buy time, up to what a head has: a body that trickles ends, one that is sent steadily never does.
        latest = self._gate.now() + self._gate.limits.header_seconds
        if self._deadline:
            self._deadline = min(latest, self._deadline + len(data) / BODY_BYTES_A_SECOND)
        if self._exchange is not None:
            self._exchange.body(data)
            return
        self._discarded += len(data)
        if self._discarded > DISCARD_LIMIT:
            self._close()

    def on_message_complete(self) -> None:
        self._mid_message = self._is_unsent = False
        self._request_complete = True
        self._deadline = 0.0
        if self._exchange is not None:
            self._exchange.complete()
        else:  # It was answered before.
            self.finish()

    # ---- the exchange's side

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def awaits(self, exchange: Exchange) -> bool:
        """Whether this is the request that is answered next."""
        return self._exchange is exchange

    def go_on_with(self, exchange: Exchange) -> None:
        """A whole request that the lane had taken is this exchange's from here on."""
        self._exchange = exchange
        self._request_complete = True
        self._is_head = self._has_answered = False
        self._deadline = 0.0

    def expect_more(self) -> None:
        """Answer ``Expect: 100-continue``: the body is welcome."""
        self._is_unsent = False
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer at once. ``headers`` are finished lines, each with its line end."""
        if self._is_unsent:
            self._keep_alive = False
        close = b"" if self._keep_alive else b"Connection: close\r\n"
        shown = b"" if self._is_head else body
        transport = self._transport
        if transport is not None:
            transport.write(
                b"%b%bContent-Length: %d\r\n%b\r\n%b"
                % (
                    _STATUS_LINES.get(status) or _status_line(status),
                    headers,
                    len(body),
                    close,
                    shown,
                )
            )
        self.finish()

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._keep_alive and not self._gate.is_closing

    def abort(self) -> None:
        """Drop the connection, and what the client has not read."""
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, *, keep_alive: bool = True) -> None:
        """The exchange has answered."""
        self._exchange = None
        self._has_answered = True
        if self._mid_message and keep_alive and not self._is_unsent:
            # What is still sent of it is dropped, and has to come in time: its sender reads when it has sent.
            self._deadline = self._gate.now() + self._gate.limits.header_seconds
        elif keep_alive and self._keep_alive and not (self._mid_message or self._gate.is_closing):
            self._next()
        else:
            self._close()

    def pause_reading(self) -> None:
        """An exchange cannot take more of the body now: its sender has all the time there is."""
        self._deadline = 0.0
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._mid_message:
            self._deadline = self._gate.now() + self._gate.limits.header_seconds
        if self._transport is not None and not self._paused_for_answer:
            self._transport.resume_reading()

    def _pause_reading(self) -> None:
        if not self._paused_for_answer and self._transport is not None:
            self._paused_for_answer = True
            self._transport.pause_reading()

    def _next(self) -> None:
        self._deadline = self._gate.idle_until
        if (self._backlog or self._paused_for_answer) and not self._is_full:
            self._go_on()

    def _go_on(self) -> None:
        """With what came while the last request was answered."""
        if self._backlog:
            # In a turn of its own: a long pipeline must not grow the stack. What is read before would overtake it.
            asyncio.get_running_loop().call_soon(self._take_backlog)
        else:
            self._read_on()

    def _take_backlog(self) -> None:
        backlog, self._backlog = self._backlog, b""
        self._read_on()
        self._take_all(backlog)

    def _read_on(self) -> None:
        if self._paused_for_answer:
            self._paused_for_answer = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        """A request that cannot be served at all: the connection ends with it."""
        if self._exchange is not None:
            self._exchange.client_gone()
        self._keep_alive = False
        self.respond(status, b"Content-Type: text/plain\r\n", message.encode())
        self._close()


class _Refused(Exception):
    """Status and message; raised within the parser's callbacks, which stops the parser."""


class _Early(Exception):
    """A request begins before the one in front of it is answered."""
