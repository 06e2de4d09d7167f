"""``aws-chunked`` bodies: pieces with a signature each, and trailers. I/O-free; payload comes out only as it is verified.

::

    10000;chunk-signature=<64 hex>\\r\\n<65536 bytes>\\r\\n … 0;chunk-signature=<64 hex>\\r\\n
    x-amz-checksum-crc32:AAAAAA==\\r\\nx-amz-trailer-signature:<64 hex>\\r\\n\\r\\n

A signed chunk's bytes are given out only after its signature was checked, so one chunk (at most ``CHUNK_LIMIT``) is
held. Unsigned ones, which some clients make as long as the whole body, are given out as they come.
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
_LINE_END = b"\r\n"


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

    def __init__(
        self,
        mode: str,
        *,
        decoded_length: int | None,
        signing: Signing | None,
        announced: str = "",
    ) -> None:
        """``announced`` is ``x-amz-trailer``: without these trailers the body is not whole."""
        self._has_trailers = mode != SIGNED
        self._opened = signing.opened if signing is not None else None
        self._is_verified = mode != UNSIGNED_TRAILER and self._opened is not None
        self._previous = self._opened.signature if self._opened is not None else ""
        self._decoded_length = decoded_length
        self._announced = {name.strip().lower() for name in announced.split(",")} - {""}
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
        steps = {
            _State.HEADER: self._take_header,
            _State.DATA_END: self._take_data_end,
            _State.TRAILERS: self._take_trailer,
        }
        while self._state is not _State.DONE:
            if self._state is _State.DATA:
                piece = self._take_data()
                if not piece:
                    return
                yield piece
            elif not steps[self._state]():
                return
        if self._buffer:
            raise _incomplete("there are bytes after the last chunk")

    def finish(self) -> None:
        """The body has ended. Raises ``IncompleteBody`` if it may not end here."""
        if self._state is not _State.DONE:
            raise _incomplete("the last chunk is missing")
        if self._decoded_length is not None and self._given != self._decoded_length:
            raise _incomplete(
                f"x-amz-decoded-content-length says {self._decoded_length} bytes, {self._given} arrived"
            )
        if not self._announced <= self.trailers.keys():
            raise ServiceError(
                "MalformedTrailerError",
                "The request contained trailing data that was not well-formed or did not conform to our published "
                "schema.",
            )

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(_LINE_END)
        if end > LINE_LIMIT or (end < 0 and len(self._buffer) > LINE_LIMIT):
            raise _incomplete("a chunk's header is too long")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(_LINE_END)]
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
        if self._is_verified and self._size > CHUNK_LIMIT:
            raise ServiceError(
                "InvalidRequest", f"A chunk of {self._size} bytes is over {CHUNK_LIMIT}."
            )
        name, _, value = extension.partition(b"=")
        self._signature = value.decode("latin-1") if name == b"chunk-signature" else ""
        if self._size:
            self._state = _State.DATA
            return True
        if self._is_verified:
            self._check(b"")
        self._state = _State.TRAILERS
        return True

    def _take_data(self) -> bytes:
        """Of the current chunk, all that may be given out now."""
        if self._is_verified and len(self._buffer) < self._size:
            return b""
        data = bytes(self._buffer[: self._size])
        del self._buffer[: len(data)]
        if self._is_verified:
            self._check(data)
        self._size -= len(data)
        if not self._size:
            self._state = _State.DATA_END
        self._given += len(data)
        if self._decoded_length is not None and self._given > self._decoded_length:
            raise _incomplete("more bytes than x-amz-decoded-content-length says")
        return data

    def _take_data_end(self) -> bool:
        if len(self._buffer) < len(_LINE_END):
            return False
        if not self._buffer.startswith(_LINE_END):
            raise _incomplete("a chunk is not as long as it says")
        del self._buffer[: len(_LINE_END)]
        self._state = _State.HEADER
        return True

    def _check(self, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest() if data else EMPTY_HASH
        self._require(
            "AWS4-HMAC-SHA256-PAYLOAD", f"{self._previous}\n{EMPTY_HASH}\n{digest}", self._signature
        )

    def _require(self, algorithm: str, rest: str, given: str) -> None:
        opened = self._opened
        assert opened is not None
        text = f"{algorithm}\n{opened.timestamp}\n{opened.scope}\n{rest}"
        expected = opened.signing_key.hexdigest(text.encode())
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
        if self._is_verified and self._has_trailers:
            digest = hashlib.sha256(canonical).hexdigest()
            self._require("AWS4-HMAC-SHA256-TRAILER", f"{self._previous}\n{digest}", signature)


def _incomplete(reason: str) -> ServiceError:
    return ServiceError(
        "IncompleteBody", f"The request body terminated unexpectedly or is malformed: {reason}."
    )
