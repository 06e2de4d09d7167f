"""Multipart uploads: parts are data files of their own until they are joined into the object's one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from modelyard.base.failpoint import failpoint
from modelyard.store.object_files import DataFile
from modelyard.store.object_info import Attributes, BucketMissing, Condition, ObjectInfo, Part
from modelyard.store.objects import ObjectStore
from modelyard.store.objects_index import after_prefix

_UPLOAD = "SELECT id, bucket, key, created, options FROM uploads"


class UploadMissing(FileNotFoundError):
    """It was completed or aborted, or never was."""


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the finished object will have."""

    attributes: Attributes
    algorithm: str = ""
    """Of the checksum that the client asked for; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload that is not finished. ``created`` is Unix seconds."""

    id: str
    bucket: str
    key: str
    created: float
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """One part. ``etag`` has no quotes."""

    number: int
    size: int
    etag: str
    modified: float
    checksums: dict[str, str]
    path: Path


class Uploads:
    """The uploads of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._index = store.index

    def create(self, bucket: str, key: str, options: Options) -> Upload:
        """Raises ``BucketMissing``."""
        upload = Upload(
            id=self._store.random.hex(48),
            bucket=bucket,
            key=key,
            created=self._store.clock.now(),
            options=options,
        )
        with self._index.transaction() as change:
            if not change.execute("SELECT 1 FROM buckets WHERE name = ?", (bucket,)).fetchone():
                raise BucketMissing(bucket)
            change.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
                (upload.id, bucket, key.encode(), upload.created, msgspec.json.encode(options)),
            )
        return upload

    def find(self, upload_id: str) -> Upload | None:
        row = self._index.row(f"{_UPLOAD} WHERE id = ?", upload_id)
        return _upload(row) if row else None

    def list_uploads(
        self, bucket: str, *, prefix: str = "", key_after: str = "", id_after: str = ""
    ) -> list[Upload]:
        """A bucket's, by key and id; with ``key_after`` alone behind that key, with both behind that upload."""
        statement = f"{_UPLOAD} WHERE bucket = ?"
        values: list[Any] = [bucket]
        if prefix:
            statement += " AND key >= ? AND key < ?"
            values += [prefix.encode(), after_prefix(prefix.encode())]
        if key_after and id_after:
            statement += " AND (key, id) > (?, ?)"
            values += [key_after.encode(), id_after]
        elif key_after:
            statement += " AND key > ?"
            values.append(key_after.encode())
        return [_upload(row) for row in self._index.rows(f"{statement} ORDER BY key, id", *values)]

    def parts(self, upload_id: str, *, after: int = 0, limit: int = -1) -> list[StoredPart]:
        """By number; ``limit`` -1 is all."""
        rows = self._index.rows(
            "SELECT number, size, etag, modified, checksums, data FROM parts"
            " WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
            upload_id,
            after,
            limit,
        )
        return [
            StoredPart(
                number=number,
                size=size,
                etag=etag,
                modified=modified,
                checksums=msgspec.json.decode(checksums),
                path=self._store.root / data,
            )
            for number, size, etag, modified, checksums, data in rows
        ]

    def part_writer(self, upload: Upload, number: int) -> "PartWriter":
        """Raises ``StorageFull``."""
        return PartWriter(self._store, upload, number)

    def assemble(self, upload: Upload, parts: Sequence[StoredPart]) -> "Assembly":
        """Join parts. Raises ``StorageFull``, and ``FileNotFoundError`` if one was replaced meanwhile."""
        assembly = Assembly(self._store, upload, parts)
        try:
            assembly.join()
        except BaseException:
            assembly.abort()
            raise
        return assembly

    def abort(self, upload_id: str) -> bool:
        """Remove it with its parts; whether there was one."""
        with self._index.transaction() as change:
            strays = _remove(change, upload_id)
        if strays is None:
            return False
        self._store.remove_files(strays)
        return True


class PartWriter:
    """A part on its way; uploaded again, a part replaces the earlier one."""

    def __init__(self, store: ObjectStore, upload: Upload, number: int) -> None:
        self._store = store
        self._upload = upload
        self._number = number
        self._file = DataFile(store.root, store.random)
        self._digest = md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises ``StorageFull``."""
        with self._file.lock:
            self._file.write(data)
            self._digest.update(data)
            self.size += len(data)

    def commit(self, checksums: dict[str, str]) -> StoredPart:
        """Raises ``UploadMissing``, ``StorageFull``."""
        with self._file.lock:
            return self._commit(checksums)

    def _commit(self, checksums: dict[str, str]) -> StoredPart:
        data = self._file.publish()
        part = StoredPart(
            number=self._number,
            size=self.size,
            etag=self._digest.hexdigest(),
            modified=self._store.clock.now(),
            checksums=checksums,
            path=self._store.root / data,
        )
        key = (self._upload.id, self._number)
        with self._store.index.transaction() as change:
            if not change.execute(
                "SELECT 1 FROM uploads WHERE id = ?", (self._upload.id,)
            ).fetchone():
                raise UploadMissing(self._upload.id)
            old = change.execute(
                "SELECT data FROM parts WHERE upload = ? AND number = ?", key
            ).fetchone()
            change.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, data, part.size, part.etag, part.modified, msgspec.json.encode(checksums)),
            )
        self._file.release()
        self._store.remove_files(old or ())
        return part

    def abort(self) -> None:
        """Drop it; after ``commit`` nothing happens."""
        with self._file.lock:
            self._file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class Assembly:
    """The finished object on its way: joined, and visible after ``commit``."""

    def __init__(self, store: ObjectStore, upload: Upload, parts: Sequence[StoredPart]) -> None:
        self._store = store
        self._upload = upload
        self._parts = parts
        self._file = DataFile(store.root, store.random)

    @property
    def path(self) -> Path:
        """The joined bytes, for a checksum over all of them."""
        return self._file.path

    def join(self) -> None:
        for part in self._parts:
            self._file.append(part.path)

    def commit(
        self, attributes: Attributes, *, etag: str, condition: Condition | None = None
    ) -> ObjectInfo:
        """Raises ``UploadMissing``, ``BucketMissing``, ``StorageFull``, and what ``condition`` raises."""
        try:
            info, strays, old = self._commit(attributes, etag, condition)
        except BaseException:
            self._store.withdraw(self._file, self._upload.bucket, self._upload.key)
            raise
        self._file.release()
        failpoint("objects.after-commit")
        self._store.remove_files(strays)
        if old is not None:
            old.path.unlink(missing_ok=True)
        return info

    def _commit(
        self, attributes: Attributes, etag: str, condition: Condition | None
    ) -> tuple[ObjectInfo, list[str], ObjectInfo | None]:
        data = self._file.publish()
        info = ObjectInfo(
            bucket=self._upload.bucket,
            key=self._upload.key,
            size=sum(part.size for part in self._parts),
            etag=etag,
            last_modified=self._store.clock.now(),
            path=self._store.root / data,
            attributes=attributes,
        )
        parts = [Part(number=p.number, size=p.size, checksums=p.checksums) for p in self._parts]
        with self._store.index.transaction() as change:
            strays = _remove(change, self._upload.id)
            if strays is None:
                raise UploadMissing(self._upload.id)
            old = self._store.replace_in(change, info, parts, condition=condition)
        return info, strays, old

    def abort(self) -> None:
        """Drop it; after ``commit`` nothing happens."""
        self._file.discard()


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, bucket, key, created, options = row
    return Upload(
        id=upload_id,
        bucket=bucket,
        key=key.decode(),
        created=created,
        options=msgspec.json.decode(options, type=Options),
    )


def _remove(change: Any, upload_id: str) -> list[str] | None:
    """The data files of the removed parts; None if there is no such upload."""
    if not change.execute("DELETE FROM uploads WHERE id = ?", (upload_id,)).rowcount:
        return None
    rows = change.execute("SELECT data FROM parts WHERE upload = ?", (upload_id,)).fetchall()
    change.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
    return [data for (data,) in rows]
