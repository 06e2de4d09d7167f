"""Any request that the model allows survives botocore's client and our decoder; any answer our encoder and its parser."""

from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.base.errors import ServiceError
from modelyard.services import registry
from modelyard.testing import shapes
from modelyard.wire import codec
from modelyard.wire.models import load_service

CBOR = "smithy-rpc-v2-cbor"
OPERATIONS = [
    ("sagemaker-runtime", "InvokeEndpoint"),
    *((service, name) for service, classes in registry.SERVICES.items() for names in classes.values() for name in names),
    *(
        ("s3", name)
        for name in ("CreateBucket", "ListObjectsV2", "ListObjects", "PutObject", "GetObject", "HeadObject",
                     "DeleteObjects", "CopyObject", "CreateMultipartUpload", "CompleteMultipartUpload", "ListParts",
                     "ListMultipartUploads", "PutObjectTagging", "GetObjectTagging", "GetObjectAttributes")
    ),
]  # fmt: skip
# What a header or a query carries loses blanks at its ends on the way, and an empty one is no header at all.
QUICK = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)


def _normal(shape: Any, value: Any, *, top: bool = False) -> Any:
    """Comparable: what cannot be told apart on the wire is made equal."""
    if shape is None:
        return {}
    kind = shape.type_name
    if kind == "structure":
        pairs = {}
        for name, item in value.items():
            if name not in shape.members:
                continue
            member = shape.members[name]
            inner = _normal(member, item)
            if member.serialization.get("location"):
                inner = _on_one_line(inner)
            if inner in ({}, [], "", b"", None):
                continue
            pairs[name] = inner
        return pairs
    if kind == "list":
        items = [_normal(shape.member, item) for item in value]
        return [item for item in items if item not in ({}, [])]
    if kind == "map":
        return {str(key).strip().lower(): _normal(shape.value, item) for key, item in value.items()}
    if kind == "blob" and hasattr(value, "read"):
        return value.read()
    if kind == "string" and isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n")
    if kind in ("float", "double"):
        return pytest.approx(value)
    return value


def _on_one_line(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return [_on_one_line(item) for item in value]
    if isinstance(value, dict):
        return {key: _on_one_line(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize(("service_name", "operation"), OPERATIONS)
@given(data=st.data())
@QUICK
def test_what_the_client_sends_is_what_the_service_gets(
    service_name: str, operation: str, data: st.DataObject
) -> None:
    service = load_service(service_name)
    model = service.operation_model(operation)
    if model.input_shape is None:
        return
    params = data.draw(shapes.structures(model.input_shape))
    if not _fits_in_headers(model.input_shape, params):
        return
    request = create_serializer(service.metadata["protocol"]).serialize_to_request(params, model)
    uri = request["url_path"]
    query = request["query_string"]
    if query:
        text = query if isinstance(query, str) else urlencode(query, doseq=True)
        uri += ("&" if "?" in uri else "?") + text
    body = request["body"]
    if isinstance(body, dict):
        body = urlencode(body).encode()
    headers = {name.lower(): str(value) for name, value in request["headers"].items()}
    raw = body.encode() if isinstance(body, str) else body
    arrived = {"method": request["method"], "uri": uri, "headers": headers, "body": raw}
    assert codec.find_operation(service, **arrived) == operation
    try:
        got = codec.parse(service, operation, **arrived)
    except ServiceError as error:
        raise AssertionError(f"{params} was refused: {error}") from error
    assert _normal(model.input_shape, got) == _normal(model.input_shape, params)


@pytest.mark.parametrize(("service_name", "operation"), OPERATIONS)
@given(data=st.data())
@QUICK
def test_what_the_service_answers_is_what_the_client_gets(
    service_name: str, operation: str, data: st.DataObject
) -> None:
    service = load_service(service_name)
    model = service.operation_model(operation)
    shape = model.output_shape
    result = data.draw(shapes.structures(shape)) if shape is not None else {}
    if shape is not None and not _fits_in_headers(shape, result):
        return
    said = {"smithy-protocol": "rpc-v2-cbor"} if service.metadata["protocol"] == CBOR else None
    response = codec.serialize(service, operation, result, request_id="r", headers=said)
    payload = shape.serialization.get("payload") if shape is not None else None
    is_stream = payload is not None and shape.members[payload].type_name == "blob"
    if is_stream:  # It is handed on as it is, and botocore's parser would take it for text.
        assert response.body == result.get(payload, b"")
    parsed = create_parser(service.metadata["protocol"]).parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": b"" if is_stream else response.body,
        },
        shape,
    )
    parsed.pop("ResponseMetadata", None)
    if is_stream:
        parsed.pop(payload, None)
        result.pop(payload, None)
    assert _normal(shape, parsed) == _normal(shape, result)


def _fits_in_headers(shape: Any, value: dict[str, Any]) -> bool:
    """Headers carry one line of Latin text; keys of a header map are tokens; of an empty list a query says nothing."""
    for name, item in value.items():
        location = shape.members[name].serialization.get("location")
        if location == "uri" and (item == "" or str(item).strip() != item):
            return False
        texts = [*item, *item.values()] if isinstance(item, dict) else [item]
        if location == "headers" and any(
            not str(text).isalnum() or not str(text).isascii() for text in texts
        ):
            return False
        if location == "header" and isinstance(item, str) and not item.isascii():
            return False
        if location == "header" and isinstance(item, list):
            return False
        if location == "querystring" and item == [] and name in shape.required_members:
            return False
    return True


def test_a_missing_member_of_the_query_is_the_operations_to_refuse() -> None:
    found = codec.find_operation(
        load_service("lexv2-models"), method="DELETE", uri="/tags/arn", headers={}, body=b""
    )
    assert found == "UntagResource"
