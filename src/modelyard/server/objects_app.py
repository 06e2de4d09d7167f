"""The ASGI application of the objects process: what an S3 request passes, in order, is in ``ObjectsApp._answer``.

A request's signature is verified before its body is read; the body is verified while it streams into the store.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from botocore import xform_name

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError, Unsupported
from modelyard.base.ids import RandomSource, request_id
from modelyard.base.settings import Settings
from modelyard.server.authentication import anonymous
from modelyard.server.dates import Dates
from modelyard.server.objects_body import (
    ClientGone,
    Receive,
    RequestBody,
    decoded_length,
)
from modelyard.services.s3.bodies import check_size
from modelyard.wire import codec, identify, models, sigv2, sigv4

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Operation = Callable[..., Awaitable[Mapping[str, Any] | None]]
STREAMING = ("PutObject", "UploadPart")
BODY_BYTES = 8 << 20
"""Largest body of an operation that does not stream it: a completion of 10,000 parts has 2 MiB."""
CALL_SECONDS = 3600.0
_ACTIONS = {
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "DeleteObjects": "DeleteObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "GetBucketEncryption": "GetEncryptionConfiguration",
}
"""IAM's names, where they are not the operation's."""


class StreamingBody(Protocol):
    """An object's bytes on their way out."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``target`` is path and query as sent; ``headers`` have lower-case names."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    joined: dict[str, str]


@dataclass(slots=True)
class _Progress:
    """What is known of a request so far. ``body`` is set once its signature is that of a known key."""

    operation: str = ""
    call: Call | None = None
    body: RequestBody | None = None

    def leaves_body_unsent(self, request: Request) -> bool:
        """Whether the client still waits to be told to send its body, which after a final answer it never will, or has
        stopped sending it."""
        if self.body is not None and self.body.is_begun:
            return self.body.is_stalled
        return "expect" in request.joined


class ObjectsApp:
    """S3 on one port or socket."""

    def __init__(  # noqa: PLR0913 - what the server is made of
        self,
        operations: Mapping[str, Operation],
        *,
        settings: Settings,
        verifier: sigv4.Verifier,
        authorise: Callable[[Call], None],
        audit: Callable[[Call, Mapping[str, Any] | ServiceError | None], None],
        clock: Clock,
        random: RandomSource,
    ) -> None:
        self._operations = operations
        self._settings = settings
        self._verifier = verifier
        self._authorise = authorise
        self._audit = audit
        self._clock = clock
        self._dates = Dates(clock)
        self._random = random
        self._service = models.load_service("s3")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _read_head(scope)
        identity = request_id(self._random)
        progress = _Progress()
        result: Mapping[str, Any] | ServiceError
        try:
            result = await self._answer(request, receive, identity, progress)
        except ClientGone:
            return
        except ServiceError as error:
            result = error
        except Exception:
            # The server's outermost step: a bug becomes an answer with an id that finds this traceback.
            logger.exception("request %s %s", identity, progress.operation)
            result = ServiceError(
                "InternalError",
                f"Modelyard failed on request {identity}; its log has the traceback: logs/objects.log in the home.",
                status=500,
            )
        if progress.call is not None:
            self._audit(progress.call, result)
        response = codec.serialize(self._service, progress.operation, result, request_id=identity)
        if progress.operation == "GetBucketLocation" and not isinstance(result, ServiceError):
            response = _location(response, result)
        if progress.leaves_body_unsent(request):
            response.headers["connection"] = "close"
        response.headers["Date"] = self._dates.header()
        await _send(receive, send, request.method, response)

    async def _answer(
        self, request: Request, receive: Receive, identity: str, progress: _Progress
    ) -> Mapping[str, Any]:
        principal, region, opened = self._verify(request)
        _check_encoding(request.target)
        target = _path_style(request)
        operation = progress.operation = self._find(request, target)
        body = progress.body = RequestBody(receive, request.joined, opened)
        if operation in STREAMING:
            _require_length(request)
        content = body if operation in STREAMING else await body.collect(BODY_BYTES)
        parameters = self._parse(operation, request, target, content)
        call = progress.call = Call(
            principal=principal,
            account=principal.account,
            region=region,
            action=f"s3:{_ACTIONS.get(operation, operation)}",
            resource=_resource(parameters),
            request_id=identity,
            deadline=self._clock.monotonic() + CALL_SECONDS,
        )
        self._authorise(call)
        arguments = {xform_name(name): value for name, value in parameters.items()}
        return await self._operations[operation](call, **arguments) or {}

    def _verify(self, request: Request) -> tuple[Principal, str, sigv4.Opened | None]:
        path, _, query = request.target.partition("?")
        if not self._settings.auth:
            region = identify.scope_region(query=query, headers=request.joined)
            return anonymous(self._settings), region or self._settings.region, None
        if sigv2.is_presigned(query):
            return self._verify_sigv2(request), self._settings.region, None
        opened = self._verifier.open_request(
            family="s3", service="s3", raw_query=query, headers=request.joined
        )
        sigv4.check(
            opened,
            family="s3",
            method=request.method,
            raw_path=path,
            raw_query=query,
            headers=request.headers,
            payload_hash=sigv4.s3_payload(opened),
        )
        return opened.principal, opened.region, opened

    def _verify_sigv2(self, request: Request) -> Principal:
        """A presigned URL of the older version, as boto3 writes them unless it is told otherwise."""
        path, _, query = _path_style(request).partition("?")
        entry = self._verifier.find_key("s3", *sigv2.key_of(query))
        sigv2.check(
            entry,
            method=request.method,
            resource=path,
            raw_query=query,
            headers=request.joined,
            now=self._clock.now(),
        )
        return entry.principal

    def _find(self, request: Request, target: str) -> str:
        try:
            operation = codec.find_operation(
                self._service, method=request.method, uri=target, headers=request.joined, body=b""
            )
        except ServiceError as error:
            raise ServiceError(
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
                status=405,
                members={"Method": request.method},
            ) from error
        if operation not in self._operations:
            raise Unsupported(f"Modelyard does not execute s3:{operation} yet.")
        return operation

    def _parse(
        self, operation: str, request: Request, target: str, body: bytes | RequestBody
    ) -> dict[str, Any]:
        try:
            return codec.parse(
                self._service,
                operation,
                method=request.method,
                uri=target,
                headers=request.joined,
                body=body,
            )
        except ServiceError as error:
            if error.code != "SerializationException":
                raise
            # What the protocols of other services call so: a member that is no number or no date.
            raise ServiceError("InvalidArgument", error.message) from error


def _read_head(scope: Scope) -> Request:
    query = scope["query_string"].decode("latin-1")
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    headers = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in scope["headers"]]
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return Request(
        method=scope["method"],
        target=f"{path}?{query}" if query else path,
        headers=headers,
        joined=joined,
    )


def _path_style(request: Request) -> str:
    """The target with the bucket in its path; ``/bucket/`` is the bucket itself."""
    target = identify.rewrite_virtual_host(request.joined.get("host", ""), request.target)
    path, mark, query = target.partition("?")
    if path.endswith("/") and path.count("/") == 2 and path != "//":
        path = path[:-1]
    return f"{path}{mark}{query}"


def _check_encoding(target: str) -> None:
    """Names are UTF-8. Of other bytes no two could be told apart, and one key would overwrite another."""
    try:
        target.encode("ascii")
        unquote_to_bytes(target).decode()
    except UnicodeError as error:
        raise ServiceError("InvalidURI", "Couldn't parse the specified URI.") from error


def _require_length(request: Request) -> None:
    """Raises ``MissingContentLength``, and ``EntityTooLarge`` before a byte of such a body is sent."""
    length = decoded_length(request.joined)
    if length is None:
        if "content-length" not in request.joined:
            raise ServiceError(
                "MissingContentLength",
                "You must provide the Content-Length HTTP header.",
                status=411,
            )
        length = int(request.joined["content-length"])
    check_size(length)


def _resource(parameters: Mapping[str, Any]) -> str:
    bucket, key = parameters.get("Bucket"), parameters.get("Key")
    if bucket is None:
        return "*"
    return f"arn:aws:s3:::{bucket}" if key is None else f"arn:aws:s3:::{bucket}/{key}"


def _location(response: codec.Response, result: Mapping[str, Any]) -> codec.Response:
    """The one answer whose root element is its only member; clients have parsers of their own for it."""
    region = result.get("LocationConstraint") or ""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{region}</LocationConstraint>'
    )
    return codec.Response(status=200, headers=response.headers, body=body.encode())


async def _send(receive: Receive, send: Send, method: str, response: codec.Response) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body: bytes | StreamingBody = response.body
    status = 206 if response.status == 200 and "content-range" in headers else response.status
    if method == "HEAD" or status in (204, 304):
        if not isinstance(body, bytes):
            body.close()
        elif body:  # An error's document, which HEAD and 304 cannot carry.
            headers.pop("content-type", None)
        body = b""
        if status == 200 and "content-length" not in headers:
            headers["content-length"] = "0"
    elif isinstance(body, bytes):
        headers["content-length"] = str(len(body))
    await _start(send, status, headers)
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    await _stream(receive, send, body)


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode("latin-1"), _header_bytes(value)) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def _header_bytes(value: str) -> bytes:
    """No value, though a client chose it, can end its line."""
    clean = "".join(c if c >= " " or c == "\t" else " " for c in value)
    try:
        return clean.encode("latin-1")
    except UnicodeEncodeError:
        return clean.encode()


async def _stream(receive: Receive, send: Send, body: StreamingBody) -> None:
    """Until the end, or until the client is gone: sending to nobody would read a disk for nothing."""
    gone = asyncio.ensure_future(receive())
    try:
        async for piece in body:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        body.close()
