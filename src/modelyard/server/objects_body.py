"""The body of an S3 request while it streams: decoded, hashed, and refused at its end if it is not what was declared."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from modelyard.base.errors import ServiceError
from modelyard.wire import checksums, chunked, sigv4

Receive = Callable[[], Awaitable[dict[str, Any]]]
PIECE_BYTES = 1 << 20
IDLE_SECONDS = 60.0
"""A client of whose body nothing comes for so long is gone, though nobody said so; S3 itself waits for less."""
INLINE_BYTES = 1 << 16
"""Hashing less than this costs less than handing it to a thread."""
DEFAULT_ALGORITHM = "CRC64NVME"
_LENGTH = re.compile(r"[0-9]{1,19}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_CHECKSUM = frozenset({"algorithm", "type", "mode"})


class ClientGone(Exception):
    """The client left before its request was whole: nobody waits for an answer."""


class RequestBody:
    """Iterate once. ``checksums`` has, after the end, the checksum that was declared, or else the default one."""

    def __init__(
        self, receive: Receive, headers: Mapping[str, str], opened: sigv4.Opened | None
    ) -> None:
        self._receive = receive
        self.checksums: dict[str, str] = {}
        self.is_begun = self.is_stalled = False
        declared_hash = headers.get("x-amz-content-sha256", "")
        self._hash = (
            hashlib.sha256() if opened is not None and _SHA256.fullmatch(declared_hash) else None
        )
        self._declared_hash = declared_hash
        self._decoder: chunked.ChunkDecoder | None = None
        if declared_hash in chunked.MODES:
            self._decoder = chunked.ChunkDecoder(
                declared_hash,
                decoded_length=decoded_length(headers),
                signing=chunked.Signing(opened) if opened is not None else None,
                announced=headers.get("x-amz-trailer", ""),
            )
        self._content_md5 = headers.get("content-md5")
        self._md5 = checksums.create("MD5") if self._content_md5 is not None else None
        _refuse_unknown(headers)
        self._declared = checksums.declared(headers)
        self._algorithm = _algorithm(self._declared, headers.get("x-amz-trailer", ""))
        self._checksum = checksums.create(self._algorithm)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for raw in self._arriving():
            if len(raw) < INLINE_BYTES:
                piece = self._digest(raw)
            else:
                piece = await asyncio.to_thread(self._digest, raw)
            if piece:
                yield piece
        self._finish()

    async def collect(self, limit: int) -> bytes:
        """All of it. Raises ``MaxMessageLengthExceeded`` past the limit."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > limit:
                raise ServiceError(
                    "MaxMessageLengthExceeded", "Your request was too big.", status=400
                )
        return bytes(body)

    async def _arriving(self) -> AsyncIterator[bytes]:
        """What arrives, in pieces worth a thread's while."""
        self.is_begun = True
        gathered = bytearray()
        more = True
        while more:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                self.is_stalled = True
                raise ServiceError(
                    "RequestTimeout",
                    "Your socket connection to the server was not read from or written to within the timeout period.",
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            gathered += message.get("body", b"")
            more = message.get("more_body", False)
            if len(gathered) >= PIECE_BYTES or not more:
                yield bytes(gathered)
                gathered.clear()

    def _digest(self, raw: bytes) -> bytes:
        if self._hash is not None:
            self._hash.update(raw)
        piece = raw if self._decoder is None else b"".join(self._decoder.feed(raw))
        if self._md5 is not None:
            self._md5.update(piece)
        self._checksum.update(piece)
        return piece

    def _finish(self) -> None:
        if self._hash is not None and self._hash.hexdigest() != self._declared_hash:
            raise ServiceError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                members={
                    "ClientComputedContentSHA256": self._declared_hash,
                    "S3ComputedContentSHA256": self._hash.hexdigest(),
                },
            )
        declared = dict(self._declared)
        if self._decoder is not None:
            self._decoder.finish()
            _refuse_unknown(self._decoder.trailers)
            declared |= checksums.declared(self._decoder.trailers)
        if self._md5 is not None and self._content_md5 is not None:
            checksums.require("MD5", self._content_md5, self._md5)
        for algorithm, value in declared.items():
            if algorithm != self._algorithm:
                raise ServiceError(
                    "InvalidRequest",
                    f"The checksum {algorithm} was not announced by x-amz-trailer.",
                )
            checksums.require(algorithm, value, self._checksum)
        self.checksums = {self._algorithm: checksums.encode(self._checksum)}


def decoded_length(headers: Mapping[str, str]) -> int | None:
    """``x-amz-decoded-content-length``."""
    text = headers.get("x-amz-decoded-content-length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        raise ServiceError("InvalidArgument", "x-amz-decoded-content-length is no number.")
    return int(text)


def _algorithm(declared: Mapping[str, str], trailer: str) -> str:
    if declared:
        return next(iter(declared))
    for name in trailer.split(","):
        algorithm = name.strip().lower().removeprefix(checksums.HEADER_PREFIX).upper()
        if algorithm in checksums.ALGORITHMS:
            return algorithm
    return DEFAULT_ALGORITHM


def _refuse_unknown(headers: Mapping[str, str]) -> None:
    for name in headers:
        algorithm = name.removeprefix(checksums.HEADER_PREFIX)
        if name == algorithm or algorithm in _NO_CHECKSUM:
            continue
        if algorithm.upper() not in checksums.ALGORITHMS:
            raise ServiceError(
                "NotImplemented", f"Modelyard does not compute {algorithm} checksums.", status=501
            )
