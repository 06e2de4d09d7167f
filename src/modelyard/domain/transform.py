"""Batch transform without its I/O: cutting objects into requests, names of outputs, putting answers together.

A packer is fed an object's bytes in pieces of any size and yields request bodies. It holds at most one request's worth
of bytes, never cuts a record, and gives every byte exactly once and in order. A record keeps its line feed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

MIB = 1 << 20
DEFAULT_PAYLOAD_MIB = 6
UNLIMITED_BYTES = 1024 * MIB
"""What ``MaxPayloadInMB`` 0 means: a bound all the same, for a request is held in memory as a whole."""
_PACKED_BYTES_MAX = 100 * MIB


class RecordTooLarge(Exception):
    """A record, or an object that is not split, is over the limit; it fails its object."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than the limit of {limit} bytes (MaxPayloadInMB)")


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one request, and how many records are in it."""

    body: bytes
    records: int


class Packer(Protocol):
    """From pieces of an object to request bodies. Both methods raise ``RecordTooLarge``."""

    def feed(self, piece: bytes) -> Iterator[Batch]:
        """Whole requests, as soon as it is sure that nothing more fits into them."""

    def finish(self) -> Iterator[Batch]:
        """What is left when the object has ended."""


class WholeObject:
    """``SplitType`` None: the object is one request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Batch]:
        self._buffer += piece
        if len(self._buffer) > self._limit:
            raise RecordTooLarge("the object", self._limit)
        yield from ()

    def finish(self) -> Iterator[Batch]:
        if self._buffer:
            yield Batch(bytes(self._buffer), 1)


class SingleLines:
    """``SplitType`` Line, ``SingleRecord``: each line is one request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Batch]:
        if b"\n" not in piece:
            self._rest += piece
            _check_record(len(self._rest), self._limit)
            return
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            _check_record(len(line) + 1, self._limit)
            yield Batch(line + b"\n", 1)
        _check_record(len(self._rest), self._limit)

    def finish(self) -> Iterator[Batch]:
        if self._rest:
            yield Batch(self._rest, 1)


class PackedLines:
    """``SplitType`` Line, ``MultiRecord``: as many whole lines as fit into one request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = min(limit, _PACKED_BYTES_MAX)
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Batch]:
        buffer = self._buffer
        buffer += piece
        start = 0
        while len(buffer) - start > self._size:
            end = buffer.rfind(b"\n", start, start + self._size) + 1
            if end <= start:
                end = buffer.find(b"\n", start + self._size) + 1
                _check_record((end or len(buffer)) - start, self._limit)
                if not end:
                    break
            yield _packed(bytes(buffer[start:end]))
            start = end
        del buffer[:start]

    def finish(self) -> Iterator[Batch]:
        if self._buffer:
            yield _packed(bytes(self._buffer))


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformOptions:
    """What a job's request says of splitting, sending and assembling, with AWS's defaults."""

    content_type: str = ""
    accept: str = ""
    split: Literal["None", "Line"] = "None"
    strategy: Literal["MultiRecord", "SingleRecord"] = "MultiRecord"
    assemble: Literal["None", "Line"] = "None"
    payload_bytes: int = DEFAULT_PAYLOAD_MIB * MIB
    concurrency: int = 1
    timeout_seconds: float = 600.0
    retries: int = 3

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "TransformOptions":
        """From the parameters of ``CreateTransformJob``."""
        given = spec.get("MaxPayloadInMB")
        mebibytes = DEFAULT_PAYLOAD_MIB if given is None else given
        client = spec.get("ModelClientConfig") or {}
        retries = client.get("InvocationsMaxRetries")
        return cls(
            content_type=spec["TransformInput"].get("ContentType") or "",
            accept=spec["TransformOutput"].get("Accept") or "",
            split=spec["TransformInput"].get("SplitType") or "None",
            strategy=spec.get("BatchStrategy") or "MultiRecord",
            assemble=spec["TransformOutput"].get("AssembleWith") or "None",
            payload_bytes=mebibytes * MIB or UNLIMITED_BYTES,
            concurrency=spec.get("MaxConcurrentTransforms") or 1,
            timeout_seconds=float(client.get("InvocationsTimeoutInSeconds") or 600),
            retries=3 if retries is None else retries,
        )

    def packer(self) -> Packer:
        """A fresh packer for one object."""
        if self.split == "None":
            return WholeObject(self.payload_bytes)
        if self.strategy == "SingleRecord":
            return SingleLines(self.payload_bytes)
        return PackedLines(self.payload_bytes)

    def assembled(self, answer: bytes) -> bytes:
        """One answer as it is written: ``Line`` ends each with one line feed, ``None`` changes nothing."""
        if self.assemble == "Line" and not answer.endswith(b"\n"):
            return answer + b"\n"
        return answer


def container_environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """What a container of the job finds in its environment, over that of its model."""
    environment = {"SAGEMAKER_BATCH": "true", **(spec.get("Environment") or {})}
    if spec.get("MaxPayloadInMB") is not None:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(spec["MaxPayloadInMB"])
    if spec.get("BatchStrategy"):
        strategies = {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}
        environment["SAGEMAKER_BATCH_STRATEGY"] = strategies[spec["BatchStrategy"]]
    if spec.get("MaxConcurrentTransforms") is not None:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(spec["MaxConcurrentTransforms"])
    return environment


@dataclass(frozen=True, slots=True)
class Location:
    """An ``s3://bucket/key-or-prefix``."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Raises ``ValueError`` for what is no S3 URI."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise ValueError(f"not an S3 URI: {uri!r}")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def relative_key(key: str, prefix: str) -> str:
    """The part of an input's key that its output keeps: the path below the prefix, if that names a folder.

    A prefix that ends inside a name (``data/part-``) keeps the path below its own folder.
    """
    for folder in (
        prefix if prefix.endswith("/") else f"{prefix}/",
        prefix.rpartition("/")[0] + "/",
    ):
        if folder != "/" and key.startswith(folder) and len(key) > len(folder):
            return key[len(folder) :]
    return key


def output_key(key: str, *, prefix: str, output_prefix: str) -> str:
    """Where the answers for an input object are written."""
    folder = output_prefix.rstrip("/")
    name = f"{relative_key(key, prefix)}.out"
    return f"{folder}/{name}" if folder else name


def is_input(key: str, size: int) -> bool:
    """Folder markers and empty objects produce no request, and no output."""
    return size > 0 and not key.endswith("/")


def _check_record(size: int, limit: int) -> None:
    if size > limit:
        raise RecordTooLarge("a record", limit)


def _packed(body: bytes) -> Batch:
    return Batch(body, body.count(b"\n") + (not body.endswith(b"\n")))
