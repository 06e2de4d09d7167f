"""Captured invocations from S3 in the order of their time, however many they are: spooled to disk, read back one by one."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard.cli.platform import CommandFailed
from modelyard.domain.capture import Captured, place_of, read_line

LINE_BYTES_MAX = 64 << 20
SPOOL_BYTES_MAX = 4 << 30
PIECE = 1 << 18
LATE_SECONDS = 300.0
"""So long after an invocation its line is written at most."""
OWN = "modelyard-rehearsal"
"""The ``InferenceId`` of a rehearsal's own requests, which the endpoint may have captured too."""
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE objects (place TEXT, key TEXT, variant TEXT);
CREATE TABLE lines (moment REAL, place TEXT, key TEXT, number INTEGER, variant TEXT, line BLOB);
CREATE INDEX by_time ON lines (moment, place, key, number);
"""
_ORDER = "ORDER BY moment, place, key, number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Of which endpoint, from when (inclusive) to when (exclusive, epoch seconds), and how many at most."""

    endpoint: str
    after: float = 0.0
    before: float = float("inf")
    limit: int


@dataclass(slots=True)
class Spool:
    """What was read; ``left_out`` counts lines that are no invocation with a request."""

    database: sqlite3.Connection
    wanted: Wanted
    lines: int = 0
    bytes: int = 0
    left_out: int = 0
    objects: int = field(default=0)

    def __iter__(self) -> Iterator[tuple[Captured, str]]:
        """Each with its variant, in order, up to the limit."""
        query = f"SELECT line, variant FROM lines {_ORDER} LIMIT ?"  # noqa: S608 - a constant
        for line, variant in self.database.execute(query, (self.wanted.limit,)):
            found = read_line(line)
            assert found is not None
            yield found, variant

    def __len__(self) -> int:
        return min(self.lines, self.wanted.limit)


@contextmanager
def read(s3: Any, uri: str, wanted: Wanted) -> Iterator[Spool]:
    """The captured invocations under ``s3://bucket/prefix``. Raises ``CommandFailed`` where there are none."""
    bucket, prefix = _address(uri)
    with (
        tempfile.TemporaryDirectory(prefix="modelyard-rehearsal-") as folder,
        closing(sqlite3.connect(Path(folder) / "spool")) as database,
    ):
        database.executescript(_TABLES)
        spool = Spool(database, wanted)
        _list(s3, bucket, prefix, spool)
        objects = database.cursor().execute("SELECT * FROM objects ORDER BY place, key")
        for place, key, variant in objects:
            if _is_past(spool, place):
                break
            _load(s3, bucket, (place, key, variant), spool)
        if not spool.lines:
            raise CommandFailed(
                f"No captured requests of endpoint {wanted.endpoint} lie under {uri}.",
                "Give the DestinationS3Uri of its DataCaptureConfig, which has to capture Input.",
            )
        yield spool


def _address(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise CommandFailed(f"{uri} is no s3://BUCKET/PREFIX.")
    return bucket, prefix


def _list(s3: Any, bucket: str, prefix: str, spool: Spool) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            found = place_of(item["Key"])
            if found is not None and found[0] == spool.wanted.endpoint:
                row = (found[2], item["Key"], found[1])
                spool.database.execute("INSERT INTO objects VALUES (?, ?, ?)", row)


def _is_past(spool: Spool, place: str) -> bool:
    """Whether nothing in this object, nor in later ones, is wanted any more."""
    try:
        written = datetime.strptime(place[:19], "%Y/%m/%d/%H/%M-%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return False
    latest = spool.wanted.before
    if spool.lines >= spool.wanted.limit:
        query = f"SELECT moment FROM lines {_ORDER} LIMIT 1 OFFSET ?"  # noqa: S608 - a constant
        (moment,) = spool.database.execute(query, (spool.wanted.limit - 1,)).fetchone()
        latest = min(latest, moment)
    return written - LATE_SECONDS > latest


def _load(s3: Any, bucket: str, item: tuple[str, str, str], spool: Spool) -> None:
    place, key, variant = item
    spool.objects += 1
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    for number, line in enumerate(_lines(body, key)):
        found = read_line(line)
        if found is None:
            spool.left_out += 1
            continue
        is_wanted = spool.wanted.after <= found.moment < spool.wanted.before
        if not is_wanted or found.inference_id.startswith(OWN):
            continue
        row = (found.moment, place, key, number, variant, line)
        spool.database.execute("INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?)", row)
        spool.lines += 1
        spool.bytes += len(line)
        if spool.bytes > SPOOL_BYTES_MAX:
            raise CommandFailed(
                f"More than {SPOOL_BYTES_MAX >> 30} GiB are captured there.",
                "Take less of it: --after and --before, or a longer prefix.",
            )


def _lines(body: Any, key: str) -> Iterator[bytes]:
    rest = b""
    for piece in body.iter_chunks(PIECE):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LINE_BYTES_MAX:
            raise CommandFailed(f"{key} has a line of more than {LINE_BYTES_MAX >> 20} MiB.")
    if rest:
        yield rest
