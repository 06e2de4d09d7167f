"""S3 as boto3 sees it: objects, one at a time and in copies."""

import base64
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelyard.testing.object_server import code, refused

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
    assert code(error.value) == ("NoSuchKey", 404)


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
    assert code(error.value) == ("InvalidRange", 416)


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
        assert code(error.value) == expected


def test_conditional_writes(s3: Any) -> None:
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*")
    assert code(error.value) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="none", Body=b"2", IfMatch=etag)
    assert code(error.value) == ("NoSuchKey", 404)
    s3.put_object(Bucket="bucket", Key="k", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="bucket", Key="k", Body=b"3", IfMatch=etag)
    assert code(error.value) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.delete_object(Bucket="bucket", Key="k", IfMatch=etag)
    assert code(error.value) == ("PreconditionFailed", 412)
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
        assert code(error.value) == expected_code


def test_a_key_with_line_ends_comes_back_as_it_went(s3: Any) -> None:
    key = "a\r\nb\rc\nd"
    s3.put_object(Bucket="bucket", Key=key)
    upload = s3.create_multipart_upload(Bucket="bucket", Key=key)
    assert upload["Key"] == key
    (found,) = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert found["Key"] == key
    (deleted,) = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})["Deleted"]
    assert deleted["Key"] == key


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
        assert code(error.value) == expected


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
    assert code(error.value) == ("InvalidArgument", 400)
    wanted = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
    deleted = s3.delete_objects(Bucket="bucket", Delete={"Objects": wanted})["Deleted"]
    assert deleted == wanted
    s3.delete_bucket(Bucket="bucket")


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
