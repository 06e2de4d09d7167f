"""Multipart uploads: an object that is sent in parts, in any order, and becomes visible as one."""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Any, BinaryIO

import msgspec

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import (
    Access,
    accept,
    blocking,
    check_key,
    no_such_upload,
)
from modelyard.services.s3.bodies import (
    DEFAULT_ALGORITHM,
    Body,
    CreateChecksum,
    aborted_on_error,
    checksum_of,
    read_pieces,
    store_body,
)
from modelyard.services.s3.buckets import owner_of
from modelyard.services.s3.conditions import write_condition
from modelyard.services.s3.copy_sources import open_copy_source
from modelyard.services.s3.described import (
    check_algorithm,
    checksum_members,
    take_attributes,
    take_checksums,
)
from modelyard.services.s3.parts import (
    check_part_algorithm,
    choose_parts,
    copied_span,
    invalid_part,
    shown_checksum_type,
    shown_checksums,
)
from modelyard.services.s3.writing import FULL_OBJECT
from modelyard.store.object_info import Condition, ObjectInfo
from modelyard.store.object_uploads import Options, StoredPart, Upload, Uploads

Output = dict[str, Any]
PARTS = 10_000
COMPOSITE = "COMPOSITE"
_ALWAYS_FULL = "CRC64NVME"
_NEVER_FULL = ("SHA1", "SHA256")


class MultipartUploads:
    """Operations on uploads and their parts; their listings are in ``UploadListings``."""

    def __init__(
        self, access: Access, uploads: Uploads, *, create_checksum: CreateChecksum
    ) -> None:
        self._access = access
        self._uploads = uploads
        self._create_checksum = create_checksum

    async def create_multipart_upload(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        checksum_algorithm: str | None = None,
        checksum_type: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        attributes = take_attributes(members)
        accept(members)
        check_key(key)
        algorithm = check_algorithm(checksum_algorithm)
        kind = _checksum_type(algorithm, checksum_type)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        options = Options(
            attributes=msgspec.structs.replace(attributes, checksum_type=kind),
            algorithm=algorithm,
        )
        upload = await blocking(self._uploads.create, bucket, key, options)
        return {
            "Bucket": bucket,
            "Key": key,
            "UploadId": upload.id,
            "ChecksumAlgorithm": algorithm or None,
            "ChecksumType": kind if algorithm else None,
        }

    async def upload_part(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        part_number: int,
        upload_id: str,
        body: Body,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        take_checksums(members)  # The body checks them.
        accept(members)
        _check_number(part_number)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        upload = await self.find(bucket, key, upload_id)
        writer = await blocking(self._uploads.part_writer, upload, part_number)
        async with aborted_on_error(writer):
            await store_body(body, writer)
            checksums = dict(body.checksums)
            check_part_algorithm(upload, checksums)
            part = await blocking(writer.commit, checksums)
        return {"ETag": f'"{part.etag}"', **checksum_members(part.checksums)}

    async def upload_part_copy(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        part_number: int,
        upload_id: str,
        copy_source: str,
        copy_source_range: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        _check_number(part_number)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        async with open_copy_source(self._access, call, copy_source, members) as (source, file):
            accept(members)
            upload = await self.find(bucket, key, upload_id)
            span = copied_span(copy_source_range, source.size)
            part = await blocking(self._copy_part, upload, part_number, file, span)
        return {
            "CopyPartResult": {
                "ETag": f'"{part.etag}"',
                "LastModified": part.modified,
                **shown_checksums(upload, part),
            }
        }

    def _copy_part(
        self, upload: Upload, number: int, file: BinaryIO, span: tuple[int, int]
    ) -> StoredPart:
        algorithm = upload.options.algorithm or DEFAULT_ALGORITHM
        checksum = self._create_checksum(algorithm)
        with self._uploads.part_writer(upload, number) as writer:
            for piece in read_pieces(file, *span):
                writer.write(piece)
                checksum.update(piece)
            return writer.commit({algorithm: base64.b64encode(checksum.digest()).decode()})

    async def complete_multipart_upload(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        multipart_upload: Mapping[str, Any] | None = None,
        mpu_object_size: int | None = None,
        checksum_type: str | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        declared = take_checksums(members)
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        wanted = (multipart_upload or {}).get("Parts") or []
        condition = write_condition(key, if_match=if_match, if_none_match=if_none_match)
        try:
            upload = await self.find(bucket, key, upload_id)
            _check_type(upload, checksum_type)
            stored = await asyncio.to_thread(self._uploads.parts, upload.id)
            parts = choose_parts(wanted, stored, upload_id)
            if mpu_object_size not in (None, sum(part.size for part in parts)):
                raise ServiceError(
                    "InvalidRequest",
                    "The provided 'x-amz-mp-object-size' header does not match what was computed",
                )
            info = await blocking(self._complete, upload, parts, declared, condition)
        except ServiceError as error:
            is_gone = error.code in ("NoSuchUpload", "InvalidPart")
            completed = (
                await self._completed_before(bucket, key, wanted, upload_id) if is_gone else None
            )
            if completed is None:
                raise
            info = completed
        return {
            "Location": f"/{bucket}/{key}",
            "Bucket": bucket,
            "Key": key,
            "ETag": f'"{info.etag}"',
            **checksum_members(info.attributes.checksums, info.attributes.checksum_type),
        }

    def _complete(
        self,
        upload: Upload,
        parts: Sequence[StoredPart],
        declared: Mapping[str, str],
        condition: Condition | None,
    ) -> ObjectInfo:
        options = upload.options
        try:
            assembly = self._uploads.assemble(upload, parts)
        except FileNotFoundError as error:
            raise invalid_part() from error
        try:
            algorithm = options.algorithm or DEFAULT_ALGORITHM
            if options.attributes.checksum_type == COMPOSITE:
                checksum = self._composite(algorithm, parts)
            else:
                running = self._create_checksum(algorithm)
                checksum_of(assembly.path, running)
                checksum = base64.b64encode(running.digest()).decode()
            given = declared.get(algorithm, checksum)
            if given not in (checksum, checksum.partition("-")[0]):
                raise ServiceError(
                    "BadDigest",
                    f"The {algorithm} you specified did not match the calculated checksum.",
                )
            attributes = msgspec.structs.replace(
                options.attributes, checksums={algorithm: checksum}, parts=len(parts)
            )
            etag = etag_of([part.etag for part in parts])
            return assembly.commit(attributes, etag=etag, condition=condition)
        finally:
            assembly.abort()

    def _composite(self, algorithm: str, parts: Sequence[StoredPart]) -> str:
        """The checksum of the parts' checksums."""
        checksum = self._create_checksum(algorithm)
        for part in parts:
            checksum.update(base64.b64decode(part.checksums[algorithm]))
        return f"{base64.b64encode(checksum.digest()).decode()}-{len(parts)}"

    async def _completed_before(
        self, bucket: str, key: str, wanted: Sequence[Mapping[str, Any]], upload_id: str
    ) -> ObjectInfo | None:
        """A repeat of a completion whose answer was lost succeeds, and one that the first has overtaken meanwhile, taking
        its parts: the object is what its parts would become."""
        if not wanted or await asyncio.to_thread(self._uploads.find, upload_id) is not None:
            return None
        info = await asyncio.to_thread(self._access.store.head, bucket, key)
        try:
            etag = etag_of([str(one.get("ETag", "")).strip('"') for one in wanted])
        except binascii.Error:
            return None
        return info if info is not None and info.etag == etag else None

    async def abort_multipart_upload(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        upload = await self.find(bucket, key, upload_id)
        if not await blocking(self._uploads.abort, upload.id):
            raise no_such_upload(upload_id)
        return {}

    async def list_parts(
        self,
        call: Call,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        upload = await self.find(bucket, key, upload_id)
        limit = min(1000 if max_parts is None else max_parts, 1000)
        parts = await asyncio.to_thread(
            self._uploads.parts, upload.id, after=int(part_number_marker or 0), limit=limit + 1
        )
        shown = parts[:limit]
        return {
            "Bucket": bucket,
            "Key": key,
            "UploadId": upload_id,
            "PartNumberMarker": int(part_number_marker or 0),
            "NextPartNumberMarker": shown[-1].number if shown else 0,
            "MaxParts": limit,
            "IsTruncated": len(parts) > limit,
            "Parts": [
                {
                    "PartNumber": part.number,
                    "LastModified": part.modified,
                    "ETag": f'"{part.etag}"',
                    "Size": part.size,
                    **shown_checksums(upload, part),
                }
                for part in shown
            ],
            "Initiator": owner_of(call.account),
            "Owner": owner_of(call.account),
            "StorageClass": "STANDARD",
            "ChecksumAlgorithm": upload.options.algorithm or None,
            "ChecksumType": shown_checksum_type(upload),
        }

    async def find(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Raises ``NoSuchUpload``."""
        upload = await asyncio.to_thread(self._uploads.find, upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise no_such_upload(upload_id)
        return upload


def etag_of(etags: Sequence[str]) -> str:
    """The ETag of a multipart object: a digest of digests, and how many. Raises ``binascii.Error``."""
    joined = b"".join(binascii.unhexlify(etag) for etag in etags)
    return f"{md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _checksum_type(algorithm: str, wanted: str | None) -> str:
    default = COMPOSITE if algorithm and algorithm != _ALWAYS_FULL else FULL_OBJECT
    kind = wanted or default
    allowed = {_ALWAYS_FULL: (FULL_OBJECT,), **dict.fromkeys(_NEVER_FULL, (COMPOSITE,))}
    if (wanted and not algorithm) or kind not in allowed.get(algorithm, (COMPOSITE, FULL_OBJECT)):
        raise ServiceError(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm or 'default'} checksum algorithm.",
        )
    return kind


def _check_type(upload: Upload, wanted: str | None) -> None:
    if wanted not in (None, upload.options.attributes.checksum_type):
        raise ServiceError(
            "InvalidRequest",
            f"The upload was created with the checksum type {upload.options.attributes.checksum_type}.",
        )


def _check_number(number: int) -> None:
    if not 1 <= number <= PARTS:
        raise ServiceError(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PARTS}, inclusive",
            members={"ArgumentName": "partNumber", "ArgumentValue": number},
        )
