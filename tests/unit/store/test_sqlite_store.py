"""What only the real store can show: files, formats, group commit, failures of the disk."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from modelyard.base import failpoint as failpoints
from modelyard.base.errors import ServiceError
from modelyard.store import sqlite as module
from modelyard.store.migrations import FormatTooNew
from modelyard.store.resource_table import MIGRATIONS
from modelyard.store.resources import AlreadyExists, Create, Delete, Key, Update
from modelyard.store.sqlite import Deposed, SqliteResourceStore
from modelyard.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


def key(name: str = "churn") -> Key:
    return Key(kind="model", account="1", region="r", name=name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteResourceStore]:
    store = SqliteResourceStore(path, clock=ManualClock())
    yield store
    store.close()


async def test_a_reopened_store_holds_what_was_written(path: Path) -> None:
    first = SqliteResourceStore(path, clock=ManualClock())
    (written,) = await first.write(Create(key=key(), spec={"ü": "\u0000 \U0001f600"}))
    first.close()

    second = SqliteResourceStore(path, clock=ManualClock())
    assert second.get(key()) == written
    (again,) = await second.write(Update(key=key(), version=written.version, status={"a": 1}))
    assert again.version > written.version
    second.close()


async def test_what_was_acknowledged_survives_the_death_of_the_process(
    store: SqliteResourceStore, path: Path, tmp_path: Path
) -> None:
    await store.write(Create(key=key(), spec={}))

    # What another process would find now: the files as they are, with the write-ahead log.
    died = tmp_path / "died"
    died.mkdir()
    for file in path.parent.glob("state.db*"):
        shutil.copy(file, died / file.name)
    survivor = SqliteResourceStore(died / "state.db", clock=ManualClock())
    assert survivor.get(key()) is not None
    survivor.close()


def test_the_files_are_private(store: SqliteResourceStore, path: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in path.parent.glob("state.db*")} == {0o600}


def test_commits_are_synced_to_the_disk(store: SqliteResourceStore) -> None:
    pragma = store._writer.exec_driver_sql
    assert pragma("PRAGMA synchronous").scalar_one() == 2
    assert pragma("PRAGMA journal_mode").scalar_one() == "wal"


async def test_waiting_writes_share_a_commit(
    store: SqliteResourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    hold = threading.Event()

    def count(name: str) -> None:
        nonlocal commits
        commits += name == "store.before-commit"
        hold.wait(5)

    monkeypatch.setattr(module, "failpoint", count)
    writes = [
        asyncio.create_task(store.write(Create(key=key(f"m{n}"), spec={}))) for n in range(50)
    ]
    await asyncio.sleep(0.01)
    hold.set()
    await asyncio.gather(*writes)
    assert len(store.list("model")) == 50
    assert commits <= 3


async def test_a_full_disk_fails_the_write_and_leaves_nothing(
    store: SqliteResourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Key] = []
    store.subscribe(heard.append)
    monkeypatch.setattr(failpoints, "_armed", {"store.before-commit": ("error", 1)})
    with pytest.raises(ServiceError) as caught:
        await store.write(Create(key=key("a"), spec={}), Create(key=key("b"), spec={}))
    assert (caught.value.code, caught.value.status) == ("InternalFailure", 500)
    assert list(store.list("model")) == []
    assert heard == []

    (written,) = await store.write(Create(key=key("a"), spec={}))
    assert store.get(key("a")) == written


async def test_a_database_without_room_says_so_and_goes_on(store: SqliteResourceStore) -> None:
    await store.write(Create(key=key("small"), spec={}))
    pages = store._writer.exec_driver_sql("PRAGMA page_count").scalar_one()
    store._writer.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    store._writer.rollback()

    with pytest.raises(ServiceError, match="full"):
        await store.write(Create(key=key("big"), spec={"text": "x" * 1_000_000}))

    assert [one.key.name for one in store.list("model")] == ["small"]
    await store.write(Delete(key=key("small")))
    assert list(store.list("model")) == []


async def test_an_interruption_after_the_commit_is_still_a_success(
    store: SqliteResourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoints, "_armed", {"store.after-commit": ("error", 1)})
    (written,) = await store.write(Create(key=key(), spec={}))
    assert store.get(key()) == written


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_cancelled_writer_disturbs_no_other(
    store: SqliteResourceStore, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    hold = threading.Event()
    monkeypatch.setattr(module, "failpoint", lambda _name: hold.wait(5))
    heard: list[Key] = []
    store.subscribe(heard.append)
    writes = [asyncio.create_task(store.write(Create(key=key(f"m{n}"), spec={}))) for n in range(3)]
    await asyncio.sleep(0.01)
    writes[position].cancel()
    await asyncio.sleep(0)
    hold.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(outcomes[position], asyncio.CancelledError)
    assert sum(not isinstance(one, BaseException) for one in outcomes) == 2
    assert len(store.list("model")) == len(heard) == 3


async def test_more_waiting_writes_than_the_limit_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteResourceStore(path, clock=ManualClock(), queue_limit=2)
    hold = threading.Event()
    monkeypatch.setattr(module, "failpoint", lambda _name: hold.wait(5))
    writes = [asyncio.create_task(store.write(Create(key=key(f"m{n}"), spec={}))) for n in range(9)]
    await asyncio.sleep(0.01)
    hold.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, ServiceError)]
    assert {error.status for error in refused} == {503}
    assert len(refused) + len(store.list("model")) == 9
    store.close()


async def test_closing_finishes_what_waits_and_refuses_what_comes(path: Path) -> None:
    store = SqliteResourceStore(path, clock=ManualClock())
    writes = [asyncio.create_task(store.write(Create(key=key(f"m{n}"), spec={}))) for n in range(9)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    store.close()
    assert len(await asyncio.gather(*writes)) == 9
    with pytest.raises(ServiceError, match="shutting down"):
        await store.write(Create(key=key("late"), spec={}))


async def test_a_backup_is_a_store(store: SqliteResourceStore, tmp_path: Path) -> None:
    (written,) = await store.write(Create(key=key(), spec={"a": 1}))
    store.backup(tmp_path / "copy.db")
    await store.write(Delete(key=key()))

    copy = SqliteResourceStore(tmp_path / "copy.db", clock=ManualClock())
    assert copy.get(key()) == written
    copy.close()


async def test_a_spec_that_is_no_json_is_refused_before_it_is_queued(
    store: SqliteResourceStore,
) -> None:
    with pytest.raises(TypeError):
        await store.write(Create(key=key(), spec={"what": object()}))
    assert store.get(key()) is None


async def test_an_older_format_is_brought_up_to_date(path: Path) -> None:
    old = SqliteResourceStore(path, clock=ManualClock())
    (written,) = await old.write(Create(key=key(), spec={"a": 1}))
    old.close()

    def note(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE notes (text TEXT)"))
        connection.execute(text("INSERT INTO notes SELECT name FROM resources"))

    new = SqliteResourceStore(path, clock=ManualClock(), migrations=[*MIGRATIONS, note])
    assert new.get(key()) == written
    new.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("churn",)]
        assert connection.execute("SELECT version FROM format").fetchall() == [
            (len(MIGRATIONS) + 1,)
        ]
    connection.close()


async def test_a_migration_that_fails_leaves_the_old_format(path: Path) -> None:
    SqliteResourceStore(path, clock=ManualClock()).close()

    def half(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (text TEXT)"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        SqliteResourceStore(path, clock=ManualClock(), migrations=[*MIGRATIONS, half])
    with sqlite3.connect(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "half" not in names
        assert connection.execute("SELECT version FROM format").fetchall() == [(len(MIGRATIONS),)]
    connection.close()


def test_a_newer_format_is_refused(path: Path) -> None:
    SqliteResourceStore(
        path, clock=ManualClock(), migrations=[*MIGRATIONS, lambda _connection: None]
    ).close()
    with pytest.raises(FormatTooNew, match=f"format {len(MIGRATIONS) + 1}"):
        SqliteResourceStore(path, clock=ManualClock())


async def test_a_store_that_was_taken_over_reads_and_writes_no_more(path: Path) -> None:
    told: list[str] = []
    first = SqliteResourceStore(path, clock=ManualClock(), deposed=lambda: told.append("first"))
    (written,) = await first.write(Create(key=key(), spec={"a": 1}))
    second = SqliteResourceStore(path, clock=ManualClock(), deposed=lambda: told.append("second"))
    with pytest.raises(Deposed, match="taken over"):
        await first.write(Delete(key=key()))
    assert told == ["first"]
    assert first.get(key()) == written
    (updated,) = await second.write(Update(key=key(), version=written.version, spec={"a": 2}))
    assert updated.version > written.version
    assert told == ["first"]
    first.close()
    second.close()


async def test_a_name_that_cannot_be_stored_fails_its_write_and_stops_no_other(
    store: SqliteResourceStore,
) -> None:
    good, bad = Create(key=key(), spec={}), Create(key=key("\ud800"), spec={})
    async with asyncio.timeout(10):  # A writer that died answers nobody.
        outcomes = await asyncio.gather(
            store.write(good),
            store.write(Create(key=key("half"), spec={}), bad),
            store.write(Delete(key=key("missing"))),
            return_exceptions=True,
        )
        (later,) = await store.write(Create(key=key("later"), spec={}))
    assert isinstance(outcomes[1], UnicodeEncodeError)
    assert [one.key.name for one in store.list("model")] == ["churn", "later"]
    assert later.version > store.list("model")[0].version


async def test_a_conflict_in_a_group_of_writes_rolls_back_only_its_own(
    store: SqliteResourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(Create(key=key("taken"), spec={}))
    hold = threading.Event()
    monkeypatch.setattr(module, "failpoint", lambda _name: hold.wait(5))
    first = asyncio.create_task(store.write(Create(key=key("first"), spec={})))
    await asyncio.sleep(0.01)
    group = [
        asyncio.create_task(store.write(Create(key=key("a"), spec={}))),
        asyncio.create_task(
            store.write(Create(key=key("b"), spec={}), Create(key=key("taken"), spec={}))
        ),
        asyncio.create_task(store.write(Create(key=key("c"), spec={}))),
    ]
    await asyncio.sleep(0.01)
    hold.set()
    outcomes = await asyncio.gather(first, *group, return_exceptions=True)
    assert [isinstance(one, AlreadyExists) for one in outcomes] == [False, False, True, False]
    assert [one.key.name for one in store.list("model")] == ["a", "c", "first", "taken"]
