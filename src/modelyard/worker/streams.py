"""Answers that come in parts: which of them may go on, and what each says next.

Pure: no sockets, no clock. A model is asked for its next piece only while the reader has room for it, so a reader that stops
stops the model; streams take turns, a piece each. Every stream ends with one ANSWER, whatever ends it: the model, its caller's
leaving, or the time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from modelyard.transport import frames
from modelyard.worker.batcher import Peer
from modelyard.worker.predictor import TEXT, Answer, Pieces

_OK = 200
STREAMS_LIMIT = 64
"""Streams of one worker at a time: a request for one more is refused before it is executed."""
EXPIRED = Answer(408, TEXT, b"The answer was not complete in time.")
CANCELLED = Answer(499, TEXT, b"The caller has left.")
STOPPED = Answer(500, TEXT, b"The worker was stopped before the answer was complete.")


P = TypeVar("P", bound=Peer)


@dataclass(slots=True, eq=False, kw_only=True)
class Window:
    """What one stream may send before its reader has said that it took some."""

    left: int = frames.STREAM_WINDOW

    @property
    def is_open(self) -> bool:
        return self.left > 0

    def cut(self, piece: bytes) -> Iterator[bytes]:
        """The piece as bodies of parts; it goes whole, even where the window closes within."""
        for begin in range(0, len(piece), frames.PART_BYTES):
            part = piece[begin : begin + frames.PART_BYTES]
            self.left -= len(part) + frames.PART_WEIGHT
            yield part


@dataclass(slots=True, eq=False, kw_only=True)
class _Stream(Generic[P]):
    peer: P
    id: int
    pieces: Pieces
    meta: bytes
    expires: float
    window: Window = field(default_factory=Window)


class Streams(Generic[P]):
    """The streams of one worker."""

    def __init__(self) -> None:
        self.active: list[_Stream[P]] = []

    @property
    def is_full(self) -> bool:
        return len(self.active) >= STREAMS_LIMIT

    @property
    def are_runnable(self) -> bool:
        """Whether ``step`` would have something to say now."""
        return any(self._may_run(stream) for stream in self.active)

    @property
    def next_expiry(self) -> float:
        """When the first of the streams that wait runs out of time; infinity without any."""
        return min((stream.expires for stream in self.active), default=float("inf"))

    def start(
        self, peer: P, request_id: int, pieces: Pieces, answer: frames.AnswerMeta, expires: float
    ) -> None:
        """From now on ``step`` asks for its pieces."""
        meta = frames.encode_meta(answer)
        self.active.append(
            _Stream(peer=peer, id=request_id, pieces=pieces, meta=meta, expires=expires)
        )

    def credit(self, peer: P, request_id: int, taken: int) -> None:
        """The reader took so much; of a stream that has ended it does not matter."""
        for stream in self.active:
            if stream.peer is peer and stream.id == request_id:
                stream.window.left = min(frames.STREAM_WINDOW, stream.window.left + taken)

    def cancel(self, peer: P, request_id: int) -> bytes:
        """The frame that ends the stream; empty if there is none of that id."""
        for stream in self.active:
            if stream.peer is peer and stream.id == request_id:
                return self._end(stream, CANCELLED)
        return b""

    def forget(self, peer: P) -> None:
        """The peer has closed its connection: its models stop."""
        for stream in [one for one in self.active if one.peer is peer]:
            self._end(stream, CANCELLED)

    def stop(self) -> Iterator[tuple[P, bytes]]:
        """End all of them."""
        for stream in list(self.active):
            yield stream.peer, self._end(stream, STOPPED)

    def step(self, now: float) -> Iterator[tuple[P, bytes]]:
        """A piece of each stream that may go on, as frames for its peer."""
        for stream in list(self.active):
            if stream.expires <= now:
                yield stream.peer, self._end(stream, EXPIRED)
            elif self._may_run(stream):
                yield stream.peer, self._advance(stream)

    def _may_run(self, stream: _Stream[P]) -> bool:
        return stream.window.is_open and not stream.peer.is_clogged

    def _advance(self, stream: _Stream[P]) -> bytes:
        piece = stream.pieces.next()
        if isinstance(piece, Answer):
            return self._end(stream, piece)
        return encode_parts(stream.id, stream.meta, stream.window.cut(piece))

    def _end(self, stream: _Stream[P], answer: Answer) -> bytes:
        self.active.remove(stream)
        stream.pieces.close()
        return encode_end(stream.id, answer)


def encode_parts(request_id: int, meta: bytes, bodies: Iterator[bytes]) -> bytes:
    """PART frames, one after the other."""
    return b"".join(
        frames.encode_frame(frames.PART, request_id, meta=meta, body=body) for body in bodies
    )


def encode_end(request_id: int, answer: Answer) -> bytes:
    """The ANSWER after the parts."""
    meta = frames.AnswerMeta(answer.content_type, answer.custom_attributes)
    return frames.encode_frame(
        frames.ANSWER,
        request_id,
        number=answer.status,
        flags=frames.OWN_STATUS if answer.is_own_status else 0,
        meta=frames.encode_meta(meta),
        body=answer.body,
    )


def joined(
    pieces: Pieces, answer: Answer, *, limit: int, until: float, now: Callable[[], float]
) -> Answer:
    """All pieces as one answer, for a caller that did not ask for a stream. Nobody waits for it after ``until``."""
    found: list[bytes] = []
    size = 0
    while True:
        piece = pieces.next()
        if isinstance(piece, Answer):
            if piece.status != _OK:
                return piece
            return Answer(
                answer.status,
                answer.content_type,
                b"".join(found),
                custom_attributes=answer.custom_attributes,
                is_own_status=True,
            )
        size += len(piece)
        if size > limit:
            pieces.close()
            text = f"The answer has more than {limit} bytes, which is the limit."
            return Answer(500, TEXT, text.encode(), is_own_status=True)
        if now() >= until:
            pieces.close()
            return EXPIRED
        found.append(piece)
