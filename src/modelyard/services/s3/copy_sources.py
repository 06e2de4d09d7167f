"""The object that CopyObject and UploadPartCopy read: named by a header, held open until the copy is made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO
from urllib.parse import unquote

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import Access, no_such_key, no_such_version
from modelyard.services.s3.conditions import check_copy_source
from modelyard.store.object_info import ObjectInfo

_CONDITIONS = ("match", "none_match", "modified_since", "unmodified_since")


@asynccontextmanager
async def open_copy_source(
    access: Access, call: Call, copy_source: str, members: dict[str, Any]
) -> AsyncIterator[tuple[ObjectInfo, BinaryIO]]:
    """The object as it is now, and its bytes, though it be replaced meanwhile; raises as reading it would.

    Removes its members from ``members``.
    """
    conditions = {f"if_{name}": members.pop(f"copy_source_if_{name}", None) for name in _CONDITIONS}
    owner = members.pop("expected_source_bucket_owner", None)
    bucket, key = _parse(copy_source)
    await access.bucket(call, bucket, owner=owner)
    opened = await asyncio.to_thread(access.store.open_object, bucket, key)
    if opened is None:
        raise no_such_key(key)
    info, file = opened
    with file:
        check_copy_source(info, **conditions, now=access.store.clock.now())
        yield info, file


def _parse(copy_source: str) -> tuple[str, str]:
    path, _, query = copy_source.partition("?")
    if query not in ("", "versionId=null"):
        raise no_such_version(query.removeprefix("versionId="))
    try:
        bucket, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key or bucket.startswith("arn:"):
        raise ServiceError(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    return bucket, key
