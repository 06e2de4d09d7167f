"""The object store: what is visible when, in which order, and what is left on disk."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.store.objects import Attributes, BucketMissing, ObjectStore, parse_s3_uri

KEYS = ("a", "a/1", "a/2", "b", "c/d/1", "c/d/2", "c/e", "z é", "\U0001f600")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path / "objects")
    store.create_bucket("b", account="1", region="r")
    yield store
    store.close()


def put(store: ObjectStore, key: str, data: bytes = b"x") -> None:
    with store.writer("b", key) as writer:
        writer.write(data)
        writer.commit()


def files(store: ObjectStore) -> list[Path]:
    return [path for path in store.root.glob("[dt]*/**/*") if path.is_file()]


def test_an_object_is_visible_after_its_commit_and_not_before(store: ObjectStore) -> None:
    writer = store.writer("b", "k", attributes=Attributes(metadata={"a": "b"}))
    writer.write(b"one ")
    writer.write(b"two")
    assert store.head("b", "k") is None
    info = writer.commit()
    assert store.head("b", "k") == info
    assert info.size == 7
    assert info.etag == hashlib.md5(b"one two").hexdigest()
    assert info.path.read_bytes() == b"one two"
    assert info.attributes.metadata == {"a": "b"}


def test_an_aborted_object_leaves_nothing(store: ObjectStore) -> None:
    with store.writer("b", "k") as writer:
        writer.write(b"x")
    assert store.head("b", "k") is None
    assert files(store) == []


def test_replacing_and_deleting_remove_the_old_file(store: ObjectStore) -> None:
    put(store, "k", b"1")
    put(store, "k", b"2")
    assert [path.read_bytes() for path in files(store)] == [b"2"]
    assert store.delete_object("b", "k")
    assert not store.delete_object("b", "k")
    assert files(store) == []


def test_a_bucket_that_does_not_exist_takes_no_object(store: ObjectStore) -> None:
    with pytest.raises(BucketMissing):
        store.writer("none", "k")


def test_a_condition_that_refuses_keeps_the_old_object(store: ObjectStore) -> None:
    put(store, "k", b"1")

    def refuse(old: object) -> None:
        assert old is not None
        raise KeyError("no")

    with pytest.raises(KeyError), store.writer("b", "k") as writer:
        writer.write(b"2")
        writer.commit(condition=refuse)
    assert [path.read_bytes() for path in files(store)] == [b"1"]


def test_keys_are_listed_in_the_order_of_their_bytes(store: ObjectStore) -> None:
    for key in reversed(KEYS):
        put(store, key)
    found = [info.key for info in store.list_objects("b").objects]
    assert found == sorted(KEYS, key=str.encode)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("", ["a", "a/", "b", "c/", "z é", "\U0001f600"]), ("c/", ["c/d/", "c/e"]), ("a/3", [])],
)
def test_pages_with_a_delimiter_show_each_prefix_once(
    store: ObjectStore, limit: int, prefix: str, expected: list[str]
) -> None:
    for key in KEYS:
        put(store, key)
    seen: list[str] = []
    after = ""
    while True:
        page = store.list_objects("b", prefix=prefix, start_after=after, limit=limit, delimiter="/")
        seen += sorted([*page.prefixes, *(info.key for info in page.objects)], key=str.encode)
        after = page.after
        if not after:
            break
    assert seen == expected


def test_start_after_goes_on_behind_a_key(store: ObjectStore) -> None:
    for key in KEYS:
        put(store, key)
    assert [info.key for info in store.page("b", "a/", after="a/1")] == ["a/2"]
    assert store.page("b", "a/", after="b") == ()


def test_writers_of_several_threads_and_stores_leave_one_object_and_one_file(
    store: ObjectStore,
) -> None:
    other = ObjectStore(store.root)

    def work(one: ObjectStore) -> None:
        for _ in range(10):
            put(one, "k")

    threads = [threading.Thread(target=work, args=(one,)) for one in (store, other, store)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(store)) == 1
    other.close()


def test_a_sweep_removes_strays_and_spares_living_writers(store: ObjectStore) -> None:
    put(store, "kept")
    (store.root / "tmp" / "stray").write_bytes(b"x")
    (store.root / "data" / "ff").mkdir(exist_ok=True)
    (store.root / "data" / "ff" / "stray").write_bytes(b"x")
    writer = store.writer("b", "new")
    writer.write(b"new")
    other = ObjectStore(store.root)
    assert other.sweep() == 2
    writer.commit()
    assert {info.path.read_bytes() for info in other.list_objects("b").objects} == {b"x", b"new"}
    other.close()


def test_clear_removes_everything(store: ObjectStore) -> None:
    put(store, "k")
    store.clear()
    assert store.find_bucket("b") is None
    assert files(store) == []


def test_a_uri_is_bucket_and_key() -> None:
    assert parse_s3_uri("s3://b/a/c") == ("b", "a/c")
    assert parse_s3_uri("s3://b") == ("b", "")
    with pytest.raises(ValueError):
        parse_s3_uri("http://b/a")
