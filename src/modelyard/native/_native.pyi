"""What the C defines, for type checkers."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

sources: str
"""The digest of the C that it was built of (``sources.py``)."""
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

class Frame:
    kind: int
    flags: int
    id: int
    number: int
    meta: bytes
    body: bytes

    def __init__(
        self, kind: int, flags: int, id: int, number: int, meta: bytes, body: bytes
    ) -> None: ...

class FrameDecoder:
    def __init__(self, *, limit: int) -> None: ...
    def feed(self, data: bytes, /) -> Iterable[Frame]: ...

class Waiting:
    peer: Any
    frame: Any
    meta: Any
    expires: float

    def __init__(self, peer: Any, frame: Any, meta: Any, expires: float) -> None: ...

def waiting_of(
    frames: list[Frame], start: int, peer: object, metas: dict[bytes, Any], now: float, /
) -> tuple[list[Waiting], int]: ...
def survey(batch: list[Any], now: float, /) -> tuple[int, list[Any]] | None: ...
def alike(batch: list[Any], /) -> tuple[Any, list[bytes]] | None: ...
def answers_to(
    batch: list[Any], meta: bytes, bodies: list[Any], /
) -> list[tuple[Any, bytes]] | None: ...
def rows(bodies: list[bytes], is_csv: bool, /) -> tuple[bytearray, int, list[int]] | None: ...
def predictions(
    output: object, counts: list[int], rare: Callable[[float], bytes], is_csv: bool = False, /
) -> list[bytes] | None: ...
def deal(text: bytes, counts: list[int], /) -> list[bytes]: ...
