import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.base.clock import SystemClock
from modelyard.store import logs as logs_module
from modelyard.store.log_values import (
    AlreadyThere,
    Events,
    GroupName,
    InvalidToken,
    NotThere,
    StreamName,
)
from modelyard.store.logs import PAGE_BYTES, LogStore, LogsUnavailable
from modelyard.testing.clock import ManualClock

GROUP = GroupName(account="1", region="r", name="/aws/sagemaker/Endpoints/live")
STREAM = StreamName(group=GROUP, name="AllTraffic/i-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs.db"


@pytest.fixture
def store(path: Path) -> Iterator[LogStore]:
    store = LogStore(path, clock=ManualClock(5.0))
    yield store
    store.close()


def messages(events: Events) -> list[str]:
    return [one.message for one in events.events]


def test_what_is_appended_is_read_in_order_of_time(store: LogStore) -> None:
    store.append(STREAM, [(20, "second"), (10, "first")])
    store.append(STREAM, [(20, "third")])
    events = store.events(STREAM)
    assert messages(events) == ["first", "second", "third"]
    assert (events.events[0].ms, events.events[0].ingested_ms) == (10, 5000)


def test_any_text_is_kept_but_for_half_characters(store: LogStore) -> None:
    store.append(STREAM, [(1, "ü\0\U0001f600\n"), (2, "\ud800!")])
    assert messages(store.events(STREAM)) == ["ü\0\U0001f600\n", "?!"]


def test_times_bound_what_is_read(store: LogStore) -> None:
    store.append(STREAM, [(n, str(n)) for n in range(10)])
    assert messages(store.events(STREAM, start_ms=3, end_ms=6)) == ["3", "4", "5"]


def test_the_newest_come_first_unless_asked_from_the_head(store: LogStore) -> None:
    store.append(STREAM, [(n, str(n)) for n in range(10)])
    assert messages(store.events(STREAM, limit=3)) == ["7", "8", "9"]
    assert messages(store.events(STREAM, limit=3, from_head=True)) == ["0", "1", "2"]


@settings(max_examples=50)
@given(
    times=st.lists(st.integers(0, 5), max_size=12),
    limit=st.integers(1, 4),
    forward=st.booleans(),
)
def test_walking_by_tokens_meets_each_event_once_and_ends_with_the_same_token(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], limit: int, forward: bool
) -> None:
    store = LogStore(tmp_path_factory.mktemp("logs") / "logs.db", clock=ManualClock())
    store.append(STREAM, [])
    store.append(STREAM, [(ms, f"{ms}/{n}") for n, ms in enumerate(times)])
    whole = messages(store.events(STREAM))

    page = store.events(STREAM, limit=limit, from_head=forward)
    met = messages(page)
    while True:
        token = page.forward_token if forward else page.backward_token
        page = store.events(STREAM, limit=limit, token=token)
        met = met + messages(page) if forward else messages(page) + met
        if not page.events:
            assert token == (page.forward_token if forward else page.backward_token)
            break
    assert met == whole

    # And from the end the way back meets all of it again.
    back = page.backward_token if forward else page.forward_token
    assert messages(store.events(STREAM, token=back)) == whole
    store.close()


def test_a_follower_sees_what_comes_and_nothing_twice(store: LogStore) -> None:
    store.append(STREAM, [])
    token = store.events(STREAM).forward_token
    seen: list[str] = []
    for n in range(5):
        store.append(STREAM, [(7, f"{n}a"), (7, f"{n}b")])
        page = store.events(STREAM, token=token)
        seen += messages(page)
        token = page.forward_token
    assert seen == [f"{n}{letter}" for n in range(5) for letter in "ab"]


def test_a_page_is_bounded_in_bytes_but_never_empty(store: LogStore) -> None:
    big = "x" * (PAGE_BYTES * 2 // 3)
    store.append(STREAM, [(1, big), (2, big), (3, big * 3)])
    first = store.events(STREAM, from_head=True)
    assert len(first.events) == 1
    second = store.events(STREAM, token=first.forward_token)
    third = store.events(STREAM, token=second.forward_token)
    assert [len(second.events), len(third.events)] == [1, 1]
    assert len(third.events[0].message) > PAGE_BYTES


@pytest.mark.parametrize("token", ["", "f/", "x/1-1", "f/1-1/s", "f/-1-1", "f/" + "9" * 30 + "-1"])
def test_a_token_that_was_never_given_is_refused(store: LogStore, token: str) -> None:
    store.append(STREAM, [(1, "a")])
    with pytest.raises(InvalidToken):
        store.events(STREAM, token=token)


def test_what_does_not_exist_is_told_apart(store: LogStore) -> None:
    for call in (
        lambda: store.events(STREAM),
        lambda: store.streams(GROUP),
        lambda: store.delete_group(GROUP),
        lambda: store.create_stream(STREAM),
        lambda: store.put(STREAM, [(1, "a")]),
    ):
        with pytest.raises(NotThere) as caught:
            call()
        assert caught.value.what == "group"
    store.create_group(GROUP)
    for call in (
        lambda: store.events(STREAM),
        lambda: store.delete_stream(STREAM),
        lambda: store.put(STREAM, [(1, "a")]),
    ):
        with pytest.raises(NotThere) as caught:
            call()
        assert caught.value.what == "stream"


def test_groups_and_streams_are_created_once(store: LogStore) -> None:
    store.create_group(GROUP)
    store.create_stream(STREAM)
    with pytest.raises(AlreadyThere):
        store.create_group(GROUP)
    with pytest.raises(AlreadyThere):
        store.create_stream(STREAM)
    store.append(STREAM, [(1, "a")])
    assert len(store.groups(account="1", region="r")) == 1
    assert len(store.streams(GROUP)) == 1


def test_groups_are_listed_by_prefix_for_an_account_and_region(store: LogStore) -> None:
    for name in ("/a/b", "/a_b", "/c"):
        store.create_group(GroupName(account="1", region="r", name=name))
    store.create_group(GroupName(account="2", region="r", name="/a/other"))
    found = store.groups(account="1", region="r", prefix="/a")
    assert [one.name for one in found] == ["/a/b", "/a_b"]
    assert [one.name for one in store.groups(account="1", region="r", prefix="/a_")] == ["/a_b"]
    assert list(store.groups(account="1", region="q")) == []


def test_streams_are_listed_by_name_or_by_their_last_event(store: LogStore) -> None:
    for name, ms in (("b", 10), ("a", 30), ("c", 20)):
        store.append(StreamName(group=GROUP, name=name), [(ms, "x"), (ms - 5, "y")])
    assert [one.name for one in store.streams(GROUP)] == ["a", "b", "c"]
    by_time = store.streams(GROUP, order_by="LastEventTime")
    assert [one.name for one in by_time] == ["b", "c", "a"]
    assert (by_time[0].first_ms, by_time[0].last_ms, by_time[0].ingested_ms) == (5, 10, 5000)
    assert [one.name for one in store.streams(GROUP, prefix="c")] == ["c"]


def test_deleting_takes_the_events_along(store: LogStore) -> None:
    other = StreamName(group=GROUP, name="other")
    store.append_all([(STREAM, [(1, "a")]), (other, [(1, "b")])])
    store.delete_stream(STREAM)
    assert messages(store.events(other)) == ["b"]
    store.delete_group(GROUP)
    store.append(STREAM, [])
    assert messages(store.events(STREAM)) == []
    assert [one.bytes for one in store.groups(account="1", region="r")] == [0]
    store.clear()
    assert list(store.groups(account="1", region="r")) == []


def test_past_the_limit_the_oldest_lines_go_first(path: Path) -> None:
    store = LogStore(path, clock=ManualClock(), limit_bytes=10_000)
    other = StreamName(group=GROUP, name="other")
    store.append(other, [(1, "x" * 974)])
    for n in range(20):
        store.append(STREAM, [(n, f"{n:03}" + "x" * 971)])
    kept = [message[:3] for message in messages(store.events(STREAM))]
    assert kept == [f"{n:03}" for n in range(20 - len(kept), 20)]
    assert 8 <= len(kept) <= 10
    assert messages(store.events(other)) == []
    (group,) = store.groups(account="1", region="r")
    assert group.bytes == len(kept) * 1000
    (ours, _) = store.streams(GROUP)
    assert ours.first_ms == 20 - len(kept)
    store.close()


def test_the_file_is_private_and_survives(path: Path) -> None:
    store = LogStore(path, clock=ManualClock())
    store.append(STREAM, [(1, "a")])
    assert path.stat().st_mode & 0o777 == 0o600
    again = LogStore(path, clock=ManualClock())
    assert messages(again.events(STREAM)) == ["a"]
    store.close()
    again.close()


def test_a_newer_format_is_refused(path: Path) -> None:
    LogStore(path, clock=ManualClock()).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(LogsUnavailable, match="format 9"):
        LogStore(path, clock=ManualClock())


def test_a_file_that_is_no_database_says_so(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(LogsUnavailable, match="not a database"):
        LogStore(path, clock=ManualClock())


def _write(path: Path, name: str) -> None:
    store = LogStore(path, clock=SystemClock())
    for n in range(50):
        store.append(StreamName(group=GROUP, name=name), [(n, f"{name}{n}")])
    store.close()


def test_several_processes_write_at_once(path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    store = LogStore(path, clock=ManualClock())
    for name in "abc":
        found = store.events(StreamName(group=GROUP, name=name))
        assert messages(found) == [f"{name}{n}" for n in range(50)]
    store.close()


def test_what_has_expired_goes_with_the_next_write_and_its_bytes_too(path: Path) -> None:
    clock = ManualClock(100 * 86_400.0)
    store = LogStore(path, clock=clock)
    now = int(clock.now() * 1000)
    other = StreamName(group=GroupName(account="1", region="r", name="other"), name="s")
    store.append(STREAM, [(now - 2 * 86_400_000, "old"), (now, "new")])
    store.append(other, [(now - 2 * 86_400_000, "old")])
    store.set_retention(GROUP, 1)
    assert messages(store.events(STREAM)) == ["new"]
    (group,) = store.groups(account="1", region="r", prefix=GROUP.name)
    assert (group.retention_days, group.bytes) == (1, len("new") + 26)
    clock.advance(86_400.0 + 1)
    store.append(other, [(int(clock.now() * 1000), "more")])
    assert messages(store.events(STREAM)) == []
    assert messages(store.events(other)) == ["old", "more"]
    store.close()


def test_what_has_expired_goes_some_at_a_time(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.store.log_retention.EXPIRED_MAX", 3)
    store.append(STREAM, [(n, str(n)) for n in range(-8 * 86_400_000, -8 * 86_400_000 + 5)])
    store.set_retention(GROUP, 1)
    assert len(messages(store.events(STREAM, start_ms=-(1 << 60)))) == 2
    store.append(STREAM, [(5000, "now")])
    assert messages(store.events(STREAM, start_ms=-(1 << 60))) == ["now"]


def test_a_store_of_the_first_format_is_taken_over(path: Path) -> None:
    first = logs_module._MIGRATIONS[0]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{first} PRAGMA user_version = 1;")
    store = LogStore(path, clock=ManualClock(5.0))
    store.append(STREAM, [(1, "x")])
    (group,) = store.groups(account="1", region="r")
    assert group.retention_days is None
    store.close()
