"""S3's objects on disk: buckets and keys in ``index.db``, bytes in files of their own that never change.

    tmp file → data/xx/<random id> → row in the index → the replaced object's file is removed

Each arrow stands behind a sync of what is before it, so whatever is visible is whole, and what a killed writer leaves
is invisible and swept at the next start. Methods block, and may be called from any thread of any process.
"""

import hashlib
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from modelyard.base.clock import Clock, SystemClock
from modelyard.base.errors import ServiceError
from modelyard.base.failpoint import failpoint
from modelyard.base.ids import RandomSource, SystemRandom
from modelyard.store.object_files import DataFile, sweep, sweep_unfinished, sync_folder
from modelyard.store.object_info import (
    Attributes,
    Bucket,
    BucketMissing,
    BucketNotEmpty,
    BucketSettings,
    BucketTaken,
    Condition,
    Listing,
    ObjectInfo,
    ObjectLost,
    Part,
    parse_s3_uri,
)
from modelyard.store.objects_index import ObjectIndex, StorageFull, after_prefix

__all__ = [
    "Attributes",
    "BucketMissing",
    "ObjectInfo",
    "ObjectStore",
    "StorageFull",
    "parse_s3_uri",
]

PAGE = 1000
_BUCKET = "name, account, region, created, settings"
_COLUMNS = "bucket, key, data, size, etag, modified, attributes"


class ObjectStore:
    """The objects of one home."""

    def __init__(
        self, root: Path, *, clock: Clock | None = None, random: RandomSource | None = None
    ) -> None:
        self.root = root
        self.clock = clock or SystemClock()
        self.random = random or SystemRandom()
        for folder in (root, root / "data", root / "tmp"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(root)
        self.index = ObjectIndex(root / "index.db")

    def close(self) -> None:
        self.index.close()

    def sweep(self) -> int:
        """Remove what killed writers left; returns how many files. For the start of the objects process."""
        return sweep(self.root, self.index)

    def sweep_unfinished(self) -> int:
        """Of that, what costs little to find; for now and then."""
        return sweep_unfinished(self.root)

    def clear(self) -> None:
        """Remove everything."""
        with self.index.transaction() as change:
            for table in ("buckets", "objects", "uploads", "parts"):
                change.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above
        self.sweep()

    # -- buckets

    def create_bucket(
        self, name: str, *, account: str, region: str, settings: BucketSettings | None = None
    ) -> Bucket:
        """Raises ``BucketTaken``."""
        bucket = Bucket(
            name=name,
            account=account,
            region=region,
            created=self.clock.now(),
            settings=settings or BucketSettings(),
        )
        with self.index.transaction() as change:
            known = change.execute("SELECT account FROM buckets WHERE name = ?", (name,)).fetchone()
            if known:
                raise BucketTaken(known[0])
            change.execute(
                f"INSERT INTO buckets ({_BUCKET}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - constant
                (name, account, region, bucket.created, msgspec.json.encode(bucket.settings)),
            )
        return bucket

    def set_bucket(self, name: str, **settings: Any) -> None:
        """Change some of a bucket's settings. Raises ``BucketMissing``."""
        with self.index.transaction() as change:
            row = change.execute("SELECT settings FROM buckets WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise BucketMissing(name)
            known = msgspec.structs.replace(_settings(row[0]), **settings)
            change.execute(
                "UPDATE buckets SET settings = ? WHERE name = ?", (msgspec.json.encode(known), name)
            )

    def find_bucket(self, name: str) -> Bucket | None:
        row = self.index.row(
            f"SELECT {_BUCKET} FROM buckets WHERE name = ?",  # noqa: S608 - constant
            name,
        )
        return _bucket(row) if row else None

    def list_buckets(self, account: str) -> list[Bucket]:
        """An account's, by name."""
        rows = self.index.rows(
            f"SELECT {_BUCKET} FROM buckets WHERE account = ? ORDER BY name",  # noqa: S608 - constant
            account,
        )
        return [_bucket(row) for row in rows]

    def delete_bucket(self, name: str) -> None:
        """With its unfinished uploads. Raises ``BucketMissing``, ``BucketNotEmpty``."""
        with self.index.transaction() as change:
            if change.execute("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)).fetchone():
                raise BucketNotEmpty(name)
            if not change.execute("DELETE FROM buckets WHERE name = ?", (name,)).rowcount:
                raise BucketMissing(name)
            strays = change.execute(
                "SELECT data FROM parts WHERE upload IN (SELECT id FROM uploads WHERE bucket = ?)",
                (name,),
            ).fetchall()
            change.execute(
                "DELETE FROM parts WHERE upload IN (SELECT id FROM uploads WHERE bucket = ?)",
                (name,),
            )
            change.execute("DELETE FROM uploads WHERE bucket = ?", (name,))
        self.remove_files(data for (data,) in strays)

    # -- objects

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object, None if it or its bucket does not exist."""
        return self._info(
            self.index.row(
                f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key = ?",  # noqa: S608 - constant
                bucket,
                _bytes(key),
            )
        )

    def open_read(self, info: ObjectInfo) -> BinaryIO:
        """Its bytes. Raises ``FileNotFoundError`` if it was replaced since."""
        return info.path.open("rb")

    def open_object(self, bucket: str, key: str) -> tuple[ObjectInfo, BinaryIO] | None:
        """The object as it is now, and its bytes, whatever happens to it meanwhile. Raises ``ObjectLost``."""
        missing: Path | None = None
        while (info := self.head(bucket, key)) is not None:
            try:
                return info, self.open_read(info)
            except FileNotFoundError as error:
                # Replaced between the two steps, it has another file by now; data files are never named twice.
                if info.path == missing:
                    raise ObjectLost(
                        f"the data of s3://{bucket}/{key} is missing: {error}"
                    ) from error
                missing = info.path
        return None

    def parts_of(self, info: ObjectInfo) -> tuple[Part, ...]:
        """The parts that it was uploaded in."""
        row = self.index.row(
            "SELECT parts FROM objects WHERE bucket = ? AND key = ? AND etag = ?",
            info.bucket,
            _bytes(info.key),
            info.etag,
        )
        return msgspec.json.decode(row[0], type=tuple[Part, ...]) if row and row[0] else ()

    def page(self, bucket: str, prefix: str, *, after: str) -> Sequence[ObjectInfo]:
        """The next objects by key; empty at the end."""
        return self.list_objects(bucket, prefix=prefix, start_after=after).objects

    def list_objects(
        self,
        bucket: str,
        *,
        prefix: str = "",
        start_after: str = "",
        limit: int = PAGE,
        delimiter: str = "",
    ) -> Listing:
        """Objects by key; those that share a part up to ``delimiter`` count as one prefix, and are skipped at once."""
        begin, mark = _bytes(prefix), _bytes(delimiter)
        after = _bytes(start_after)
        low, inclusive = (after, False) if after >= begin else (begin, True)
        if after.startswith(begin) and _common_prefix(after, begin, mark) == after:
            low, inclusive = after_prefix(after), True  # A page that ended with a common prefix.
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last = ""
        while True:
            common: bytes | None = None
            with closing(self._scan(bucket, begin, low, inclusive=inclusive)) as rows:
                for row in rows:
                    if len(objects) + len(prefixes) >= limit:
                        return Listing(objects=tuple(objects), prefixes=tuple(prefixes), after=last)
                    common = _common_prefix(row[1], begin, mark)
                    if common is not None:
                        break
                    info = self._known(row)
                    objects.append(info)
                    last = info.key
            if common is None:
                return Listing(objects=tuple(objects), prefixes=tuple(prefixes), after="")
            last = common.decode()
            prefixes.append(last)
            low, inclusive = after_prefix(common), True

    def _scan(
        self, bucket: str, prefix: bytes, low: bytes, *, inclusive: bool
    ) -> Generator[tuple[Any, ...], None, None]:
        comparison = ">=" if inclusive else ">"
        statement = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key {comparison} ?"  # noqa: S608 - constants
        if not prefix:
            return self.index.rows(f"{statement} ORDER BY key", bucket, low)
        return self.index.rows(
            f"{statement} AND key < ? ORDER BY key", bucket, low, after_prefix(prefix)
        )

    def writer(
        self,
        bucket: str,
        key: str,
        *,
        content_type: str = "",
        attributes: Attributes | None = None,
    ) -> "ObjectWriter":
        """A new object on its way. Raises ``BucketMissing``, ``StorageFull``."""
        if self.find_bucket(bucket) is None:
            raise BucketMissing(bucket)
        known = attributes or Attributes()
        if content_type:
            known = msgspec.structs.replace(known, content_type=content_type)
        return ObjectWriter(self, bucket, key, known)

    def delete_object(self, bucket: str, key: str, *, condition: Condition | None = None) -> bool:
        """Whether there was one."""
        with self.index.transaction() as change:
            old = self.find_in(change, bucket, key)
            if condition is not None:
                condition(old)
            if old is None:
                return False
            change.execute(
                "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, _bytes(key))
            )
        failpoint("objects.after-commit")
        old.path.unlink(missing_ok=True)
        return True

    def delete_objects(
        self, bucket: str, wanted: Sequence[tuple[str, Condition | None]]
    ) -> list[ServiceError | None]:
        """Delete many keys with one sync; for each, the refusal of its condition, or None."""
        outcomes: list[ServiceError | None] = []
        strays: list[str] = []
        with self.index.transaction() as change:
            for key, condition in wanted:
                old = self.find_in(change, bucket, key)
                try:
                    if condition is not None:
                        condition(old)
                except ServiceError as refusal:
                    outcomes.append(refusal)
                    continue
                outcomes.append(None)
                if old is not None:
                    change.execute(
                        "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, _bytes(key))
                    )
                    strays.append(str(old.path.relative_to(self.root)))
        failpoint("objects.after-commit")
        self.remove_files(strays)
        return outcomes

    def set_tags(self, bucket: str, key: str, tags: dict[str, str]) -> bool:
        """Replace an object's tags; whether there is such an object."""
        with self.index.transaction() as change:
            info = self.find_in(change, bucket, key)
            if info is None:
                return False
            attributes = msgspec.structs.replace(info.attributes, tags=tags)
            change.execute(
                "UPDATE objects SET attributes = ? WHERE bucket = ? AND key = ?",
                (msgspec.json.encode(attributes), bucket, _bytes(key)),
            )
        return True

    # -- for writers

    def find_in(self, change: sqlite3.Connection, bucket: str, key: str) -> ObjectInfo | None:
        """The object as a transaction sees it."""
        row = change.execute(
            f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key = ?",  # noqa: S608 - constant
            (bucket, _bytes(key)),
        ).fetchone()
        return self._info(row)

    def replace_in(
        self,
        change: sqlite3.Connection,
        info: ObjectInfo,
        parts: Sequence[Part] = (),
        *,
        condition: Condition | None = None,
    ) -> ObjectInfo | None:
        """Make ``info`` the object of its key; returns the one it replaces. Raises ``BucketMissing``."""
        if not change.execute("SELECT 1 FROM buckets WHERE name = ?", (info.bucket,)).fetchone():
            raise BucketMissing(info.bucket)
        old = self.find_in(change, info.bucket, info.key)
        if condition is not None:
            condition(old)
        change.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                info.bucket,
                _bytes(info.key),
                str(info.path.relative_to(self.root)),
                info.size,
                info.etag,
                info.last_modified,
                msgspec.json.encode(info.attributes),
                msgspec.json.encode(parts) if parts else None,
            ),
        )
        return old

    def withdraw(self, file: DataFile, bucket: str, key: str) -> None:
        """Give up a file whose commit failed; failed at its very end, it may have happened all the same."""
        try:
            known = self.head(bucket, key)
        except sqlite3.Error:
            file.release()  # Left to the sweep, which finds out.
            return
        if known is not None and known.path == file.path:
            file.release()
        else:
            file.discard()

    def remove_files(self, names: Iterable[str]) -> None:
        """Data files that nothing names any more."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def _info(self, row: tuple[Any, ...] | None) -> ObjectInfo | None:
        return self._known(row) if row else None

    def _known(self, row: tuple[Any, ...]) -> ObjectInfo:
        bucket, key, data, size, etag, modified, attributes = row
        return ObjectInfo(
            bucket=bucket,
            key=key.decode(),
            size=size,
            etag=etag,
            last_modified=modified,
            path=self.root / data,
            attributes=msgspec.json.decode(attributes, type=Attributes),
        )


class ObjectWriter:
    """``write`` as often as needed, then ``commit``; nothing is visible before, and nothing stays of ``abort``."""

    def __init__(self, store: ObjectStore, bucket: str, key: str, attributes: Attributes) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self.attributes = attributes
        self._file = DataFile(store.root, store.random)
        self._digest = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises ``StorageFull``."""
        with self._file.lock:
            self._file.write(data)
            self._digest.update(data)
            self.size += len(data)

    def commit(self, *, condition: Condition | None = None) -> ObjectInfo:
        """Durable and visible on return. Raises ``StorageFull``, ``BucketMissing``, what ``condition`` raises."""
        with self._file.lock:
            return self._commit(condition)

    def _commit(self, condition: Condition | None) -> ObjectInfo:
        try:
            data = self._file.publish()
            info = ObjectInfo(
                bucket=self._bucket,
                key=self._key,
                size=self.size,
                etag=self._digest.hexdigest(),
                last_modified=self._store.clock.now(),
                path=self._store.root / data,
                attributes=self.attributes,
            )
            with self._store.index.transaction() as change:
                old = self._store.replace_in(change, info, condition=condition)
        except BaseException:
            self._store.withdraw(self._file, self._bucket, self._key)
            raise
        self._file.release()
        failpoint("objects.after-commit")
        if old is not None:
            old.path.unlink(missing_ok=True)
        return info

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


def _bucket(row: tuple[Any, ...]) -> Bucket:
    name, account, region, created, settings = row
    return Bucket(
        name=name, account=account, region=region, created=created, settings=_settings(settings)
    )


def _settings(stored: bytes) -> BucketSettings:
    return msgspec.json.decode(stored, type=BucketSettings)


def _bytes(text: str) -> bytes:
    return text.encode()


def _common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    if not delimiter:
        return None
    end = key.find(delimiter, len(prefix))
    return key[: end + len(delimiter)] if end >= 0 else None
