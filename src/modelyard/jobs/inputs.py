"""What a transform job reads: the objects under a prefix or in a manifest, and their bytes, decompressed where asked."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from modelyard.domain.transform import Location, is_input, output_key
from modelyard.domain.transform_manifest import MANIFEST_BYTES_MAX, BadManifest, parse_manifest
from modelyard.jobs.replica import ObjectFailed

PIECE_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


class JobFailed(Exception):
    """The whole job cannot be done; the text is its ``FailureReason``."""


class StoredObject(Protocol):
    """``store.objects.ObjectInfo``, as far as it matters here."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...


class ObjectWriter(Protocol):
    """An output on its way; nothing is visible before ``commit``."""

    def write(self, data: bytes) -> None: ...
    def commit(self) -> object: ...
    def abort(self) -> None: ...


class Objects(Protocol):
    """The S3 store as a job uses it; blocking, used by several threads."""

    def head(self, bucket: str, key: str) -> StoredObject | None: ...
    def open_object(self, bucket: str, key: str) -> tuple[StoredObject, BinaryIO] | None:
        """Its bytes as they are now, whatever happens to the object meanwhile."""

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[StoredObject]:
        """The next objects by key; empty at the end."""

    def writer(self, bucket: str, key: str, *, content_type: str) -> ObjectWriter: ...


@dataclass(frozen=True, slots=True)
class Input:
    """One object to transform; without an ETag it was not there."""

    key: str
    size: int = 0
    etag: str = ""


@dataclass(slots=True, kw_only=True)
class Inputs:
    """The objects of a job, in order. ``prefix`` is what their outputs' keys leave out; of a manifest, all ``keys``."""

    objects: Objects
    prefix: Location
    source: str
    keys: Sequence[str] | None = None

    @property
    def bucket(self) -> str:
        return self.prefix.bucket

    def __iter__(self) -> Iterator[Input]:
        """Folder markers and empty objects are left out; a manifest's missing ones are not."""
        if self.keys is None:
            yield from self._listed()
            return
        for name in self.keys:
            key = self.prefix.key + name
            stored = self.objects.head(self.bucket, key)
            if stored is None:
                yield Input(key)
            elif is_input(key, stored.size):
                yield Input(key, stored.size, stored.etag)

    def _listed(self) -> Iterator[Input]:
        after = ""
        while page := self.objects.page(self.bucket, self.prefix.key, after=after):
            after = page[-1].key
            for stored in page:
                if is_input(stored.key, stored.size):
                    yield Input(stored.key, stored.size, stored.etag)

    def output_key(self, key: str, target: Location) -> str:
        """Where the answers for ``key`` go."""
        return output_key(key, prefix=self.prefix.key, output_prefix=target.key)

    def rival(self, key: str) -> str | None:
        """The other input that would have the same output.

        ``data`` as a prefix covers ``data/x`` and ``data-x``; of two such, the one within the folder keeps the name.
        """
        prefix = self.prefix.key
        if self.keys is not None or not prefix or key.startswith(f"{prefix.rstrip('/')}/"):
            return None
        folder = prefix.rpartition("/")[0]
        rival = f"{prefix}/{key.removeprefix(f'{folder}/' if folder else '')}"
        return rival if rival != key and self.objects.head(self.bucket, rival) else None


def inputs_of(spec: Mapping[str, Any], objects: Objects) -> Inputs:
    """By the job's request. Raises ``JobFailed`` for a manifest that is none."""
    data = spec["TransformInput"]["DataSource"]["S3DataSource"]
    location = Location.parse(data["S3Uri"])
    if data.get("S3DataType") != "ManifestFile":
        return Inputs(objects=objects, prefix=location, source=f"under {location}")
    opened = objects.open_object(location.bucket, location.key)
    if opened is None:
        raise JobFailed(f"The manifest {location} does not exist")
    stored, file = opened
    with file:
        if stored.size > MANIFEST_BYTES_MAX:
            raise JobFailed(f"The manifest {location} has more than {MANIFEST_BYTES_MAX} bytes")
        try:
            prefix, keys = parse_manifest(file.read())
            return Inputs(
                objects=objects,
                prefix=Location.parse(prefix),
                source=f"in the manifest {location}",
                keys=keys,
            )
        except (BadManifest, ValueError) as error:
            raise JobFailed(f"{location} is no manifest: {error}") from None


def pieces_of(objects: Objects, bucket: str, key: str, *, is_gzip: bool) -> Iterator[bytes]:
    """The object's bytes, a piece at a time. Raises ``ObjectFailed``."""
    opened = objects.open_object(bucket, key)
    if opened is None:
        raise ObjectFailed("the object does not exist, or was deleted while the job ran")
    with opened[1] as file:
        pieces = iter(lambda: file.read(PIECE_BYTES), b"")
        yield from _gunzipped(pieces) if is_gzip else pieces


def _gunzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Of one or several members; never more than a piece at a time, however well it was compressed."""
    decoder = zlib.decompressobj(_GZIP)
    is_started = False
    try:
        for piece in pieces:
            while piece:
                is_started = True
                data = decoder.decompress(piece, PIECE_BYTES)
                if data:
                    yield data
                piece = decoder.unconsumed_tail  # noqa: PLW2901 - what is left of it
                if decoder.eof:
                    piece = decoder.unused_data.lstrip(b"\0")  # noqa: PLW2901 - the next member
                    decoder = zlib.decompressobj(_GZIP)
                    is_started = False
        if is_started:
            yield from filter(None, [decoder.flush()])
            if not decoder.eof:
                raise ObjectFailed("the object ends within its gzip data")
    except zlib.error as error:
        raise ObjectFailed(f"the object is not gzip: {error}") from None
