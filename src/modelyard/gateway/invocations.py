"""``InvokeEndpoint`` as HTTP: from a request's head and body to the dispatcher, and from its outcome to an answer.

Source of headers, limits, codes and texts: AWS's model of ``sagemaker-runtime`` and hosting.md, section 5.
"""

import functools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.domain.capture import Side, is_sampled
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.routing import choose_variant
from modelyard.domain.shadow import Answer
from modelyard.gateway.asked import STREAM, Asked, are_attributes, ask, check_head
from modelyard.gateway.body_shares import SMALL_BYTES
from modelyard.gateway.books import Books, Entry
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import Counters
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.http import ClientConnection, Gate, Head
from modelyard.gateway.in_flight import Invocation
from modelyard.gateway.shadows import Copied, Shadows
from modelyard.gateway.shelves import Shelves
from modelyard.gateway.streams import StreamAnswer
from modelyard.transport.frames import AnswerMeta

logger = logging.getLogger(__name__)
_MESSAGE_LIMIT = 4096
TYPE_LIMIT = 1024
_OK, _SERVER_ERROR = 200, 500


class Authenticate(Protocol):
    """Who sent this? Raises ``ServiceError``; the caller and the region of its signature's scope."""

    def __call__(self, head: Head, body: bytes) -> tuple[Principal, str]: ...


@dataclass(slots=True)
class Invocations:
    """What all invocations of a gateway share."""

    gate: Gate
    dispatcher: Dispatcher
    authenticate: Authenticate
    authorise: Callable[[Call], None]
    audit: Callable[[Call, ServiceError | None], None]
    find: Callable[[str, str, str], EndpointRoute | None]
    """Endpoint by account, region and name, in the newest table."""
    random: RandomSource
    now: Callable[[], float]
    request_id: Callable[[], str]
    counters: Counters
    capture: Capture
    shelves: Shelves
    shadows: Shadows
    books: Books

    def begin(self, head: Head, client: ClientConnection) -> "Invoke":
        """The exchange of one invocation."""
        return Invoke(self, head, client)


class Invoke:
    """One invocation on its way; its answer goes to the client exactly once."""

    def __init__(self, shared: Invocations, head: Head, client: ClientConnection) -> None:
        self._shared = shared
        self._head = head
        self._client = client
        self._pieces: list[bytes] = []
        self._size = 0
        self._counted = 0
        """Bytes of a large body, as its endpoint's share knows them."""
        self._refused = False
        self._invocation: Invocation | None = None
        self._endpoint: EndpointRoute | None = None
        self._variant = ""
        self._fleet = 0
        self._config = ""
        self._is_captured = False
        self._shadow: VariantRoute | None = None
        self._entry: Entry | None = None
        self._stream: StreamAnswer | None = None
        self._request_id = shared.request_id()
        asked: Asked = head.memo or ask(head)
        self._asked = head.memo = asked
        if asked.declared > shared.gate.limits.payload_bytes:
            self._refuse_size()
        elif asked.expects:
            client.expect_more()

    # ---- the request

    def body(self, data: bytes) -> None:
        if self._refused:
            return
        gate = self._shared.gate
        self._size += len(data)
        gate.body_bytes += len(data)
        if self._size > gate.limits.payload_bytes:
            self._refuse_size()
        elif gate.body_bytes > gate.limits.body_budget_bytes:
            full = "The gateway holds as many request bodies as it may; try again."
            self._fail(ServiceError("ServiceUnavailable", full, status=503))
        elif self._size > SMALL_BYTES and not self._is_fair():
            full = (
                f"The bodies of requests to endpoint {self._asked.name} hold as much of the gateway's "
                "memory as is left for all others; try again."
            )
            self._fail(ServiceError("ServiceUnavailable", full, status=503))
        else:
            self._pieces.append(data)

    def _is_fair(self) -> bool:
        gate, counted, self._counted = self._shared.gate, self._counted, self._size
        free = gate.limits.body_budget_bytes - gate.body_bytes
        return gate.shares.grow(self._asked.name, self._size, counted=counted, free=free)

    def whole(self, data: bytes) -> None:
        gate = self._shared.gate
        size = len(data)
        held = gate.body_bytes + size
        if self._refused or held > gate.limits.body_budget_bytes or size > SMALL_BYTES:
            self.body(data)
            self.complete()
            return
        self._size = size
        gate.body_bytes = held
        self._run(data)

    def complete(self) -> None:
        if not self._refused:
            self._run(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))

    def _run(self, body: bytes) -> None:
        try:
            self._submit(body)
        except ServiceError as error:
            self._fail(error)
        except Exception:
            # A bug answers as a bug, and the connection goes on: the server's outermost step.
            logger.exception("invocation %s", self._request_id)
            if self._invocation is not None:
                self._shared.dispatcher.cancel(self._invocation)
            self._fail(
                ServiceError("InternalFailure", f"Request {self._request_id} failed.", status=500)
            )

    def _submit(self, body: bytes) -> None:
        shared, head = self._shared, self._head
        principal, region = shared.authenticate(head, body)
        name = self._asked.name
        call = self._call(principal, region)
        try:
            shared.authorise(call)
            invocation = self._accept(call, body)
        except ServiceError as error:
            shared.audit(call, error)
            raise
        self._invocation = invocation
        key = (call.account, call.region, name, self._variant, self._fleet)
        shared.dispatcher.submit(key, invocation)
        shared.audit(call, None)

    def _call(self, principal: Principal, region: str) -> Call:
        asked = self._asked
        return Call(
            principal=principal,
            account=principal.account,
            region=region,
            action=asked.action,
            request_id=self._request_id,
            deadline=self._shared.now() + self._shared.gate.limits.invocation_seconds,
            resource=_endpoint_arn(region, principal.account, asked.name),
        )

    def _accept(self, call: Call, body: bytes) -> Invocation:
        """Raises ``ServiceError`` for what an endpoint does not take."""
        asked = self._asked
        name = asked.name
        if asked.is_refused:
            check_head(self._head)
        endpoint = self._shared.find(call.account, call.region, name)
        if endpoint is None:
            raise ServiceError(
                "ValidationError", f"Endpoint {name} of account {call.account} not found."
            )
        if endpoint.asynchronous:
            text = f"Endpoint {name} is asynchronous: invoke it with InvokeEndpointAsync."
            raise ServiceError("ValidationError", text)
        self._endpoint = endpoint
        if endpoint.rollout is not None:
            self._entry = self._shared.books.accept(endpoint.rollout)
        rule = endpoint.capture
        self._is_captured = rule is not None and is_sampled(rule, self._shared.random.uniform())
        variant = self._choose(endpoint)
        self._variant, self._fleet, self._config = variant.name, variant.fleet, variant.config
        if endpoint.shadows:
            self._shadow = self._shared.shadows.choose(endpoint, variant.fleet)
        invocation = Invocation(body, asked.meta, call.deadline, self._finish)
        if asked.operation == STREAM:
            self._expect_parts(invocation)
        if variant.direct or asked.container:
            invocation.container = _container(variant, asked.container, name)
        if variant.multi_model or asked.meta.target_model:
            _check_model(variant, asked.meta.target_model, name)
            invocation.absent = self._fetch_model
        return invocation

    def _choose(self, endpoint: EndpointRoute) -> VariantRoute:
        """Raises ``ServiceError``, as ``choose_variant`` does."""
        target, rollout = self._asked.target_variant, endpoint.rollout
        if len(endpoint.variants) == 1 and not target:
            return endpoint.variants[0]
        fleet = None
        if rollout is not None and rollout.header:
            is_asked = self._head.joined.get(rollout.header) == rollout.value
            fleet = rollout.green if is_asked else None
        draw = self._shared.random.uniform()
        return choose_variant(endpoint, target=target, draw=draw, fleet=fleet)

    def _expect_parts(self, invocation: Invocation) -> None:
        """Neither captured nor shadowed: what a stream says is held by nobody."""
        shared = self._shared
        self._is_captured, self._shadow = False, None
        self._stream = StreamAnswer(
            self._client,
            is_chunked=self._head.version == "1.1",
            headers=self._stream_headers,
            credit=lambda taken: shared.dispatcher.credit(invocation, taken),
        )
        invocation.take_part = self._take_part
        limits = shared.gate.limits
        invocation.stream_deadline = (
            invocation.deadline - limits.invocation_seconds + limits.stream_seconds
        )

    def _take_part(self, meta: AnswerMeta, body: bytes) -> None:
        if self._size:
            self._release()  # There is no second try that would need the request's body.
        if self._stream is not None:
            self._stream.part(meta, body)

    def _fetch_model(self) -> None:
        """No worker of the variant has ever had the model that the request names."""
        endpoint, variant = self._endpoint, self._variant
        assert endpoint is not None
        model = self._asked.meta.target_model
        wanted = (endpoint.account, endpoint.region, endpoint.name, variant, model)
        self._shared.shelves.want(wanted, self._model_fetched)

    def _model_fetched(self, error: ServiceError | None) -> None:
        invocation, endpoint = self._invocation, self._endpoint
        if invocation is None or endpoint is None or invocation.is_over:
            return
        if error is not None:
            invocation.end(error)
            return
        key = (endpoint.account, endpoint.region, endpoint.name, self._variant, self._fleet)
        self._shared.dispatcher.resume(key, invocation)

    def client_gone(self) -> None:
        self._release()
        if self._entry is not None:
            self._entry.leave()
        if self._invocation is not None:
            self._shared.dispatcher.cancel(self._invocation)

    def client_paused(self, paused: bool) -> None:
        """Answers are written whole; the transport holds what the client does not take yet. But for streams."""
        if self._stream is not None:
            self._stream.paused(paused)

    # ---- the answer

    def _finish(self, outcome: Final | ServiceError) -> None:
        self._count(outcome)
        if self._is_captured and isinstance(outcome, Final) and outcome.status == _OK:
            self._capture(outcome)
        if self._shadow is not None:
            self._copy(self._shadow, outcome)
        if self._entry is not None:
            self._enter(self._entry, outcome)
        self._invocation = None
        if self._stream is not None and self._stream.end(outcome):
            self._release()
        elif isinstance(outcome, ServiceError):
            self._fail(self._with_log(outcome))
        elif outcome.status != 200:
            self._fail(self._model_error(outcome))
        elif len(outcome.body) > self._shared.gate.limits.payload_bytes:
            text = f"The answer has {len(outcome.body)} bytes, more than the limit."
            self._fail(
                self._model_error(Final(500, "text/plain", text.encode(), outcome.container))
            )
        else:
            self._release()
            self._client.respond(200, self._headers(outcome), outcome.body)

    def _count(self, outcome: Final | ServiceError) -> None:
        endpoint, invocation = self._endpoint, self._invocation
        if endpoint is None or invocation is None:
            return
        shared = self._shared
        now = shared.now()
        shared.counters.count(
            (endpoint.account, endpoint.region, endpoint.name, self._variant, self._config),
            outcome.status,
            now - invocation.sent_at if invocation.sent_at else 0.0,
            now - invocation.deadline + shared.gate.limits.invocation_seconds,
        )

    def _capture(self, outcome: Final) -> None:
        endpoint, invocation = self._endpoint, self._invocation
        if endpoint is None or endpoint.capture is None or invocation is None:
            return
        self._shared.capture.add(
            (endpoint.capture, endpoint.name, self._variant),
            event_id=self._request_id,
            inference_id=self._asked.inference_id,
            request=Side(self._asked.meta.content_type, invocation.body),
            answer=Side(outcome.content_type, outcome.body),
        )

    def _enter(self, entry: Entry, outcome: Final | ServiceError) -> None:
        """Strike the request off its rollout's book."""
        invocation = self._invocation
        if invocation is None:
            return
        seconds = self._shared.now() - invocation.sent_at if invocation.sent_at else 0.0
        if not self._client.awaits(self):
            entry.cross()
        entry.end(outcome, invocation, fleet=self._fleet, seconds=seconds)

    def _copy(self, shadow: VariantRoute, outcome: Final | ServiceError) -> None:
        endpoint, invocation = self._endpoint, self._invocation
        if endpoint is None or invocation is None:
            return
        is_final = isinstance(outcome, Final)
        copied = Copied(
            body=invocation.body,
            meta=self._asked.meta,
            answer=Answer(outcome.status, outcome.content_type, outcome.body)
            if isinstance(outcome, Final)
            else Answer(outcome.status, "", b""),
            event_id=self._request_id if self._is_captured and is_final else "",
            inference_id=self._asked.inference_id,
        )
        self._shared.shadows.copy(endpoint, shadow, copied)

    def _stream_headers(self, content_type: str, attributes: str) -> bytes:
        lines = (
            f"X-Amzn-SageMaker-Content-Type: {shown_type(content_type)}\r\n"
            f"x-Amzn-Invoked-Production-Variant: {self._variant}\r\n"
            f"x-amzn-RequestId: {self._request_id}\r\n"
        )
        if attributes and are_attributes(attributes):
            lines += f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n"
        return lines.encode("ascii")

    def _headers(self, outcome: Final) -> bytes:
        lines = b"%bx-amzn-RequestId: %b\r\n" % (
            _lines(outcome.content_type, self._variant),
            self._request_id.encode(),
        )
        attributes = outcome.custom_attributes
        if attributes and are_attributes(attributes):
            lines += b"X-Amzn-SageMaker-Custom-Attributes: %b\r\n" % attributes.encode("ascii")
        return lines

    def _model_error(self, outcome: Final) -> ServiceError:
        endpoint = self._endpoint
        assert endpoint is not None
        message = outcome.body[:_MESSAGE_LIMIT].decode("utf-8", "replace")
        side = "server" if outcome.status >= _SERVER_ERROR else "client"
        return ServiceError(
            "ModelError",
            f'Received {side} error ({outcome.status}) from {outcome.container} with message "{message}". '
            f"See log group {endpoint.log_group} in account {endpoint.account} for more information "
            f"(modelyard logs {endpoint.name}).",
            status=424,
            members={
                "OriginalStatusCode": outcome.status,
                "OriginalMessage": message,
                "LogStreamArn": _log_arn(endpoint),
            },
        )

    def _with_log(self, error: ServiceError) -> ServiceError:
        """A time-out is the dispatcher's, which knows no logs."""
        if error.code == "ModelError" and self._endpoint is not None:
            error.members = {**error.members, "LogStreamArn": _log_arn(self._endpoint)}
        return error

    def _fail(self, error: ServiceError) -> None:
        if self._refused:
            return
        self._refused = True
        self._release()
        if self._entry is not None:
            self._entry.refuse(error.code)
        self._client.respond(error.status, *error_answer(error, self._request_id))

    def _refuse_size(self) -> None:
        """AWS answers a bare 413 with a text."""
        limit = self._shared.gate.limits.payload_bytes
        self._refused = True
        self._release()
        text = f"HTTP content length exceeded {limit} bytes."
        self._client.respond(413, b"Content-Type: text/plain\r\n", text.encode())

    def _release(self) -> None:
        self._shared.gate.body_bytes -= self._size
        self._size = 0
        self._pieces = []
        if self._counted:
            self._shared.gate.shares.release(self._asked.name, self._counted)
            self._counted = 0


def _check_model(variant: VariantRoute, model: str, name: str) -> None:
    """Raises ``ValidationError`` for a model's name that is missing, or that has no meaning."""
    if variant.multi_model == bool(model):
        return
    text = (
        f"Endpoint {name} has many models: name one of them by TargetModel."
        if variant.multi_model
        else f"TargetModel is for multi-model endpoints; {name} is not one."
    )
    raise ServiceError("ValidationError", text)


def _container(variant: VariantRoute, wanted: str, name: str) -> str:
    """The container that an invocation names, of an endpoint whose invocations have to. Raises ``ValidationError``."""
    if variant.direct and wanted in variant.containers:
        return wanted
    if not variant.direct:
        text = f"TargetContainerHostname is for endpoints that invoke their containers directly; {name} is not one."
    elif wanted:
        text = f"Container {wanted} was not found in variant {variant.name}: it has {', '.join(variant.containers)}."
    else:
        text = f"Endpoint {name} invokes its containers directly: name one of them by TargetContainerHostname."
    raise ServiceError("ValidationError", text)


def _log_arn(endpoint: EndpointRoute) -> str:
    return f"arn:aws:logs:{endpoint.region}:{endpoint.account}:log-group:{endpoint.log_group}"


@functools.lru_cache(maxsize=4096)
def _endpoint_arn(region: str, account: str, name: str) -> str:
    return f"arn:aws:sagemaker:{region}:{account}:endpoint/{name.lower()}"


@functools.lru_cache(maxsize=4096)
def _lines(content_type: str, variant: str) -> bytes:
    """The header lines that the answers of one variant share."""
    shown = shown_type(content_type)
    return f"Content-Type: {shown}\r\nx-Amzn-Invoked-Production-Variant: {variant}\r\n".encode(
        "ascii"
    )


def shown_type(content_type: str) -> str:
    """A model's word for its answer, which may be any text: what is no header line would end it, and begin another."""
    is_one = content_type.isascii() and content_type.isprintable()
    return (
        content_type if is_one and len(content_type) <= TYPE_LIMIT else "application/octet-stream"
    )


def error_answer(error: ServiceError, request: str) -> tuple[bytes, bytes]:
    """Header lines and body of a rest-json error."""
    headers = (
        "Content-Type: application/json\r\n"
        f"x-amzn-errortype: {error.code}\r\n"
        f"x-amzn-RequestId: {request}\r\n"
    )
    document = {"message": error.message, "Message": error.message, **error.members}
    return headers.encode("latin-1"), json.dumps(document).encode()
