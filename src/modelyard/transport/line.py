"""The frames of one connection to a worker, as its sender sees them: requests out by number, answers in to whoever asked.

I/O-free: bytes leave through ``write`` and come in through ``feed``. Frames of one turn of the event loop leave together.
``make_line`` takes the same in C (``native/line.c``) where that was built.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from modelyard.native import part
from modelyard.transport import frames

TOGETHER = 8
"""So many frames wait for each other at most. What is written in a turn of the event loop is sent at its end; what is left for a
call of the next turn is sent at the end of that one, and the worker may be idle till then."""
TOGETHER_IN_C = 32
"""The same where a gateway has so many in the time in which Python has eight."""
_ANSWER = frames.ANSWER


class Asker(Protocol):
    """Who learns of a line's answers."""

    def answered(self, tag: Any, frame: frames.Frame) -> None:
        """The worker's answer to the request that was sent with ``tag``."""


class WorkerLine(Protocol):
    """``Line``, in Python or in C."""

    is_ready: bool
    """Whether requests may be sent; its owner's to say."""

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""

    @property
    def trips(self) -> int:
        """Of these, those of the gateway's lane (``native/lane.c``), of which Python knows nothing; in Python none."""

    def open(self, write: Callable[[bytes], Any], soon: Callable[..., Any]) -> None:
        """There is a connection. ``soon`` calls what it is given in the event loop's next turn."""

    def send(self, tag: Any, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        """A request; the number to cancel it by. Positional: each request comes through here."""

    def asked(self, request_id: int) -> Any:
        """The tag of a request that has no answer yet; None of any other, and of the lane's."""

    def say(self, frame: bytes) -> None:
        """A frame that awaits no answer, after those that were sent before."""

    def feed(self, data: bytes) -> None:
        """What came. The connection is to be closed where it raises.

        ``FrameError``, or ``DecodeError`` for an answer that cannot be read.
        """

    def shut(self) -> list[Any]:
        """The connection is gone: the tags of the requests that will have no answer."""


def make_line(asker: Asker, take: Callable[[frames.Frame], None], *, limit: int) -> WorkerLine:
    """In C where that was built. ``take`` is given each frame that is no answer; a frame has at most ``limit`` bytes."""
    built = part("Line")
    if built is None:
        return Line(asker, take, limit=limit)
    errors = (frames.FrameError, msgspec.DecodeError)
    line: WorkerLine = built(asker, take, errors, limit, TOGETHER_IN_C)
    return line


class Line:
    """See ``WorkerLine``."""

    def __init__(self, asker: Asker, take: Callable[[frames.Frame], None], *, limit: int) -> None:
        self._pending: dict[int, Any] = {}
        self.trips = 0
        self.is_ready = False
        self._asker = asker
        self._take = take
        self._limit = limit
        self._decoder = frames.FrameDecoder(limit=limit)
        self._write: Callable[[bytes], Any] | None = None
        self._soon: Callable[..., Any] | None = None
        self._outgoing: list[bytes] = []
        self._is_flush_due = False
        self._next_id = 1

    def open(self, write: Callable[[bytes], Any], soon: Callable[..., Any]) -> None:
        """See ``WorkerLine``."""
        self._write, self._soon = write, soon
        self._decoder = frames.FrameDecoder(limit=self._limit)

    def send(self, tag: Any, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        """See ``WorkerLine``."""
        request_id = self._next_id
        self._next_id = request_id + 1
        self._pending[request_id] = tag
        frame = frames.encode_request(request_id, remaining_ms, flags, meta, body)
        outgoing = self._outgoing
        if outgoing:  # Nearly always, of many: no further call.
            outgoing.append(frame)
            if len(outgoing) >= TOGETHER:
                self._flush()
        else:
            self.say(frame)
        return request_id

    @property
    def in_flight(self) -> int:
        """See ``WorkerLine``."""
        return len(self._pending)

    def asked(self, request_id: int) -> Any:
        """See ``WorkerLine``."""
        return self._pending.get(request_id)

    def say(self, frame: bytes) -> None:
        """See ``WorkerLine``."""
        outgoing = self._outgoing
        if not outgoing and len(self._pending) <= 1 and self._write is not None:
            self._write(frame)  # Nobody to travel with: a lone request does not wait for a turn.
            return
        outgoing.append(frame)
        if len(outgoing) >= TOGETHER:
            self._flush()
        elif not self._is_flush_due and self._soon is not None:
            self._is_flush_due = True
            self._soon(self._flush_rest)

    def _flush_rest(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        if self._write is not None and self._outgoing:
            self._write(b"".join(self._outgoing))
        self._outgoing.clear()

    def feed(self, data: bytes) -> None:
        """See ``WorkerLine``."""
        pending, answered = self._pending, self._asker.answered
        for frame in self._decoder.feed(data):
            if frame.kind != _ANSWER:
                self._take(frame)
            elif (tag := pending.pop(frame.id, None)) is not None:
                try:
                    answered(tag, frame)
                except msgspec.DecodeError:
                    pending[frame.id] = tag  # It is lost, with the connection.
                    raise

    def shut(self) -> list[Any]:
        """See ``WorkerLine``."""
        self._write = self._soon = None
        self.is_ready = False
        self._outgoing.clear()
        lost = list(self._pending.values())
        self._pending.clear()
        return lost
