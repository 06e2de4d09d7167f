"""ListMultipartUploads: a bucket's uploads that are not finished."""

import asyncio
from typing import Any

from modelyard.base.call import Call
from modelyard.services.s3.access import Access, accept
from modelyard.services.s3.buckets import owner_of
from modelyard.services.s3.listings import Encode, page_limit, text_encoder
from modelyard.services.s3.parts import shown_checksum_type
from modelyard.store.object_uploads import Upload, Uploads

Output = dict[str, Any]


class UploadListings:
    """Operations that list uploads."""

    def __init__(self, access: Access, uploads: Uploads) -> None:
        self._access = access
        self._uploads = uploads

    async def list_multipart_uploads(
        self,
        call: Call,
        *,
        bucket: str,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        key_marker: str | None = None,
        max_uploads: int | None = None,
        prefix: str | None = None,
        upload_id_marker: str | None = None,
        expected_bucket_owner: str | None = None,
        **members: Any,
    ) -> Output:
        accept(members)
        await self._access.bucket(call, bucket, owner=expected_bucket_owner)
        encoded = text_encoder(encoding_type)
        limit = page_limit(max_uploads)
        found = await asyncio.to_thread(
            self._uploads.list_uploads,
            bucket,
            prefix=prefix or "",
            key_after=key_marker or "",
            id_after=upload_id_marker or "",
        )
        shown: list[Upload] = []
        prefixes: list[str] = []
        last: Upload | None = None
        is_truncated = False
        for upload in found:
            common = _common_prefix(upload.key, prefix or "", delimiter or "")
            if common and (common in prefixes or (key_marker or "").startswith(common)):
                last = upload
                continue
            if len(shown) + len(prefixes) >= limit:
                is_truncated = limit > 0
                break
            last = upload
            if common:
                prefixes.append(common)
            else:
                shown.append(upload)
        return {
            "Bucket": bucket,
            "KeyMarker": encoded(key_marker or ""),
            "UploadIdMarker": upload_id_marker or "",
            "NextKeyMarker": encoded(last.key) if last else "",
            "NextUploadIdMarker": last.id if last else "",
            "Prefix": encoded(prefix) if prefix else None,
            "Delimiter": encoded(delimiter) if delimiter else None,
            "MaxUploads": limit,
            "IsTruncated": is_truncated,
            "Uploads": [_entry(upload, encoded, call.account) for upload in shown],
            "CommonPrefixes": [{"Prefix": encoded(one)} for one in prefixes],
            "EncodingType": encoding_type,
        }


def _entry(upload: Upload, encoded: Encode, account: str) -> Output:
    return {
        "UploadId": upload.id,
        "Key": encoded(upload.key),
        "Initiated": upload.created,
        "StorageClass": "STANDARD",
        "Owner": owner_of(account),
        "Initiator": owner_of(account),
        "ChecksumAlgorithm": upload.options.algorithm or None,
        "ChecksumType": shown_checksum_type(upload),
    }


def _common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """Empty for a key of its own."""
    if not delimiter:
        return ""
    end = key.find(delimiter, len(prefix))
    return key[: end + len(delimiter)] if end >= 0 else ""
