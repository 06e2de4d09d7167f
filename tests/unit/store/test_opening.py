"""SQLite files of the smaller stores: opened, brought to their format once, and no further than a script that fails."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.store.opening import open_migrated

FIRST = "CREATE TABLE one (a INTEGER);"
SECOND = "ALTER TABLE one ADD COLUMN b INTEGER; INSERT INTO one VALUES (1, 2);"


def test_each_script_is_applied_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_migrated(path, [FIRST]).close()
    for _ in range(2):
        with closing(open_migrated(path, [FIRST, SECOND])) as database:
            assert database.execute("SELECT a, b FROM one").fetchall() == [(1, 2)]
            assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_script_that_fails_leaves_the_format_of_before(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with pytest.raises(sqlite3.OperationalError):
        open_migrated(path, [FIRST, "CREATE TABLE two (a INTEGER); NONSENSE;"])
    with closing(open_migrated(path, [FIRST])) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        assert tables == [("one",)]


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_readers_do_not_wait_and_commits_are_as_durable_as_asked(
    tmp_path: Path, synchronous: str, level: int
) -> None:
    with closing(open_migrated(tmp_path / "s.db", [], synchronous=synchronous)) as database:  # type: ignore[arg-type]  # one of two
        assert database.execute("PRAGMA synchronous").fetchone() == (level,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
