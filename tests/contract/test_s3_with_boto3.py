"""S3 as boto3 sees it: the objects application under uvicorn on a loopback port, with real signatures."""

import base64
import hashlib
import http.client
import io
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import uvicorn
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from modelyard.base.clock import SystemClock
from modelyard.base.settings import Home, Settings
from modelyard.server.objects import build_app
from modelyard.store.objects import ObjectStore
from modelyard.store.published import Publisher

MIB = 1 << 20
SECRETS = {"AKIAROOT": ("secret", "111111111111"), "AKIAOTHER": ("other", "222222222222")}


class Platform:
    """One objects process, as threads of the test's."""

    def __init__(self, root: Path) -> None:
        home = Home(root)
        home.create()
        table = {
            key: {
                "secret": secret,
                "principal": {
                    "kind": "root", "arn": f"arn:aws:iam::{account}:root", "id": account,
                    "account": account,
                },
                "active": True,
            }
            for key, (secret, account) in SECRETS.items()
        }  # fmt: skip
        Publisher(home.run, "keys").publish({"keys": table})
        self.store = ObjectStore(home.objects)
        app = build_app(Settings(home=root), self.store, SystemClock())
        config = uvicorn.Config(
            app,
            port=0,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            date_header=False,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            threading.Event().wait(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.store.close()

    def client(
        self, key: str = "AKIAROOT", *, url: str = "", secret: str = "", **config: Any
    ) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret or SECRETS[key][0],
            config=Config(retries={"max_attempts": 1}, **config),
        )

    def send(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        result = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return result

    def files(self) -> list[Path]:
        return [path for path in self.store.root.glob("[dt]*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("home"))
    yield platform
    platform.close()


@pytest.fixture
def s3(platform: Platform) -> Iterator[Any]:
    client = platform.client()
    client.create_bucket(Bucket="bucket")
    yield client
    platform.store.clear()
    client.close()


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


ODD_KEYS = (
    "a b+c%20", "ünïcödé/\U0001f600", "a//b", "/leading", "a/../b", "./x", "q?x=1&y#z", "tab\there",
    "*'()!~;:@=,$[]{}<>\"\\^`|", "trailing/", "new\nline", "..",
)  # fmt: skip


@pytest.mark.parametrize("key", ODD_KEYS)
def test_every_key_comes_back_as_it_was_put(s3: Any, key: str) -> None:
    s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
    assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == key.encode()
    listed = s3.list_objects_v2(Bucket="bucket")["Contents"]
    assert [one["Key"] for one in listed] == [key]
    s3.copy_object(Bucket="bucket", Key="copy", CopySource={"Bucket": "bucket", "Key": key})
    assert s3.head_object(Bucket="bucket", Key="copy")["ContentLength"] == len(key.encode())
    s3.delete_object(Bucket="bucket", Key=key)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="bucket", Key=key)
    assert code(error) == ("NoSuchKey", 404)


def test_an_object_keeps_what_was_said_about_it(s3: Any) -> None:
    put = s3.put_object(
        Bucket="bucket", Key="k", Body=b"text", ContentType="text/x", CacheControl="no-store",
        ContentDisposition="inline", ContentLanguage="de", ContentEncoding="identity",
        Metadata={"Name": "value, with comma"}, Tagging="a=1&b=2", ServerSideEncryption="AES256",
        ACL="private", StorageClass="STANDARD", Expires="Wed, 01 Jan 2031 00:00:00 GMT",
    )  # fmt: skip
    assert put["ETag"] == f'"{hashlib.md5(b"text").hexdigest()}"'
    for answer in (
        s3.head_object(Bucket="bucket", Key="k"),
        s3.get_object(Bucket="bucket", Key="k"),
    ):
        assert answer["ContentType"] == "text/x"
        assert answer["CacheControl"] == "no-store"
        assert answer["ContentDisposition"] == "inline"
        assert answer["ContentLanguage"] == "de"
        assert answer["ContentEncoding"] == "identity"
        assert answer["Metadata"] == {"name": "value, with comma"}
        assert answer["TagCount"] == 2
        assert answer["ETag"] == put["ETag"]
        assert answer["ContentLength"] == 4
        assert answer["ExpiresString"].endswith("2031 00:00:00 GMT")
    tags = s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    s3.put_object_tagging(Bucket="bucket", Key="k", Tagging={"TagSet": [{"Key": "x", "Value": ""}]})
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == [{"Key": "x", "Value": ""}]
    s3.delete_object_tagging(Bucket="bucket", Key="k")
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == []


@pytest.mark.parametrize(
    ("header", "expected", "shown"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-100", b"56789", "bytes 5-9/10"),
        ("bytes=0-1,4-5", b"0123456789", None),
        ("lines=1-2", b"0123456789", None),
    ],
)
def test_ranges(s3: Any, header: str, expected: bytes, shown: str | None) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"0123456789")
    answer = s3.get_object(Bucket="bucket", Key="k", Range=header)
    assert answer["Body"].read() == expected
    assert answer.get("ContentRange") == shown
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == (206 if shown else 200)
    assert s3.head_object(Bucket="bucket", Key="k", Range=header)["ContentLength"] == len(expected)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0"])
def test_a_range_outside_the_object_is_refused(s3: Any, header: str) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"0123456789")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="bucket", Key="k", Range=header)
    assert code(error) == ("InvalidRange", 416)


def test_empty_objects(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k")
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b""
    assert s3.head_object(Bucket="bucket", Key="k")["ContentLength"] == 0


def test_conditional_reads(s3: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket="bucket", Key="k")["LastModified"]
    s3.get_object(Bucket="bucket", Key="k", IfMatch=etag)
    s3.get_object(Bucket="bucket", Key="k", IfNoneMatch='"other"')
    s3.get_object(Bucket="bucket", Key="k", IfUnmodifiedSince=modified)
    for condition, expected in (
        ({"IfMatch": '"other"'}, ("PreconditionFailed", 412)),
        ({"IfNoneMatch": etag}, ("304", 304)),
        ({"IfModifiedSince": modified}, ("304", 304)),
        ({"IfUnmodifiedSince": "2001-01-01"}, ("PreconditionFailed", 412)),
    ):
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="bucket", Key="k", **condition)
        assert code(error) == expected


def test_conditional_writes(s3: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*")
    assert code(error) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="none", Body=b"2", IfMatch=etag)
    assert code(error) == ("NoSuchKey", 404)
    s3.put_object(Bucket="bucket", Key="k", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="k", Body=b"3", IfMatch=etag)
    assert code(error) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.delete_object(Bucket="bucket", Key="k", IfMatch=etag)
    assert code(error) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"2"


def test_overrides_of_response_headers_cannot_break_a_line(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    answer = s3.get_object(
        Bucket="bucket",
        Key="k",
        ResponseContentType="text/x",
        ResponseCacheControl="a\r\nX-Evil: 1",
    )
    assert answer["ContentType"] == "text/x"
    assert answer["CacheControl"] == "a  X-Evil: 1"


def test_buckets(s3: Any, platform: Platform) -> None:
    s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert s3.get_bucket_location(Bucket="far")["LocationConstraint"] == "eu-west-1"
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    assert s3.head_bucket(Bucket="far")["BucketRegion"] == "eu-west-1"
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["bucket", "far"]
    assert s3.list_buckets(MaxBuckets=1)["ContinuationToken"]
    assert "Status" not in s3.get_bucket_versioning(Bucket="bucket")
    assert s3.get_bucket_acl(Bucket="bucket")["Grants"][0]["Permission"] == "FULL_CONTROL"
    with pytest.raises(ClientError) as error:
        s3.get_bucket_encryption(Bucket="bucket")
    assert code(error) == ("ServerSideEncryptionConfigurationNotFoundError", 404)
    s3.put_object(Bucket="bucket", Key="k")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket="bucket")
    assert code(error) == ("BucketNotEmpty", 409)
    s3.delete_bucket(Bucket="far")
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="far")
    assert code(error) == ("404", 404)
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="bad..name")
    assert code(error) == ("InvalidBucketName", 400)


def test_a_bucket_belongs_to_one_account(s3: Any, platform: Platform) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    other = platform.client("AKIAOTHER")
    assert other.list_buckets()["Buckets"] == []
    for refused in (
        lambda: other.get_object(Bucket="bucket", Key="k"),
        lambda: other.list_objects_v2(Bucket="bucket"),
        lambda: other.put_object(Bucket="bucket", Key="k", Body=b"y"),
        lambda: s3.get_object(Bucket="bucket", Key="k", ExpectedBucketOwner="222222222222"),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert code(error) == ("AccessDenied", 403)
    with pytest.raises(ClientError) as error:
        other.create_bucket(Bucket="bucket")
    assert code(error) == ("BucketAlreadyExists", 409)


def test_listings_in_pages_with_prefix_and_delimiter(s3: Any) -> None:
    keys = [f"a/{n:02}/x" for n in range(12)] + ["b", "c&<>", "d e"]
    for key in keys:
        s3.put_object(Bucket="bucket", Key=key)
    for operation in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(operation).paginate(
            Bucket="bucket", PaginationConfig={"PageSize": 4}
        )
        assert [one["Key"] for page in pages for one in page["Contents"]] == keys
        pages = s3.get_paginator(operation).paginate(
            Bucket="bucket", Prefix="a/", Delimiter="/", PaginationConfig={"PageSize": 5}
        )
        found = [one["Prefix"] for page in pages for one in page["CommonPrefixes"]]
        assert found == [f"a/{n:02}/" for n in range(12)]
    answer = s3.list_objects_v2(Bucket="bucket", StartAfter="b", FetchOwner=True, MaxKeys=1)
    assert (answer["KeyCount"], answer["IsTruncated"]) == (1, True)
    assert answer["Contents"][0]["Key"] == "c&<>"
    assert answer["Contents"][0]["Owner"]["ID"] == "111111111111"


def test_deleting_many(s3: Any) -> None:
    for key in ("a", "b<&>", "c"):
        s3.put_object(Bucket="bucket", Key=key)
    answer = s3.delete_objects(
        Bucket="bucket", Delete={"Objects": [{"Key": "a"}, {"Key": "b<&>"}, {"Key": "none"}]}
    )
    assert [one["Key"] for one in answer["Deleted"]] == ["a", "b<&>", "none"]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "c"}], "Quiet": True})
    assert "Deleted" not in answer
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_copies(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="a", Body=b"x", Metadata={"a": "1"}, Tagging="t=1")
    source = {"Bucket": "bucket", "Key": "a"}
    s3.copy_object(Bucket="bucket", Key="b", CopySource=source)
    assert s3.head_object(Bucket="bucket", Key="b")["Metadata"] == {"a": "1"}
    assert s3.head_object(Bucket="bucket", Key="b")["TagCount"] == 1
    answer = s3.copy_object(
        Bucket="bucket", Key="b", CopySource=source, MetadataDirective="REPLACE",
        Metadata={"b": "2"}, TaggingDirective="REPLACE", ChecksumAlgorithm="SHA256",
    )  # fmt: skip
    expected = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    assert answer["CopyObjectResult"]["ChecksumSHA256"] == expected
    head = s3.head_object(Bucket="bucket", Key="b", ChecksumMode="ENABLED")
    assert (head["Metadata"], head["ChecksumSHA256"]) == ({"b": "2"}, expected)
    for arguments, expected_code in (
        ({"Key": "a"}, ("InvalidRequest", 400)),
        ({"Key": "c", "CopySourceIfNoneMatch": head["ETag"]}, ("PreconditionFailed", 412)),
    ):
        with pytest.raises(ClientError) as error:
            s3.copy_object(Bucket="bucket", CopySource=source, **arguments)
        assert code(error) == expected_code


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3: Any, algorithm: str) -> None:
    member = f"Checksum{algorithm}"
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"data"
    assert put[member] == got[member]
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="k", ObjectAttributes=["Checksum", "ETag", "ObjectSize"]
    )
    assert attributes["Checksum"][member] == put[member]
    assert attributes["ObjectSize"] == 4
    wrong = base64.b64encode(bytes(len(base64.b64decode(put[member])))).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="bad", Body=b"data", **{member: wrong})
    assert code(error) == ("BadDigest", 400)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["k"]


class Unseekable(io.RawIOBase):
    """A body whose length boto3 does not know, so that it is sent in signed or unsigned chunks."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


def test_an_upload_and_download_of_20_mib(s3: Any, tmp_path: Path, platform: Platform) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(20 * MIB))
    s3.upload_file(str(source), "bucket", "big", ExtraArgs={"Metadata": {"a": "b"}})
    s3.download_file("bucket", "big", str(target))
    assert target.read_bytes() == source.read_bytes()
    head = s3.head_object(Bucket="bucket", Key="big")
    assert head["ETag"].endswith('-3"')
    assert head["Metadata"] == {"a": "b"}
    attributes = s3.get_object_attributes(
        Bucket="bucket", Key="big", ObjectAttributes=["ObjectParts"], MaxParts=2
    )
    parts = attributes["ObjectParts"]
    assert (parts["TotalPartsCount"], parts["IsTruncated"]) == (3, True)
    part = s3.get_object(Bucket="bucket", Key="big", PartNumber=3)
    assert part["PartsCount"] == 3
    assert part["Body"].read() == source.read_bytes()[16 * MIB :]
    assert len(platform.files()) == 1


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("CRC32", "COMPOSITE"), ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"),
     ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")],
)  # fmt: skip
def test_multipart_checksums(s3: Any, algorithm: str, kind: str) -> None:
    member = f"Checksum{algorithm}"
    data = [bytes(5 * MIB), b"tail"]
    upload = s3.create_multipart_upload(
        Bucket="bucket", Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
    )
    target = {"Bucket": "bucket", "Key": "k", "UploadId": upload["UploadId"]}
    parts = []
    for number, piece in enumerate(data, 1):
        sent = s3.upload_part(PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm, **target)
        parts.append({"PartNumber": number, "ETag": sent["ETag"], member: sent[member]})
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
    again = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
    assert again["ETag"] == done["ETag"]
    assert done["ChecksumType"] == kind
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(data)
    assert got[member] == done[member]
    if kind == "FULL_OBJECT":
        whole = s3.put_object(
            Bucket="bucket", Key="w", Body=b"".join(data), ChecksumAlgorithm=algorithm
        )
        assert whole[member] == done[member]
    else:
        assert done[member].endswith("-2")


def test_the_life_of_a_multipart_upload(s3: Any, platform: Platform) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    first = s3.create_multipart_upload(Bucket="bucket", Key="a/1")["UploadId"]
    second = s3.create_multipart_upload(Bucket="bucket", Key="b c")["UploadId"]
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 1}
    )
    assert [one["Key"] for page in pages for one in page["Uploads"]] == ["a/1", "b c"]
    answer = s3.list_multipart_uploads(Bucket="bucket", Delimiter="/")
    assert answer["CommonPrefixes"] == [{"Prefix": "a/"}]
    target = {"Bucket": "bucket", "Key": "a/1", "UploadId": first}
    etags = [
        s3.upload_part_copy(
            PartNumber=number, CopySource="bucket/source", CopySourceRange="bytes=2-4", **target
        )["CopyPartResult"]["ETag"]
        for number in (1, 2)
    ]
    pages = s3.get_paginator("list_parts").paginate(PaginationConfig={"PageSize": 1}, **target)
    assert [(p["PartNumber"], p["Size"]) for page in pages for p in page["Parts"]] == [
        (1, 3),
        (2, 3),
    ]
    both = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]
    for parts, expected in (
        (both, "EntityTooSmall"),
        (both[::-1], "InvalidPartOrder"),
        ([{"PartNumber": 1, "ETag": '"00"'}], "InvalidPart"),
        ([{"PartNumber": 9, "ETag": etags[0]}], "InvalidPart"),
    ):
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **target)
        assert code(error) == (expected, 400)
    s3.complete_multipart_upload(MultipartUpload={"Parts": both[:1]}, IfNoneMatch="*", **target)
    assert s3.get_object(Bucket="bucket", Key="a/1")["Body"].read() == b"234"
    s3.abort_multipart_upload(Bucket="bucket", Key="b c", UploadId=second)
    with pytest.raises(ClientError) as error:
        s3.upload_part(Bucket="bucket", Key="b c", UploadId=second, PartNumber=1, Body=b"")
    assert code(error) == ("NoSuchUpload", 404)
    assert len(platform.files()) == 2


@pytest.mark.parametrize("options", [{}, {"signature_version": "s3v4"}], ids=["default", "s3v4"])
def test_presigned_urls(s3: Any, platform: Platform, options: dict[str, Any]) -> None:
    parameters = {"Bucket": "bucket", "Key": "a b"}
    signer = platform.client(**options)
    put = urlsplit(signer.generate_presigned_url("put_object", Params=parameters))
    assert platform.send("PUT", f"{put.path}?{put.query}", b"signed")[0] == 200
    got = urlsplit(signer.generate_presigned_url("get_object", Params=parameters))
    assert platform.send("GET", f"{got.path}?{got.query}")[:2] == (200, b"signed")
    status, body, _ = platform.send("GET", f"{got.path}x?{got.query}")
    assert status == 403
    assert b"SignatureDoesNotMatch" in body
    renamed = signer.generate_presigned_url(
        "get_object", Params=parameters | {"ResponseContentType": "text/x"}
    )
    typed = urlsplit(renamed)
    assert platform.send("GET", f"{typed.path}?{typed.query}")[:2] == (200, b"signed")
    changed = typed.query.replace("text%2Fx", "text%2Fhtml")
    assert changed != typed.query
    assert platform.send("GET", f"{typed.path}?{changed}")[0] == 403


def test_an_expired_presigned_url_of_either_version_is_refused(s3: Any, platform: Platform) -> None:
    old = urlsplit(
        platform.client().generate_presigned_url(
            "get_object", Params={"Bucket": "bucket", "Key": "k"}, ExpiresIn=-10
        )
    )
    assert "AWSAccessKeyId=" in old.query
    status, body, _ = platform.send("GET", f"{old.path}?{old.query}")
    assert (status, b"Request has expired" in body) == (403, True)


def test_virtual_hosts(s3: Any, platform: Platform) -> None:
    virtual = platform.client(
        url=f"http://localhost:{platform.port}", s3={"addressing_style": "virtual"}
    )

    def to_loopback(request: Any, **_: Any) -> None:
        assert urlsplit(request.url).hostname == "bucket.localhost"
        request.headers["Host"] = f"bucket.localhost:{platform.port}"
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


def signed(platform: Platform, path: str, digest: str, **headers: str) -> dict[str, str]:
    """The headers of a signed PUT."""
    request = AWSRequest("PUT", f"{platform.url}{path}", headers=dict(headers))
    request.context["hash"] = digest
    DeclaredHash(Credentials("AKIAROOT", "secret"), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def test_a_body_that_was_changed_on_its_way_is_refused(s3: Any, platform: Platform) -> None:
    digest = hashlib.sha256(b"what was signed").hexdigest()
    headers = signed(platform, "/bucket/k", digest)
    status, body, _ = platform.send("PUT", "/bucket/k", b"what arrived...", headers)
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    assert platform.files() == []


def test_a_signature_is_verified_before_the_body(s3: Any, platform: Platform) -> None:
    wrong = platform.client(secret="wrong")
    with pytest.raises(ClientError) as error:
        wrong.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert code(error) == ("SignatureDoesNotMatch", 403)
    assert platform.send("GET", "/bucket/k")[0] == 403
    wrong.close()


def test_chunks_with_a_trailer(s3: Any, platform: Platform) -> None:
    data = os.urandom(300_000)
    crc = s3.put_object(Bucket="bucket", Key="plain", Body=data, ChecksumAlgorithm="CRC32")
    for checksum, expected in ((crc["ChecksumCRC32"], 200), ("AAAAAA==", 400)):
        coded = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (
            len(data), data, checksum.encode(),
        )  # fmt: skip
        headers = signed(
            platform, "/bucket/chunked", "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            **{
                "X-Amz-Trailer": "x-amz-checksum-crc32", "Content-Encoding": "gzip,aws-chunked",
                "X-Amz-Decoded-Content-Length": str(len(data)),
            },
        )  # fmt: skip
        status, body, _ = platform.send("PUT", "/bucket/chunked", coded, headers)
        assert status == expected, body
    got = s3.get_object(Bucket="bucket", Key="chunked", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert got["ContentEncoding"] == "gzip"
    assert got["ChecksumCRC32"] == crc["ChecksumCRC32"]


def test_content_md5(s3: Any) -> None:
    good = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentMD5=good)
    for value, expected in ((good, "BadDigest"), ("AA==", "InvalidDigest")):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="bucket", Key="k", Body=b"y", ContentMD5=value)
        assert code(error) == (expected, 400)


def test_a_body_without_a_length_is_refused(s3: Any, platform: Platform) -> None:
    headers = {**signed(platform, "/bucket/k", "UNSIGNED-PAYLOAD"), "Transfer-Encoding": "chunked"}
    status, body, _ = platform.send("PUT", "/bucket/k", b"0\r\n\r\n", headers)
    assert (status, b"MissingContentLength" in body) == (411, True)


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
        assert code(error) == ("NotImplemented", 501)


def test_a_key_with_line_ends_comes_back_as_it_went(s3: Any) -> None:
    key = "a\r\nb\rc\nd"
    s3.put_object(Bucket="bucket", Key=key)
    upload = s3.create_multipart_upload(Bucket="bucket", Key=key)
    assert upload["Key"] == key
    (found,) = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert found["Key"] == key
    (deleted,) = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})["Deleted"]
    assert deleted["Key"] == key


def test_operations_and_methods_that_do_not_exist(s3: Any, platform: Platform) -> None:
    with pytest.raises(ClientError) as error:
        s3.put_bucket_policy(Bucket="bucket", Policy="{}")
    assert code(error) == ("UnsupportedOperation", 501)


def test_missing_things(s3: Any) -> None:
    for call, expected in (
        (lambda: s3.get_object(Bucket="nope", Key="k"), ("NoSuchBucket", 404)),
        (lambda: s3.put_object(Bucket="nope", Key="k"), ("NoSuchBucket", 404)),
        (lambda: s3.list_objects_v2(Bucket="nope"), ("NoSuchBucket", 404)),
        (lambda: s3.head_object(Bucket="bucket", Key="k"), ("404", 404)),
        (lambda: s3.get_object_tagging(Bucket="bucket", Key="k"), ("NoSuchKey", 404)),
        (lambda: s3.put_object(Bucket="bucket", Key="k" * 1025), ("KeyTooLongError", 400)),
        (lambda: s3.get_object(Bucket="bucket", Key="k", VersionId="1"), ("NoSuchKey", 404)),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code(error) == expected


def test_a_bucket_keeps_its_tags_and_its_block_of_public_access(s3: Any) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_bucket_tagging(Bucket="bucket")
    assert code(error) == ("NoSuchTagSet", 404)
    tags = [{"Key": "team", "Value": "churn models"}, {"Key": "größe", "Value": ""}]
    s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket="bucket")["TagSet"] == tags
    for wrong in (
        [tags[0], tags[0]],
        [{"Key": "aws:x", "Value": ""}],
        [{"Key": "a,b", "Value": ""}],
    ):
        with pytest.raises(ClientError) as error:
            s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": wrong})
        assert code(error) == ("InvalidTag", 400)
    s3.delete_bucket_tagging(Bucket="bucket")
    with pytest.raises(ClientError):
        s3.get_bucket_tagging(Bucket="bucket")

    def block() -> dict[str, bool]:
        found: dict[str, bool] = s3.get_public_access_block(Bucket="bucket")[
            "PublicAccessBlockConfiguration"
        ]
        return found

    assert set(block().values()) == {True} and len(block()) == 4
    s3.put_public_access_block(
        Bucket="bucket", PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    )
    assert [name for name, is_on in block().items() if is_on] == ["BlockPublicAcls"]
    s3.delete_public_access_block(Bucket="bucket")
    with pytest.raises(ClientError) as error:
        block()
    assert code(error) == ("NoSuchPublicAccessBlockConfiguration", 404)
    with pytest.raises(ClientError) as error:
        s3.put_bucket_tagging(Bucket="nowhere", Tagging={"TagSet": tags})
    assert code(error) == ("NoSuchBucket", 404)
    created = {"LocationConstraint": "eu-west-1", "Tags": tags}
    s3.create_bucket(Bucket="tagged", CreateBucketConfiguration=created)
    assert s3.get_bucket_tagging(Bucket="tagged")["TagSet"] == tags


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_policy_status", "NoSuchBucketPolicy"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_bucket_logging", {}),
        ("get_bucket_notification_configuration", {}),
        ("get_bucket_accelerate_configuration", {}),
        ("get_bucket_request_payment", {"Payer": "BucketOwner"}),
        (
            "get_bucket_ownership_controls",
            {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
        ),
        ("delete_bucket_cors", {}),
        ("delete_bucket_lifecycle", {}),
        ("delete_bucket_policy", {}),
        ("delete_bucket_website", {}),
        ("delete_bucket_replication", {}),
    ],
)
def test_who_asks_for_what_no_bucket_has_hears_that_it_is_not_set(
    s3: Any, operation: str, expected: str | dict[str, Any]
) -> None:
    with pytest.raises(ClientError) as missing:
        getattr(s3, operation)(Bucket="nowhere")
    assert code(missing) == ("NoSuchBucket", 404)
    if isinstance(expected, dict):
        answer = getattr(s3, operation)(Bucket="bucket")
        assert {name: answer[name] for name in answer if name != "ResponseMetadata"} == expected
        return
    with pytest.raises(ClientError) as error:
        getattr(s3, operation)(Bucket="bucket")
    assert code(error) == (expected, 404)
    assert error.value.response["Error"]["BucketName"] == "bucket"


def test_each_object_is_listed_as_its_only_version_and_can_be_deleted_by_it(s3: Any) -> None:
    for key in ("a", "b/1", "b/2", "c"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 1}
    )
    versions = [one for page in pages for one in page["Versions"]]
    assert [one["Key"] for one in versions] == ["a", "b/1", "b/2", "c"]
    assert {(one["VersionId"], one["IsLatest"]) for one in versions} == {("null", True)}
    page = s3.list_object_versions(Bucket="bucket", Delimiter="/", MaxKeys=2)
    assert page["CommonPrefixes"] == [{"Prefix": "b/"}] and page["NextKeyMarker"] == "b/"
    rest = s3.list_object_versions(Bucket="bucket", Delimiter="/", KeyMarker="b/")
    assert [one["Key"] for one in rest["Versions"]] == ["c"]
    with pytest.raises(ClientError) as error:
        s3.list_object_versions(Bucket="bucket", VersionIdMarker="null")
    assert code(error) == ("InvalidArgument", 400)
    wanted = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
    deleted = s3.delete_objects(Bucket="bucket", Delete={"Objects": wanted})["Deleted"]
    assert deleted == wanted
    s3.delete_bucket(Bucket="bucket")


def refused(call: Any, *expected: Any) -> dict[str, Any]:
    """The error that a call ends with, whose code and status are as expected."""
    with pytest.raises(ClientError) as error:
        call()
    assert code(error) == expected
    found: dict[str, Any] = error.value.response["Error"]
    return found


def test_a_copy_names_the_condition_that_failed_and_ignores_a_date_in_the_future(s3: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    changed = s3.head_object(Bucket="bucket", Key="k")["LastModified"]
    day = timedelta(days=1)
    for conditions, failed in (
        ({"IfMatch": '"other"', "IfUnmodifiedSince": changed - day}, "If-Match"),
        ({"IfUnmodifiedSince": changed - day, "IfNoneMatch": etag}, "If-Unmodified-Since"),
        ({"IfNoneMatch": etag, "IfModifiedSince": changed}, "If-None-Match"),
        ({"IfModifiedSince": changed}, "If-Modified-Since"),
    ):
        given = {f"CopySource{name}": value for name, value in conditions.items()}
        error = refused(
            lambda given=given: s3.copy_object(
                Bucket="bucket", Key="copy", CopySource="bucket/k", **given
            ),
            "PreconditionFailed",
            412,
        )
        assert error["Condition"] == f"x-amz-copy-source-{failed}"
    ahead = changed + day
    s3.copy_object(
        Bucket="bucket", Key="copy", CopySource="bucket/k", CopySourceIfModifiedSince=ahead
    )
    assert s3.get_object(Bucket="bucket", Key="k", IfModifiedSince=ahead)["Body"].read() == b"x"


def test_conditions_that_s3_does_not_take_on_a_write_are_not_implemented(s3: Any) -> None:
    for conditions, header in (
        ({"IfMatch": "*"}, "If-Match"),
        ({"IfNoneMatch": '"etag"'}, "If-None-Match"),
        ({"IfMatch": '"etag"', "IfNoneMatch": "*"}, "If-Match,If-None-Match"),
    ):
        error = refused(
            lambda given=conditions: s3.put_object(Bucket="bucket", Key="k", **given),
            "NotImplemented",
            501,
        )
        assert error["Header"] == header


def test_a_version_that_no_bucket_gave_and_an_acl_that_its_owner_turned_off_are_refused(
    s3: Any,
) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ACL="bucket-owner-full-control")
    place = {"Bucket": "bucket", "Key": "k"}
    version = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"
    error = refused(lambda: s3.get_object(**place, VersionId=version), "InvalidArgument", 400)
    assert error["ArgumentValue"] == version
    s3.put_bucket_acl(Bucket="bucket", ACL="private")
    s3.put_object_acl(**place, ACL="private")
    off = "AccessControlListNotSupported", 400
    refused(lambda: s3.put_object(**place, ACL="public-read"), *off)
    refused(lambda: s3.put_object(**place, GrantRead="id=1"), *off)
    refused(lambda: s3.put_object_acl(**place, ACL="public-read"), *off)
    refused(lambda: s3.put_bucket_acl(Bucket="bucket", AccessControlPolicy={"Grants": []}), *off)
    refused(lambda: s3.put_bucket_acl(Bucket="bucket"), "MissingSecurityHeader", 400)
    refused(
        lambda: s3.create_bucket(Bucket="open", ACL="public-read"),
        "InvalidBucketAclWithObjectOwnership",
        400,
    )


def test_a_bucket_is_made_where_its_endpoint_may_make_one(platform: Platform, s3: Any) -> None:
    def create(client: Any, place: str | None) -> Any:
        more = {"CreateBucketConfiguration": {"LocationConstraint": place}} if place else {}
        return lambda: client.create_bucket(Bucket="placed", **more)

    refused(create(s3, "us-east-1"), "InvalidLocationConstraint", 400)
    refused(create(s3, "nowhere"), "InvalidLocationConstraint", 400)
    far = boto3.client(
        "s3",
        endpoint_url=platform.url,
        region_name="eu-west-1",
        aws_access_key_id="AKIAROOT",
        aws_secret_access_key="secret",
    )
    for place in (None, "us-east-1", "us-west-2"):
        refused(create(far, place), "IllegalLocationConstraintException", 400)
    assert create(far, "eu-west-1")()["BucketArn"] == "arn:aws:s3:::placed"
    far.close()
    listed = s3.list_buckets()["Buckets"]
    assert [(one["Name"], one.get("BucketRegion")) for one in listed] == [
        ("bucket", None),
        ("placed", None),
    ]
    page = s3.list_buckets(MaxBuckets=1)
    assert page["Buckets"][0]["BucketRegion"] == "us-east-1"
    rest = s3.list_buckets(ContinuationToken=page["ContinuationToken"])
    assert [one["Name"] for one in rest["Buckets"]] == ["placed"]


def test_a_marker_within_a_common_prefix_skips_it_all(s3: Any) -> None:
    for key in ("f/a/1", "f/a/2", "f/b"):
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    within = {"Bucket": "bucket", "Prefix": "f/", "Delimiter": "/"}
    assert [one["Key"] for one in s3.list_objects(**within, Marker="f/a/1")["Contents"]] == ["f/b"]
    versions = s3.list_object_versions(**within, KeyMarker="f/a/1")
    assert [one["Key"] for one in versions["Versions"]] == [
        "f/b"
    ] and "CommonPrefixes" not in versions
    first = s3.list_objects_v2(Bucket="bucket", StartAfter="f/a/1", MaxKeys=1)
    assert first["StartAfter"] == "f/a/1"
    token = first["NextContinuationToken"]
    second = s3.list_objects_v2(Bucket="bucket", StartAfter="f/a/1", ContinuationToken=token)
    assert [one["Key"] for one in second["Contents"]] == ["f/b"] and "StartAfter" not in second


def test_an_unfinished_upload_tells_its_wrong_parts_and_ranges(s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="source", Body=b"0123456789")
    place = {"Bucket": "bucket", "Key": "k"}
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}

    def copy(span: str) -> Any:
        return lambda: s3.upload_part_copy(
            **upload, PartNumber=1, CopySource="bucket/source", CopySourceRange=span
        )

    for wrong in ("0-8", "bytes=1-0", "bytes=1-", "bytes=-2", "bytes=0-1,3-4", "bytes=0-10"):
        assert refused(copy(wrong), "InvalidArgument", 400)["ArgumentValue"] == wrong
    refused(copy("bytes=100-200"), "InvalidRequest", 400)
    part = copy("bytes=0-9")()["CopyPartResult"]
    assert not {name for name in part if name.startswith("Checksum")}
    listed = s3.list_parts(**upload)
    assert "ChecksumType" not in listed and listed["Parts"][0]["Size"] == 10

    def complete(*parts: dict[str, Any]) -> Any:
        return lambda: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [*parts]})

    refused(complete(), "InvalidRequest", 400)
    error = refused(complete({"PartNumber": 2, "ETag": part["ETag"]}), "InvalidPart", 400)
    assert (error["PartNumber"], error["UploadId"]) == ("2", upload["UploadId"])
    complete({"PartNumber": 1, "ETag": part["ETag"]})()
