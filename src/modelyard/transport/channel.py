"""A connection to one worker: requests out, answers in, and a plain word about each that has none.

What travels on it is its ``line``. The owner learns of every request's end exactly once, through ``Listener``: answered, or lost
with the connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

from modelyard.transport import frames
from modelyard.transport.line import make_line

logger = logging.getLogger(__name__)
RETRY_FIRST_SECONDS = 0.005
RETRY_LAST_SECONDS = 1.0


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
        self._transport: asyncio.Transport | None = None
        self.line = make_line(listener, self._take, limit=frame_limit)
        self.send = self.line.send
        """Send a request on a ready channel; the id to cancel it by."""
        self._said_goodbye = False
        self._closed = False
        self._connecting: asyncio.Task[None] | None = None
        self._delay = 0.0
        """Before the next try to connect; none after a worker that greeted."""

    @property
    def is_ready(self) -> bool:
        """Whether the worker has greeted, and not said goodbye."""
        return self.line.is_ready

    @property
    def in_flight(self) -> int:
        return self.line.in_flight

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

    def cancel(self, request_id: int) -> None:
        """Nobody waits any more. The worker answers, or has answered, all the same."""
        if self.is_ready and self.line.asked(request_id) is not None:
            self.line.say(frames.encode_frame(frames.CANCEL, request_id))

    def credit(self, request_id: int, taken: int) -> None:
        """Parts worth so many bytes were taken: the worker may send as many more."""
        if self.is_connected and self.line.asked(request_id) is not None:
            self.line.say(frames.encode_frame(frames.CREDIT, request_id, number=taken))

    @property
    def is_connected(self) -> bool:
        """Also after a GOAWAY, while answers still come."""
        return self._transport is not None

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
        self.line.open(self._transport.write, asyncio.get_running_loop().call_soon)
        self._said_goodbye = False
        if self._closed:
            transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self.line.feed(data)
        except (frames.FrameError, msgspec.DecodeError) as error:
            logger.warning("worker %s: %s", self._path, error)
            assert self._transport is not None
            self._transport.abort()

    def _take(self, frame: frames.Frame) -> None:
        """What is no answer."""
        if frame.kind == frames.PART:
            tag = self.line.asked(frame.id)
            if tag is not None:
                self._listener.part(tag, frame)
        elif frame.kind == frames.HELLO:
            self.line.is_ready = True
            self._delay = 0.0
            self._listener.ready()
        elif frame.kind == frames.GOAWAY:
            self._said_goodbye = True
            self.line.is_ready = False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        lost = self.line.shut()
        # A socket that is closed with unread bytes resets its peer: a lone request was not read, and killed nobody.
        unread = len(lost) == 1 and isinstance(error, ConnectionResetError | BrokenPipeError)
        executed = not self._said_goodbye and not unread
        self.connect()
        for tag in lost:
            self._listener.lost(tag, executed=executed)


ChannelFactory = Callable[[str, Listener], Channel]
