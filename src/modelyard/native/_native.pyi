"""What the C defines, for type checkers."""

from typing import Literal

sha256_by: Literal["portable", "sha-ni"]

def sha256_hex(data: bytes, portable: bool = False, /) -> str: ...
def hmac_sha256_hex(key: bytes, data: bytes, portable: bool = False, /) -> str: ...

class Signed:
    """Verifies requests of one form by one signer, as bytes; ``wire/signed.py`` makes it."""

    def __new__(
        cls,
        *,
        pieces: tuple[bytes, ...],
        canonical: tuple[bytes, ...],
        holes: tuple[int, ...],
        authorization: int,
        timestamp: int,
        length: int,
        declared: int,
        before_signature: bytes,
        scope: bytes,
        date: bytes,
        midnight: float,
        skew: float,
        key: bytes,
        portable: bool = False,
    ) -> Signed: ...
    def verify(self, data: bytes, head_end: int, now: float, /) -> bool: ...
    def length(self, head: bytes, /) -> int: ...
