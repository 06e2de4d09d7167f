"""Objects in another S3, in place of the platform's own: model artifacts, inputs and outputs of jobs.

The same operations as ``store.objects``, through botocore; blocking, safe to share between threads. An object's bytes are
fetched as they are needed; a model's artifact becomes a file of the platform's once. An output is one object that appears when
it is complete: a multipart upload that nobody completes leaves nothing to be seen.
"""

import fcntl
import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from modelyard.store.external_s3 import ExternalS3

PART_BYTES = 16 << 20
READ_BYTES = 8 << 20
PAGE_KEYS = 1_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_GONE = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")


def from_environment(endpoint: str, *, region: str) -> ExternalS3:
    """As ``MODELYARD_S3_ACCESS_KEY_ID`` and its like say, or AWS's usual chain.

    Raises ``LookupError`` without credentials.
    """
    variables = os.environ
    if "MODELYARD_S3_ACCESS_KEY_ID" in variables:
        return ExternalS3(
            endpoint=endpoint,
            region=variables.get("MODELYARD_S3_REGION", region),
            access_key_id=variables["MODELYARD_S3_ACCESS_KEY_ID"],
            secret_access_key=variables.get("MODELYARD_S3_SECRET_ACCESS_KEY", ""),
            session_token=variables.get("MODELYARD_S3_SESSION_TOKEN", ""),
        )
    found = botocore.session.Session().get_credentials()
    if found is None:
        raise LookupError(
            "No credentials for the external S3: set MODELYARD_S3_ACCESS_KEY_ID and "
            "MODELYARD_S3_SECRET_ACCESS_KEY, or an AWS profile."
        )
    frozen = found.get_frozen_credentials()
    return ExternalS3(
        endpoint=endpoint,
        region=region,
        access_key_id=frozen.access_key,
        secret_access_key=frozen.secret_key,
        session_token=frozen.token or "",
    )


def client_of(where: ExternalS3, session: botocore.session.Session) -> Any:
    """A botocore client of it."""
    return session.create_client(
        "s3",
        endpoint_url=where.endpoint,
        region_name=where.region,
        aws_access_key_id=where.access_key_id,
        aws_secret_access_key=where.secret_access_key,
        aws_session_token=where.session_token or None,
        config=Config(
            retries={"mode": "standard", "max_attempts": 5},
            s3={"addressing_style": "path"},
            # Other S3s than AWS's own know no checksums of newer clients.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class ExternalObject:
    """An object as it was when it was looked at."""

    def __init__(
        self, store: "ExternalObjects", bucket: str, key: str, etag: str, size: int
    ) -> None:
        self._store = store
        self.bucket = bucket
        self.key = key
        self.etag = etag
        self.size = size

    @property
    def path(self) -> Path:
        """A file with its bytes, fetched at the first call. Raises ``FileNotFoundError`` if it is gone or was replaced."""
        return self._store.fetch(self)


class ExternalObjects:
    """One other S3. ``folder`` is where fetched artifacts are kept."""

    def __init__(self, where: ExternalS3, folder: Path) -> None:
        self._folder = folder
        self._client = client_of(where, botocore.session.Session())

    def head(self, bucket: str, key: str) -> ExternalObject | None:
        """None if there is none. Raises ``OSError`` where the other side does not answer."""
        try:
            found = self.ask("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        etag = found["ETag"].strip('"')
        return ExternalObject(self, bucket, key, etag, found["ContentLength"])

    def open_object(self, bucket: str, key: str) -> tuple[ExternalObject, BinaryIO] | None:
        """Its bytes as they are now: should it be replaced meanwhile, reading raises ``OSError``."""
        found = self.head(bucket, key)
        if found is None:
            return None
        return found, io.BufferedReader(_Body(self, found), READ_BYTES)

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[ExternalObject]:
        """The next objects by key; empty at the end."""
        found = self.ask(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, StartAfter=after, MaxKeys=PAGE_KEYS
        )
        return [
            ExternalObject(self, bucket, one["Key"], one["ETag"].strip('"'), one["Size"])
            for one in found.get("Contents", ())
        ]

    def writer(
        self, bucket: str, key: str, *, content_type: str = "application/octet-stream"
    ) -> "ExternalWriter":
        """An object on its way."""
        return ExternalWriter(self, bucket, key, content_type)

    def fetch(self, found: ExternalObject) -> Path:
        """See ``ExternalObject.path``."""
        place = hashlib.blake2b(
            f"{found.bucket}\0{found.key}\0{found.etag}".encode(), digest_size=12
        )
        folder = self._folder / place.hexdigest()
        path = folder / _UNSAFE.sub("_", found.key.rpartition("/")[2] or "object")
        if path.exists():
            return path
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # No key's last part has a plus here. One process fetches at a time, and writes over what a killed one left.
        with (folder / "+lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                self._fetch(found, folder / "+part", path)
        return path

    def _fetch(self, found: ExternalObject, part: Path, path: Path) -> None:
        try:
            with part.open("wb") as file:
                body = _Body(self, found)
                while piece := body.read(READ_BYTES):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def read_range(self, found: ExternalObject, begin: int, size: int) -> bytes:
        """Some of an object's bytes."""
        answer = self.ask(
            "get_object",
            Bucket=found.bucket,
            Key=found.key,
            Range=f"bytes={begin}-{begin + size - 1}",
            IfMatch=f'"{found.etag}"',
        )
        try:
            data: bytes = answer["Body"].read()
        except BotoCoreError as error:
            raise OSError(f"s3://{found.bucket}/{found.key} cannot be read: {error}") from error
        return data

    def ask(self, operation: str, **members: Any) -> Any:
        """One call. Raises ``FileNotFoundError`` where nothing is, and ``OSError`` for every other failure."""
        where = f"s3://{members['Bucket']}/{members.get('Key', '')}"
        try:
            return getattr(self._client, operation)(**members)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _GONE:
                raise FileNotFoundError(f"{where}: {code}") from error
            raise OSError(f"{where}: {operation} failed: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"{where}: the external S3 does not answer: {error}") from error


class _Body(io.RawIOBase):
    """An object's bytes by ranges: what is not read is not fetched."""

    def __init__(self, store: ExternalObjects, found: ExternalObject) -> None:
        self._store = store
        self._found = found
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._found.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._found.size - self._at)
        if size <= 0:
            return 0
        data = self._store.read_range(self._found, self._at, size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class ExternalWriter:
    """Collects a part, sends it, collects the next. ``with`` aborts what was not committed."""

    def __init__(self, store: ExternalObjects, bucket: str, key: str, content_type: str) -> None:
        self._store = store
        self._target = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._buffer = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self._is_done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            part = bytes(self._buffer[:PART_BYTES])
            del self._buffer[:PART_BYTES]
            self._send(part)

    def commit(self) -> None:
        """Make it visible, whole."""
        if not self._upload:
            self._store.ask(
                "put_object",
                **self._target,
                Body=bytes(self._buffer),
                ContentType=self._content_type,
            )
        else:
            if self._buffer:
                self._send(bytes(self._buffer))
            self._store.ask(
                "complete_multipart_upload",
                **self._target,
                UploadId=self._upload,
                MultipartUpload={"Parts": self._parts},
            )
        self._is_done = True

    def abort(self) -> None:
        """Drop it; after ``commit`` nothing happens."""
        if self._is_done or not self._upload:
            return
        self._is_done = True
        self._store.ask("abort_multipart_upload", **self._target, UploadId=self._upload)

    def _send(self, part: bytes) -> None:
        if not self._upload:
            created = self._store.ask(
                "create_multipart_upload", **self._target, ContentType=self._content_type
            )
            self._upload = created["UploadId"]
        number = len(self._parts) + 1
        answer = self._store.ask(
            "upload_part", **self._target, UploadId=self._upload, PartNumber=number, Body=part
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
