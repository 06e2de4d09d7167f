"""What every S3 operation needs: finding a bucket that the caller may use, S3's errors, and members that are refused."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from modelyard.base.call import Call
from modelyard.base.errors import ServiceError
from modelyard.store.object_info import Bucket, BucketMissing, ObjectInfo
from modelyard.store.object_uploads import UploadMissing
from modelyard.store.objects import ObjectStore, StorageFull

KEY_BYTES = 1024
WRITER_THREADS = 8
_writers = ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="s3-writer")
"""Writes wait for disks and for each other; reads, in threads of their own, never wait for them."""
P = ParamSpec("P")
T = TypeVar("T")

_WITHOUT_EFFECT = frozenset(
    {
        "content_length",
        "content_md5",
        "checksum_algorithm",
        "request_payer",
        "bypass_governance_retention",
        "optional_object_attributes",
    }
)
"""Checked before, or about what Modelyard has nothing of: it bills nobody and retains nothing."""
_ACCEPTED: Mapping[str, tuple[object, ...]] = {
    "acl": ("private", "bucket-owner-full-control"),
    # AWS's own keys, which clients ask for by default (the SageMaker SDK for every script): objects lie as all others do. A
    # key that is somebody's (``SSEKMSKeyId``) is refused.
    "server_side_encryption": ("AES256", "aws:kms"),
    "storage_class": ("STANDARD",),
    "object_ownership": ("BucketOwnerEnforced",),
    "bucket_namespace": ("global",),
}


def accept(members: Mapping[str, Any]) -> None:
    """Raises ``NotImplemented`` (501) for the first member that asks for what Modelyard does not do."""
    version = members.get("version_id")
    if version not in (None, "null"):
        raise no_such_version(str(version))
    for name, value in members.items():
        if name in _WITHOUT_EFFECT or name == "version_id" or value in (None, False, "", {}, []):
            continue
        if value not in _ACCEPTED.get(name, ()):
            if name == "acl" or name.startswith("grant_"):
                raise acl_not_supported()
            raise not_implemented(f"{name.replace('_', '-')} {str(value)[:100]}")


def acl_not_supported() -> ServiceError:
    """As S3 answers for a bucket whose owner owns its objects, which all new ones are."""
    return ServiceError("AccessControlListNotSupported", "The bucket does not allow ACLs")


def no_such_version(version: str) -> ServiceError:
    """No bucket here has ever given an object a version but ``null``."""
    return ServiceError(
        "InvalidArgument",
        "Invalid version id specified",
        members={"ArgumentName": "versionId", "ArgumentValue": version},
    )


def not_implemented(what: str) -> ServiceError:
    return ServiceError(
        "NotImplemented",
        f"Modelyard does not implement what this asks for: {what}.",
        status=501,
    )


def no_such_bucket(name: str) -> ServiceError:
    return ServiceError(
        "NoSuchBucket",
        "The specified bucket does not exist",
        status=404,
        members={"BucketName": name},
    )


def no_such_key(key: str) -> ServiceError:
    return ServiceError(
        "NoSuchKey", "The specified key does not exist.", status=404, members={"Key": key}
    )


def no_such_upload(upload_id: str) -> ServiceError:
    return ServiceError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted "
        "or completed.",
        status=404,
        members={"UploadId": upload_id},
    )


def check_key(key: str) -> None:
    if len(key.encode()) > KEY_BYTES:
        raise ServiceError(
            "KeyTooLongError", "Your key is too long", members={"MaxSizeAllowed": KEY_BYTES}
        )


@contextmanager
def refusals() -> Iterator[None]:
    """The store's refusals as S3's."""
    try:
        yield
    except BucketMissing as error:
        raise no_such_bucket(str(error)) from error
    except UploadMissing as error:
        raise no_such_upload(str(error)) from error
    except StorageFull as error:
        raise ServiceError(
            "InsufficientStorage",
            f"Modelyard's disk has no room for this: {error.strerror or error}",
            status=507,
        ) from error


async def blocking(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """A write to the store, in one of the writers' threads; its refusals as S3's."""
    loop = asyncio.get_running_loop()
    with refusals():
        return await loop.run_in_executor(_writers, partial(work, *arguments, **named))


class Access:
    """The store as one caller may see it: buckets of the caller's own account."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    async def bucket(self, call: Call, name: str, *, owner: str | None = None) -> Bucket:
        """Raises ``NoSuchBucket``, or ``AccessDenied`` for another account's. ``owner``: ExpectedBucketOwner."""
        bucket = await asyncio.to_thread(self.store.find_bucket, name)
        if bucket is None:
            raise no_such_bucket(name)
        if bucket.account != call.account or owner not in (None, bucket.account):
            raise ServiceError("AccessDenied", "Access Denied", status=403)
        return bucket

    async def info(
        self, call: Call, bucket: str, key: str, *, owner: str | None = None
    ) -> ObjectInfo:
        """Raises ``NoSuchBucket``, ``NoSuchKey``, ``AccessDenied``."""
        await self.bucket(call, bucket, owner=owner)
        info = await asyncio.to_thread(self.store.head, bucket, key)
        if info is None:
            raise no_such_key(key)
        return info


def treatment(name: str) -> tuple[str, str]:
    """What becomes of a member that no operation names: its treatment and a note, for the documentation."""
    if name in _WITHOUT_EFFECT:
        return "recorded", "without effect here"
    if name == "version_id":
        return "refused", "only null"
    accepted = ", ".join(str(value) for value in _ACCEPTED.get(name, ()))
    return "refused", f"only {accepted}" if accepted else ""
