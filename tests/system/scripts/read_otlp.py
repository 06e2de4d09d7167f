"""Reads OTLP/HTTP's JSON as a collector does, by opentelemetry-proto's own messages: an unknown field or a wrong type ends it.

A list of requests on standard input; their spans on standard output, a JSON object each.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

IDS = ("traceId", "spanId", "parentSpanId")


def of_protobuf(found):
    """OTLP's one difference from protobuf's mapping of JSON: ids are hexadecimal, not base64."""
    if isinstance(found, list):
        return [of_protobuf(one) for one in found]
    if not isinstance(found, dict):
        return found
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode() if key in IDS else of_protobuf(value)
        for key, value in found.items()
    }


def attributes(found):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


for request in json.load(sys.stdin):
    message = json_format.ParseDict(of_protobuf(request), ExportTraceServiceRequest())
    for group in message.resource_spans:
        resource = attributes(group.resource.attributes)
        for span in (span for scope in group.scope_spans for span in scope.spans):
            line = {
                "resource": resource,
                "trace": span.trace_id.hex(),
                "id": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "state": span.trace_state,
                "name": span.name,
                "kind": span.SpanKind.Name(span.kind),
                "begin": span.start_time_unix_nano,
                "end": span.end_time_unix_nano,
                "error": span.status.code == span.status.STATUS_CODE_ERROR,
                "events": [one.name for one in span.events],
                "attributes": attributes(span.attributes),
            }
            print(json.dumps(line))
