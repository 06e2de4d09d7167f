"""Drain and predict: read every request that waits, predict once, answer each. One thread, no timer.

Batches form by themselves: while one is predicted, the next waits in the sockets. An idle worker answers a lone request
at once, and sleeps without waking. A connection that is slow to read, or sends what is no frame, is its own problem only.

The end, after SIGTERM: what was sent is still read and answered until nothing comes for a moment; then each peer is told
GOAWAY after its last answer, which means that whatever has no answer was not executed and may be sent elsewhere.
"""

import contextlib
import errno
import functools
import gc
import os
import selectors
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from modelyard.native import part
from modelyard.transport import frames
from modelyard.worker.batcher import Batcher, Bounds, Waiting, times_of
from modelyard.worker.predictor import TEXT, Answer, Pieces, Request
from modelyard.worker.streams import Streams

READ_BYTES = 256 * 1024
READS_A_TURN = 16
"""Pieces taken from one connection before the others have their turn."""
CLOGGED_BYTES = 4 << 20
"""A peer with so many bytes of unread answers is neither read nor predicted for until it has read them."""
CONNECTIONS_LIMIT = 256
METAS_LIMIT = 256
IDLE_SECONDS = 1.0
"""After so long without a request garbage is collected."""
COLLECT_EVERY = 5_000
"""Batches between two collections of a worker that is never idle."""
QUIET_SECONDS = 0.25
"""A draining worker that was sent nothing for so long has been taken out of every table."""
DRAIN_SECONDS = 10.0
"""A draining worker that is still sent requests reads no more of them after this."""
STREAM_DRAIN_SECONDS = 20.0
"""A draining worker lets its streams go on for so long; less than it has between SIGTERM and SIGKILL."""
LINGER_SECONDS = 2.0
"""Peers have so long to read their last answers and the GOAWAY."""
EXPIRED_STATUS = 408
FULL_STATUS = 429
CANCELLED_STATUS = 499


_waiting_of, _alike, _answers_to = part("waiting_of"), part("alike"), part("answers_to")


class Predicts(Protocol):
    """``Predictor`` or ``ScriptedPredictor``."""

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request, in order; never raises."""


class _PredictsAlike(Protocol):
    """``Predictor.answer_alike``."""

    def __call__(
        self, encoded: list[bytes], content_type: str, accept: str
    ) -> tuple[str, Sequence[bytes | Answer]] | None: ...


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    decoder: frames.FrameDecoder
    unsent: bytearray = field(default_factory=bytearray)
    is_open: bool = True
    events: int = selectors.EVENT_READ

    @property
    def is_clogged(self) -> bool:
        return len(self.unsent) > CLOGGED_BYTES


class WorkerServer:
    """Serves one listening socket. ``now`` is a monotonic clock in seconds."""

    def __init__(
        self,
        listener: socket.socket,
        predictor: Predicts,
        *,
        bounds: Bounds,
        now: Callable[[], float],
    ) -> None:
        self._listener = listener
        self._predictor = predictor
        self._answer_alike: _PredictsAlike | None = getattr(predictor, "answer_alike", None)
        self._bounds = bounds
        self._now = now
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._batcher: Batcher[_Connection] = Batcher(bounds)
        self._streams: Streams[_Connection] = Streams()
        self._metas: dict[bytes, frames.RequestMeta] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for one in (listener, self._wake_read, self._wake_write):
            one.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._draining = False
        self._drain_began: float | None = None
        self._quiet_since = 0.0
        self._batches_since_collection = 0

    def drain(self) -> None:
        """Answer what was sent, then end; safe in a signal handler."""
        if not self._draining:
            self._draining = True
            self._wake_write.send(b"x")

    def serve(self) -> None:
        """Until it is drained."""
        while self.turn(self._patience()):
            pass

    def turn(self, patience: float | None) -> bool:
        """Read what waits, answer one batch; False when all is done. Waits for requests only if there are none."""
        busy = self._read(0.0 if self._batcher else patience)
        if self._batcher:
            self._predict_some()
            busy = True
        if self._streams.active:
            self._stream_some()
            busy = True
        self._flush_all()
        if not self._draining:
            return True
        now = self._now()
        if self._drain_began is None:
            self._drain_began = self._quiet_since = now
        if busy:
            self._quiet_since = now
        is_quiet = now - self._quiet_since >= QUIET_SECONDS
        longest = STREAM_DRAIN_SECONDS if self._streams.active else DRAIN_SECONDS
        if not is_quiet and now - self._drain_began < longest:
            return True
        self._say_goodbye()
        return False

    def _patience(self) -> float | None:
        if self._streams.active:
            if self._streams.are_runnable:
                return 0.0
            left = max(0.0, self._streams.next_expiry - self._now())
            return min(left, QUIET_SECONDS) if self._draining else left
        if self._draining:
            return QUIET_SECONDS / 2
        return IDLE_SECONDS if self._batches_since_collection else None

    def _read(self, timeout: float | None) -> bool:
        """Take in what waits on every connection; whether anything did."""
        ready = self._selector.select(timeout)
        if not ready and self._batches_since_collection and not self._streams.active:
            self._collect()  # Nobody waits now.
        for key, events in ready:
            if key.data is None:
                self._look_up(key.fileobj)
                continue
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE and connection.is_open:
                self._flush(connection)
            if events & selectors.EVENT_READ and connection.is_open:
                self._receive(connection)
        return bool(ready)

    def _look_up(self, ready: object) -> None:
        if ready is self._wake_read:
            self._wake_read.recv(16)
        else:
            self._accept()

    def _accept(self) -> bool:
        """Greet one new peer; False if there was none."""
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:  # It has gone again, or there are no descriptors left.
            if not isinstance(error, BlockingIOError):
                _log(f"a connection could not be accepted: {error}")
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse_one()
            return False
        if len(self._connections) >= CONNECTIONS_LIMIT:
            _log(f"a connection is refused: there are {CONNECTIONS_LIMIT}")
            accepted.close()
            return True
        accepted.setblocking(False)
        limit = self._bounds.payload_bytes + 64 * 1024
        connection = _Connection(accepted, frames.FrameDecoder(limit=limit))
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)
        hello = frames.Hello(self._bounds.worker_id, self._bounds.max_batch, self._bounds.queue)
        connection.unsent += frames.encode_frame(frames.HELLO, 0, meta=frames.encode_meta(hello))
        self._flush(connection)
        return True

    def _refuse_one(self) -> None:
        """By the descriptor that is kept for it: what waits to be accepted would not let the server sleep."""
        with contextlib.suppress(OSError):
            os.close(self._spare)
            self._listener.accept()[0].close()
        self._spare = -1
        with contextlib.suppress(OSError):  # A thread of the model's own was faster.
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _receive(self, connection: _Connection) -> None:
        try:
            for _ in range(READS_A_TURN):
                data = connection.socket.recv(READ_BYTES)
                if not data:
                    self._close(connection)
                    return
                self._take_all(connection, connection.decoder.feed(data))
                if len(data) < READ_BYTES:
                    return
        except BlockingIOError:
            return
        except (frames.FrameError, msgspec.MsgspecError) as error:
            _log(f"a connection is closed: {error}")
            self._close(connection)
        except OSError:
            self._close(connection)

    def _take_all(self, connection: _Connection, found: Iterable[frames.Frame]) -> None:
        now = self._now()
        if _waiting_of is None or not isinstance(found, list):
            for frame in found:
                self._take(connection, frame, now)
            return
        taken = 0
        while taken < len(
            found
        ):  # Runs of requests, and between them what is none, or has a new meta.
            run, size = _waiting_of(found, taken, connection, self._metas, now)
            for waiting in self._batcher.add_all(run, size):
                self._say_full(waiting)
            taken += len(run)
            if taken < len(found):
                self._take(connection, found[taken], now)
                taken += 1

    def _take(self, connection: _Connection, frame: frames.Frame, now: float) -> None:
        if frame.kind == frames.REQUEST:
            meta = self._metas.get(frame.meta) or self._meta(frame.meta)
            waiting = Waiting(connection, frame, meta, now + frame.number / 1000)
            if not self._batcher.add(waiting):
                self._say_full(waiting)
        elif frame.kind == frames.CREDIT:
            self._streams.credit(connection, frame.id, frame.number)
        elif frame.kind == frames.CANCEL:
            # Answered all the same, so that the sender's count of what is in flight stays true.
            if self._batcher.cancel(connection, frame.id):
                self._say(connection, frame.id, CANCELLED_STATUS, "The caller has left.")
            elif self._streams.active:
                connection.unsent += self._streams.cancel(connection, frame.id)

    def _meta(self, encoded: bytes) -> frames.RequestMeta:
        """Requests of one client carry the same few metas again and again."""
        meta = frames.decode_request_meta(encoded)
        if len(self._metas) < METAS_LIMIT and not meta.trace:
            self._metas[encoded] = meta
        return meta

    def _predict_some(self) -> None:
        """One batch of what waits."""
        began = self._now()
        batch, expired = self._batcher.take(began)
        for late in expired:
            text = "The request expired while it waited."
            self._say(late.peer, late.frame.id, EXPIRED_STATUS, text)
        if self._streams.is_full:
            batch = self._without_streams(batch)
        if batch:
            if not self._predict_alike(batch):
                self._predict_each(batch, began)
            self._batches_since_collection += 1
            if self._batches_since_collection >= COLLECT_EVERY:
                self._collect()

    def _predict_alike(self, batch: Sequence[Waiting[_Connection]]) -> bool:
        """The ordinary batch: requests without flags, of one meta, in JSON or CSV; False, and nothing is done, for others."""
        answer_alike = self._answer_alike
        alike = None if _alike is None or answer_alike is None else _alike(batch)
        if alike is None or answer_alike is None:
            return False
        meta, bodies = alike
        found = answer_alike(bodies, meta.content_type, meta.accept)
        if found is None:
            return False
        kind, answers = found
        letters = _answers_to(batch, _plain_meta(kind, ""), answers)
        if letters is None:
            for waiting, one in zip(batch, answers, strict=True):
                answer = Answer(200, kind, one) if isinstance(one, bytes) else one
                self._answer(waiting.peer, waiting.frame.id, answer)
            return True
        for peer, encoded in letters:
            if peer.is_open:
                peer.unsent += encoded
        return True

    def _predict_each(self, batch: Sequence[Waiting[_Connection]], began: float) -> None:
        requests = [
            Request(
                one.frame.body,
                one.meta.content_type,
                one.meta.accept,
                one.meta.custom_attributes,
                one.meta.target_model,
                one.frame.flags & frames.STREAM != 0,
            )
            for one in batch
        ]
        for waiting, answer in zip(batch, self._predictor.answer(requests), strict=True):
            if answer.pieces is not None:
                self._start(waiting, answer, answer.pieces)
            elif waiting.frame.flags & frames.TRACED:
                times = times_of(
                    waiting,
                    began=began,
                    ended=self._now(),
                    requests=len(batch),
                    release=self._batcher.why,
                )
                self._answer(waiting.peer, waiting.frame.id, answer, times)
            else:
                self._answer(waiting.peer, waiting.frame.id, answer)

    def _without_streams(
        self, batch: Sequence[Waiting[_Connection]]
    ) -> Sequence[Waiting[_Connection]]:
        kept = [one for one in batch if not one.frame.flags & frames.STREAM]
        for one in batch:
            if one.frame.flags & frames.STREAM:
                self._say(one.peer, one.frame.id, FULL_STATUS, "The worker streams all it may.")
        return kept

    def _start(self, waiting: Waiting[_Connection], answer: Answer, pieces: Pieces) -> None:
        if not waiting.peer.is_open:
            pieces.close()
            return
        meta = frames.AnswerMeta(answer.content_type, answer.custom_attributes)
        self._streams.start(waiting.peer, waiting.frame.id, pieces, meta, waiting.expires)

    def _stream_some(self) -> None:
        """A piece of each stream whose reader has room."""
        for connection, encoded in self._streams.step(self._now()):
            if connection.is_open:
                connection.unsent += encoded

    def _collect(self) -> None:
        gc.collect()
        self._batches_since_collection = 0

    def _say_full(self, waiting: Waiting[_Connection]) -> None:
        self._say(waiting.peer, waiting.frame.id, FULL_STATUS, "The worker's queue is full.")

    def _say(self, connection: _Connection, request_id: int, status: int, text: str) -> None:
        self._answer(connection, request_id, Answer(status, TEXT, text.encode()))

    def _answer(
        self,
        connection: _Connection,
        request_id: int,
        answer: Answer,
        traced: frames.TracedAnswerMeta | None = None,
    ) -> None:
        """Answers leave together, when the batch is done."""
        if connection.is_open:
            flags = frames.OWN_STATUS if answer.is_own_status else 0
            kind, attributes = answer.content_type, answer.custom_attributes
            if traced is not None:
                flags |= frames.TRACED
                times = msgspec.structs.replace(
                    traced, content_type=kind, custom_attributes=attributes, model=answer.model
                )
                meta = frames.encode_meta(times)
            elif answer.model is not None:
                meta = frames.encode_meta(frames.ModelAnswerMeta(kind, attributes, answer.model))
            else:
                meta = _plain_meta(kind, attributes)
            connection.unsent += frames.encode_answer(
                request_id, answer.status, flags, meta, answer.body
            )

    def _flush_all(self) -> None:
        for connection in [one for one in self._connections if one.unsent]:
            if (
                not connection.events & selectors.EVENT_WRITE
                # It was not clogged yet when it was found to read no more.
                or (connection.events & selectors.EVENT_READ and connection.is_clogged)
            ):
                self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        """Send what the peer takes without waiting; the rest when it reads."""
        unsent = connection.unsent
        was_clogged = connection.is_clogged
        try:
            while unsent:
                sent = connection.socket.send(unsent)
                del unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        is_clogged = connection.is_clogged
        if was_clogged and not is_clogged:
            self._batcher.release(connection)
        events = 0 if is_clogged else selectors.EVENT_READ
        if unsent:
            events |= selectors.EVENT_WRITE
        if events != connection.events:
            connection.events = events
            self._selector.modify(connection.socket, events, connection)

    def _close(self, connection: _Connection) -> None:
        if connection.is_open:
            connection.is_open = False
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._connections.discard(connection)
            self._batcher.forget(connection)
            self._streams.forget(connection)

    def _say_goodbye(self) -> None:
        """Last answers, GOAWAY, end. Closing at once could overtake them: what a peer sends meanwhile is thrown away."""
        while self._batcher:
            self._predict_some()
        counts = ", ".join(f"{count} {why}" for why, count in self._batcher.releases.items())
        _log(f"batches by what ended them: {counts}")
        for connection, encoded in self._streams.stop():
            connection.unsent += encoded
        while self._accept():
            pass
        self._selector.unregister(self._listener)
        for connection in list(self._connections):
            connection.unsent += frames.encode_frame(frames.GOAWAY, 0)
            self._selector.modify(
                connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection
            )
        end = self._now() + LINGER_SECONDS
        while self._connections and (left := end - self._now()) > 0:
            for key, events in self._selector.select(left):
                if key.data is not None and key.data.is_open:
                    self._part(key.data, events)

    def close(self) -> None:
        """Drop every connection; the listener is its owner's."""
        for connection in list(self._connections):
            self._close(connection)
        with contextlib.suppress(OSError):
            os.close(self._spare)
        self._wake_read.close()
        self._wake_write.close()
        self._selector.close()

    def _part(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_READ and not connection.socket.recv(READ_BYTES):
                self._close(connection)
                return
            if events & selectors.EVENT_WRITE:
                sent = connection.socket.send(connection.unsent)
                del connection.unsent[:sent]
                if not connection.unsent:
                    connection.socket.shutdown(socket.SHUT_WR)
                    self._selector.modify(connection.socket, selectors.EVENT_READ, connection)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)


@functools.lru_cache(maxsize=256)
def _plain_meta(content_type: str, custom_attributes: str) -> bytes:
    """Answers of one model carry the same few metas again and again."""
    return frames.encode_meta(frames.AnswerMeta(content_type, custom_attributes))


def _log(text: str) -> None:
    print(f"[modelyard] {text}", file=sys.stderr)  # noqa: T201 - the container's log
