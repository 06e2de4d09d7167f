"""A connection to one worker: requests out, answers in, and a plain word about each that has none.

Frames of one turn of the event loop leave together. The owner learns of every request's end exactly once, through
``Listener``: answered, or lost with the connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

from modelyard.transport import frames

logger = logging.getLogger(__name__)
RETRY_FIRST_SECONDS = 0.005
RETRY_LAST_SECONDS = 1.0
TOGETHER = 8
"""So many frames wait for each other at most. What is written in a turn of the event loop is sent at its end; what is left for a
call of the next turn is sent at the end of that one, and the worker may be idle till then."""
_ANSWER = frames.ANSWER


class Listener(Protocol):
    """The owner of a channel's requests."""

    def answered(self, tag: Any, frame: frames.Frame) -> None:
        """The worker's answer to the request that was sent with ``tag``."""

    def part(self, tag: Any, frame: frames.Frame) -> None:
        """A part of the answer to a request that was sent with STREAM; more will come, or its end."""

    def lost(self, tag: Any, *, executed: bool) -> None:
        """No answer will come. ``executed`` False: the worker said GOAWAY, or died, before it took the request."""

    def ready(self) -> None:
        """The worker has greeted: requests may be sent."""


class Channel(asyncio.Protocol):
    """Connects, and connects again, until it is closed."""

    def __init__(self, address: str, listener: Listener, *, frame_limit: int) -> None:
        self._path = address.removeprefix("unix:")
        self._listener = listener
        self._frame_limit = frame_limit
        self._transport: asyncio.Transport | None = None
        self._decoder = frames.FrameDecoder(limit=frame_limit)
        self._pending: dict[int, Any] = {}
        self._outgoing: list[bytes] = []
        self._is_flush_due = False
        self._next_id = 1
        self._said_goodbye = False
        self._closed = False
        self._connecting: asyncio.Task[None] | None = None
        self._delay = 0.0
        """Before the next try to connect; none after a worker that greeted."""
        self.is_ready = False

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def connect(self) -> None:
        """Begin; ``Listener.ready`` says when it has worked."""
        if self._connecting is None and self._transport is None and not self._closed:
            self._connecting = asyncio.get_running_loop().create_task(
                self._connect(), name=f"channel {self._path}"
            )

    def close(self) -> None:
        """Drop the connection; what is in flight is lost."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    def send(self, tag: Any, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        """Send a request on a ready channel; the id to cancel it by. Positional: each request comes through here."""
        request_id = self._next_id
        self._next_id = request_id + 1
        self._pending[request_id] = tag
        frame = frames.encode_request(request_id, remaining_ms, flags, meta, body)
        outgoing = self._outgoing
        if outgoing:
            outgoing.append(frame)
            if len(outgoing) >= TOGETHER:
                self._flush()
        else:
            self._write(frame)
        return request_id

    def cancel(self, request_id: int) -> None:
        """Nobody waits any more. The worker answers, or has answered, all the same."""
        if request_id in self._pending and self.is_ready:
            self._write(frames.encode_frame(frames.CANCEL, request_id))

    def credit(self, request_id: int, taken: int) -> None:
        """Parts worth so many bytes were taken: the worker may send as many more."""
        if request_id in self._pending and self.is_connected:
            self._write(frames.encode_frame(frames.CREDIT, request_id, number=taken))

    @property
    def is_connected(self) -> bool:
        """Also after a GOAWAY, while answers still come."""
        return self._transport is not None

    def _write(self, frame: bytes) -> None:
        if len(self._pending) <= 1 and not self._outgoing and self._transport is not None:
            # Nobody to travel with: a lone request does not wait for a turn.
            self._transport.write(frame)
            return
        self._outgoing.append(frame)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_rest)

    def _flush_rest(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            delay, self._delay = (
                self._delay,
                min(RETRY_LAST_SECONDS, max(RETRY_FIRST_SECONDS, self._delay * 2)),
            )
            if delay:
                await asyncio.sleep(delay)
            with contextlib.suppress(OSError):
                await loop.create_unix_connection(lambda: self, self._path)
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connecting = None
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._decoder = frames.FrameDecoder(limit=self._frame_limit)
        self._said_goodbye = False
        if self._closed:
            transport.close()

    def data_received(self, data: bytes) -> None:
        pending, answered = self._pending, self._listener.answered
        try:
            for frame in self._decoder.feed(data):
                if frame.kind != _ANSWER:
                    self._take(frame)
                elif (tag := pending.pop(frame.id, None)) is not None:
                    try:
                        answered(tag, frame)
                    except msgspec.DecodeError:
                        pending[frame.id] = tag  # It is lost, with the connection.
                        raise
        except (frames.FrameError, msgspec.DecodeError) as error:
            logger.warning("worker %s: %s", self._path, error)
            assert self._transport is not None
            self._transport.abort()

    def _take(self, frame: frames.Frame) -> None:
        """What is no answer."""
        if frame.kind == frames.PART:
            tag = self._pending.get(frame.id)
            if tag is not None:
                self._listener.part(tag, frame)
        elif frame.kind == frames.HELLO:
            self.is_ready = True
            self._delay = 0.0
            self._listener.ready()
        elif frame.kind == frames.GOAWAY:
            self._said_goodbye = True
            self.is_ready = False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.is_ready = False
        self._outgoing.clear()
        pending, self._pending = self._pending, {}
        # A socket that is closed with unread bytes resets its peer: a lone request was not read, and killed nobody.
        unread = len(pending) == 1 and isinstance(error, ConnectionResetError | BrokenPipeError)
        executed = not self._said_goodbye and not unread
        self.connect()
        for tag in pending.values():
            self._listener.lost(tag, executed=executed)


ChannelFactory = Callable[[str, Listener], Channel]
