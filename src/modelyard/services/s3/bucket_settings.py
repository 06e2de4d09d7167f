"""A bucket's settings: those that can be set, and of the others the answer that nothing was."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, accept, blocking, not_implemented
from modelyard.services.s3.described import BUCKET_TAGS, checked_tags, take_checksums
from modelyard.store.object_info import PublicAccessBlock

Output = dict[str, Any]
OWNERSHIP = "BucketOwnerEnforced"
_NO_POLICY = "NoSuchBucketPolicy", "The bucket policy does not exist"
_NEVER_SET = {
    "GetBucketCors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketLifecycleConfiguration": (
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    "GetBucketPolicy": _NO_POLICY,
    "GetBucketPolicyStatus": _NO_POLICY,
    "GetBucketWebsite": (
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
    ),
    "GetBucketReplication": (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    "GetObjectLockConfiguration": (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ),
}
"""How S3 refuses to tell of a setting that was never made."""
_UNSET: Mapping[str, Mapping[str, Any]] = {
    "GetBucketLogging": {},
    "GetBucketNotificationConfiguration": {},
    "GetBucketAccelerateConfiguration": {},
    "GetBucketRequestPayment": {"Payer": "BucketOwner"},
    "DeleteBucketCors": {},
    "DeleteBucketLifecycle": {},
    "DeleteBucketPolicy": {},
    "DeleteBucketWebsite": {},
    "DeleteBucketReplication": {},
}
"""What it tells of others."""
_BLOCKS = {
    "BlockPublicAcls": "block_public_acls",
    "IgnorePublicAcls": "ignore_public_acls",
    "BlockPublicPolicy": "block_public_policy",
    "RestrictPublicBuckets": "restrict_public_buckets",
}


class BucketSettings:
    """Operations on what a bucket can have set.

    Tags are kept and given back. So is the block of public access, under whose every value the platform does
    the same: it gives no access to the public. Objects belong to the bucket's owner, which turns ACLs off.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._store = access.store

    async def get_bucket_tagging(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        found = await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        if not found.settings.tags:
            raise _missing("NoSuchTagSet", "The TagSet does not exist", bucket)
        return {"TagSet": [{"Key": k, "Value": v} for k, v in found.settings.tags.items()]}

    async def put_bucket_tagging(
        self,
        call: Call,
        *,
        bucket: str,
        tagging: Mapping[str, Any],
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> None:
        take_checksums(members)
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        tags = checked_tags(tagging.get("TagSet") or [], most=BUCKET_TAGS, of="Bucket")
        await blocking(self._store.set_bucket, bucket, tags=tags)

    async def delete_bucket_tagging(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        await blocking(self._store.set_bucket, bucket, tags={})

    async def get_public_access_block(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        found = await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        block = found.settings.public_access_block
        if block is None:
            raise _missing(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
                bucket,
            )
        values = {name: getattr(block, attribute) for name, attribute in _BLOCKS.items()}
        return {"PublicAccessBlockConfiguration": values}

    async def put_public_access_block(
        self,
        call: Call,
        *,
        bucket: str,
        public_access_block_configuration: Mapping[str, bool],
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> None:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        given = {
            attribute: bool(public_access_block_configuration.get(name))
            for name, attribute in _BLOCKS.items()
        }
        block = PublicAccessBlock(**given)
        await blocking(self._store.set_bucket, bucket, public_access_block=block)

    async def delete_public_access_block(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        await blocking(self._store.set_bucket, bucket, public_access_block=None)

    async def get_bucket_ownership_controls(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return {"OwnershipControls": {"Rules": [{"ObjectOwnership": OWNERSHIP}]}}

    async def put_bucket_ownership_controls(
        self,
        call: Call,
        *,
        bucket: str,
        ownership_controls: Mapping[str, Any],
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> None:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        for rule in ownership_controls["Rules"]:
            if rule["ObjectOwnership"] != OWNERSHIP:
                raise not_implemented(f"object ownership {rule['ObjectOwnership'][:100]}")


class UnsetSettings:
    """Operations on what no bucket has: a client that asks hears what S3 says of a bucket where it was never set."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def operations(self) -> Mapping[str, Callable[..., Awaitable[Output]]]:
        """By name. Deleting what is not there succeeds, at S3 too."""
        missing = {name: partial(self._missing, *refusal) for name, refusal in _NEVER_SET.items()}
        return missing | {name: partial(self._told, told) for name, told in _UNSET.items()}

    async def _missing(
        self,
        code: str,
        message: str,
        call: Call,
        *,
        bucket: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        await self._told(
            {}, call, bucket=bucket, expected_bucket_owner=expected_bucket_owner, **members
        )
        raise _missing(code, message, bucket)

    async def _told(
        self,
        told: Mapping[str, Any],
        call: Call,
        *,
        bucket: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return dict(told)


def _missing(code: str, message: str, bucket: str) -> ServiceError:
    return ServiceError(code, message, status=404, members={"BucketName": bucket})
