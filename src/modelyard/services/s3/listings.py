"""ListObjects, ListObjectsV2 and ListObjectVersions: pages of keys, in the order of their bytes."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, accept
from modelyard.services.s3.buckets import owner_of
from modelyard.services.s3.tokens import from_token, token
from modelyard.store.object_info import Listing, ObjectInfo

Output = dict[str, Any]
PAGE = 1000
NULL_VERSION = "null"
Encode = Callable[[str], str]


class Listings:
    """Operations that list a bucket's objects."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def list_objects(
        self,
        call: Call,
        *,
        bucket: str,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        marker: str | None = None,
        max_keys: int | None = None,
        prefix: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        limit = page_limit(max_keys)
        after = _behind(marker, prefix, delimiter)
        listing = await self._list(bucket, prefix, after, limit, delimiter)
        encoded = text_encoder(encoding_type)
        asked = _asked(encoded, bucket=bucket, prefix=prefix, delimiter=delimiter)
        return {
            **_found(listing, encoded),
            "Marker": encoded(marker or ""),
            "NextMarker": encoded(listing.after) if listing.after and delimiter else None,
            "Contents": [entry(info, encoded, owner=call.account) for info in listing.objects],
            **asked,
            "MaxKeys": limit,
            "EncodingType": encoding_type,
        }

    async def list_objects_v2(
        self,
        call: Call,
        *,
        bucket: str,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_keys: int | None = None,
        prefix: str | None = None,
        continuation_token: str | None = None,
        fetch_owner: bool | None = None,
        start_after: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        limit = page_limit(max_keys)
        after = start_after if continuation_token is None else from_token(continuation_token)
        listing = await self._list(bucket, prefix, after, limit, delimiter)
        encoded = text_encoder(encoding_type)
        asked = _asked(encoded, bucket=bucket, prefix=prefix, delimiter=delimiter)
        owner = call.account if fetch_owner else None
        return {
            **_found(listing, encoded),
            "Contents": [entry(info, encoded, owner=owner) for info in listing.objects],
            **asked,
            "MaxKeys": limit,
            "EncodingType": encoding_type,
            "KeyCount": len(listing.objects) + len(listing.prefixes),
            "ContinuationToken": continuation_token,
            "NextContinuationToken": token(listing.after) if listing.after else None,
            "StartAfter": encoded(start_after)
            if start_after and continuation_token is None
            else None,
        }

    async def list_object_versions(
        self,
        call: Call,
        *,
        bucket: str,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        key_marker: str | None = None,
        max_keys: int | None = None,
        prefix: str | None = None,
        version_id_marker: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        """A key's one object is its version ``null``, as in every bucket at S3 that never had versioning."""
        accept(members)
        if version_id_marker is not None and key_marker is None:
            raise ServiceError(
                "InvalidArgument",
                "A version-id marker cannot be specified without a key marker.",
                members={"ArgumentName": "version-id-marker", "ArgumentValue": version_id_marker},
            )
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        limit = page_limit(max_keys)
        after = _behind(key_marker, prefix, delimiter)
        listing = await self._list(bucket, prefix, after, limit, delimiter)
        encoded = text_encoder(encoding_type)
        asked = _asked(encoded, bucket=bucket, prefix=prefix, delimiter=delimiter)
        ends_with_version = bool(listing.objects) and listing.objects[-1].key == listing.after
        return {
            **_found(listing, encoded),
            "KeyMarker": encoded(key_marker or ""),
            "VersionIdMarker": version_id_marker or "",
            "NextKeyMarker": encoded(listing.after) if listing.after else None,
            "NextVersionIdMarker": NULL_VERSION if listing.after and ends_with_version else None,
            "Versions": [
                {
                    **entry(info, encoded, owner=call.account),
                    "VersionId": NULL_VERSION,
                    "IsLatest": True,
                }
                for info in listing.objects
            ],
            **asked,
            "MaxKeys": limit,
            "EncodingType": encoding_type,
        }

    async def _list(
        self, bucket: str, prefix: str | None, after: str | None, limit: int, delimiter: str | None
    ) -> Listing:
        return await asyncio.to_thread(
            self._access.store.list_objects,
            bucket,
            prefix=prefix or "",
            start_after=after or "",
            limit=limit,
            delimiter=delimiter or "",
        )


def _asked(encoded: Encode, *, bucket: str, prefix: str | None, delimiter: str | None) -> Output:
    """What every kind of listing repeats of its request."""
    return {
        "Name": bucket,
        "Prefix": encoded(prefix or ""),
        "Delimiter": encoded(delimiter) if delimiter else None,
    }


def _found(listing: Listing, encoded: Encode) -> Output:
    """What every kind of listing tells beside its objects."""
    return {
        "IsTruncated": bool(listing.after),
        "CommonPrefixes": [{"Prefix": encoded(one)} for one in listing.prefixes],
    }


def _behind(marker: str | None, prefix: str | None, delimiter: str | None) -> str:
    """A marker within a common prefix stands for all of it, which the page before has shown."""
    given, begin = marker or "", prefix or ""
    end = given.find(delimiter, len(begin)) if delimiter and given.startswith(begin) else -1
    return given if end < 0 or not delimiter else given[: end + len(delimiter)]


def page_limit(wanted: int | None) -> int:
    if wanted is None:
        return PAGE
    if wanted < 0:
        raise ServiceError(
            "InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647"
        )
    return min(wanted, PAGE)


def text_encoder(encoding_type: str | None) -> Encode:
    """How keys stand in the answer: as they are, or URL-encoded, for XML cannot hold every character."""
    if encoding_type not in (None, "url"):
        raise ServiceError(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            members={"ArgumentName": "encoding-type", "ArgumentValue": encoding_type},
        )
    return partial(quote, safe="/-_.*") if encoding_type else str


def entry(info: ObjectInfo, encoded: Encode, *, owner: str | None) -> Output:
    """One object in a listing."""
    checksums = info.attributes.checksums
    return {
        "Key": encoded(info.key),
        "LastModified": info.last_modified,
        "ETag": f'"{info.etag}"',
        "ChecksumAlgorithm": list(checksums) or None,
        "ChecksumType": info.attributes.checksum_type or None,
        "Size": info.size,
        "StorageClass": "STANDARD",
        "Owner": owner_of(owner) if owner else None,
    }
