"""S3 as boto3 sees it: signatures, presigned addresses, virtual hosts, and requests that are none."""

import hashlib
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from modelyard.server import objects_body
from modelyard.testing.object_server import ObjectServer, code


@pytest.mark.parametrize("options", [{}, {"signature_version": "s3v4"}], ids=["default", "s3v4"])
def test_presigned_urls(s3: Any, server: ObjectServer, options: dict[str, Any]) -> None:
    parameters = {"Bucket": "bucket", "Key": "a b"}
    signer = server.client(**options)
    put = urlsplit(signer.generate_presigned_url("put_object", Params=parameters))
    assert server.send("PUT", f"{put.path}?{put.query}", b"signed")[0] == 200
    got = urlsplit(signer.generate_presigned_url("get_object", Params=parameters))
    assert server.send("GET", f"{got.path}?{got.query}")[:2] == (200, b"signed")
    status, body, _ = server.send("GET", f"{got.path}x?{got.query}")
    assert status == 403
    assert b"SignatureDoesNotMatch" in body
    renamed = signer.generate_presigned_url(
        "get_object", Params=parameters | {"ResponseContentType": "text/x"}
    )
    typed = urlsplit(renamed)
    assert server.send("GET", f"{typed.path}?{typed.query}")[:2] == (200, b"signed")
    changed = typed.query.replace("text%2Fx", "text%2Fhtml")
    assert changed != typed.query
    assert server.send("GET", f"{typed.path}?{changed}")[0] == 403


def test_an_expired_presigned_url_of_either_version_is_refused(
    s3: Any, server: ObjectServer
) -> None:
    old = urlsplit(
        server.client().generate_presigned_url(
            "get_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=-10
        )
    )
    assert "AWSAccessKeyId=" in old.query
    status, body, _ = server.send("GET", f"{old.path}?{old.query}")
    assert (status, b"Request has expired" in body) == (403, True)


def test_virtual_hosts(s3: Any, server: ObjectServer) -> None:
    virtual = server.client(
        url=f"http://localhost:{server.port}", s3={"addressing_style": "virtual"}
    )

    def to_loopback(request: Any, **_: Any) -> None:
        assert urlsplit(request.url).hostname == "bucket.localhost"
        request.headers["Host"] = f"bucket.localhost:{server.port}"
        request.url = request.url.replace("bucket.localhost", "127.0.0.1", 1)

    virtual.meta.events.register("before-send.s3", to_loopback)
    virtual.put_object(Bucket="bucket", Key="a//b", Body=b"x")
    assert virtual.list_objects_v2(Bucket="bucket")["KeyCount"] == 1
    assert s3.get_object(Bucket="bucket", Key="a//b")["Body"].read() == b"x"
    virtual.close()


class DeclaredHash(S3SigV4Auth):
    """Signs whatever ``X-Amz-Content-SHA256`` the request has."""

    def payload(self, request: AWSRequest) -> str:
        return request.context["hash"]


def signed(server: ObjectServer, path: str, digest: str, **headers: str) -> dict[str, str]:
    """The headers of a signed PUT."""
    request = AWSRequest("PUT", f"{server.url}{path}", headers=dict(headers))
    request.context["hash"] = digest
    DeclaredHash(Credentials("AKIAROOT", "secret"), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def test_a_body_that_was_changed_on_its_way_is_refused(s3: Any, server: ObjectServer) -> None:
    digest = hashlib.sha256(b"what was signed").hexdigest()
    headers = signed(server, "/bucket/k", digest)
    status, body, _ = server.send("PUT", "/bucket/k", b"what arrived...", headers)
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    assert server.files() == []


def test_a_signature_is_verified_before_the_body(s3: Any, server: ObjectServer) -> None:
    wrong = server.client(secret="wrong")
    with pytest.raises(ClientError) as error:
        wrong.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert code(error.value) == ("SignatureDoesNotMatch", 403)
    assert server.send("GET", "/bucket/k")[0] == 403
    wrong.close()


def test_chunks_with_a_trailer(s3: Any, server: ObjectServer) -> None:
    data = os.urandom(300_000)
    crc = s3.put_object(Bucket="bucket", Key="plain", Body=data, ChecksumAlgorithm="CRC32")
    for checksum, expected in ((crc["ChecksumCRC32"], 200), ("AAAAAA==", 400)):
        coded = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (
            len(data), data, checksum.encode(),
        )  # fmt: skip
        headers = signed(
            server, "/bucket/chunked", "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            **{
                "X-Amz-Trailer": "x-amz-checksum-crc32", "Content-Encoding": "gzip,aws-chunked",
                "X-Amz-Decoded-Content-Length": str(len(data)),
            },
        )  # fmt: skip
        status, body, _ = server.send("PUT", "/bucket/chunked", coded, headers)
        assert status == expected, body
    got = s3.get_object(Bucket="bucket", Key="chunked", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert got["ContentEncoding"] == "gzip"
    assert got["ChecksumCRC32"] == crc["ChecksumCRC32"]


def test_a_body_without_a_length_is_refused(s3: Any, server: ObjectServer) -> None:
    headers = {**signed(server, "/bucket/k", "UNSIGNED-PAYLOAD"), "Transfer-Encoding": "chunked"}
    status, body, _ = server.send("PUT", "/bucket/k", b"0\r\n\r\n", headers)
    assert (status, b"MissingContentLength" in body) == (411, True)


def test_a_client_that_stops_sending_is_waited_for_no_longer_and_leaves_nothing(
    s3: Any, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_body, "IDLE_SECONDS", 0.1)
    put = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "k"}))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        head = f"PUT {put.path}?{put.query} HTTP/1.1\r\nHost: {put.netloc}\r\nContent-Length: 100\r\n\r\n"
        client.sendall(head.encode() + b"the first of it")
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>RequestTimeout</Code>" in answer
    assert server.files() == []


@pytest.mark.parametrize(
    "members",
    [
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mine"},
        {"ServerSideEncryption": "aws:kms:dsse"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
        {"ObjectLockMode": "GOVERNANCE"},
        {"StorageClass": "GLACIER"},
    ],
)
def test_what_is_not_implemented_is_refused(s3: Any, members: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"NotImplemented|501|https") as error:
        s3.put_object(Bucket="bucket", Key="k", Body=b"x", **members)
    if isinstance(error.value, ClientError):
        assert code(error.value) == ("NotImplemented", 501)


def test_operations_and_methods_that_do_not_exist(s3: Any, server: ObjectServer) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_policy(Bucket="bucket", Policy="{}")
    assert code(error.value) == ("UnsupportedOperation", 501)
