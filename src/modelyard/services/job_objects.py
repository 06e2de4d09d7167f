"""The files of an AI service's job, from objects; and its output, to objects. Blocking, for threads."""

from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO, Protocol

from modelyard.store.object_info import BucketMissing, parse_s3_uri

FILES_MAX = 1_000_000
_CHUNK = 1 << 20


class Objects(Protocol):
    """``store.objects.ObjectStore``, or another S3, as far as it matters here."""

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[Any]: ...
    def open_object(self, bucket: str, key: str) -> tuple[Any, BinaryIO] | None: ...
    def writer(self, bucket: str, key: str, *, content_type: str = "") -> Any: ...


class JobFailed(Exception):
    """The job ends as FAILED, with this ``Message``."""


def input_files(
    objects: Objects, uri: str, *, without: str = ""
) -> Iterator[tuple[str, IO[bytes]]]:
    """Every file below an address, with its name there; each is open until the next. Raises ``JobFailed`` where there is none.

    ``without``: the address of a folder whose files are none of them, since the job writes there.
    """
    bucket, prefix = parse_s3_uri(uri)
    after, files = "", 0
    while found := objects.page(bucket, prefix, after=after):
        for info in found:
            after = info.key
            if info.key.endswith("/") or (
                without and f"s3://{bucket}/{info.key}".startswith(without)
            ):
                continue
            files += 1
            if files > FILES_MAX:
                raise JobFailed(
                    f"FILE_COUNT_LIMIT_EXCEEDED: There are more than {FILES_MAX} files."
                )
            opened = objects.open_object(bucket, info.key)
            if opened is not None:
                with opened[1] as file:
                    yield _name(info.key, prefix), file
    if not files:
        raise JobFailed(f"NO_READ_ACCESS_TO_INPUT: There are no objects at {uri}.")


def _name(key: str, prefix: str) -> str:
    """Of a file within the input."""
    folder = prefix[: prefix.rfind("/") + 1]
    return key.removeprefix(folder)


def write_object(objects: Objects, uri: str, file: IO[bytes], content_type: str) -> None:
    """The whole file as an object, or none. Raises ``JobFailed``."""
    bucket, key = parse_s3_uri(uri)
    try:
        with objects.writer(bucket, key, content_type=content_type) as writer:
            while chunk := file.read(_CHUNK):
                writer.write(chunk)
            writer.commit()
    except BucketMissing:
        raise JobFailed(f"NO_WRITE_ACCESS_TO_OUTPUT: There is no bucket {bucket}.") from None
