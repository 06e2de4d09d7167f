"""What control answers over HTTP: AWS's APIs through ``app.Pipeline``, and the platform's own paths, ``/_modelyard/…``.

Connections are the gateway's own kind (``gateway/http.py``), on a UNIX socket that gateways connect to. An answer leaves in one
write: whoever waits for it would wake once for each.
"""

import asyncio
import dataclasses
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.base.settings import Limits
from modelyard.domain.exposition import CONTENT_TYPE
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.server.app import Pipeline, Request
from modelyard.server.dates import Dates

logger = logging.getLogger(__name__)

OwnHandler = Callable[[Request], Awaitable[Mapping[str, Any] | str]]
"""Answers one of the platform's own paths, with JSON or a text for Prometheus; raises ``ServiceError`` to refuse."""
IDLE_SECONDS = 600.0
"""A gateway's connection without a request is closed after this."""
PATIENCE_SECONDS = 60.0
"""A gateway has so long for a head, and between two pieces of a body; its own client has less."""
CLOSING_SECONDS = 5.0
"""What is being answered when control ends has so long."""
TICK_SECONDS = 1.0
_PLAIN = {"Content-Type": "text/plain"}
_JSON = {"Content-Type": "application/json"}


class ControlApp:
    """``own`` maps ``"GET /_modelyard/status"`` to its handler."""

    def __init__(
        self, pipeline: Pipeline, *, own: Mapping[str, OwnHandler], limits: Limits, clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._own = own
        self.body_limit = limits.api_body_bytes
        patient = dataclasses.replace(
            limits, idle_seconds=IDLE_SECONDS, header_seconds=PATIENCE_SECONDS
        )
        self._gate = Gate(patient, self._begin, clock.monotonic)
        self._dates = Dates(clock)
        self._answering: set[asyncio.Task[None]] = set()

    def connection(self) -> ClientConnection:
        """The protocol of a new connection."""
        return ClientConnection(self._gate)

    def _begin(self, head: Head, client: ClientConnection) -> "_Asked":
        head.memo = True  # The next one may be read by this one's form.
        return _Asked(self, head, client)

    async def run(self) -> None:
        """As long as connections are accepted: close those that nobody uses."""
        while True:
            self._gate.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def close(self) -> None:
        """When no connection is accepted any more: answer what was asked, for a while."""
        self._gate.is_closing = True
        for connection in list(self._gate.connections):
            connection.close_when_idle()
        if self._answering:
            _, late = await asyncio.wait(set(self._answering), timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def answer(self, request: Request, client: ClientConnection) -> None:
        """In a task of its own: a caller that leaves ends no operation halfway."""
        task = asyncio.get_running_loop().create_task(self._answer(request, client))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, request: Request, client: ClientConnection) -> None:
        try:
            if request.target.startswith("/_modelyard/"):
                status, headers, body = await self._answer_own(request)
            else:
                response = await self._pipeline.handle(request)
                status, headers, body = response.status, response.headers, response.body
                assert isinstance(body, bytes), "control's services have no streaming outputs"
        except Exception:
            # A bug outside the pipeline, which answers its own: nobody waits for ever.
            logger.exception("%s %s", request.method, request.target)
            status, headers, body = 500, _PLAIN, b"Internal Server Error"
        self.send(client, status, headers, body)

    async def _answer_own(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        path = request.target.partition("?")[0]
        handler = self._own.get(f"{request.method} {path}")
        if handler is None:
            missing = {"message": f"Modelyard has no {request.method} {path}."}
            return 404, _JSON, json.dumps(missing).encode()
        try:
            answer = await handler(request)
        except ServiceError as error:
            said = {"code": error.code, "message": error.message}
            return error.status, {**_JSON, **error.headers}, json.dumps(said).encode()
        if isinstance(answer, str):
            return 200, {"Content-Type": CONTENT_TYPE}, answer.encode()
        return 200, _JSON, json.dumps(dict(answer)).encode()

    def refuse(self, client: ClientConnection) -> None:
        """A body past the limit."""
        text = f"HTTP content length exceeded {self.body_limit} bytes."
        self.send(client, 413, _PLAIN, text.encode())

    def send(
        self, client: ClientConnection, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        lines = [f"{name.lower()}: {_line(value)}\r\n" for name, value in headers.items()]
        text = f"date: {self._dates.header()}\r\n{''.join(lines)}"
        client.respond(status, text.encode("latin-1", "replace"), body)


def _line(value: str) -> str:
    """No value can end its line, whoever chose it."""
    return value if value.isprintable() else "".join(c if c >= " " else " " for c in value)


class _Asked:
    """One request, from its head to the end of its body."""

    def __init__(self, app: ControlApp, head: Head, client: ClientConnection) -> None:
        self._app = app
        self._head = head
        self._client = client
        self._pieces: list[bytes] = []
        self._bytes = 0
        if head.length > app.body_limit:
            self._refuse()
        elif head.joined.get("expect", "").lower() == "100-continue":
            client.expect_more()

    def body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > self._app.body_limit:
            self._refuse()

    def whole(self, data: bytes) -> None:
        self._pieces.append(data)
        self.complete()

    def complete(self) -> None:
        head = self._head
        request = Request(
            method=head.method,
            target=head.target,
            headers=tuple(head.headers),
            body=b"".join(self._pieces),
            head=head,
        )
        self._app.answer(request, self._client)

    def client_gone(self) -> None:
        """The operation goes on; its answer is nobody's."""

    def client_paused(self, paused: bool) -> None:
        """Answers are bounded, and wait in the transport."""

    def _refuse(self) -> None:
        self._pieces.clear()
        self._app.refuse(self._client)
