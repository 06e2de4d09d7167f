"""Lists of objects as documents: ``ManifestFile`` as AWS reads it, and what data capture writes of a job."""

from collections.abc import Sequence
from typing import Any

import msgspec

MANIFEST_BYTES_MAX = 64 << 20
"""A manifest is held in memory as a whole."""


class BadManifest(Exception):
    """Not a manifest; fails the job with this reason."""


def parse_manifest(data: bytes) -> tuple[str, Sequence[str]]:
    """The prefix (an ``s3://`` URI), and the keys below it, in order, each once. Raises ``BadManifest``."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadManifest(f"it is not JSON: {error}") from None
    if not isinstance(document, list) or not document:
        raise BadManifest("it is not a JSON array")
    prefix = _prefix(document[0])
    keys = document[1:]
    wrong = next((key for key in keys if not isinstance(key, str) or not key), None)
    if wrong is not None:
        raise BadManifest(f"every element after the first is a key below the prefix, not {wrong!r}")
    return prefix, tuple(dict.fromkeys(keys))


def manifest(prefix: str, keys: Sequence[str]) -> bytes:
    """The same form, written."""
    return msgspec.json.encode([{"prefix": prefix}, *keys]) + b"\n"


def _prefix(first: Any) -> str:
    prefix = first.get("prefix") if isinstance(first, dict) else None
    if not isinstance(prefix, str) or not prefix.startswith("s3://"):
        raise BadManifest('its first element has to be {"prefix": "s3://…"}')
    return prefix
