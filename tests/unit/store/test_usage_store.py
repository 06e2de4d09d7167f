"""What was used is counted once, together with what came at the same time, and survives."""

import fcntl
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from modelyard.store import journal as usage_journal
from modelyard.store import usage
from modelyard.store.usage import (
    REMEMBERED_SECONDS,
    TooMuchUsage,
    Usage,
    UsageStore,
    fold_journals,
)

NOW = 1_700_000_000.0


def used(quantity: float = 3, **other: str) -> Usage:
    given = {
        "account": "1", "region": "r", "day": "2026-01-31", "service": "comprehend", "operation": "DetectSentiment",
        "usage_type": "DetectSentiment", "unit": "Unit", **other,
    }  # fmt: skip
    return Usage(quantity=quantity, **given)  # type: ignore[arg-type]


@contextmanager
def opened(folder: Path) -> Iterator[UsageStore]:
    store = UsageStore(folder / "usage.db")
    try:
        yield store
    finally:
        store.close()


def counted(store: UsageStore) -> list[tuple[float, int]]:
    found = store.read("1", start="2026-01-01", end="2026-02-01")
    return [(one.quantity, one.requests) for one in found]


def journals(folder: Path) -> list[Path]:
    return usage_journal.journals(folder / "usage-journals")


def test_uses_are_added_up_and_a_repeat_is_none(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(100):
            store.record(f"id-{number % 50}", used(), now=NOW)
        assert counted(store) == [(150.0, 50)]
        store.record("id-7", used(), now=NOW)
        store.record("other", used(day="2026-02-01"), now=NOW)
    assert journals(tmp_path) == []
    with opened(tmp_path) as store:
        assert counted(store) == [(150.0, 50)]
        assert len(store.read("1", start="2026-01-01", end="2026-03-01")) == 2
        assert store.read("2", start="2026-01-01", end="2026-03-01") == []
        store.clear()
        assert store.read("1", start="2026-01-01", end="2026-03-01") == []


def test_ids_are_forgotten_after_a_day(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.record("one", used(), now=NOW)
        fold_journals(tmp_path / "usage.db")
        store.record("two", used(), now=NOW + REMEMBERED_SECONDS + 1)
    with closing(sqlite3.connect(tmp_path / "usage.db")) as connection:
        assert connection.execute("SELECT id FROM recorded").fetchall() == [("two",)]


def test_what_a_killed_process_recorded_is_counted_by_the_next(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from modelyard.store.usage import Usage, UsageStore
store = UsageStore(Path({str(tmp_path / "usage.db")!r}))
for number in range(10):
    store.record(f"id-{{number}}", Usage(account="1", region="r", day="2026-01-31", service="s", operation="o",
                 usage_type="t", unit="u", quantity=2.0), now={NOW})
os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert died.returncode == -signal.SIGKILL
    with opened(tmp_path) as store:
        store.record("id-3", used(), now=NOW)  # Its client repeats it.
        assert sum(requests for _, requests in counted(store)) == 10
        assert len(journals(tmp_path)) == 1, "what the dead one left is gone"


def test_two_that_fold_at_once_count_each_use_once(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        for number in range(200):
            (one, other)[number % 2].record(f"id-{number}", used(), now=NOW)
            if number % 20 == 0:
                fold_journals(tmp_path / "usage.db")
        assert counted(one) == counted(other) == [(600.0, 200)]


def test_a_journal_that_another_has_folded_and_removed_meanwhile_is_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store:  # Its journal is of days: the first ids are forgotten.
        store.record("one", used(), now=NOW)
        assert counted(store) == [(3.0, 1)]
        store.record("two", used(), now=NOW + REMEMBERED_SECONDS + 1)
        assert counted(store) == [(6.0, 2)]
        store._journal.close()
        reading = usage.reading

        @contextmanager
        def overtaken(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
            monkeypatch.setattr(usage, "reading", reading)
            with path.open("rb") as file:
                fold_journals(tmp_path / "usage.db")
                yield file, False

        monkeypatch.setattr(usage, "reading", overtaken)
        fold_journals(tmp_path / "usage.db")
        assert journals(tmp_path) == []
        assert counted(store) == [(6.0, 2)]


def test_a_long_journal_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_journal, "ROTATE_BYTES", 1_000)
    with opened(tmp_path) as store:
        for number in range(100):
            store.record(f"id-{number}", used(), now=NOW)
        assert counted(store) == [(300.0, 100)]
        assert len(journals(tmp_path)) == 1, "those that are folded are gone"
    with closing(sqlite3.connect(tmp_path / "usage.db")) as connection:
        assert connection.execute("SELECT count(*) FROM folded").fetchone() == (0,)


def test_nothing_of_a_use_is_kept_that_finds_no_room(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.record("first", used(), now=NOW)
        (journal,) = journals(tmp_path)
        whole = journal.stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            # Room for half a line, as on a disk that becomes full.
            resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 50, limits[1]))
            with pytest.raises(OSError, match="50 of"):
                store.record("second", used(), now=NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, was)
        assert journal.stat().st_size == whole
        store.record("third", used(), now=NOW)
        assert counted(store) == [(6.0, 2)]


def test_a_line_that_nobody_was_answered_for_is_not_counted(tmp_path: Path) -> None:
    folder = tmp_path / "usage-journals"
    folder.mkdir()
    (folder / "left.journal").write_bytes(b'["half", 17000')
    with opened(tmp_path) as store:
        assert counted(store) == []
    assert journals(tmp_path) == []


def test_a_use_that_cannot_be_written_stops_no_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(UnicodeEncodeError):  # No error of the store's.
            store.record("\ud800", used(), now=NOW)
        store.record("one", used(), now=NOW)
        assert counted(store) == [(3.0, 1)]


def test_what_cannot_be_added_up_is_kept_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "PENDING_MAX", 3)
    with opened(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / "usage.db")) as broken:
            broken.execute("ALTER TABLE used RENAME TO away")
            for number in range(3):
                store.record(f"{number}", used(), now=NOW)
            with pytest.raises(TooMuchUsage):
                store.record("one too many", used(), now=NOW)
            with pytest.raises(sqlite3.OperationalError):
                counted(store)
            broken.execute("ALTER TABLE away RENAME TO used")
        assert counted(store) == [(9.0, 3)]
        store.record("again", used(), now=NOW)


def test_a_journal_that_is_written_to_is_not_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.record("one", used(), now=NOW)
        fold_journals(tmp_path / "usage.db")
        (journal,) = journals(tmp_path)
        with journal.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        store.record("two", used(), now=NOW)
        assert counted(store) == [(6.0, 2)]
