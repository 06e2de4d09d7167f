"""The text that a SigV4 signature signs: the canonical form of a request (security.md, section 1).

botocore, the reference, signs path and query exactly as it sends them. Other clients sign the encoded form of what they
send as it is (``/a+b`` signed as ``/a%2Bb``). So there are two readings, ``as_sent`` and ``encoded``; both say the same
path and query, and a signature over either covers every byte that matters.
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from modelyard.wire.hashing import HmacSha256, sha256_hex

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
_UNRESERVED = "-_.~"
_PLAIN = re.compile("(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")

Headers = Iterable[tuple[str, str]]


def is_plain(target: str) -> bool:
    """Whether a request's target is a path, without a query, whose canonical form is what was sent."""
    return _PLAIN.fullmatch(target) is not None


def as_sent(raw_path: str, raw_query: str, *, is_s3: bool, presigned: bool) -> tuple[str, str]:
    """Canonical path and query as botocore makes them."""
    path = raw_path or "/"
    if not is_s3:
        path = _normal_encoded(path)
    return path, _sorted(_pairs(raw_query, presigned)) if raw_query else ""


def encoded(raw_path: str, raw_query: str, *, is_s3: bool, presigned: bool) -> tuple[str, str]:
    """The same of the path and query decoded and encoded anew."""
    path = quote(unquote_to_bytes(raw_path or "/"), safe="/" + _UNRESERVED)
    if not is_s3:
        path = _normal_encoded(path)
    pairs = ((_recoded(name), _recoded(value)) for name, value in _pairs(raw_query, presigned))
    return path, _sorted(pairs)


def canonical_request(  # noqa: PLR0913 - the six parts of a canonical request
    *,
    method: str,
    path: str,
    query: str,
    headers: Headers,
    signed: str,
    names: Collection[str],
    payload_hash: str,
) -> str:
    """One item a line; ``names`` are those of ``signed``, in its order."""
    values: dict[str, str | None] = dict.fromkeys(names)
    for name, value in headers:
        if name in values:
            text = " ".join(value.split()) if "  " in value or "\t" in value else value.strip()
            before = values[name]
            values[name] = text if before is None else f"{before},{text}"
    lines = "\n".join([f"{name}:{value or ''}" for name, value in values.items()])
    return f"{method}\n{path}\n{query}\n{lines}\n\n{signed}\n{payload_hash}"


def sign(key: HmacSha256, timestamp: str, scope: str, canonical: str) -> bytes:
    """The 64 hexadecimal digits of a canonical request's signature."""
    text = f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256_hex(canonical.encode())}"
    return key.hexdigest(text.encode()).encode()


@lru_cache(maxsize=256)
def _normal_encoded(path: str) -> str:
    return quote(_normal(path), safe="/" + _UNRESERVED)


def _normal(path: str) -> str:
    """Without dot segments and empty ones."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments) + ("/" if path.endswith("/") and segments else "")


def _pairs(raw_query: str, presigned: bool) -> Iterable[tuple[str, str]]:
    for item in raw_query.split("&") if raw_query else ():
        name, _, value = item.partition("=")
        if not (presigned and name == "X-Amz-Signature"):
            yield name, value


def _sorted(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def _recoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe=_UNRESERVED)
