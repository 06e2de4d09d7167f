"""Takes connections from a listening socket that several gateways share, so that each has its part of them.

The event loop's own server takes all that wait at once: whichever gateway is awake has nearly every connection, and with it,
should it die, nearly every caller. Here one is taken a turn, and a gateway that holds more than the mean of all gives the others
a moment to be quicker. The socket is shared, rather than one for each gateway (``SO_REUSEPORT``), because what waits in
the queue of a dead gateway's own socket would wait until that gateway is back.
"""

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)
POLITE_SECONDS = 0.001
"""A gateway that is ahead lets the others go first for so long."""
PAUSE_SECONDS = 0.1
"""Without a descriptor to spare, nothing is taken for so long."""
TLS_CLOSING_SECONDS = 86_400.0
"""TLS's own limit for what a closed connection still has to give. Who takes none is dropped before (``gateway/http.py``)."""
_COUNT = struct.Struct("<I")
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Board:
    """How many connections each gateway holds, in memory that all of them see. Raises ``OSError`` on a full disk."""

    def __init__(self, path: Path, *, place: int, places: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Written and not only made longer: a page without room on the disk would end who writes to it.
            os.pwrite(descriptor, _COUNT.pack(0), place * _COUNT.size)
            if os.fstat(descriptor).st_size < places * _COUNT.size:
                os.ftruncate(descriptor, places * _COUNT.size)
            self._memory = mmap.mmap(descriptor, places * _COUNT.size)
        finally:
            os.close(descriptor)
        self._offset = place * _COUNT.size

    def is_ahead(self, count: int) -> bool:
        """Note that we hold so many; whether that is more than the mean of all."""
        _COUNT.pack_into(self._memory, self._offset, count)
        counts = [number for (number,) in _COUNT.iter_unpack(self._memory)]
        return bool(count * len(counts) > sum(counts))


class Acceptor:
    """``protocol`` makes that of a new connection. Belongs to one event loop."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        held: Callable[[], int],
        board: Board | None,
    ) -> None:
        """``held``: how many connections are open. Without a ``board`` it is nobody's turn in particular."""
        self._held = held
        self._board = board
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._listen()

    def close(self) -> None:
        """Take no more; what waits is another gateway's. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _listen(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener.fileno(), self._readable)

    def tick(self) -> None:
        """Now and then: connections that have closed count no more."""
        if self._board is not None:
            self._board.is_ahead(self._held())

    def _readable(self) -> None:
        if self._board is None or not self._board.is_ahead(self._held()):
            self._accept()
            return
        self._loop.remove_reader(self._listener.fileno())
        self._loop.call_later(POLITE_SECONDS, self._accept_politely)

    def _accept_politely(self) -> None:
        """Whoever is left by now is ours: the others may be busy, or dead."""
        if not self._is_closed:
            self._listen()  # Before: the network's errors of a connection that waited are told here.
            self._accept()

    def _accept(self) -> None:
        """Without a descriptor for it nothing is taken for a while."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another gateway was quicker, or the caller has gone.
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            logger.warning("no connection can be taken: %s", error)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(PAUSE_SECONDS, self._listen)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._open(connection), name="gateway.accept")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # It may go during the handshake.
            closing = None if self._tls is None else TLS_CLOSING_SECONDS
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_shutdown_timeout=closing
            )
