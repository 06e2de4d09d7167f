"""What a transform job has finished, on disk, so that a job killed at any moment goes on where it was.

The order of one object is: ``intend`` (with the ETag that the output will have), commit of the output, ``finish``. A
job that finds an intention compares its ETag with the output's: equal, and the output was committed; else it was not.
So each output is committed once and no finished object is computed again, whatever is killed. It is not synced for each
entry: a power cut may cost the last ones, and their objects are computed once more, to the same bytes.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from modelyard.base.failpoint import failpoint

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    input_etag TEXT NOT NULL,
    output_etag TEXT NOT NULL DEFAULT '',
    records INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID
"""
_FACTS = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
)
_FORMAT = 1
_PAGE = 1000
State = Literal["intended", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object; ``bytes`` are those of its output."""

    key: str
    state: State
    input_etag: str
    output_etag: str = ""
    records: int = 0
    bytes: int = 0
    reason: str = ""

    def done(self) -> "Entry":
        """The same, committed."""
        return replace(self, state="done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over all entries."""

    done: int = 0
    failed: int = 0
    records: int = 0
    bytes: int = 0


class Journal:
    """In the job's folder; used by the threads of one process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            folder / "journal.db", isolation_level=None, check_same_thread=False
        )
        # Nothing is lost with a new journal that a power cut leaves empty.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(_SCHEMA)
        self._database.execute(_FACTS)
        self._database.execute(f"PRAGMA user_version = {_FORMAT}")
        self._database.execute("COMMIT")
        self._database.execute("PRAGMA synchronous = NORMAL")

    def find(self, key: str) -> Entry | None:
        """What is known of an object."""
        with self._lock:
            row = self._database.execute("SELECT * FROM objects WHERE key = ?", (key,)).fetchone()
        return _entry(row) if row else None

    def intend(self, entry: Entry) -> None:
        """Its output is about to be committed."""
        self._put(entry)
        failpoint("transform.after-intent")

    def finish(self, entry: Entry) -> None:
        """Its output is committed, or it has failed for good."""
        failpoint("transform.before-journal")
        self._put(entry)
        failpoint("transform.after-journal")

    def fact(self, name: str, value: str) -> str:
        """What was first written under this name; ``value``, if nothing was."""
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            (known,) = self._database.execute(
                "SELECT value FROM facts WHERE name = ?", (name,)
            ).fetchone()
        return str(known)

    def known_fact(self, name: str) -> str | None:
        """What was written under this name."""
        with self._lock:
            row = self._database.execute(
                "SELECT value FROM facts WHERE name = ?", (name,)
            ).fetchone()
        return str(row[0]) if row else None

    def entries(self) -> Iterator[Entry]:
        """All of them by key, a page at a time."""
        after: str | None = None
        while True:
            with self._lock:
                rows = self._database.execute(
                    "SELECT * FROM objects WHERE ? IS NULL OR key > ? ORDER BY key LIMIT ?",
                    (after, after, _PAGE),
                ).fetchall()
            if not rows:
                return
            yield from map(_entry, rows)
            after = rows[-1][0]

    def totals(self) -> Totals:
        """The sums."""
        with self._lock:
            row = self._database.execute(
                "SELECT count(*) FILTER (WHERE state = 'done'),"
                " count(*) FILTER (WHERE state = 'failed'),"
                " coalesce(sum(records) FILTER (WHERE state = 'done'), 0),"
                " coalesce(sum(bytes) FILTER (WHERE state = 'done'), 0) FROM objects"
            ).fetchone()
        return Totals(done=row[0], failed=row[1], records=row[2], bytes=row[3])

    def failures(self, limit: int) -> Iterator[Entry]:
        """The first failed objects, by key."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM objects WHERE state = 'failed' ORDER BY key LIMIT ?", (limit,)
            ).fetchall()
        return map(_entry, rows)

    def close(self) -> None:
        """Idempotent."""
        with contextlib.suppress(sqlite3.ProgrammingError):
            self._database.close()

    def _put(self, entry: Entry) -> None:
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.key,
                    entry.state,
                    entry.input_etag,
                    entry.output_etag,
                    entry.records,
                    entry.bytes,
                    entry.reason,
                ),
            )


def _entry(row: tuple[str, State, str, str, int, int, str]) -> Entry:
    key, state, input_etag, output_etag, records, size, reason = row
    return Entry(
        key=key,
        state=state,
        input_etag=input_etag,
        output_etag=output_etag,
        records=records,
        bytes=size,
        reason=reason,
    )
