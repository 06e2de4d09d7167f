"""GetObject, HeadObject, GetObjectAttributes: whole objects, ranges and parts."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any, BinaryIO

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, accept, no_such_key
from modelyard.services.s3.bodies import FileBody
from modelyard.services.s3.buckets import accept_acl, acl_of
from modelyard.services.s3.conditions import check_read
from modelyard.services.s3.described import checksum_members, describe, take_checksums
from modelyard.store.object_info import ObjectInfo

Output = dict[str, Any]
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_OVERRIDES = {
    "response_cache_control": "CacheControl",
    "response_content_disposition": "ContentDisposition",
    "response_content_encoding": "ContentEncoding",
    "response_content_language": "ContentLanguage",
    "response_content_type": "ContentType",
    "response_expires": "Expires",
}
PARTS_PAGE = 1000


class Reading:
    """Operations that read an object."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._store = access.store

    async def get_object(self, call: Call, *, bucket: str, key: str, **members: Any) -> Output:
        """``Body`` is a ``FileBody``, which has to be closed."""
        await self._access.bucket(call, bucket, owner=members.pop("expected_bucket_owner", None))
        opened = await asyncio.to_thread(self._store.open_object, bucket, key)
        if opened is None:
            raise no_such_key(key)
        info, file = opened
        try:
            return await self._answer(info, members, file)
        except BaseException:
            file.close()
            raise

    async def head_object(self, call: Call, *, bucket: str, key: str, **members: Any) -> Output:
        owner = members.pop("expected_bucket_owner", None)
        info = await self._access.info(call, bucket, key, owner=owner)
        return await self._answer(info, members, None)

    async def _answer(
        self, info: ObjectInfo, members: dict[str, Any], file: BinaryIO | None
    ) -> Output:
        header, number = members.pop("range", None), members.pop("part_number", None)
        wants_checksum = members.pop("checksum_mode", None) == "ENABLED"
        overrides = {
            wire_name: _override(members.pop(name))
            for name, wire_name in _OVERRIDES.items()
            if members.get(name)
        }
        check_read(info, **_take_conditions(members), now=self._store.clock.now())
        accept(members)
        if header and number:
            raise ServiceError(
                "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
            )
        output = {**describe(info), **overrides}
        found = find_range(header, info.size)
        if number is not None:
            found = await self._range_of_part(info, number)
            output["PartsCount"] = info.attributes.parts or None
        start, length = found or (0, info.size)
        output["ContentLength"] = length
        if found is not None and info.size:
            output["ContentRange"] = f"bytes {start}-{start + length - 1}/{info.size}"
        if wants_checksum and length == info.size:
            output |= checksum_members(info.attributes.checksums, info.attributes.checksum_type)
        if file is not None:
            output["Body"] = FileBody(file, start, length)
        return output

    async def _range_of_part(self, info: ObjectInfo, number: int) -> tuple[int, int]:
        parts = await asyncio.to_thread(self._store.parts_of, info)
        sizes = [part.size for part in parts] or [info.size]
        if not 1 <= number <= len(sizes):
            raise ServiceError(
                "InvalidPartNumber",
                "The requested partnumber is not satisfiable",
                status=416,
                members={"PartNumberRequested": number, "ActualPartCount": len(sizes)},
            )
        starts = [0, *accumulate(sizes)]
        return starts[number - 1], sizes[number - 1]

    async def get_object_attributes(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        object_attributes: list[str],
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        info = await self._access.info(call, bucket, key, owner=expected_bucket_owner)
        attributes = info.attributes
        all_parts = (
            await self._describe_parts(info, max_parts, part_number_marker)
            if "ObjectParts" in object_attributes and attributes.parts
            else None
        )
        output: Output = {
            "ETag": info.etag,
            "Checksum": checksum_members(attributes.checksums, attributes.checksum_type) or None,
            "ObjectParts": all_parts,
            "StorageClass": "STANDARD",
            "ObjectSize": info.size,
        }
        asked = {name: value for name, value in output.items() if name in object_attributes}
        return {"LastModified": info.last_modified, **asked}

    async def _describe_parts(
        self, info: ObjectInfo, limit: int | None, marker: int | None
    ) -> Output:
        parts = await asyncio.to_thread(self._store.parts_of, info)
        if not any(part.checksums for part in parts):
            return {"TotalPartsCount": len(parts)}
        behind = [part for part in parts if part.number > (marker or 0)]
        shown = behind[: min(PARTS_PAGE if limit is None else limit, PARTS_PAGE)]
        return {
            "TotalPartsCount": len(parts),
            "PartNumberMarker": marker or 0,
            "NextPartNumberMarker": shown[-1].number if shown else 0,
            "MaxParts": limit or PARTS_PAGE,
            "IsTruncated": len(shown) < len(behind),
            "Parts": [
                {"PartNumber": p.number, "Size": p.size, **checksum_members(p.checksums)}
                for p in shown
            ],
        }

    async def get_object_acl(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.info(call, bucket, key, owner=expected_bucket_owner)
        return acl_of(call.account)

    async def put_object_acl(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> None:
        take_checksums(members)
        accept({"version_id": members.pop("version_id", None)})
        await self._access.info(call, bucket, key, owner=expected_bucket_owner)
        accept_acl(members)


def _take_conditions(members: dict[str, Any]) -> Mapping[str, Any]:
    names = ("if_match", "if_none_match", "if_modified_since", "if_unmodified_since")
    return {name: members.pop(name, None) for name in names}


def _override(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value


def find_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and length; None for the whole, which several ranges and malformed ones get too. Raises ``InvalidRange``."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < start:
            return None
    else:
        start, end = max(size - int(match[2]), 0), size - 1
    if start >= size or (not match[1] and int(match[2]) == 0):
        raise ServiceError(
            "InvalidRange",
            "The requested range is not satisfiable",
            status=416,
            members={"RangeRequested": header, "ActualObjectSize": size},
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end - start + 1
