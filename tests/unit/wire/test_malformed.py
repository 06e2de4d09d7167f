"""Bodies that are not what they should be, and errors in each protocol's form."""

import base64
import json
from typing import Any

import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from modelyard.base.errors import ServiceError
from modelyard.wire import codec, http_bindings
from modelyard.wire.models import load_service

BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><Delete>&b;</Delete>"""


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"EndpointName": 7}',
        b'{"EndpointName": ["x"]}',
        b"\xff\xfe",
        b'{"EndpointName": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_json_that_cannot_be_read_is_a_serialization_error(body: bytes) -> None:
    with pytest.raises(ServiceError) as refused:
        codec.parse(
            load_service("sagemaker"),
            "DescribeEndpoint",
            method="POST",
            uri="/",
            headers={},
            body=body,
        )
    assert (refused.value.code, refused.value.status) == ("SerializationException", 400)


@pytest.mark.parametrize("body", [b"<Delete>", b"not xml", BOMB, b"\x00"])
def test_xml_that_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(ServiceError) as refused:
        codec.parse(
            load_service("s3"),
            "DeleteObjects",
            method="POST",
            uri="/b?delete",
            headers={},
            body=body,
        )
    assert refused.value.code == "MalformedXML"


def test_unknown_members_are_dropped() -> None:
    params = codec.parse(
        load_service("sagemaker"),
        "DescribeEndpoint",
        method="POST",
        uri="/",
        headers={},
        body=b'{"EndpointName": "e", "FromTheFuture": {"a": 1}}',
    )
    assert params == {"EndpointName": "e"}


def test_absent_members_stay_absent() -> None:
    response = codec.serialize(
        load_service("sagemaker"),
        "ListEndpoints",
        {"Endpoints": [], "NextToken": None},
        request_id="r",
    )
    assert json.loads(response.body) == {"Endpoints": []}


@pytest.mark.parametrize(
    "service_name", ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "logs"]
)
def test_an_error_is_read_by_the_client_with_its_code_status_and_request_id(
    service_name: str,
) -> None:
    service = load_service(service_name)
    error = ServiceError("SomethingWrong", 'It <is> "wrong" & ünïcode.', status=409)
    response = codec.serialize(service, "", error, request_id="the-id")
    parsed: dict[str, Any] = create_parser(service.metadata["protocol"]).parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": response.body,
        },
        None,
    )
    assert parsed["Error"]["Code"] == "SomethingWrong"
    assert parsed["Error"]["Message"] == 'It <is> "wrong" & ünïcode.'
    assert parsed["ResponseMetadata"]["RequestId"] == "the-id"
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ServiceError) as refused:
        codec.find_operation(
            load_service("sagemaker"),
            method="POST",
            uri="/",
            headers={"x-amz-target": "SageMaker.MakeCoffee"},
            body=b"{}",
        )
    assert refused.value.code == "UnknownOperationException"


@pytest.mark.parametrize(
    ("method", "uri", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("GET", "/b", {}, "ListObjects"),
        ("GET", "/b?list-type=2", {}, "ListObjectsV2"),
        ("GET", "/b?location", {}, "GetBucketLocation"),
        ("GET", "/b?uploads=", {}, "ListMultipartUploads"),
        ("GET", "/b/k", {}, "GetObject"),
        ("GET", "/b/k/with/slashes", {}, "GetObject"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts"),
        ("GET", "/b/k?tagging", {}, "GetObjectTagging"),
        ("HEAD", "/b", {}, "HeadBucket"),
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k", {"x-amz-copy-source": "/a/b"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/a/b"}, "UploadPartCopy"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("GET", "/b?lifecycle", {}, "GetBucketLifecycleConfiguration"),
    ],
)
def test_s3_operations_are_told_apart(
    method: str, uri: str, headers: dict[str, str], operation: str
) -> None:
    found = codec.find_operation(
        load_service("s3"), method=method, uri=uri, headers=headers, body=b""
    )
    assert found == operation


def test_json_in_a_header_that_is_nested_without_end_is_refused() -> None:
    operation = load_service("lex-runtime").operation_model("PostContent")
    nested = base64.b64encode(b"[" * 100_000).decode()
    with pytest.raises(ServiceError, match="is no JSON in base64"):
        http_bindings.decode(
            operation,
            uri="/bot/b/alias/a/user/u/content",
            headers={"x-amz-lex-session-attributes": nested},
        )
