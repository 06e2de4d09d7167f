"""A client of one worker for blocking code: frames both ways over a UNIX socket, never stuck on a full one.

Sending only queues; ``step`` moves bytes in both directions, so that a worker which is answering and a client which is
sending can never wait for each other.
"""

import select
import socket
from collections import deque

from modelyard.transport.frames import HELLO, Frame, FrameDecoder, FrameError, encode_frame

_SCHEME = "unix:"
_CHUNK = 1 << 20


class ConnectionLost(Exception):
    """The worker is gone, or was not there."""


class BlockingChannel:
    """One connection, for one thread."""

    def __init__(self, address: str, *, limit: int, timeout_seconds: float) -> None:
        """Connect. Raises ``ConnectionLost``."""
        if not address.startswith(_SCHEME):
            raise ConnectionLost(f"not an address of this machine: {address}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._decoder = FrameDecoder(limit=limit)
        self._outgoing: deque[memoryview] = deque()
        try:
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(address[len(_SCHEME) :])
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise ConnectionLost(f"{address}: {error}") from None

    def send(
        self,
        kind: int,
        request_id: int,
        *,
        number: int,
        flags: int,
        meta: bytes,
        body: bytes | bytearray,
    ) -> None:
        """Queue a frame."""
        frame = encode_frame(kind, request_id, number=number, flags=flags, meta=meta, body=body)
        self._outgoing.append(memoryview(frame))

    def fileno(self) -> int:
        """For ``select.poll``."""
        return self._socket.fileno()

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)

    def step(self, ready: int) -> list[Frame]:
        """Move what can be moved; the frames that arrived, a HELLO left out. Raises ``ConnectionLost``."""
        try:
            if ready & select.POLLOUT:
                self._write()
            if ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
                return self._read()
        except BlockingIOError:
            return []
        except (OSError, FrameError) as error:
            raise ConnectionLost(str(error)) from None
        return []

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def _write(self) -> None:
        while self._outgoing:
            piece = self._outgoing[0]
            try:
                sent = self._socket.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                self._outgoing.clear()  # answers that came before may still be read; then comes the end
                return
            if sent < len(piece):
                self._outgoing[0] = piece[sent:]
                return
            self._outgoing.popleft()

    def _read(self) -> list[Frame]:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionLost("the worker closed the connection")
        return [frame for frame in self._decoder.feed(data) if frame.kind != HELLO]
