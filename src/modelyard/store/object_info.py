"""What the object store tells about buckets and objects, and the ways in which it refuses."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_S3_URI = re.compile(r"s3://([^/]+)/?(.*)", re.DOTALL)


class BucketMissing(FileNotFoundError):
    """There is no such bucket."""


class BucketTaken(FileExistsError):
    """The name belongs to ``owner``'s account."""

    def __init__(self, owner: str) -> None:
        super().__init__("the bucket exists")
        self.owner = owner


class BucketNotEmpty(OSError):
    """It holds objects."""


class ObjectLost(OSError):
    """The index names a data file that is not there: somebody else removed it."""


class Attributes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client said about its object. ``headers`` are those that S3 gives back, by their botocore names."""

    content_type: str = "binary/octet-stream"
    metadata: dict[str, str] = {}
    headers: dict[str, str] = {}
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    tags: dict[str, str] = {}
    parts: int = 0
    """How many parts it was uploaded in; 0 for an object that was put."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a finished multipart upload."""

    number: int
    size: int
    checksums: dict[str, str] = {}


class PublicAccessBlock(msgspec.Struct, frozen=True, kw_only=True):
    """What of public access is blocked; by default, as S3 has it for new buckets, all of it."""

    block_public_acls: bool = True
    ignore_public_acls: bool = True
    block_public_policy: bool = True
    restrict_public_buckets: bool = True


class BucketSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was set on a bucket."""

    tags: dict[str, str] = {}
    public_access_block: PublicAccessBlock | None = PublicAccessBlock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """``created`` is Unix seconds."""

    name: str
    account: str
    region: str
    created: float
    settings: BucketSettings = field(default_factory=BucketSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object. ``etag`` has no quotes; ``path`` is its data file, which lives until the object is replaced."""

    bucket: str
    key: str
    size: int
    etag: str
    last_modified: float
    path: Path
    attributes: Attributes = field(default_factory=Attributes)

    @property
    def content_type(self) -> str:
        return self.attributes.content_type


Condition = Callable[[ObjectInfo | None], None]
"""Called with the object that would be replaced or deleted, within the transaction; raises to refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page. ``after`` starts the next one; empty at the end."""

    objects: tuple[ObjectInfo, ...]
    prefixes: tuple[str, ...]
    after: str


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix; may be empty). Raises ``ValueError``."""
    match = _S3_URI.fullmatch(uri)
    if match is None:
        raise ValueError(f"not an S3 URI: {uri!r}")
    return match[1], match[2]
