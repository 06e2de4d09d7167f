"""SHA-256 and HMAC for many short texts.

A new hash asks OpenSSL 3 for its algorithm, which costs more than hashing a short text; a copy of one that is there does not.
"""

import hashlib

_FRESH = hashlib.sha256()
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def sha256_hex(data: bytes) -> str:
    """64 lower-case hexadecimal digits."""
    digest = _FRESH.copy()
    digest.update(data)
    return digest.hexdigest()


class HmacSha256:
    """HMAC (RFC 2104) of many texts with one key, whose pads are hashed once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(
            _BLOCK_BYTES, b"\0"
        )
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def hexdigest(self, text: bytes) -> str:
        """64 lower-case hexadecimal digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest()
