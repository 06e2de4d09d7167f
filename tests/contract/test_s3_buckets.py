"""S3 as boto3 sees it: buckets, what is set for them, and listings of what is in them."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from modelyard.testing.object_server import ObjectServer, code, refused


def test_buckets(s3: Any, server: ObjectServer) -> None:
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
    assert code(error.value) == ("ServerSideEncryptionConfigurationNotFoundError", 404)
    s3.put_object(Bucket="bucket", Key="k")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket="bucket")
    assert code(error.value) == ("BucketNotEmpty", 409)
    s3.delete_bucket(Bucket="far")
    with pytest.raises(ClientError) as error:
        s3.head_bucket(Bucket="far")
    assert code(error.value) == ("404", 404)
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="bad..name")
    assert code(error.value) == ("InvalidBucketName", 400)


def test_a_bucket_belongs_to_one_account(s3: Any, server: ObjectServer) -> None:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    other = server.client("AKIAOTHER")
    assert other.list_buckets()["Buckets"] == []
    for call in (
        lambda: other.get_object(Bucket="bucket", Key="k"),
        lambda: other.list_objects_v2(Bucket="bucket"),
        lambda: other.put_object(Bucket="bucket", Key="k", Body=b"y"),
        lambda: s3.get_object(Bucket="bucket", Key="k", ExpectedBucketOwner="222222222222"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert code(error.value) == ("AccessDenied", 403)
    with pytest.raises(ClientError) as error:
        other.create_bucket(Bucket="bucket")
    assert code(error.value) == ("BucketAlreadyExists", 409)


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


def test_a_bucket_keeps_its_tags_and_its_block_of_public_access(s3: Any) -> None:
    with pytest.raises(ClientError) as error:
        s3.get_bucket_tagging(Bucket="bucket")
    assert code(error.value) == ("NoSuchTagSet", 404)
    tags = [{"Key": "team", "Value": "churn models"}, {"Key": "größe", "Value": ""}]
    put = s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": tags})
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_tagging(Bucket="bucket")["TagSet"] == tags
    for wrong in (
        [tags[0], tags[0]],
        [{"Key": "aws:x", "Value": ""}],
        [{"Key": "a,b", "Value": ""}],
    ):
        with pytest.raises(ClientError) as error:
            s3.put_bucket_tagging(Bucket="bucket", Tagging={"TagSet": wrong})
        assert code(error.value) == ("InvalidTag", 400)
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
    assert code(error.value) == ("NoSuchPublicAccessBlockConfiguration", 404)
    with pytest.raises(ClientError) as error:
        s3.put_bucket_tagging(Bucket="nowhere", Tagging={"TagSet": tags})
    assert code(error.value) == ("NoSuchBucket", 404)
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
    assert code(missing.value) == ("NoSuchBucket", 404)
    if isinstance(expected, dict):
        answer = getattr(s3, operation)(Bucket="bucket")
        assert {name: answer[name] for name in answer if name != "ResponseMetadata"} == expected
        return
    with pytest.raises(ClientError) as error:
        getattr(s3, operation)(Bucket="bucket")
    assert code(error.value) == (expected, 404)
    assert error.value.response["Error"]["BucketName"] == "bucket"


def test_a_bucket_is_made_where_its_endpoint_may_make_one(server: ObjectServer, s3: Any) -> None:
    def create(client: Any, place: str | None) -> Any:
        more = {"CreateBucketConfiguration": {"LocationConstraint": place}} if place else {}
        return lambda: client.create_bucket(Bucket="placed", **more)

    refused(create(s3, "us-east-1"), "InvalidLocationConstraint", 400)
    refused(create(s3, "nowhere"), "InvalidLocationConstraint", 400)
    far = boto3.client(
        "s3",
        endpoint_url=server.url,
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
