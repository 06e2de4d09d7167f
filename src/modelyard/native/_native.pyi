"""What the C defines, for type checkers."""

from typing import Literal

sha256_by: Literal["portable", "sha-ni"]

def sha256_hex(data: bytes, portable: bool = False, /) -> str: ...
def hmac_sha256_hex(key: bytes, data: bytes, portable: bool = False, /) -> str: ...
