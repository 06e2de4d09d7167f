"""Buckets: their life, and the settings that clients ask for before they use one."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, accept, blocking
from modelyard.services.s3.described import BUCKET_TAGS, checked_tags
from modelyard.store.object_info import BucketNotEmpty, BucketSettings, BucketTaken

Output = dict[str, Any]
BUCKETS_PAGE = 10_000
DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def owner_of(account: str) -> Output:
    """An account as S3's ``Owner``."""
    return {"ID": account, "DisplayName": account}


class Buckets:
    """Operations on buckets. A name is unique on the platform, as it is at AWS."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._store = access.store

    async def create_bucket(
        self,
        call: Call,
        *,
        bucket: str,
        create_bucket_configuration: Mapping[str, Any] | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        configuration = dict(create_bucket_configuration or {})
        wanted = configuration.pop("LocationConstraint", None)
        tags = checked_tags(configuration.pop("Tags", None) or [], most=BUCKET_TAGS, of="Bucket")
        accept({f"CreateBucketConfiguration.{name}": v for name, v in configuration.items()})
        if not _is_name(bucket):
            raise ServiceError(
                "InvalidBucketName",
                "The specified bucket is not valid.",
                members={"BucketName": bucket},
            )
        region = {"EU": "eu-west-1"}.get(wanted, wanted) or call.region
        try:
            await blocking(
                self._store.create_bucket,
                bucket,
                account=call.account,
                region=region,
                settings=BucketSettings(tags=tags),
            )
        except BucketTaken as error:
            if error.owner != call.account:
                raise ServiceError(
                    "BucketAlreadyExists",
                    "The requested bucket name is not available. Please select a different name and try again.",
                    status=409,
                    members={"BucketName": bucket},
                ) from error
            # As at AWS: in us-east-1 alone, making one's own bucket again succeeds.
            if region != DEFAULT_REGION:
                raise ServiceError(
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                    status=409,
                    members={"BucketName": bucket},
                ) from error
        return {"Location": f"/{bucket}"}

    async def delete_bucket(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        try:
            await blocking(self._store.delete_bucket, bucket)
        except BucketNotEmpty as error:
            raise ServiceError(
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty",
                status=409,
                members={"BucketName": bucket},
            ) from error

    async def head_bucket(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        found = await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return {"BucketRegion": found.region, "AccessPointAlias": False}

    async def list_buckets(
        self,
        call: Call,
        *,
        max_buckets: int | None = None,
        continuation_token: str | None = None,
        prefix: str | None = None,
        bucket_region: str | None = None,
    ) -> Output:
        found = [
            bucket
            for bucket in await asyncio.to_thread(self._store.list_buckets, call.account)
            if bucket.name.startswith(prefix or "")
            and bucket.name > (continuation_token or "")
            and bucket_region in (None, bucket.region)
        ]
        limit = max_buckets or BUCKETS_PAGE
        return {
            "Buckets": [
                {"Name": one.name, "CreationDate": one.created, "BucketRegion": one.region}
                for one in found[:limit]
            ],
            "Owner": owner_of(call.account),
            "Prefix": prefix,
            "ContinuationToken": found[limit - 1].name if len(found) > limit else None,
        }

    async def get_bucket_location(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        found = await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return {"LocationConstraint": None if found.region == DEFAULT_REGION else found.region}

    async def get_bucket_versioning(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        """Never enabled: each key has one object."""
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return {}

    async def get_bucket_acl(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        found = await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        return acl_of(found.account)

    async def get_bucket_encryption(
        self, call: Call, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Output:
        """Objects lie on disk as they came; a disk is encrypted below the platform."""
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        raise ServiceError(
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
            status=404,
            members={"BucketName": bucket},
        )


def _is_name(name: str) -> bool:
    is_reserved = name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS)
    is_well_formed = _NAME.fullmatch(name) is not None and ".." not in name
    return is_well_formed and not is_reserved and not _ADDRESS.fullmatch(name)


def acl_of(account: str) -> Output:
    """The one access control list that there is: all for the owner."""
    owner = owner_of(account)
    grantee = {**owner, "Type": "CanonicalUser"}
    return {"Owner": owner, "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}
