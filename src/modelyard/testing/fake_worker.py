"""A worker that speaks frames and does what a test tells it, in a thread; for tests of whoever sends requests."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from modelyard.transport.frames import (
    ANSWER,
    GOAWAY,
    HELLO,
    REQUEST,
    AnswerMeta,
    Frame,
    FrameDecoder,
    Hello,
    encode_frame,
    encode_meta,
)

Answered = tuple[int, bytes] | None
"""Status and body; the status GOAWAY drains the connection, LATER keeps the answer (a 200) back until another request was
answered, None kills the worker."""
LATER = -1
Model = Callable[[Frame], Answered]


class FakeWorker:
    """Listens at once; ``seen`` are all requests, in order; ``flags`` those of its answers."""

    def __init__(self, path: Path, model: Model) -> None:
        self.path = path
        self.model = model
        self.seen: list[Frame] = []
        self.flags = 0
        self.died = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    def _serve(self) -> None:
        while not self.died.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        hello = Hello(worker_id="w", max_batch=1, queue=10)
        connection.sendall(encode_frame(HELLO, 0, meta=encode_meta(hello)))
        decoder = FrameDecoder(limit=1 << 30)
        kept: list[tuple[int, bytes]] = []
        while data := connection.recv(1 << 20):
            for frame in decoder.feed(data):
                if frame.kind != REQUEST:
                    continue
                self.seen.append(frame)
                answered = self.model(frame)
                if answered is None:
                    self.died.set()
                    self._server.close()
                    return
                status, body = answered
                if status == GOAWAY:
                    connection.sendall(encode_frame(GOAWAY, 0))
                    return
                if status == LATER:
                    kept.append((frame.id, body))
                    continue
                connection.sendall(_answer(frame.id, status, body, self.flags))
                for number, text in kept:
                    connection.sendall(_answer(number, 200, text, self.flags))
                kept.clear()

    def close(self) -> None:
        """Stop listening; idempotent."""
        self.died.set()
        if self._server.fileno() >= 0:
            with socket.socket(socket.AF_UNIX) as poke:
                poke.settimeout(1)
                with contextlib.suppress(OSError):
                    poke.connect(str(self.path))
            self._server.close()
        self._thread.join(10)


def _answer(number: int, status: int, body: bytes, flags: int) -> bytes:
    meta = encode_meta(AnswerMeta(content_type="text/plain"))
    return encode_frame(ANSWER, number, number=status, flags=flags, meta=meta, body=body)
