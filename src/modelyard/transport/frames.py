"""Frames between gateways or jobs and workers: the I/O-free core.

A frame is a fixed header, a short msgpack meta and a body::

    u32 length   bytes after this field
    u8  version  of this layout
    u8  kind     REQUEST, ANSWER, CANCEL, GOAWAY, HELLO, PART, CREDIT
    u16 flags    REQUEST, SOLO: never merge with other requests, STREAM: the answer may come in parts,
                 TRACED: the answer's meta is to say when it was worked on;
                 ANSWER, OWN_STATUS: the status is the program's own, TRACED: its meta is a ``TracedAnswerMeta``
    u64 id       chosen by the sender of the request, echoed by the answer
    u32 number   REQUEST: remaining milliseconds; ANSWER: HTTP status; CREDIT: bytes
    u32 meta     length of the meta
    meta, body

A request with STREAM may be answered by PARTs, then an ANSWER that says how it ended: 200 and no body, or what went wrong. A
worker sends parts worth ``STREAM_WINDOW`` and then waits for CREDIT, which the reader gives as it takes them; each costs its body
and ``PART_WEIGHT``.

Time travels as what remains, never as a deadline: the two ends may have different clocks. Integers are little-endian.
"""

import functools
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from modelyard.native import part

VERSION = 1
REQUEST, ANSWER, CANCEL, GOAWAY, HELLO, PART, CREDIT = 1, 2, 3, 4, 5, 6, 7
SOLO = 1
OWN_STATUS = 2
"""A program's 429 is its answer; without this flag 429 (queue full) and 408 (expired) are the worker's words."""
STREAM = 4
TRACED = 8
STREAM_WINDOW = 256 * 1024
PART_WEIGHT = 64
PART_BYTES = 64 * 1024
"""A larger piece of an answer travels in several parts."""
_HEADER = struct.Struct("<IBBHQII")
_PACK = _HEADER.pack
HEADER_SIZE = _HEADER.size
_AFTER_LENGTH = HEADER_SIZE - 4


class RequestMeta(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """What goes with a request's body."""

    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    trace: str = ""
    metering_id: str = ""
    target_model: str = ""
    trace_state: str = ""


class AnswerMeta(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """What goes with an answer's body."""

    content_type: str = ""
    custom_attributes: str = ""


class ModelTimes(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """Of a worker that has many models: what it took until the request's own was there, in microseconds."""

    was_loaded: bool = True
    waited: int = 0
    """By this request, while its model was loaded and others made room for it."""
    loading: tuple[int, ...] = ()
    """Of each load on behalf of this request alone, so that none is told twice."""
    unloading: tuple[int, ...] = ()


class ModelAnswerMeta(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """An ``AnswerMeta``, which whoever does not know this reads it as, of a worker that has many models."""

    content_type: str = ""
    custom_attributes: str = ""
    model: ModelTimes | None = None


class TracedAnswerMeta(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True, gc=False):
    """An ``AnswerMeta``, which whoever does not know this reads it as, and the worker's times as durations in microseconds."""

    content_type: str = ""
    custom_attributes: str = ""
    waited: int = 0
    """From the request's arrival to the beginning of the work on it."""
    worked: int = 0
    requests: int = 1
    """That were worked on together."""
    release: str = ""
    """Why no further one was."""
    model: ModelTimes | None = None


class Hello(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A worker's first frame on each connection."""

    worker_id: str
    max_batch: int
    queue: int


class PlainFrame(msgspec.Struct, frozen=True, gc=False):
    """One decoded frame; ``meta`` is still encoded, ``body`` a copy of its own."""

    kind: int
    flags: int
    id: int
    number: int
    meta: bytes
    body: bytes


class FrameError(Exception):
    """The peer sent what is no frame of this version, or one over the limit: the connection is closed."""


_encode = msgspec.msgpack.Encoder().encode
decode_request_meta = msgspec.msgpack.Decoder(RequestMeta).decode
decode_answer_meta = functools.lru_cache(maxsize=1024)(msgspec.msgpack.Decoder(AnswerMeta).decode)
"""Answers of one model carry the same few metas again and again."""
decode_model_meta = msgspec.msgpack.Decoder(ModelAnswerMeta).decode
decode_traced_meta = msgspec.msgpack.Decoder(TracedAnswerMeta).decode
decode_hello = msgspec.msgpack.Decoder(Hello).decode
_EMPTY_META = _encode(RequestMeta())


def encode_meta(
    meta: RequestMeta | AnswerMeta | ModelAnswerMeta | TracedAnswerMeta | Hello,
) -> bytes:
    """The msgpack form of a meta; callers may keep it for requests that are alike."""
    return _encode(meta)


def encode_frame(
    kind: int,
    request_id: int,
    *,
    number: int = 0,
    flags: int = 0,
    meta: bytes = _EMPTY_META,
    body: bytes | bytearray = b"",
) -> bytes:
    """Header and meta and body as one piece, so that a batch of frames is one join and one write."""
    length = _AFTER_LENGTH + len(meta) + len(body)
    return _HEADER.pack(length, VERSION, kind, flags, request_id, number, len(meta)) + meta + body


def encode_request(
    request_id: int, remaining_ms: int, flags: int, meta: bytes, body: bytes
) -> bytes:
    """A REQUEST, as ``encode_frame`` makes it."""
    size = len(meta)
    length = _AFTER_LENGTH + size + len(body)
    return _PACK(length, VERSION, REQUEST, flags, request_id, remaining_ms, size) + meta + body


def encode_answer(request_id: int, status: int, flags: int, meta: bytes, body: bytes) -> bytes:
    """An ANSWER, as ``encode_frame`` makes it."""
    size = len(meta)
    length = _AFTER_LENGTH + size + len(body)
    return _PACK(length, VERSION, ANSWER, flags, request_id, status, size) + meta + body


class PlainFrameDecoder:
    """Bytes in, frames out; holds at most one unfinished frame of ``limit`` bytes."""

    def __init__(self, *, limit: int) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = HEADER_SIZE
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[PlainFrame]:
        """Yield each whole frame; raises ``FrameError``. To be iterated to its end before more is fed."""
        if self._pieces:
            self._pieces.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._pieces)
        position = 0
        available = len(data)
        needed = HEADER_SIZE
        try:
            while available - position >= HEADER_SIZE:
                length, version, kind, flags, request_id, number, meta_length = _HEADER.unpack_from(
                    data, position
                )
                if version != VERSION:
                    raise FrameError(f"frame version {version}, expected {VERSION}")
                if length > self._limit or length < _AFTER_LENGTH + meta_length:
                    raise FrameError(f"frame of {length} bytes, limit {self._limit}")
                end = position + 4 + length
                if end > available:
                    needed = 4 + length
                    break
                meta_end = position + HEADER_SIZE + meta_length
                frame = PlainFrame(
                    kind,
                    flags,
                    request_id,
                    number,
                    data[position + HEADER_SIZE : meta_end],
                    data[meta_end:end],
                )
                position = end
                yield frame
        finally:
            # One join for a frame that comes in many pieces, and no copy of what comes whole.
            self._pieces = [data[position:]] if position < available else []
            self._size = available - position
            self._needed = needed


def _until_the_bad_one(found: list["Frame"], complaint: str) -> Iterator["Frame"]:
    yield from found
    raise FrameError(complaint)


_quick = part("FrameDecoder")
if _quick is None or TYPE_CHECKING:
    Frame = PlainFrame
    FrameDecoder = PlainFrameDecoder
else:
    Frame = part("Frame")

    class FrameDecoder(_quick):
        """``PlainFrameDecoder``'s twin in C: its ``feed`` gives all of a piece's frames as one list."""

        __slots__ = ()
        broken = staticmethod(_until_the_bad_one)
