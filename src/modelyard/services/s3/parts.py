"""The parts of an unfinished upload: what they may copy, what is told of them, and which of them a completion names."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from modelyard.base.errors import ServiceError
from modelyard.services.s3.described import CHECKSUMS, checksum_members
from modelyard.store.object_uploads import StoredPart, Upload

Output = dict[str, Any]
PART_BYTES = 5 << 20
"""A part that is not the last one has at least this size."""
_COPY_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")


def check_part_algorithm(upload: Upload, checksums: Mapping[str, str]) -> None:
    wanted = upload.options.algorithm
    if wanted and wanted not in checksums:
        raise ServiceError(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
            f"actual checksum Type: {next(iter(checksums), 'null').lower()}",
        )


def choose_parts(
    wanted: Sequence[Mapping[str, Any]], stored: Sequence[StoredPart], upload_id: str
) -> list[StoredPart]:
    """The parts that the completion names. Raises S3's four refusals of such a list."""
    if not wanted:
        raise ServiceError("InvalidRequest", "You must specify at least one part")
    numbers = [one.get("PartNumber") or 0 for one in wanted]
    if any(earlier >= later for earlier, later in pairwise(numbers)):
        raise ServiceError(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        )
    known = {part.number: part for part in stored}
    chosen = []
    for number, one in zip(numbers, wanted, strict=True):
        part = known.get(number)
        if part is None or str(one.get("ETag", "")).strip('"') != part.etag:
            raise _wrong_part(number, one, upload_id)
        for algorithm, (_, member) in CHECKSUMS.items():
            if one.get(member) not in (None, part.checksums.get(algorithm)):
                raise _wrong_part(number, one, upload_id)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < PART_BYTES:
            raise ServiceError(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                members={
                    "ProposedSize": part.size,
                    "MinSizeAllowed": PART_BYTES,
                    "PartNumber": part.number,
                    "ETag": part.etag,
                },
            )
    return chosen


def invalid_part(**members: Any) -> ServiceError:
    """A part that is not there, or another one than the client has sent."""
    return ServiceError(
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
        "specified entity tag may not match the part's entity tag.",
        members=members,
    )


def _wrong_part(number: int, named: Mapping[str, Any], upload_id: str) -> ServiceError:
    etag = str(named.get("ETag", "")).strip('"')
    return invalid_part(UploadId=upload_id, PartNumber=number, ETag=etag)


def shown_checksum_type(upload: Upload) -> str | None:
    """Of the default checksum, which nobody asked for, an unfinished upload says nothing."""
    return upload.options.attributes.checksum_type if upload.options.algorithm else None


def shown_checksums(upload: Upload, part: StoredPart) -> Output:
    return checksum_members(part.checksums) if upload.options.algorithm else {}


def copied_span(header: str | None, size: int) -> tuple[int, int]:
    """Start and length. Stricter than a GET's ``Range``: both ends, and both within the source."""
    if header is None:
        return 0, size
    match = _COPY_RANGE.fullmatch(header)
    first, last = (int(match[1]), int(match[2])) if match else (1, 0)
    if first > last:
        raise _wrong_range(
            header,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
        )
    if first >= size:
        raise ServiceError(
            "InvalidRequest", "The specified copy range is invalid for the source object size"
        )
    if last >= size:
        raise _wrong_range(
            header, f"Range specified is not valid for source object of size: {size}"
        )
    return first, last - first + 1


def _wrong_range(header: str, message: str) -> ServiceError:
    members = {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": header}
    return ServiceError("InvalidArgument", message, members=members)
