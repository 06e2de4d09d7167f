"""Spans as OTLP/HTTP takes them: ``ExportTraceServiceRequest`` in the protocol's JSON encoding. Pure.

Source: opentelemetry-proto 1.x, ``trace/v1/trace.proto``, and OTLP's rules for JSON: ids in hexadecimal, 64-bit numbers as
strings, enums as numbers, lowerCamelCase names.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from modelyard.domain.tracing import SAMPLED, Span, Value

SCOPE = "modelyard"
STATUS_ERROR = 2


def encode(
    spans: Iterable[Span], *, service_name: str, version: str, resource: Mapping[str, str]
) -> bytes:
    """One request. Spans of one process share a resource."""
    by_process: dict[str, list[Span]] = {}
    for span in spans:
        by_process.setdefault(span.process, []).append(span)
    shared = {"service.name": service_name, "service.version": version, **resource}
    return msgspec.json.encode(
        {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": _attributes({**shared, "service.instance.id": process})
                    },
                    "scopeSpans": [
                        {
                            "scope": {"name": SCOPE, "version": version},
                            "spans": [_span(one) for one in some],
                        }
                    ],
                }
                for process, some in by_process.items()
            ]
        }
    )


def _span(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "flags": SAMPLED,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.begin),
        "endTimeUnixNano": str(max(span.begin, span.end)),
        "attributes": _attributes(span.attributes),
    }
    if span.parent_id:
        found["parentSpanId"] = span.parent_id
    if span.state:
        found["traceState"] = span.state
    if span.events:
        found["events"] = [{"timeUnixNano": str(one.at), "name": one.name} for one in span.events]
    if span.error is not None:
        found["status"] = {"code": STATUS_ERROR, "message": span.error}
    return found


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Value]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"stringValue": value}
