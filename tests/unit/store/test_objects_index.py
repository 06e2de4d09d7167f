"""The object store's index under threads that outlive it."""

import sqlite3
import threading
from pathlib import Path

from modelyard.store.object_info import BucketSettings
from modelyard.store.objects import ObjectStore
from modelyard.store.objects_index import _FIRST, ObjectIndex

THREADS = 4


def scan(
    index: ObjectIndex, begun: threading.Barrier, refused: list[sqlite3.ProgrammingError]
) -> None:
    """Until the index is closed."""
    connection = index._connection()
    begun.wait()
    try:
        while index._connection() is connection:
            assert sum(1 for _ in index.rows("SELECT name FROM buckets")) == 500
    except sqlite3.ProgrammingError as error:
        refused.append(error)


def test_a_bucket_of_the_first_format_has_no_tags_and_the_default_settings(tmp_path: Path) -> None:
    first = sqlite3.connect(tmp_path / "index.db")
    first.executescript(_FIRST + "PRAGMA user_version=1;")
    first.execute("INSERT INTO buckets VALUES ('old', '1', 'r', 0)")
    first.commit()
    first.close()
    store = ObjectStore(tmp_path)
    bucket = store.find_bucket("old")
    assert bucket is not None and bucket.settings == BucketSettings()
    store.set_bucket("old", tags={"a": "b"})
    assert [one.settings.tags for one in store.list_buckets("1")] == [{"a": "b"}]
    store.close()


def test_an_index_that_is_closed_ends_what_threads_do_in_it_and_not_the_process(
    tmp_path: Path,
) -> None:
    for attempt in range(10):
        index = ObjectIndex(tmp_path / f"{attempt}.db")
        with index.transaction() as change:
            change.executemany(
                "INSERT INTO buckets VALUES (?, '1', 'r', 0, '{}')",
                [(f"b{n}",) for n in range(500)],
            )
        begun = threading.Barrier(THREADS + 1)
        refused: list[sqlite3.ProgrammingError] = []

        threads = [
            threading.Thread(target=scan, args=(index, begun, refused)) for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        begun.wait()
        index.close()
        for thread in threads:
            thread.join(timeout=30)
            assert not thread.is_alive()
        assert all("closed" in str(error) for error in refused)
        index.close()  # What a thread opened after the first time.
