"""Buckets: their life, and the settings that clients ask for before they use one."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, accept, acl_not_supported, blocking
from modelyard.services.s3.described import BUCKET_TAGS, checked_tags, take_checksums
from modelyard.services.s3.tokens import from_token, token
from modelyard.store.object_info import BucketNotEmpty, BucketSettings, BucketTaken

Output = dict[str, Any]
BUCKETS_PAGE = 10_000
DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_OWN_ACLS = ("private", "bucket-owner-full-control")
_LOCATION = re.compile(r"EU|[a-z]{2}(-[a-z]+)+-\d")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def owner_of(account: str) -> Output:
    """An account as S3's ``Owner``, which since November 2025 has no display name."""
    return {"ID": account}


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
        if any(
            value and name.startswith(("acl", "grant_")) and value not in _OWN_ACLS
            for name, value in members.items()
        ):
            raise ServiceError(
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            )
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
        _check_location(wanted, call.region)
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
        return {"Location": f"/{bucket}", "BucketArn": _arn(bucket)}

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
        asks_for_some = any(
            one is not None for one in (max_buckets, continuation_token, prefix, bucket_region)
        )
        after = from_token(continuation_token) if continuation_token else ""
        found = [
            bucket
            for bucket in await asyncio.to_thread(self._store.list_buckets, call.account)
            if bucket.name.startswith(prefix or "")
            and bucket.name > after
            and bucket_region in (None, bucket.region)
        ]
        limit = max_buckets or BUCKETS_PAGE
        return {
            "Buckets": [
                {
                    "Name": one.name,
                    "CreationDate": one.created,
                    "BucketRegion": one.region if asks_for_some else None,
                    "BucketArn": _arn(one.name),
                }
                for one in found[:limit]
            ],
            "Owner": owner_of(call.account),
            "Prefix": prefix,
            "ContinuationToken": token(found[limit - 1].name) if len(found) > limit else None,
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

    async def put_bucket_acl(
        self,
        call: Call,
        *,
        bucket: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> None:
        """Objects belong to the bucket's owner, so that the list which says so is the only one that S3 accepts."""
        take_checksums(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        accept_acl(members)

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


def _arn(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def _check_location(wanted: str | None, region: str) -> None:
    """us-east-1 makes buckets anywhere, and its own without being asked; any other region its own, when it is named."""
    if region != DEFAULT_REGION:
        if {"EU": "eu-west-1"}.get(wanted or "", wanted) != region:
            raise ServiceError(
                "IllegalLocationConstraintException",
                f"The {wanted or 'unspecified'} location constraint is incompatible for the region specific "
                "endpoint this request was sent to.",
            )
    elif wanted and (wanted == region or not _LOCATION.fullmatch(wanted)):
        raise ServiceError(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
            members={"LocationConstraint": wanted},
        )


def _is_name(name: str) -> bool:
    is_reserved = name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS)
    is_well_formed = _NAME.fullmatch(name) is not None and ".." not in name
    return is_well_formed and not is_reserved and not _ADDRESS.fullmatch(name)


def accept_acl(members: dict[str, Any]) -> None:
    """Raises ``AccessControlListNotSupported``, ``MissingSecurityHeader``."""
    if members.pop("access_control_policy", None):
        raise acl_not_supported()
    if not any(name == "acl" or name.startswith("grant_") for name in members):
        raise ServiceError(
            "MissingSecurityHeader",
            "Your request was missing a required header",
            members={"MissingHeaderName": "x-amz-acl"},
        )
    accept(members)


def acl_of(account: str) -> Output:
    """The one access control list that there is: all for the owner."""
    owner = owner_of(account)
    grantee = {**owner, "Type": "CanonicalUser"}
    return {"Owner": owner, "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}
