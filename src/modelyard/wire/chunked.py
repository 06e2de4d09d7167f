"""``aws-chunked`` bodies: pieces with a signature each, and trailers. I/O-free; payload comes out only as it is verified.

::

    10000;chunk-signature=<64 hex>\\r\\n<65536 bytes>\\r\\n … 0;chunk-signature=<64 hex>\\r\\n
    x-amz-checksum-crc32:AAAAAA==\\r\\nx-amz-trailer-signature:<64 hex>\\r\\n\\r\\n

A chunk's bytes are given out only after its own signature was checked, so one chunk (at most ``CHUNK_LIMIT``) is held.
Source: AWS's "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from modelyard.base.errors import ServiceError
from modelyard.wire.canonical import EMPTY_HASH
from modelyard.wire.sigv4 import Opened, wrong_signature

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MODES = (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER)
CHUNK_LIMIT = 16 << 20
LINE_LIMIT = 4096
TRAILERS_LIMIT = 16


class _State(Enum):
    HEADER = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Signing:
    """What chunk signatures chain from; None verifies none (``--no-auth``)."""

    opened: Opened


class ChunkDecoder:
    """Feed what arrives, take payload out; ``finish`` when the body has ended."""

    def __init__(self, mode: str, *, decoded_length: int | None, signing: Signing | None) -> None:
        self._signed = mode != UNSIGNED_TRAILER
        self._has_trailers = mode != SIGNED
        self._opened = signing.opened if signing is not None else None
        self._previous = self._opened.signature if self._opened is not None else ""
        self._decoded_length = decoded_length
        self._given = 0
        self._buffer = bytearray()
        self._state = _State.HEADER
        self._size = 0
        self._signature = ""
        self._trailer_lines: list[bytes] = []
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield verified payload. Raises ``ServiceError``: the body is refused, nothing of it may be kept."""
        self._buffer += data
        while True:
            if self._state is _State.HEADER:
                if not self._take_header():
                    return
            elif self._state is _State.DATA:
                if len(self._buffer) < self._size + 2:
                    return
                yield from self._take_chunk()
            elif self._state is _State.TRAILERS:
                if not self._take_trailer():
                    return
            else:
                if self._buffer:
                    raise _incomplete("there are bytes after the last chunk")
                return

    def finish(self) -> None:
        """The body has ended. Raises ``IncompleteBody`` if it may not end here."""
        if self._state is not _State.DONE:
            raise _incomplete("the last chunk is missing")
        if self._decoded_length is not None and self._given != self._decoded_length:
            raise _incomplete(
                f"x-amz-decoded-content-length says {self._decoded_length} bytes, {self._given} arrived"
            )

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > LINE_LIMIT:
                raise _incomplete("a chunk's header is too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take_header(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        size, _, extension = line.partition(b";")
        try:
            if not size or size.strip(b"0123456789abcdefABCDEF"):
                raise ValueError(size)
            self._size = int(size, 16)
        except ValueError:
            raise _incomplete("a chunk's size is no hexadecimal number") from None
        if self._size > CHUNK_LIMIT:
            raise ServiceError(
                "InvalidRequest", f"A chunk of {self._size} bytes is over {CHUNK_LIMIT}."
            )
        name, _, value = extension.partition(b"=")
        self._signature = value.decode("latin-1") if name == b"chunk-signature" else ""
        if self._size:
            self._state = _State.DATA
            return True
        self._check(b"")
        self._state = _State.TRAILERS
        return True

    def _take_chunk(self) -> Iterator[bytes]:
        data = bytes(self._buffer[: self._size])
        if self._buffer[self._size : self._size + 2] != b"\r\n":
            raise _incomplete("a chunk is not as long as it says")
        del self._buffer[: self._size + 2]
        self._check(data)
        self._given += len(data)
        if self._decoded_length is not None and self._given > self._decoded_length:
            raise _incomplete("more bytes than x-amz-decoded-content-length says")
        self._state = _State.HEADER
        yield data

    def _check(self, data: bytes) -> None:
        if not self._signed or self._opened is None:
            return
        digest = hashlib.sha256(data).hexdigest() if data else EMPTY_HASH
        self._require(
            "AWS4-HMAC-SHA256-PAYLOAD", f"{self._previous}\n{EMPTY_HASH}\n{digest}", self._signature
        )

    def _require(self, algorithm: str, rest: str, given: str) -> None:
        opened = self._opened
        assert opened is not None
        text = f"{algorithm}\n{opened.timestamp}\n{opened.scope}\n{rest}"
        expected = hmac.digest(opened.signing_key, text.encode(), hashlib.sha256).hex()
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            raise wrong_signature("s3")
        self._previous = expected

    def _take_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if line:
            if not self._has_trailers or len(self._trailer_lines) >= TRAILERS_LIMIT:
                raise _incomplete("there are trailers where none may be")
            self._trailer_lines.append(line)
            return True
        self._read_trailers()
        self._state = _State.DONE
        return True

    def _read_trailers(self) -> None:
        signature = ""
        canonical = b""
        for line in self._trailer_lines:
            name, _, value = line.partition(b":")
            key, text = name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")
            if key == "x-amz-trailer-signature":
                signature = text
            else:
                self.trailers[key] = text
                canonical += f"{key}:{text}\n".encode("latin-1")
        if self._signed and self._has_trailers and self._opened is not None:
            digest = hashlib.sha256(canonical).hexdigest()
            self._require("AWS4-HMAC-SHA256-TRAILER", f"{self._previous}\n{digest}", signature)


def _incomplete(reason: str) -> ServiceError:
    return ServiceError(
        "IncompleteBody", f"The request body terminated unexpectedly or is malformed: {reason}."
    )
