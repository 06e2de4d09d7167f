"""``InvokeEndpoint`` as HTTP: from a request's head and body to the dispatcher, and from its outcome to an answer.

Source of headers, limits, codes and texts: AWS's model of ``sagemaker-runtime`` and hosting.md, section 5.
"""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.domain.capture import Side, is_sampled
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.shadow import Answer
from modelyard.gateway.answers import (
    answer_lines,
    error_answer,
    model_error,
    stream_lines,
    too_long,
    with_log,
)
from modelyard.gateway.asked import STREAM, check_head
from modelyard.gateway.body_shares import SMALL_BYTES
from modelyard.gateway.books import Books, Entry
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import Counters
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Exchange, Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.in_flight import Invocation
from modelyard.gateway.lane import Tracks, Trip
from modelyard.gateway.shadows import Copied, Shadows
from modelyard.gateway.shelves import Shelves
from modelyard.gateway.streams import StreamAnswer
from modelyard.gateway.ways import (
    Way,
    check_model,
    choose_container,
    choose_way,
    endpoint_arn,
    known_of,
    only_way,
)
from modelyard.transport.frames import AnswerMeta

logger = logging.getLogger(__name__)
_OK = 200


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
    tracks: Tracks | None = None
    """Where there is a lane."""
    begin: Callable[[Head, ClientConnection], Exchange] = field(init=False)
    """Makes the exchange of one invocation."""

    def __post_init__(self) -> None:
        self.begin = functools.partial(Invoke, self)

    def take_over(self, trip: Trip) -> Invocation:
        """A request that the lane had sent, and that is no longer ordinary: as if it had come this way."""
        head, way = trip.context
        client: ClientConnection = trip.connection
        return Invoke(self, head, client).take_over(trip, way)


class _Besides:
    """What some requests have beside an answer: a ledger's entry, a copy for a shadow, a place in what is captured, parts."""

    __slots__ = ("entry", "is_captured", "shadow", "stream")

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.is_captured = False
        self.shadow: VariantRoute | None = None
        self.stream: StreamAnswer | None = None


class Invoke:
    """One invocation on its way; its answer goes to the client exactly once."""

    def __init__(self, shared: Invocations, head: Head, client: ClientConnection) -> None:
        self._shared = shared
        self._head = head
        self._client = client
        known = self._known = head.memo or known_of(head)
        self._asked = asked = known.asked
        self._pieces: list[bytes] | None = None
        self._size = 0
        self._counted = 0
        """Bytes of a large body, as its endpoint's share knows them."""
        self._refused = False
        self._invocation: Invocation | None = None
        self._way: Way | None = None
        self._besides: _Besides | None = None
        self._request_id = shared.request_id()
        if head.length > shared.gate.limits.payload_bytes:
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
        elif gate.body_bytes > gate.body_budget:
            full = "The gateway holds as many request bodies as it may; try again."
            self._fail(ServiceError("ServiceUnavailable", full, status=503))
        elif self._size > SMALL_BYTES and not self._is_fair():
            full = (
                f"The bodies of requests to endpoint {self._asked.name} hold as much of the gateway's "
                "memory as is left for all others; try again."
            )
            self._fail(ServiceError("ServiceUnavailable", full, status=503))
        elif self._pieces is None:
            self._pieces = [data]
        else:
            self._pieces.append(data)

    def _is_fair(self) -> bool:
        gate, counted, self._counted = self._shared.gate, self._counted, self._size
        free = gate.body_budget - gate.body_bytes
        return gate.shares.grow(self._asked.name, self._size, counted=counted, free=free)

    def whole(self, data: bytes) -> None:
        gate = self._shared.gate
        size = len(data)
        held = gate.body_bytes + size
        if self._refused or held > gate.body_budget or size > SMALL_BYTES:
            self.body(data)
            self.complete()
            return
        self._size = size
        gate.body_bytes = held
        self._run(data)

    def complete(self) -> None:
        if not self._refused:
            pieces = self._pieces or ()
            self._run(pieces[0] if len(pieces) == 1 else b"".join(pieces))

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
        shared, asked = self._shared, self._asked
        principal, region = shared.authenticate(self._head, body)
        account = principal.account
        call = Call(
            principal=principal,
            account=account,
            region=region,
            action=asked.action,
            request_id=self._request_id,
            deadline=shared.now() + shared.gate.limits.invocation_seconds,
            resource=endpoint_arn(region, account, asked.name),
        )
        try:
            shared.authorise(call)
            invocation, way = self._accept(call, body)
        except ServiceError as error:
            shared.audit(call, error)
            raise
        self._invocation = invocation
        shared.dispatcher.submit(way.key, invocation)
        shared.audit(call, None)

    def _accept(self, call: Call, body: bytes) -> tuple[Invocation, Way]:
        """Raises ``ServiceError`` for what an endpoint does not take."""
        asked, way = self._asked, self._known.way
        if way is None or way.endpoint is not self._shared.find(
            call.account, call.region, asked.name
        ):
            way = self._find_way(call)
        self._way = way
        tracks = self._shared.tracks
        if tracks is not None and self._known.way is not None:
            tracks.lay(self._head, self._known, self._shared.dispatcher.port(way.key))
        invocation = Invocation(body, asked.meta, call.deadline, self._finish)
        invocation.encoded = asked.encoded
        if self._besides is not None:
            self._prepare(invocation, way)
        return invocation, way

    def take_over(self, trip: Trip, way: Way) -> Invocation:
        """Of a request that is at a worker."""
        shared = self._shared
        body = trip.body
        self._request_id, self._way, self._size = trip.request_id, way, len(body)
        shared.gate.body_bytes += self._size
        invocation = Invocation(body, self._asked.meta, trip.deadline, self._finish)
        invocation.encoded = self._asked.encoded
        trip.replica.take_over(invocation, trip.number, trip.sent_at)
        self._invocation = invocation
        self._client.go_on_with(self)
        return invocation

    def _find_way(self, call: Call) -> Way:
        """Raises ``ServiceError`` for what an endpoint does not take."""
        shared, asked, known = self._shared, self._asked, self._known
        if asked.is_refused:
            check_head(self._head)
        endpoint = shared.find(call.account, call.region, asked.name)
        if endpoint is None:
            text = f"Endpoint {asked.name} of account {call.account} not found."
            raise ServiceError("ValidationError", text)
        known.way = only_way(endpoint, asked)
        if known.way is not None:
            return known.way
        besides = self._besides = _Besides()
        if endpoint.rollout is not None:
            besides.entry = shared.books.accept(endpoint.rollout)
        rule = endpoint.capture
        besides.is_captured = rule is not None and is_sampled(rule, shared.random.uniform())
        way = choose_way(endpoint, asked, self._head, shared.random.uniform())
        if endpoint.shadows:
            besides.shadow = shared.shadows.choose(endpoint, way.variant.fleet)
        return way

    def _prepare(self, invocation: Invocation, way: Way) -> None:
        """Raises ``ServiceError`` for a container or a model that the variant has not got."""
        asked, variant = self._asked, way.variant
        if asked.operation == STREAM:
            self._expect_parts(invocation)
        if variant.direct or asked.container:
            invocation.container = choose_container(variant, asked.container, asked.name)
        if variant.multi_model or asked.meta.target_model:
            check_model(variant, asked.meta.target_model, asked.name)
            invocation.absent = self._fetch_model

    def _expect_parts(self, invocation: Invocation) -> None:
        """Neither captured nor shadowed: what a stream says is held by nobody."""
        shared, besides = self._shared, self._besides
        assert besides is not None
        besides.is_captured, besides.shadow = False, None
        besides.stream = StreamAnswer(
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
        if self._besides is not None and self._besides.stream is not None:
            self._besides.stream.part(meta, body)

    def _fetch_model(self) -> None:
        """No worker of the variant has ever had the model that the request names."""
        way = self._way
        assert way is not None
        wanted = (*way.key[:4], self._asked.meta.target_model)
        self._shared.shelves.want(wanted, self._model_fetched)

    def _model_fetched(self, error: ServiceError | None) -> None:
        invocation, way = self._invocation, self._way
        if invocation is None or way is None or invocation.is_over:
            return
        if error is not None:
            invocation.end(error)
            return
        self._shared.dispatcher.resume(way.key, invocation)

    def client_gone(self) -> None:
        self._release()
        if self._besides is not None and self._besides.entry is not None:
            self._besides.entry.leave()
        if self._invocation is not None:
            self._shared.dispatcher.cancel(self._invocation)

    def client_paused(self, paused: bool) -> None:
        """Answers are written whole; the transport holds what the client does not take yet. But for streams."""
        if self._besides is not None and self._besides.stream is not None:
            self._besides.stream.paused(paused)

    # ---- the answer

    def _finish(self, outcome: Final | ServiceError) -> None:
        shared, invocation, way = self._shared, self._invocation, self._way
        assert way is not None
        if invocation is not None:
            now = shared.now()
            shared.counters.count(
                way.cell,
                outcome.status,
                now - invocation.sent_at if invocation.sent_at else 0.0,
                now - invocation.deadline + shared.gate.limits.invocation_seconds,
            )
        stream = None
        if self._besides is not None and invocation is not None:
            stream = self._besides.stream
            self._tell(self._besides, way, invocation, outcome)
        self._invocation = None
        if stream is not None and stream.end(outcome):
            self._release()
        elif isinstance(outcome, ServiceError):
            self._fail(with_log(outcome, way.endpoint))
        elif outcome.status != _OK:
            self._fail(model_error(outcome, way.endpoint))
        elif len(outcome.body) > shared.gate.limits.payload_bytes:
            self._fail(too_long(outcome, way.endpoint))
        else:
            self._release()
            lines = answer_lines(outcome, way.variant.name, self._request_id)
            self._client.respond(_OK, lines, outcome.body)

    def _tell(
        self, besides: _Besides, way: Way, invocation: Invocation, outcome: Final | ServiceError
    ) -> None:
        """Whom the outcome concerns beside the caller."""
        is_captured = besides.is_captured and isinstance(outcome, Final)
        if is_captured and outcome.status == _OK:
            self._capture(way, invocation, outcome)
        if besides.shadow is not None:
            event_id = self._request_id if is_captured else ""
            self._copy(besides.shadow, way, invocation, outcome, event_id)
        if besides.entry is not None:
            self._enter(besides.entry, way, invocation, outcome)

    def _capture(self, way: Way, invocation: Invocation, outcome: Final | ServiceError) -> None:
        rule = way.endpoint.capture
        if rule is None or not isinstance(outcome, Final):
            return
        self._shared.capture.add(
            (rule, way.endpoint.name, way.variant.name),
            event_id=self._request_id,
            inference_id=self._asked.inference_id,
            request=Side(self._asked.meta.content_type, invocation.body),
            answer=Side(outcome.content_type, outcome.body),
        )

    def _enter(
        self, entry: Entry, way: Way, invocation: Invocation, outcome: Final | ServiceError
    ) -> None:
        """Strike the request off its rollout's book."""
        seconds = self._shared.now() - invocation.sent_at if invocation.sent_at else 0.0
        if not self._client.awaits(self):
            entry.cross()
        entry.end(outcome, invocation, fleet=way.variant.fleet, seconds=seconds)

    def _copy(
        self,
        shadow: VariantRoute,
        way: Way,
        invocation: Invocation,
        outcome: Final | ServiceError,
        event_id: str,
    ) -> None:
        is_final = isinstance(outcome, Final)
        copied = Copied(
            body=invocation.body,
            meta=self._asked.meta,
            answer=Answer(outcome.status, outcome.content_type, outcome.body)
            if isinstance(outcome, Final)
            else Answer(outcome.status, "", b""),
            event_id=event_id if is_final else "",
            inference_id=self._asked.inference_id,
        )
        self._shared.shadows.copy(way.endpoint, shadow, copied)

    def _stream_headers(self, content_type: str, attributes: str) -> bytes:
        way = self._way
        assert way is not None
        return stream_lines(content_type, attributes, way.variant.name, self._request_id)

    def _fail(self, error: ServiceError) -> None:
        if self._refused:
            return
        self._refused = True
        self._release()
        if self._besides is not None and self._besides.entry is not None:
            self._besides.entry.refuse(error.code)
        self._client.respond(error.status, *error_answer(error, self._request_id))

    def _refuse_size(self) -> None:
        """AWS answers a bare 413 with a text."""
        limit = self._shared.gate.limits.payload_bytes
        self._refused = True
        self._release()
        text = f"HTTP content length exceeded {limit} bytes."
        self._client.respond(413, b"Content-Type: text/plain\r\n", text.encode())

    def _release(self) -> None:
        gate = self._shared.gate
        gate.body_bytes -= self._size
        self._size = 0
        self._pieces = None
        if self._counted:
            gate.shares.release(self._asked.name, self._counted)
            self._counted = 0
