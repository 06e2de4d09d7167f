"""botocore's protocol cases: what its clients write we read, what we write its parsers read."""

import base64
import importlib.util
import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel
from botocore.parsers import create_parser

from modelyard.wire import codec
from modelyard.wire.scalars import encode_special_float

_spec = importlib.util.spec_from_file_location(
    "botocore_source", Path(__file__).with_name("botocore_source.py")
)
assert _spec is not None and _spec.loader is not None
botocore_source = importlib.util.module_from_spec(_spec)
sys.modules["botocore_source"] = botocore_source
_spec.loader.exec_module(botocore_source)

IGNORED = "protocols/protocol-tests-ignore-list.json"
QUERY_MAP = "a server sees one query, not which member a client put a pair in"
PROTOCOLS = (
    "json", "json_1_0", "query", "rest-json", "rest-xml", "smithy-rpc-v2-cbor",
    "smithy-rpc-v2-cbor-query-compatible", "smithy-rpc-v2-cbor-non-query-compatible",
)  # fmt: skip

OURS = {
    "RestJsonAllQueryStringTypes": QUERY_MAP,
    "RestJsonQueryStringEscaping": QUERY_MAP,
    "RestJsonSupportsNaNFloatQueryValues": QUERY_MAP,
    "RestJsonSupportsInfinityFloatQueryValues": QUERY_MAP,
    "RestJsonSupportsNegativeInfinityFloatQueryValues": QUERY_MAP,
    "RestJsonZeroAndFalseQueryValues": QUERY_MAP,
    "RestJsonOmitsEmptyListQueryValues": "an empty list in a query is not sent, so it cannot arrive",
    "HttpPrefixHeadersResponse": "the prefix is empty, so it takes our own headers, too",
    "SimpleScalarPropertiesComplexEscapes": "XML itself reads a bare CR LF as LF",
}
"""Cases that a client can pass and a server cannot, with the reason."""


def _skipped(direction: str, protocol: str, suite: dict[str, Any], case: dict[str, Any]) -> str:
    """Why a case is not run; botocore's own list names those that botocore itself does not pass."""
    lists = json.loads((botocore_source.folder() / IGNORED).read_text())
    general = lists["general"].get(direction, {})
    own = lists["protocols"].get(protocol, {}).get(direction, {})
    if suite.get("description") in general.get("suites", []) + own.get("suites", []):
        return "botocore skips the suite"
    if case.get("id") in own.get("cases", []) + general.get("cases", []):
        return "botocore does not pass it"
    return OURS.get(case.get("id", ""), "")


def _cases(direction: str) -> list[Any]:
    return [
        pytest.param(protocol, suite, case, id=f"{protocol}-{case.get('id', number)}-{number}")
        for protocol in PROTOCOLS
        for number, (suite, case) in enumerate(botocore_source.protocol_cases(direction, protocol))
    ]


def _bytes(protocol: str, body: Any) -> Any:
    """The cases write CBOR as base64."""
    if not isinstance(body, str):
        return body
    return base64.b64decode(body) if "cbor" in protocol else body.encode()


def _service(suite: dict[str, Any], case: dict[str, Any]) -> ServiceModel:
    given = dict(case["given"])
    given.setdefault("http", {"method": "POST", "requestUri": "/"})
    return ServiceModel(
        {
            "metadata": suite["metadata"],
            "shapes": suite["shapes"],
            "operations": {given["name"]: given},
        },
        service_name="case",
    )


def _typed(shape: Any, value: Any) -> Any:
    """The case's JSON as the Python values that an application gives and gets."""
    if value is None or shape is None:
        return value
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return value
        return {n: _typed(shape.members[n], v) for n, v in value.items() if n in shape.members}
    if kind == "list":
        return [_typed(shape.member, item) for item in value]
    if kind == "map":
        return {key: _typed(shape.value, item) for key, item in value.items()}
    if kind == "timestamp":
        return datetime.fromtimestamp(value, tz=UTC)
    if kind == "blob":
        return value.encode() if isinstance(value, str) else value
    if kind in ("float", "double"):
        return float(value)
    return value


def _plain(value: Any) -> Any:
    """Comparable: NaN equals NaN, streams are read, absent and null are alike."""
    if isinstance(value, dict):
        pairs = {k: _plain(v) for k, v in value.items() if k != "ResponseMetadata"}
        return {k: v for k, v in pairs.items() if v is not None and v not in ({}, "", b"")}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return encode_special_float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize(("protocol", "suite", "case"), _cases("input"))
def test_what_a_client_writes_is_read(
    protocol: str, suite: dict[str, Any], case: dict[str, Any]
) -> None:
    if reason := _skipped("input", protocol, suite, case):
        pytest.skip(reason)
    service = _service(suite, case)
    name = case["given"]["name"]
    expected = case["serialized"]
    body = expected.get("body", "")
    shape = service.operation_model(name).input_shape
    params = codec.parse(
        service,
        name,
        method=expected.get("method", "POST"),
        uri=expected.get("uri", "/"),
        headers={k.lower(): v for k, v in expected.get("headers", {}).items()},
        body=_bytes(protocol, body),
    )
    assert _plain(params) == _plain(_typed(shape, case["params"]))


@pytest.mark.parametrize(("protocol", "suite", "case"), _cases("output"))
def test_what_a_service_answers_is_read_by_the_client(
    protocol: str, suite: dict[str, Any], case: dict[str, Any]
) -> None:
    if "error" in case or "errorCode" in case:
        pytest.skip("errors are compared in test_errors.py, in the forms that we write")
    if reason := _skipped("output", protocol, suite, case):
        pytest.skip(reason)
    service = _service(suite, case)
    model = service.operation_model(case["given"]["name"])
    shape = model.output_shape
    result = _typed(shape, case.get("result", {}))
    response = codec.serialize(service, model.name, result, request_id="r")
    parsed = create_parser(service.metadata["protocol"]).parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": response.body,
        },
        shape,
    )
    assert _plain(parsed) == _plain(result)
