"""The ASGI application of the control process: HTTP on one side, ``app.Pipeline`` on the other.

Beside AWS's APIs it answers the platform's own paths, ``/_modelyard/…``: what ``modelyard status`` and ``reset`` ask.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from modelyard.base.errors import ServiceError
from modelyard.domain.exposition import CONTENT_TYPE
from modelyard.server.app import Pipeline, Request
from modelyard.wire import codec

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
OwnHandler = Callable[[Request], Awaitable[Mapping[str, Any] | str]]
"""Answers one of the platform's own paths, with JSON or a text for Prometheus; raises ``ServiceError`` to refuse."""


class ClientGone(Exception):
    """The caller left before its request was whole: nobody waits for an answer."""


class ControlApp:
    """``own`` maps ``"GET /_modelyard/status"`` to its handler."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        own: Mapping[str, OwnHandler],
        body_limit: int,
        startup: Callable[[], Awaitable[None]],
        shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._pipeline = pipeline
        self._own = own
        self._body_limit = body_limit
        self._startup = startup
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            request = await self._read(scope, receive)
        except ClientGone:
            return
        except ServiceError as error:
            await _send(send, error.status, {"content-type": "text/plain"}, error.message.encode())
            return
        if request.target.startswith("/_modelyard/"):
            await self._answer_own(request, send)
            return
        response = await self._pipeline.handle(request)
        await _send_response(send, response)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._startup()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _read(self, scope: Scope, receive: Receive) -> Request:
        """The whole request. Raises ``ServiceError`` 413 past the limit, ``ClientGone``."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > self._body_limit:
                raise ServiceError(
                    "RequestEntityTooLarge",
                    f"HTTP content length exceeded {self._body_limit} bytes.",
                    status=413,
                )
            more = message.get("more_body", False)
        query = scope["query_string"].decode("latin-1")
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        return Request(
            method=scope["method"],
            target=f"{path}?{query}" if query else path,
            headers=tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]),
            body=bytes(body),
        )

    async def _answer_own(self, request: Request, send: Send) -> None:
        path = request.target.partition("?")[0]
        handler = self._own.get(f"{request.method} {path}")
        status: int = 200
        headers = {"content-type": "application/json"}
        answer: Mapping[str, Any] | str
        if handler is None:
            status, answer = 404, {"message": f"Modelyard has no {request.method} {path}."}
        else:
            try:
                answer = await handler(request)
            except ServiceError as error:
                status, answer = error.status, {"code": error.code, "message": error.message}
                headers |= error.headers
        if isinstance(answer, str):
            await _send(send, status, {"content-type": CONTENT_TYPE}, answer.encode())
        else:
            await _send(send, status, headers, json.dumps(dict(answer)).encode())


async def _send_response(send: Send, response: codec.Response) -> None:
    body = response.body
    assert isinstance(body, bytes), "control's services have no streaming outputs"
    await _send(send, response.status, response.headers, body)


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    raw = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
