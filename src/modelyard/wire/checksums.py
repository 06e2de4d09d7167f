"""Checksums of S3 bodies while they stream: what the client declared has to be what arrived.

CRC-32C and CRC-64/NVME come from AWS's common runtime, the others from the standard library.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Protocol

from awscrt import checksums as crt

from modelyard.base.errors import ServiceError

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
HEADER_PREFIX = "x-amz-checksum-"


class Checksum(Protocol):
    """One running checksum."""

    def update(self, data: bytes) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    def __init__(self, name: str) -> None:
        self._name = name
        self._value = 0

    def update(self, data: bytes) -> None:
        if self._name == "CRC32":
            self._value = zlib.crc32(data, self._value)
        elif self._name == "CRC32C":
            self._value = crt.crc32c(data, self._value)
        else:
            self._value = crt.crc64nvme(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(8 if self._name == "CRC64NVME" else 4, "big")


def create(algorithm: str) -> Checksum:
    """A running checksum by AWS's name. Raises ``InvalidRequest`` for an unknown one."""
    if algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
        return _Crc(algorithm)
    if algorithm in ("SHA1", "SHA256"):
        return hashlib.new(algorithm.lower(), usedforsecurity=False)
    if algorithm == "MD5":
        return hashlib.md5(usedforsecurity=False)
    raise ServiceError(
        "InvalidRequest", "Checksum algorithm provided is unsupported. Please try again."
    )


def encode(checksum: Checksum) -> str:
    return base64.b64encode(checksum.digest()).decode()


def declared(headers: Mapping[str, str]) -> dict[str, str]:
    """Checksums in headers or trailers, by algorithm. Raises ``InvalidRequest`` for more than one."""
    found = {
        name[len(HEADER_PREFIX) :].upper(): value
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX) and name[len(HEADER_PREFIX) :].upper() in ALGORITHMS
    }
    if len(found) > 1:
        raise ServiceError("InvalidRequest", "Expecting a single x-amz-checksum- header.")
    return found


def require(algorithm: str, given: str, checksum: Checksum) -> None:
    """Raises ``BadDigest``, or ``InvalidDigest`` for a Content-MD5 that is none."""
    try:
        wanted = base64.b64decode(given, validate=True)
    except ValueError:
        wanted = b""
    actual = checksum.digest()
    if len(wanted) != len(actual):
        code, what = (
            ("InvalidDigest", "Content-MD5")
            if algorithm == "MD5"
            else ("InvalidRequest", algorithm)
        )
        raise ServiceError(code, f"The value specified for the {what} checksum is invalid.")
    if wanted != actual:
        name = "Content-MD5" if algorithm == "MD5" else algorithm
        raise ServiceError(
            "BadDigest", f"The {name} you specified did not match the calculated checksum."
        )
