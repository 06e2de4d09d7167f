"""Control's part of traces: one POST of OTLP/HTTP, and the spans of API calls."""

import http.client
import ssl
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from modelyard import __version__
from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.base.otel import Tracing
from modelyard.control.tracing import Posted
from modelyard.domain import otlp
from modelyard.domain.tracing import SERVER, Sampler, Span, Value, read_parent
from modelyard.server.app import Exchange
from modelyard.server.timed_answers import TimedAnswer

TIMEOUT_SECONDS = 10.0
_RETRYABLE = frozenset({429, 502, 503, 504})
_SAID_BYTES = 200
_SUCCESS = range(200, 300)
_SERVER_ERRORS = 500
_NANO = 1_000_000_000
_USER_AGENT = f"Modelyard-OTLP-Exporter/{__version__}"


class Collector:
    """Posts batches to one collector; a connection each, so that none is held while there is nothing to say."""

    def __init__(self, tracing: Tracing, headers: Mapping[str, str]) -> None:
        self._tracing = tracing
        self._headers = {
            "User-Agent": _USER_AGENT,
            **headers,
            "Content-Type": "application/json",
        }
        parts = urlsplit(tracing.endpoint)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._is_secure = parts.scheme == "https"

    def post(self, spans: Sequence[Span]) -> Posted:
        """Blocks, ``TIMEOUT_SECONDS`` for each step at most. Never raises for what the other side does."""
        body = otlp.encode(
            spans,
            service_name=self._tracing.service_name,
            version=__version__,
            resource=self._tracing.resource,
        )
        try:
            connection = self._connect()
            connection.response_class = TimedAnswer
            try:
                connection.request("POST", self._target, body, self._headers)
                answer = connection.getresponse()
                said = answer.read(_SAID_BYTES).decode("utf-8", "replace")
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            return Posted(reason=f"{self._tracing.endpoint}: {error}", may_retry=True)
        if answer.status in _SUCCESS:
            return Posted()
        return Posted(
            reason=f"{self._tracing.endpoint} answered {answer.status}: {said}",
            may_retry=answer.status in _RETRYABLE,
            after_seconds=_seconds(answer.getheader("Retry-After", "")),
        )

    def _connect(self) -> http.client.HTTPConnection:
        if not self._is_secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=self._tracing.certificate or None)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
        )


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


class ApiSpans:
    """A span for each API call; ``keep`` takes it."""

    def __init__(
        self,
        *,
        process: str,
        sampler: Sampler,
        random: RandomSource,
        now: Callable[[], float],
        keep: Callable[[Span], None],
    ) -> None:
        self._process = process
        self._sampler = sampler
        self._random = random
        self._now = now
        self._keep = keep

    def observe(self, exchange: Exchange, status: int, begun: float) -> None:
        """The call has been answered; ``begun`` is in seconds since the epoch."""
        headers = exchange.headers
        parent = read_parent(headers.get("traceparent", ""), headers.get("tracestate", ""))
        trace_id = parent.trace_id if parent is not None else self._random.hex(32)
        if not self._sampler.takes(trace_id, parent):
            return
        result = exchange.result
        error = result if isinstance(result, ServiceError) else None
        self._keep(
            Span(
                trace_id=trace_id,
                span_id=self._random.hex(16),
                parent_id=parent.span_id if parent is not None else "",
                state=parent.state if parent is not None else "",
                name=_name(exchange),
                kind=SERVER,
                begin=int(begun * _NANO),
                end=int(self._now() * _NANO),
                process=self._process,
                attributes=_attributes(exchange, status, error),
                error=error.message if error is not None and status >= _SERVER_ERRORS else None,
            )
        )


def _name(exchange: Exchange) -> str:
    if exchange.service is None or not exchange.operation:
        return exchange.request.method
    return f"{exchange.service.service_id}/{exchange.operation}"


def _attributes(exchange: Exchange, status: int, error: ServiceError | None) -> dict[str, Value]:
    """By the semantic conventions for calls of AWS's APIs."""
    found: dict[str, Value] = {
        "http.request.method": exchange.request.method,
        "http.response.status_code": status,
        "aws.request_id": exchange.request_id,
    }
    if exchange.service is not None and exchange.operation:
        found |= {
            "rpc.system.name": "aws-api",
            "rpc.method": f"{exchange.service.service_id}/{exchange.operation}",
        }
    if exchange.call is not None:
        found |= {"cloud.account.id": exchange.call.account, "cloud.region": exchange.call.region}
    if error is not None:
        found["error.type"] = error.code
    return found
