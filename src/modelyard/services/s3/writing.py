"""PutObject, CopyObject, DeleteObject, DeleteObjects and tagging."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import (
    Access,
    accept,
    blocking,
    check_key,
    no_such_key,
)
from modelyard.services.s3.bodies import (
    DEFAULT_ALGORITHM,
    PUT_BYTES,
    Body,
    CreateChecksum,
    aborted_on_error,
    read_pieces,
    store_body,
)
from modelyard.services.s3.conditions import write_condition
from modelyard.services.s3.copy_sources import open_copy_source
from modelyard.services.s3.described import (
    check_algorithm,
    checked_tags,
    checksum_members,
    take_attributes,
    take_checksums,
)
from modelyard.store.object_info import Attributes, Condition, ObjectInfo

Output = dict[str, Any]
DELETE_KEYS = 1000
FULL_OBJECT = "FULL_OBJECT"


class Writing:
    """Operations that make, change or remove an object."""

    def __init__(self, access: Access, *, create_checksum: CreateChecksum) -> None:
        self._access = access
        self._store = access.store
        self._create_checksum = create_checksum

    async def put_object(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        body: Body,
        if_match: str | None = None,
        if_none_match: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        take_checksums(members)  # The body checks them.
        check_algorithm(members.get("checksum_algorithm"))
        attributes = take_attributes(members)
        accept(members)
        check_key(key)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        condition = write_condition(key, if_match=if_match, if_none_match=if_none_match)
        if condition is not None:  # Early, to spare the client its body; again at the commit.
            condition(await asyncio.to_thread(self._store.head, bucket, key))
        writer = await blocking(self._store.writer, bucket, key, attributes=attributes)
        async with aborted_on_error(writer):
            await store_body(body, writer)
            writer.attributes = msgspec.structs.replace(
                attributes, checksums=dict(body.checksums), checksum_type=FULL_OBJECT
            )
            info = await blocking(writer.commit, condition=condition)
        return {
            "ETag": f'"{info.etag}"',
            **checksum_members(info.attributes.checksums, FULL_OBJECT),
        }

    async def copy_object(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        copy_source: str,
        metadata_directive: str | None = None,
        tagging_directive: str | None = None,
        checksum_algorithm: str | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        check_key(key)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        condition = write_condition(key, if_match=if_match, if_none_match=if_none_match)
        async with open_copy_source(self._access, call, copy_source, members) as (source, file):
            given = take_attributes(members)
            accept(members)
            keeps = metadata_directive != "REPLACE"
            _check_copy(source, bucket, key, keeps_metadata=keeps)
            base = source.attributes if keeps else given
            tags = given.tags if tagging_directive == "REPLACE" else source.attributes.tags
            algorithm = check_algorithm(checksum_algorithm) or next(
                iter(source.attributes.checksums), DEFAULT_ALGORITHM
            )
            attributes = msgspec.structs.replace(base, tags=tags, parts=0)
            info = await blocking(
                self._copy, (source, file), (bucket, key), attributes, algorithm, condition
            )
        return {
            "CopyObjectResult": {
                "ETag": f'"{info.etag}"',
                "LastModified": info.last_modified,
                **checksum_members(info.attributes.checksums, FULL_OBJECT),
            }
        }

    def _copy(
        self,
        source: tuple[ObjectInfo, BinaryIO],
        target: tuple[str, str],
        attributes: Attributes,
        algorithm: str,
        condition: Condition | None,
    ) -> ObjectInfo:
        checksum = self._create_checksum(algorithm)
        info, file = source
        with self._store.writer(*target) as writer:
            for piece in read_pieces(file, 0, info.size):
                writer.write(piece)
                checksum.update(piece)
            digest = base64.b64encode(checksum.digest()).decode()
            writer.attributes = msgspec.structs.replace(
                attributes, checksums={algorithm: digest}, checksum_type=FULL_OBJECT
            )
            return writer.commit(condition=condition)

    async def delete_object(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        if_match: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        condition = write_condition(key, if_match=if_match, accepts_any=True)
        await blocking(self._store.delete_object, bucket, key, condition=condition)
        return {}

    async def delete_objects(
        self,
        call: Call,
        *,
        bucket: str,
        delete: Mapping[str, Any],
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        take_checksums(members)
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        wanted = delete.get("Objects") or []
        if not 0 < len(wanted) <= DELETE_KEYS or not all(one.get("Key") for one in wanted):
            raise ServiceError(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            )
        outcomes = await blocking(
            self._store.delete_objects, bucket, [(one["Key"], _deletion(one)) for one in wanted]
        )
        deleted, errors = [], []
        for one, error in zip(wanted, outcomes, strict=True):
            if error is None:
                deleted.append({"Key": one["Key"], "VersionId": one.get("VersionId")})
            else:
                errors.append({"Key": one["Key"], "Code": error.code, "Message": error.message})
        return {"Deleted": None if delete.get("Quiet") else deleted, "Errors": errors or None}

    async def get_object_tagging(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        info = await self._access.info(call, bucket, key, owner=expected_bucket_owner)
        tags = info.attributes.tags
        return {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}

    async def put_object_tagging(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        tagging: Mapping[str, Any],
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        take_checksums(members)
        accept(members)
        await self._set_tags(
            call, bucket, key, checked_tags(tagging.get("TagSet") or []), expected_bucket_owner
        )
        return {}

    async def delete_object_tagging(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._set_tags(call, bucket, key, {}, expected_bucket_owner)
        return {}

    async def _set_tags(
        self, call: Call, bucket: str, key: str, tags: dict[str, str], owner: str | None
    ) -> None:
        await self._access.bucket(call, bucket, owner=owner)
        if not await blocking(self._store.set_tags, bucket, key, tags):
            raise no_such_key(key)


def _check_copy(source: ObjectInfo, bucket: str, key: str, *, keeps_metadata: bool) -> None:
    if (source.bucket, source.key) == (bucket, key) and keeps_metadata:
        raise ServiceError(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing "
            "the object's metadata, storage class, website redirect location or encryption attributes.",
        )
    if source.size > PUT_BYTES:
        raise ServiceError(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{PUT_BYTES}",
        )


def _deletion(one: Mapping[str, Any]) -> Condition:
    """What one entry of DeleteObjects asks for; its refusal concerns that key alone."""
    expected = write_condition(one["Key"], if_match=one.get("ETag"), accepts_any=True)

    def condition(old: ObjectInfo | None) -> None:
        accept(
            {
                "version_id": one.get("VersionId"),
                "LastModifiedTime": one.get("LastModifiedTime"),
                "Size": one.get("Size"),
            }
        )
        if expected is not None:
            expected(old)

    return condition
