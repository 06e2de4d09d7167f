"""JSON lines on the host's socket: one request, one answer; watchers hear of every change. Never waits for a client."""

import contextlib
import logging
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.runtimes.runtime import ProcessSpec

logger = logging.getLogger(__name__)
PIECE = 64 * 1024
LINE_LIMIT = 16 << 20
"""Of a request, and of what a client has not read of its answers."""
CLIENTS_LIMIT = 64
BACKLOG = 64


class Ask(msgspec.Struct, kw_only=True, frozen=True):
    """A request: ``start`` needs ``spec``; ``stop`` and ``forget`` need ``id``. ``list``: see ``listings``."""

    op: Literal["start", "stop", "forget", "list", "watch"]
    spec: ProcessSpec | None = None
    id: str = ""
    grace: float = 0.0
    life: str = ""
    since: int = 0


Perform = Callable[[Ask], dict[str, Any]]
_decode = msgspec.json.Decoder(Ask).decode


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    to_send: bytearray = field(default_factory=bytearray)
    watches: bool = False
    is_open: bool = True
    events: int = selectors.EVENT_READ


class Clients:
    """Registers with the host's selector, whose keys carry ``callback(fileobj, events)``."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, perform: Perform) -> None:
        self._selector = selector
        self._perform = perform
        self._clients: set[_Client] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()

    def announce(self) -> None:
        """Tell watchers to list again; one that has not read the last announcement needs no other."""
        for client in list(self._clients):
            if client.watches and not client.to_send:
                self._answer(client, {"changed": True})

    def _accept(self, listener: socket.socket, events: int) -> None:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            logger.warning("a client could not be accepted: %s", error)
            return
        if len(self._clients) >= CLIENTS_LIMIT:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients.add(client)
        self._selector.register(connection, client.events, self._callback(client))

    def _callback(self, client: _Client) -> Callable[[object, int], None]:
        return lambda _, events: self._serve(client, events)

    def _serve(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ and client.is_open:
                data = client.connection.recv(PIECE)
                if not data:
                    self._drop(client)
                    return
                client.received += data
                self._take_lines(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
        except (msgspec.MsgspecError, ValueError) as error:
            logger.warning("a client of the host sent what is no request: %s", error)
            self._drop(client)

    def _take_lines(self, client: _Client) -> None:
        while client.is_open and (end := client.received.find(b"\n")) >= 0:
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            self._answer(client, self._do(client, _decode(line)))
        if len(client.received) > LINE_LIMIT:
            raise ValueError("a request over the limit")

    def _do(self, client: _Client, ask: Ask) -> dict[str, Any]:
        if ask.op == "watch":
            client.watches = True
            return {"ok": True}
        try:
            return self._perform(ask)
        except OSError as error:  # A full disk, no more processes: the caller tries again later.
            logger.warning("%s failed: %s", ask.op, error)
            return {"error": str(error)}

    def _answer(self, client: _Client, value: dict[str, Any]) -> None:
        if not client.is_open:
            return
        client.to_send += msgspec.json.encode(value) + b"\n"
        if len(client.to_send) > LINE_LIMIT:
            self._drop(client)
            return
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            while client.to_send:
                sent = client.connection.send(client.to_send)
                del client.to_send[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.to_send else 0)
        if events != client.events:
            client.events = events
            self._selector.modify(client.connection, events, self._callback(client))

    def _drop(self, client: _Client) -> None:
        if client.is_open:
            client.is_open = False
            self._selector.unregister(client.connection)
            client.connection.close()
            self._clients.discard(client)
