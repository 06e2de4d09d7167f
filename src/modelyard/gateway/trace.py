"""One sampled request's trace: the gateway's own span, and one pair of spans for each worker that it is sent to.

::

    POST /endpoints/{EndpointName}/invocations   from the request's head to its answer
      ├─ queue     until a worker begins: the wait for a replica, the way, the wait at the worker (event ``sent``)
      └─ predict   the worker's work on the batch that the request was in

A worker tells durations with its answer, never moments: the two ends may have different clocks. What of the time between
sending and answer neither wait nor work explains is the way, half of it there and half of it back.
"""

from urllib.parse import urlsplit

from modelyard.base.errors import ServiceError
from modelyard.domain.tracing import INTERNAL, SERVER, Event, Parent, Span, Value, write_parent
from modelyard.gateway.heads import Head
from modelyard.gateway.spans import Spans
from modelyard.transport.frames import TracedAnswerMeta

_ERRORS, _SERVER_ERRORS = 400, 500
_NANO = 1_000_000_000
GONE = "client_gone"
LOST = "worker_lost"
_LONGEST = 256
"""Characters of a header that an attribute keeps."""


class Trace:
    """From the head to the answer; every span is kept once, when it has ended."""

    def __init__(
        self, spans: Spans, trace_id: str, parent: Parent | None, *, head: Head, route: str
    ) -> None:
        self._spans = spans
        self._trace_id = trace_id
        self._parent = parent
        self._span_id = spans.random.hex(16)
        self._begun = self._free_since = spans.now()
        self._offset = spans.offset()
        self._sent_at = 0.0
        self._predict_id = self._container = self._worker = ""
        self._tries = 0
        self._has_ended = False
        self._name = f"{head.method} {route}"
        self._attributes: dict[str, Value] = {
            **_of_head(head),
            "http.route": route,
            "url.scheme": spans.scheme,
        }
        self._variant: dict[str, Value] = {}

    def describe(self, attributes: dict[str, Value], *, variant: dict[str, Value]) -> None:
        """What is known of the request once an endpoint has taken it; ``variant`` stands in its worker's spans, too."""
        self._attributes.update(attributes)
        self._variant = variant

    def _epoch(self, moment: float) -> int:
        return int((self._offset + moment) * _NANO)

    # ---- on its way

    def sent(self, container: str, worker: str) -> tuple[str, str]:
        """It goes to a worker, whose span is the parent of whatever the container traces by itself."""
        self._sent_at = self._spans.now()
        self._predict_id = self._spans.random.hex(16)
        self._container, self._worker = container, worker
        self._tries += 1
        state = self._parent.state if self._parent is not None else ""
        return write_parent(self._trace_id, self._predict_id), state

    def answered(self, status: int, times: TracedAnswerMeta | None) -> None:
        """What a worker does not say (streams, refusals) is taken as work from the sending on."""
        now, sent = self._spans.now(), self._sent_at
        begin, end = sent, now
        more: dict[str, Value] = {}
        if times is not None:
            waited, worked = times.waited / 1e6, times.worked / 1e6
            way = max(0.0, now - sent - waited - worked) / 2
            begin = min(now, sent + way + waited)
            end = min(now, begin + worked)
            more = {"modelyard.batch.requests": times.requests}
            if times.release:
                more["modelyard.batch.release"] = times.release
        error = f"status {status}" if status >= _ERRORS else None
        self._tried(begin, end, {"http.response.status_code": status, **more}, error)
        self._free_since = now

    def lost(self, *, executed: bool) -> None:
        """Its worker died, or drained before it took the request."""
        now = self._spans.now()
        text = "The worker is gone." if executed else "The worker left before it took the request."
        self._tried(self._sent_at, now, {"error.type": LOST}, text)
        self._free_since = now

    def _tried(self, begin: float, end: float, more: dict[str, Value], error: str | None) -> None:
        if self._has_ended:
            return  # Its caller has left, or has its answer: whatever else a worker says is nobody's.
        spans = self._spans
        sent = [Event("sent", self._epoch(self._sent_at))]
        self._keep("queue", spans.random.hex(16), (self._free_since, begin), events=sent)
        attributes = {
            **self._variant,
            "modelyard.container": self._container,
            "modelyard.try": self._tries,
            **more,
        }
        self._keep(
            "predict",
            self._predict_id,
            (begin, end),
            process=self._worker,
            attributes=attributes,
            error=error,
        )

    # ---- the end

    def end(self, status: int, *, error: ServiceError | None = None, size: int = 0) -> None:
        """The answer is on its way; a second call does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        self._attributes["http.response.status_code"] = status
        self._attributes["http.response.body.size"] = size
        text = None
        if error is not None:
            self._attributes["error.type"] = error.code
            original = error.members.get("OriginalStatusCode", 0)
            # A client's error is no error of the server's span; a failed model is, whatever status AWS gives it.
            is_ours = status >= _SERVER_ERRORS or original >= _SERVER_ERRORS
            text = error.message if is_ours else None
        self._finish(text)

    def left(self) -> None:
        """The client has gone without its answer."""
        if not self._has_ended:
            self._has_ended = True
            self._attributes["error.type"] = GONE
            self._finish(None)

    def _finish(self, error: str | None) -> None:
        self._attributes["modelyard.tries"] = self._tries
        spans = self._spans
        parent = self._parent
        spans.add(
            Span(
                trace_id=self._trace_id,
                span_id=self._span_id,
                parent_id=parent.span_id if parent is not None else "",
                state=parent.state if parent is not None else "",
                name=self._name,
                kind=SERVER,
                begin=self._epoch(self._begun),
                end=self._epoch(spans.now()),
                process=spans.process,
                attributes=self._attributes,
                error=error,
            )
        )

    def _keep(  # noqa: PLR0913 - the parts of a span
        self,
        name: str,
        span_id: str,
        times: tuple[float, float],
        *,
        process: str = "",
        attributes: dict[str, Value] | None = None,
        events: list[Event] | None = None,
        error: str | None = None,
    ) -> None:
        spans = self._spans
        spans.add(
            Span(
                trace_id=self._trace_id,
                span_id=span_id,
                parent_id=self._span_id,
                state=self._parent.state if self._parent is not None else "",
                name=name,
                kind=INTERNAL,
                begin=self._epoch(times[0]),
                end=self._epoch(times[1]),
                process=process or spans.process,
                attributes=attributes or {},
                events=events or [],
                error=error,
            )
        )


def _of_head(head: Head) -> dict[str, Value]:
    """By the semantic conventions for HTTP servers; never a body, a signature or a query."""
    host = urlsplit(f"//{head.joined.get('host', '')}")
    found: dict[str, Value] = {
        "http.request.method": head.method,
        "url.path": head.path[:_LONGEST],
        "network.protocol.version": head.version,
        "client.address": head.peer,
        "server.address": (host.hostname or "")[:_LONGEST],
    }
    port = host.netloc.rpartition(":")[2]
    if port.isdecimal():
        found["server.port"] = int(port)
    agent = head.joined.get("user-agent", "")
    if agent:
        found["user_agent.original"] = agent[:_LONGEST]
    return found
