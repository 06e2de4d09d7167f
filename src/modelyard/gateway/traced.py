"""Tracing around the path of an invocation: what stands there only where traces are on, so that without them nothing is paid.

An exchange that is sampled is a ``TracedInvoke``; a channel to a worker has a ``TracedChannel`` around it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.domain.tracing import read_parent
from modelyard.gateway.asked import STREAM
from modelyard.gateway.gate import Exchange
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.in_flight import Invocation, WorkerChannel, where
from modelyard.gateway.invocations import Invocations, Invoke
from modelyard.gateway.spans import Spans
from modelyard.gateway.trace import Trace
from modelyard.gateway.ways import Way, known_of
from modelyard.transport import frames
from modelyard.transport.channel import Listener

_OK, _TOO_LARGE = 200, 413
_PLACE = "/endpoints/{EndpointName}/"


class Tracing:
    """Begins invocations in the place of ``Invocations``, and decides which are traced."""

    def __init__(self, spans: Spans, invocations: Invocations) -> None:
        self._spans = spans
        self._invocations = invocations

    def begin(self, head: Head, client: ClientConnection) -> Exchange:
        """The exchange of one invocation. One that is not sampled goes on with its caller's context, untouched."""
        spans, headers = self._spans, head.joined
        parent = read_parent(headers.get("traceparent", ""), headers.get("tracestate", ""))
        trace_id = parent.trace_id if parent is not None else spans.random.hex(32)
        if not spans.sampler.takes(trace_id, parent):
            return self._invocations.begin(head, client)
        asked = known_of(head).asked
        route = _PLACE + ("invocations-response-stream" if asked.operation == STREAM else "invocations")  # fmt: skip
        trace = Trace(spans, trace_id, parent, head=head, route=route)
        return TracedInvoke(self._invocations, head, client, trace)


class TracedInvoke(Invoke):
    """An invocation that says to its trace what becomes of it, at the few points where that is known."""

    def __init__(
        self, shared: Invocations, head: Head, client: ClientConnection, trace: Trace
    ) -> None:
        self._trace = trace  # The head alone may be refused, at once.
        super().__init__(shared, head, client)

    def _accept(self, call: Call, body: bytes) -> tuple[Invocation, Way]:
        self._trace.describe(
            {
                "aws.request_id": self._request_id,
                "cloud.account.id": call.account,
                "cloud.region": call.region,
                "cloud.resource_id": call.resource,
                "http.request.body.size": len(body),
            },
            variant={"modelyard.endpoint": self._asked.name},
        )
        invocation, way = super()._accept(call, body)
        variant = {
            "modelyard.endpoint": self._asked.name,
            "modelyard.variant": way.variant.name,
            "modelyard.endpoint_config": way.variant.config,
        }
        self._trace.describe({**variant}, variant={**variant})
        invocation.trace = self._trace
        return invocation, way

    def _finish(self, outcome: Final | ServiceError) -> None:
        super()._finish(outcome)
        if isinstance(outcome, ServiceError):  # A stream that broke off: all else has ended by now.
            self._trace.end(outcome.status, error=outcome)
        else:
            self._trace.end(_OK, size=len(outcome.body))

    def _fail(self, error: ServiceError) -> None:
        super()._fail(error)
        self._trace.end(error.status, error=error)

    def _refuse_size(self) -> None:
        super()._refuse_size()
        self._trace.end(_TOO_LARGE)

    def client_gone(self) -> None:
        super().client_gone()
        self._trace.left()


class TracedChannel:
    """A channel to a worker that hands traces on, and takes the worker's times out of its answers."""

    def __init__(
        self,
        address: str,
        listener: Listener,
        *,
        channel: Callable[[str, Listener], WorkerChannel],
    ) -> None:
        self._worker = address.rpartition("/")[2].removesuffix(".sock")
        self._listener = listener
        self._channel = channel(address, self)
        self.connect = self._channel.connect
        self.close = self._channel.close
        self.cancel = self._channel.cancel
        self.credit = self._channel.credit

    @property
    def is_ready(self) -> bool:
        return self._channel.is_ready

    @property
    def in_flight(self) -> int:
        return self._channel.in_flight

    def send(self, tag: Any, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        """As ``Channel.send``; ``tag`` is an ``Invocation``."""
        if tag.trace is not None:
            parent, state = tag.trace.sent(where(tag), self._worker)
            asked = frames.decode_request_meta(meta)
            meta = frames.encode_meta(
                msgspec.structs.replace(asked, trace=parent, trace_state=state)
            )
            flags |= frames.TRACED
        return self._channel.send(tag, remaining_ms, flags, meta, body)

    def answered(self, tag: Any, frame: frames.Frame) -> None:
        if tag.trace is not None:
            times = None
            if frame.flags & frames.TRACED:
                times = frames.decode_traced_meta(frame.meta)
                plain = frames.ModelAnswerMeta(
                    times.content_type, times.custom_attributes, times.model
                )
                meta = frames.encode_meta(plain)
                frame = frames.Frame(
                    frame.kind, frame.flags, frame.id, frame.number, meta, frame.body
                )
            tag.trace.answered(frame.number, times)
        self._listener.answered(tag, frame)

    def part(self, tag: Any, frame: frames.Frame) -> None:
        self._listener.part(tag, frame)

    def lost(self, tag: Any, *, executed: bool) -> None:
        if tag.trace is not None:
            tag.trace.lost(executed=executed)
        self._listener.lost(tag, executed=executed)

    def ready(self) -> None:
        self._listener.ready()
