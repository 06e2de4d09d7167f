"""Drain and predict: read every request that waits, predict once, answer each. One thread, no timer.

Batches form by themselves: while one is predicted, the next waits in the sockets. An idle worker answers a lone request
at once. A connection that is slow to read, or sends what is no frame, is its own problem only.
"""

import gc
import selectors
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modelyard.transport import frames
from modelyard.worker.predictor import Answer, Predictor, Request

READ_BYTES = 256 * 1024
READS_A_TURN = 16
"""Pieces taken from one connection before the others have their turn."""
UNREAD_LIMIT = 64 << 20
"""Answers that a peer has not read; past it the connection is closed."""
IDLE_SECONDS = 1.0
QUIET_SECONDS = 0.25
"""A draining worker that was sent nothing for so long has been taken out of every table."""
EXPIRED_STATUS = 408
FULL_STATUS = 429
CANCELLED_STATUS = 499


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one worker; ``max_batch`` counts requests of one predict."""

    worker_id: str
    payload_bytes: int
    queue: int
    max_batch: int


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    decoder: frames.FrameDecoder
    unsent: bytearray = field(default_factory=bytearray)
    is_open: bool = True
    waits_to_write: bool = False


@dataclass(slots=True)
class _Waiting:
    connection: _Connection
    frame: frames.Frame
    expires: float


class WorkerServer:
    """Serves one listening socket. ``now`` is a monotonic clock in seconds."""

    def __init__(
        self,
        listener: socket.socket,
        predictor: Predictor,
        *,
        bounds: Bounds,
        now: Callable[[], float],
    ) -> None:
        self._listener = listener
        self._predictor = predictor
        self._bounds = bounds
        self._now = now
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._connections: set[_Connection] = set()
        self._waiting: deque[_Waiting] = deque()
        self._metas: dict[bytes, frames.RequestMeta] = {}
        self._draining = False
        self._collected = True

    def drain(self) -> None:
        """Answer what was sent, then end; safe in a signal handler."""
        self._draining = True

    def serve(self) -> None:
        """Until it is drained."""
        quiet_since: float | None = None
        while True:
            busy = self._read(0.0 if self._waiting else self._patience())
            if self._waiting:
                self._predict_some()
                quiet_since = None
            elif self._draining:
                now = self._now()
                if quiet_since is None or busy:
                    quiet_since = now
                if now - quiet_since >= QUIET_SECONDS:
                    self._say_goodbye()
                    return

    def _patience(self) -> float:
        return QUIET_SECONDS / 2 if self._draining else IDLE_SECONDS

    def _read(self, timeout: float) -> bool:
        """Take in what waits on every connection; whether anything did."""
        ready = self._selector.select(timeout)
        if not ready and timeout and not self._collected:
            gc.collect()  # Nobody waits now.
            self._collected = True
        for key, events in ready:
            if key.data is None:
                self._accept()
                continue
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(connection)
            if events & selectors.EVENT_READ and connection.is_open:
                self._receive(connection)
        if not self._waiting:
            self._flush_all()  # Refusals; answers leave with their batch.
        return bool(ready)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            return
        accepted.setblocking(False)
        limit = self._bounds.payload_bytes + 64 * 1024
        connection = _Connection(accepted, frames.FrameDecoder(limit=limit))
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)
        hello = frames.Hello(self._bounds.worker_id, self._bounds.max_batch, self._bounds.queue)
        connection.unsent += frames.encode_frame(frames.HELLO, 0, meta=frames.encode_meta(hello))
        self._flush(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            for _ in range(READS_A_TURN):
                data = connection.socket.recv(READ_BYTES)
                if not data:
                    self._close(connection)
                    return
                for frame in connection.decoder.feed(data):
                    self._take(connection, frame)
                if len(data) < READ_BYTES:
                    return
        except BlockingIOError:
            return
        except frames.FrameError as error:
            print(f"[modelyard] a connection is closed: {error}", file=sys.stderr)  # noqa: T201 - the log
            self._close(connection)
        except OSError:
            self._close(connection)

    def _take(self, connection: _Connection, frame: frames.Frame) -> None:
        if frame.kind == frames.REQUEST:
            if len(self._waiting) >= self._bounds.queue:
                message = b"The worker's queue is full."
                self._answer(connection, frame.id, Answer(FULL_STATUS, "text/plain", message))
                return
            self._waiting.append(_Waiting(connection, frame, self._now() + frame.number / 1000))
        elif frame.kind == frames.CANCEL:
            self._cancel(connection, frame.id)

    def _cancel(self, connection: _Connection, request_id: int) -> None:
        """Answered all the same, so that the sender's count of what is in flight stays true."""
        for waiting in self._waiting:
            if waiting.connection is connection and waiting.frame.id == request_id:
                self._waiting.remove(waiting)
                gone = Answer(CANCELLED_STATUS, "text/plain", b"The caller has left.")
                self._answer(connection, request_id, gone)
                return

    def _predict_some(self) -> None:
        """One batch of what waits, answered and sent."""
        batch: list[_Waiting] = []
        requests: list[Request] = []
        now = self._now()
        while self._waiting and len(batch) < self._bounds.max_batch:
            waiting = self._waiting.popleft()
            if not waiting.connection.is_open:
                continue  # Nobody is there to answer.
            if waiting.expires <= now:
                late = Answer(EXPIRED_STATUS, "text/plain", b"The request expired while it waited.")
                self._answer(waiting.connection, waiting.frame.id, late)
                continue
            meta = self._meta(waiting.frame.meta)
            solo = bool(waiting.frame.flags & frames.SOLO)
            requests.append(Request(waiting.frame.body, meta.content_type, meta.accept, solo))
            batch.append(waiting)
        if batch:
            self._collected = False
            for waiting, answer in zip(batch, self._predictor.answer(requests), strict=True):
                self._answer(waiting.connection, waiting.frame.id, answer)
        self._flush_all()

    def _flush_all(self) -> None:
        for connection in list(self._connections):
            if connection.unsent and not connection.waits_to_write:
                self._flush(connection)

    def _meta(self, encoded: bytes) -> frames.RequestMeta:
        """Requests of one client carry the same few metas again and again."""
        meta = self._metas.get(encoded)
        if meta is None:
            meta = frames.decode_request_meta(encoded)
            if len(self._metas) < 256:
                self._metas[encoded] = meta
        return meta

    def _answer(self, connection: _Connection, request_id: int, answer: Answer) -> None:
        if connection.is_open:
            meta = frames.encode_meta(frames.AnswerMeta(answer.content_type))
            connection.unsent += frames.encode_frame(
                frames.ANSWER, request_id, number=answer.status, meta=meta, body=answer.body
            )

    def _flush(self, connection: _Connection) -> None:
        """Send what the peer takes without waiting; the rest when it reads."""
        try:
            while connection.unsent:
                sent = connection.socket.send(connection.unsent)
                del connection.unsent[:sent]
        except BlockingIOError:
            if len(connection.unsent) > UNREAD_LIMIT:
                self._close(connection)
                return
        except OSError:
            self._close(connection)
            return
        wants = bool(connection.unsent)
        if wants != connection.waits_to_write:
            connection.waits_to_write = wants
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
            self._selector.modify(connection.socket, events, connection)

    def _close(self, connection: _Connection) -> None:
        if connection.is_open:
            connection.is_open = False
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._connections.discard(connection)

    def _say_goodbye(self) -> None:
        """GOAWAY: what a peer has sent after the last look was not executed and may go elsewhere."""
        for connection in list(self._connections):
            connection.unsent += frames.encode_frame(frames.GOAWAY, 0)
            connection.socket.setblocking(True)
            connection.socket.settimeout(QUIET_SECONDS)
            self._flush(connection)
            self._close(connection)
