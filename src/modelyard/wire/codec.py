"""Requests and answers by botocore's models, without HTTP: bytes and headers in, values out, and back.

``find_operation`` says what a request asks for, ``parse`` reads its parameters, ``serialize`` writes the answer.
What differs between protocols stands in one module each; this one only puts them together.
"""

import functools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree as Tree

from botocore.model import OperationModel, ServiceModel

from modelyard.base.errors import ServiceError
from modelyard.wire import cbor_body, http_bindings, json_body, query, smithy_rpc, xml_body
from modelyard.wire.models import Protocol, protocol_of
from modelyard.wire.validate import missing, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """``body`` is bytes, or the object that an operation returned for a streaming member."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = b""


def find_operation(
    service: ServiceModel, *, method: str, uri: str, headers: Mapping[str, str], body: bytes
) -> str:
    """Name of the operation. Raises ``UnknownOperationException`` or the protocol's like."""
    protocol = protocol_of(service, headers)
    if protocol == "smithy-rpc-v2-cbor":
        prefix, name = smithy_rpc.path_names(uri)
        if prefix == service.metadata.get("targetPrefix") and name in service.operation_names:
            return name
        raise ServiceError(
            "UnknownOperationException", f"There is no operation {name or '(none)'}.", status=404
        )
    if protocol == "json":
        prefix, _, name = headers.get("x-amz-target", "").rpartition(".")
        if prefix == service.metadata.get("targetPrefix") and name in service.operation_names:
            return name
        raise ServiceError(
            "UnknownOperationException", f"There is no operation {name or '(none)'}.", status=404
        )
    if protocol == "query":
        _, raw_query = http_bindings.split_target(uri)
        name = query.load(body, raw_query).get("Action", "")
        if name in service.operation_names:
            return name
        raise ServiceError(
            "InvalidAction", f"Could not find operation {name or '(none)'} for version.", status=400
        )
    return _find_by_uri(service, method, uri, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    operation: str
    method: str
    pattern: re.Pattern[str]
    literals: frozenset[tuple[str, str]]
    """Query parameters that the model's URI demands."""
    required: frozenset[str]
    """Query parameters of required members."""
    required_headers: frozenset[str]
    deprecated: bool


@functools.cache
def _routes(service: ServiceModel) -> Mapping[str, tuple[_Route, ...]]:
    """By method."""
    routes = []
    for name in service.operation_names:
        operation = service.operation_model(name)
        raw_query = operation.http["requestUri"].partition("?")[2]
        shape = operation.input_shape
        required = (
            [(shape.members[m].serialization, m) for m in shape.required_members] if shape else []
        )
        routes.append(
            _Route(
                operation=name,
                method=operation.http["method"],
                deprecated=operation.deprecated,
                pattern=http_bindings.path_pattern(operation.http["requestUri"]),
                literals=frozenset(parse_qsl(raw_query, keep_blank_values=True)),
                required=frozenset(
                    s.get("name", m) for s, m in required if s.get("location") == "querystring"
                ),
                required_headers=frozenset(
                    s.get("name", m).lower() for s, m in required if s.get("location") == "header"
                ),
            )
        )
    methods = {route.method for route in routes}
    return {one: tuple(route for route in routes if route.method == one) for one in methods}


def _find_by_uri(service: ServiceModel, method: str, uri: str, headers: Mapping[str, str]) -> str:
    path, raw_query = http_bindings.split_target(uri)
    pairs = set(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else set()
    names = {name for name, _ in pairs}
    matching = [
        route
        for route in _routes(service).get(method, ())
        if route.pattern.fullmatch(path) and route.literals <= pairs
    ]
    candidates = [
        route
        for route in matching
        if route.required <= names and route.required_headers <= headers.keys()
    ]
    if not candidates and len(matching) == 1 and service.metadata["protocol"] == "rest-json":
        candidates = matching  # It lacks a member, which is the operation's to refuse.
    if not candidates:
        raise ServiceError(
            "UnknownOperationException", f"There is no operation {method} {path}.", status=404
        )
    return max(candidates, key=_specificity).operation


def _specificity(route: _Route) -> tuple[int, int, bool, int]:
    """Of those that fit, the one that demands most: ``{Key+}`` before ``{Bucket}``, ``?uploads`` before none.

    Old and new forms of one operation share a URI (GetBucketLifecycle, GetBucketLifecycleConfiguration): the model calls
    the old one deprecated. ListDirectoryBuckets, of another kind of bucket and host, shares one with ListBuckets: the
    shorter name is the general one.
    """
    return (
        len(route.pattern.groupindex),
        len(route.literals) + len(route.required) + len(route.required_headers),
        not route.deprecated,
        -len(route.operation),
    )


def parse(
    service: ServiceModel,
    operation: str,
    *,
    method: str,
    uri: str,
    headers: Mapping[str, str],
    body: Any,
) -> dict[str, Any]:
    """The validated parameters, by the model's member names. ``headers`` have lower-case names.

    ``body`` is bytes; for an operation whose payload streams, any object, which becomes that member as it is.
    """
    model = service.operation_model(operation)
    shape = model.input_shape
    if shape is None:
        return {}
    protocol = protocol_of(service, headers)
    if protocol == "smithy-rpc-v2-cbor":
        parameters = cbor_body.decode(shape, cbor_body.load(body))
    elif protocol == "json":
        parameters = json_body.decode(shape, json_body.load(body))
    elif protocol == "query":
        parameters = query.decode(shape, query.load(body, http_bindings.split_target(uri)[1]))
    else:
        parameters = http_bindings.decode(model, uri=uri, headers=headers)
        parameters |= _parse_rest_body(model, body, is_json=protocol == "rest-json")
    _validate(service, model, parameters, protocol)
    return dict(parameters)


def _parse_rest_body(model: OperationModel, body: Any, *, is_json: bool) -> dict[str, Any]:
    shape = model.input_shape
    payload = shape.serialization.get("payload")
    if payload is None:
        if not isinstance(body, bytes) or not body.strip():
            return {}
        if is_json:
            return dict(json_body.decode(shape, json_body.load(body)))
        return dict(xml_body.decode(shape, xml_body.load(body)))
    member = shape.members[payload]
    if member.type_name == "blob" or not isinstance(body, bytes):
        return {payload: body} if body is not None else {}
    if member.type_name == "string":
        return {payload: body.decode("utf-8", "replace")} if body else {}
    if not body.strip():
        return {}
    if is_json:
        return {payload: json_body.decode(member, json_body.load(body))}
    return {payload: xml_body.decode(member, xml_body.load(body))}


_RUNTIME_CODES = {"sagemaker-runtime": "ValidationError"}


def _validate(
    service: ServiceModel, model: OperationModel, parameters: Mapping[str, Any], protocol: Protocol
) -> None:
    if service.service_name == "s3":
        absent = missing(model.input_shape, parameters)
        if absent:
            raise ServiceError("InvalidRequest", f"Missing required parameter: {', '.join(absent)}")
        return
    is_query = protocol == "query" or _is_query_compatible(service)
    default = "ValidationError" if is_query else "ValidationException"
    validate(model.input_shape, parameters, code=_RUNTIME_CODES.get(service.service_name, default))


def serialize(
    service: ServiceModel,
    operation: str,
    result: Mapping[str, Any] | ServiceError,
    *,
    request_id: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer, in the protocol of the request with these ``headers``.

    ``operation`` may be empty for an error that came before it was known.
    """
    protocol = protocol_of(service, headers)
    if isinstance(result, ServiceError):
        return _ERRORS[protocol](service, result, request_id)
    model = service.operation_model(operation)
    status = int(model.http.get("responseCode", 200))
    if protocol == "json":
        document = json_body.encode(model.output_shape, result) if model.output_shape else {}
        return Response(
            status=status, headers=_json_headers(service, request_id), body=json_body.dump(document)
        )
    if protocol == "smithy-rpc-v2-cbor":
        shape = model.output_shape
        values = cbor_body.encode(shape, result) if shape is not None else {}
        return Response(
            status=status, headers=_cbor_headers(request_id), body=cbor_body.dump(values)
        )
    if protocol == "query":
        return _serialize_query(service, model, result, request_id)
    return _serialize_rest(service, model, result, request_id)


def _cbor_headers(request_id: str) -> dict[str, str]:
    return {
        "Content-Type": cbor_body.CONTENT_TYPE,
        smithy_rpc.HEADER: smithy_rpc.VALUE,
        "x-amzn-RequestId": request_id,
    }


def _is_query_compatible(service: ServiceModel) -> bool:
    """A service that once spoke ``query``: its clients want that protocol's error codes in whatever they speak now."""
    return "awsQueryCompatible" in service.metadata


def _query_code(service: ServiceModel, error: ServiceError) -> dict[str, str]:
    if not _is_query_compatible(service):
        return {}
    side = "Sender" if error.fault == "client" else "Receiver"
    return {"x-amzn-query-error": f"{error.code};{side}"}


@functools.cache
def _error_shapes(service: ServiceModel) -> Mapping[str, str]:
    """Name of the modelled error by its code; where several share one, the shape of the code's own name."""
    found: dict[str, str] = {}
    for shape in service.error_shapes:
        if shape.error_code not in found or shape.name == shape.error_code:
            found[shape.error_code] = shape.name
    return found


def _type_of(service: ServiceModel, error: ServiceError) -> str:
    """``__type``: typed clients look for the shape's name, which once was not the code (``InvalidFormatFault``)."""
    if not _is_query_compatible(service):
        return error.code
    return _error_shapes(service).get(error.code, error.code)


def _cbor_error(service: ServiceModel, error: ServiceError, request_id: str) -> Response:
    document = {
        "__type": _type_of(service, error),
        "message": error.message,
        **_error_members(service, error),
    }
    headers = _cbor_headers(request_id) | _query_code(service, error) | dict(error.headers)
    return Response(status=error.status, headers=headers, body=cbor_body.dump(document))


def _json_headers(service: ServiceModel, request_id: str) -> dict[str, str]:
    version = service.metadata.get("jsonVersion")
    kind = f"application/x-amz-json-{version}" if version else "application/json"
    return {"Content-Type": kind, "x-amzn-RequestId": request_id}


def _serialize_query(
    service: ServiceModel, model: OperationModel, result: Mapping[str, Any], request_id: str
) -> Response:
    root = Tree.Element(f"{model.name}Response", xmlns=service.metadata.get("xmlNamespace", ""))
    if model.output_shape is not None:
        wrapper = model.output_shape.serialization.get("resultWrapper")
        (node,) = xml_body.encode(model.output_shape, result, wrapper or model.name)
        root.extend([node] if wrapper else list(node))
    metadata = Tree.SubElement(root, "ResponseMetadata")
    Tree.SubElement(metadata, "RequestId").text = request_id
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": request_id}
    return Response(status=200, headers=headers, body=xml_body.dump(root))


def _serialize_rest(
    service: ServiceModel, model: OperationModel, result: Mapping[str, Any], request_id: str
) -> Response:
    is_json = protocol_of(service) == "rest-json"
    headers = {"x-amzn-RequestId": request_id} if is_json else _xml_headers(request_id)
    shape = model.output_shape
    status = _STATUSES.get(model.name) or int(model.http.get("responseCode", 200))
    if shape is None:
        return Response(status=status, headers=headers)
    bound_status, bound = http_bindings.encode(shape, result)
    body: Any = _payload(shape, result, is_json=is_json)
    if (
        isinstance(body, bytes)
        and body
        and shape.serialization.get("payload") not in _plain_payloads(shape)
    ):
        headers["Content-Type"] = "application/json" if is_json else "application/xml"
    return Response(status=bound_status or status, headers=headers | bound, body=body)


@functools.cache
def _plain_payloads(shape: Any) -> frozenset[str]:
    return frozenset(
        name for name, member in shape.members.items() if member.type_name in ("blob", "string")
    )


@functools.cache
def _in_body(shape: Any) -> frozenset[str]:
    """An output's members that do not travel outside the body; a query's or a URI's only do in inputs."""
    return frozenset(
        name
        for name, member in shape.members.items()
        if member.serialization.get("location") not in ("header", "headers", "statusCode")
    )


def _payload(shape: Any, result: Mapping[str, Any], *, is_json: bool) -> Any:
    payload = shape.serialization.get("payload")
    if payload is not None:
        value = result.get(payload)
        member = shape.members[payload]
        if value is None:
            return b""
        if member.type_name == "blob":
            return value
        if member.type_name == "string":
            return value.encode()
        if is_json:
            return json_body.dump(json_body.encode(member, value))
        name = member.serialization.get("name", payload)
        return xml_body.dump(next(xml_body.encode(member, value, name)))
    inside = _in_body(shape)
    rest = {name: value for name, value in result.items() if name in inside}
    if is_json:
        return json_body.dump(json_body.encode(shape, rest))
    if not inside:
        return b""
    root = next(xml_body.encode(shape, rest, _S3_ROOTS.get(shape.name, shape.name)))
    root.set("xmlns", _S3_NAMESPACE)
    return xml_body.dump(root)


_STATUSES = {"PutBucketTagging": 204}
"""As AWS answers, where its model says nothing."""
_S3_ROOTS = {
    "ListBucketsOutput": "ListAllMyBucketsResult",
    "ListObjectsOutput": "ListBucketResult",
    "ListObjectsV2Output": "ListBucketResult",
    "ListMultipartUploadsOutput": "ListMultipartUploadsResult",
    "ListPartsOutput": "ListPartsResult",
    "CreateMultipartUploadOutput": "InitiateMultipartUploadResult",
    "CompleteMultipartUploadOutput": "CompleteMultipartUploadResult",
    "DeleteObjectsOutput": "DeleteResult",
    "GetObjectTaggingOutput": "Tagging",
    "GetBucketVersioningOutput": "VersioningConfiguration",
    "GetBucketAclOutput": "AccessControlPolicy",
    "GetObjectAclOutput": "AccessControlPolicy",
    "GetObjectAttributesOutput": "GetObjectAttributesResponse",
}
"""Root elements of S3's answers, from its API reference; botocore's model does not have them, and other SDKs ask for them."""

_S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def _xml_headers(request_id: str) -> dict[str, str]:
    return {"x-amz-request-id": request_id, "x-amz-id-2": request_id}


def _json_error(service: ServiceModel, error: ServiceError, request_id: str) -> Response:
    document = {
        "__type": _type_of(service, error),
        "message": error.message,
        **_error_members(service, error),
    }
    headers = _json_headers(service, request_id)
    headers |= _query_code(service, error) | dict(error.headers)
    return Response(status=error.status, headers=headers, body=json_body.dump(document))


def _rest_json_error(service: ServiceModel, error: ServiceError, request_id: str) -> Response:
    document = {
        "message": error.message,
        "Message": error.message,
        **_error_members(service, error),
    }
    headers = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": request_id,
        "x-amzn-errortype": error.code,
        **error.headers,
    }
    return Response(status=error.status, headers=headers, body=json_body.dump(document))


def _error_members(service: ServiceModel, error: ServiceError) -> dict[str, Any]:
    """Members of a modelled error beside its message; members are scalars in every modelled error used here."""
    return {name: value for name, value in error.members.items() if value is not None}


def _query_error(service: ServiceModel, error: ServiceError, request_id: str) -> Response:
    root = Tree.Element("ErrorResponse", xmlns=service.metadata.get("xmlNamespace", ""))
    node = Tree.SubElement(root, "Error")
    Tree.SubElement(node, "Type").text = "Sender" if error.fault == "client" else "Receiver"
    Tree.SubElement(node, "Code").text = error.code
    Tree.SubElement(node, "Message").text = error.message
    Tree.SubElement(root, "RequestId").text = request_id
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": request_id, **error.headers}
    return Response(status=error.status, headers=headers, body=xml_body.dump(root))


def _rest_xml_error(service: ServiceModel, error: ServiceError, request_id: str) -> Response:
    root = Tree.Element("Error")
    Tree.SubElement(root, "Code").text = error.code
    Tree.SubElement(root, "Message").text = error.message
    for name, value in error.members.items():
        if value is not None:
            Tree.SubElement(root, name).text = str(value)
    Tree.SubElement(root, "RequestId").text = request_id
    Tree.SubElement(root, "HostId").text = request_id
    headers = {"Content-Type": "application/xml", **_xml_headers(request_id), **error.headers}
    return Response(status=error.status, headers=headers, body=xml_body.dump(root))


_ERRORS = {
    "json": _json_error,
    "rest-json": _rest_json_error,
    "query": _query_error,
    "rest-xml": _rest_xml_error,
    "smithy-rpc-v2-cbor": _cbor_error,
}
