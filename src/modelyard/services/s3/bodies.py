"""Bytes on their way in and out: piece by piece, whatever their size, and never on the event loop's time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from modelyard.base.errors import ServiceError
from modelyard.services.s3.access import blocking

PIECE_BYTES = 1 << 20
PUT_BYTES = 5 << 30
DEFAULT_ALGORITHM = "CRC64NVME"
"""S3 computes it for an object whose client sent no checksum."""


class Checksum(Protocol):
    """One running checksum."""

    def update(self, data: bytes) -> None: ...
    def digest(self) -> bytes: ...


CreateChecksum = Callable[[str], Checksum]


class Body(Protocol):
    """What a client sends. At its end the iterator raises ``ServiceError`` if it is not what was signed and declared."""

    @property
    def checksums(self) -> Mapping[str, str]:
        """The one that was declared and verified, or the default one; complete at the body's end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Sink(Protocol):
    """Where it goes."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


@asynccontextmanager
async def aborted_on_error(sink: Sink) -> AsyncIterator[None]:
    """Abort the sink if the block fails: in a thread, for removing a big file takes a disk a while."""
    try:
        yield
    except BaseException:
        await asyncio.shield(blocking(sink.abort))
        raise


def check_size(size: int) -> None:
    """Raises ``EntityTooLarge`` for more than one request may store."""
    if size > PUT_BYTES:
        raise ServiceError(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            members={"MaxSizeAllowed": PUT_BYTES},
        )


async def store_body(body: Body, sink: Sink) -> None:
    """All of the body into the sink. Raises what the body raises, ``EntityTooLarge``, ``InsufficientStorage``."""
    size = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in body:  # While one piece is written, the next one is hashed.
            size += len(piece)
            check_size(size)
            if writing is not None:
                await writing
            writing = asyncio.create_task(blocking(sink.write, piece))
    finally:
        if writing is not None:
            await writing


def read_pieces(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    """A range of a file."""
    file.seek(start)
    left = length
    while left and (piece := file.read(min(PIECE_BYTES, left))):
        left -= len(piece)
        yield piece


def checksum_of(path: Path, checksum: Checksum) -> None:
    """Feed a whole file to it."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            checksum.update(piece)


class FileBody:
    """A range of an object's file, read while it is sent. ``close`` it, iterated or not."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file = file
        self._pieces = read_pieces(file, start, length)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await asyncio.to_thread(next, self._pieces, b""):
            yield piece

    def close(self) -> None:
        self._file.close()
