"""What travels with an object's bytes: headers, user metadata, tags, checksums; as members and as stored."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import not_implemented
from modelyard.store.object_info import Attributes, ObjectInfo

Output = dict[str, Any]
METADATA_BYTES = 2048
TAGS = 10
BUCKET_TAGS = 50
TAG_KEY, TAG_VALUE = 128, 256
CHECKSUMS = {
    "CRC32": ("checksum_crc32", "ChecksumCRC32"),
    "CRC32C": ("checksum_crc32_c", "ChecksumCRC32C"),
    "CRC64NVME": ("checksum_crc64_nvme", "ChecksumCRC64NVME"),
    "SHA1": ("checksum_sha1", "ChecksumSHA1"),
    "SHA256": ("checksum_sha256", "ChecksumSHA256"),
}
"""Algorithms, with the names of their members in input and output."""
_HEADERS = {
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "expires": "Expires",
}
_TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")
"""Letters, digits and spaces of any script, and these signs."""
_CHUNKED = "aws-chunked"


def take_attributes(members: dict[str, Any]) -> Attributes:
    """Remove from ``members`` what is kept with the object. Raises for what S3 refuses."""
    headers: dict[str, str] = {}
    for name, wire_name in _HEADERS.items():
        value = members.pop(name, None)
        if name == "content_encoding" and value:
            value = _without_chunked(value)
        if value:
            headers[wire_name] = (
                str(value.timestamp()) if isinstance(value, datetime) else str(value)
            )
    metadata = {name.lower(): text for name, text in (members.pop("metadata", None) or {}).items()}
    if sum(len(name) + len(text.encode()) for name, text in metadata.items()) > METADATA_BYTES:
        raise ServiceError(
            "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"
        )
    content_type = members.pop("content_type", None) or Attributes().content_type
    tags = _tags(members.pop("tagging", None))
    return Attributes(headers=headers, metadata=metadata, tags=tags, content_type=content_type)


def _without_chunked(value: str) -> str:
    """``aws-chunked`` is about the request, not about the object."""
    return ",".join(one for one in map(str.strip, value.split(",")) if one != _CHUNKED)


def _tags(header: str | None) -> dict[str, str]:
    pairs = parse_qsl(header or "", keep_blank_values=True)
    if len({name for name, _ in pairs}) < len(pairs) <= TAGS:
        raise ServiceError(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            members={"ArgumentName": "x-amz-tagging", "ArgumentValue": header},
        )
    return checked_tags([{"Key": name, "Value": value} for name, value in pairs])


def checked_tags(
    tag_set: list[Mapping[str, str]], *, most: int = TAGS, of: str = "Object"
) -> dict[str, str]:
    """Raises ``BadRequest`` for too many, ``InvalidTag`` for repeated, reserved or malformed ones."""
    if len(tag_set) > most:
        raise ServiceError("BadRequest", f"{of} tags cannot be greater than {most}")
    tags: dict[str, str] = {}
    for tag in tag_set:
        name, value = tag.get("Key", ""), tag.get("Value", "")
        if not 0 < len(name) <= TAG_KEY or not _TAG_TEXT.fullmatch(name):
            raise _invalid_tag("The TagKey you have provided is invalid", TagKey=name)
        if len(value) > TAG_VALUE or not _TAG_TEXT.fullmatch(value):
            raise _invalid_tag(
                "The TagValue you have provided is invalid", TagKey=name, TagValue=value
            )
        if name.startswith("aws:"):
            raise _invalid_tag("System tags cannot be added/updated by requester", TagKey=name)
        if name in tags:
            raise _invalid_tag("Cannot provide multiple Tags with the same key", TagKey=name)
        tags[name] = value
    return tags


def _invalid_tag(message: str, **members: str) -> ServiceError:
    return ServiceError("InvalidTag", message, members=members)


def take_checksums(members: dict[str, Any]) -> dict[str, str]:
    """Remove the declared checksums from ``members``; by algorithm."""
    found = {}
    for algorithm, (name, _) in CHECKSUMS.items():
        value = members.pop(name, None)
        if value:
            found[algorithm] = value
    return found


def check_algorithm(algorithm: str | None) -> str:
    """Raises for an algorithm that Modelyard cannot compute."""
    if algorithm and algorithm not in CHECKSUMS:
        raise not_implemented(f"checksum algorithm {algorithm}")
    return algorithm or ""


def checksum_members(checksums: Mapping[str, str], kind: str = "") -> Output:
    """Checksums as members of an output."""
    members: Output = {CHECKSUMS[name][1]: value for name, value in checksums.items()}
    if kind and members:
        members["ChecksumType"] = kind
    return members


def describe(info: ObjectInfo) -> Output:
    """What GetObject and HeadObject say about an object, but for its length and checksums."""
    attributes = info.attributes
    headers: Output = dict(attributes.headers)
    if "Expires" in headers:
        headers["Expires"] = float(headers["Expires"])
    return {
        **headers,
        "AcceptRanges": "bytes",
        "ETag": f'"{info.etag}"',
        "LastModified": info.last_modified,
        "ContentType": attributes.content_type,
        "Metadata": attributes.metadata,
        "TagCount": len(attributes.tags) or None,
    }


def described_members() -> frozenset[str]:
    """Names of the input members that are kept with an object, for the documentation."""
    checksums = {name for name, _ in CHECKSUMS.values()}
    return frozenset({*_HEADERS, "metadata", "content_type", "tagging", *checksums})
