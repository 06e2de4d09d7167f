"""What every resource store keeps, the real one and the fake alike."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from modelyard.store.resources import (
    AlreadyExists,
    Create,
    Delete,
    Key,
    Resource,
    ResourceStore,
    Update,
    VersionConflict,
)
from modelyard.store.sqlite import SqliteResourceStore
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio


class Clearable(ResourceStore, Protocol):
    async def clear(self) -> None: ...


def key(name: str = "churn", *, kind: str = "model", **changes: str) -> Key:
    return Key(**{"kind": kind, "account": "1", "region": "r", "name": name, **changes})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture(params=["sqlite", "memory"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Iterator[Clearable]:
    if request.param == "memory":
        yield MemoryResourceStore(clock=clock)
        return
    sqlite = SqliteResourceStore(tmp_path / "state.db", clock=clock)
    yield sqlite
    sqlite.close()


async def create(store: ResourceStore, name: str = "churn", **spec: Any) -> Resource:
    (resource,) = await store.write(Create(key=key(name), spec=spec))
    return resource


async def test_what_was_created_can_be_read(store: Clearable) -> None:
    (written,) = await store.write(
        Create(key=key(), spec={"a": [1, {"b": None}]}, status={"s": "x"})
    )

    read = store.get(key())

    assert read == written
    assert read is not None
    assert (read.spec, read.status) == ({"a": [1, {"b": None}]}, {"s": "x"})
    assert (read.created_at, read.updated_at) == (100.0, 100.0)


async def test_a_missing_resource_is_none(store: Clearable) -> None:
    await create(store)
    assert store.get(key("other")) is None
    assert store.get(key(account="2")) is None
    assert store.get(key(region="q")) is None
    assert store.get(key(kind="endpoint")) is None


async def test_a_second_create_is_refused(store: Clearable) -> None:
    first = await create(store, a=1)
    with pytest.raises(AlreadyExists) as caught:
        await create(store, a=2)
    assert caught.value.key == key()
    assert store.get(key()) == first


async def test_the_same_name_lives_in_each_account_region_and_kind(store: Clearable) -> None:
    await store.write(
        Create(key=key(), spec={}),
        Create(key=key(account="2"), spec={}),
        Create(key=key(region="q"), spec={}),
        Create(key=key(kind="endpoint-config"), spec={}),
    )
    assert len(store.list("model")) == 3
    assert len(store.list("model", account="1")) == 2
    assert len(store.list("model", account="1", region="q")) == 1


async def test_endpoint_names_collide_without_case_and_are_read_with_it(store: Clearable) -> None:
    await store.write(Create(key=key("Churn", kind="endpoint"), spec={}))
    with pytest.raises(AlreadyExists):
        await store.write(Create(key=key("churn", kind="endpoint"), spec={}))
    assert store.get(key("churn", kind="endpoint")) is None
    assert store.get(key("Churn", kind="endpoint")) is not None
    with pytest.raises(VersionConflict):
        await store.write(Delete(key=key("churn", kind="endpoint")))


async def test_names_of_other_kinds_differ_by_case(store: Clearable) -> None:
    await create(store, "Churn")
    await create(store, "churn")
    assert [one.key.name for one in store.list("model")] == ["Churn", "churn"]


async def test_an_update_replaces_what_it_names_and_keeps_the_rest(
    store: Clearable, clock: ManualClock
) -> None:
    created = await create(store, a=1, b=2)
    clock.advance(5.0)

    (updated,) = await store.write(
        Update(key=key(), version=created.version, status={"state": "up"})
    )
    assert (updated.spec, updated.status) == ({"a": 1, "b": 2}, {"state": "up"})
    assert (updated.created_at, updated.updated_at) == (100.0, 105.0)

    (again,) = await store.write(Update(key=key(), version=updated.version, spec={"c": 3}))
    assert (again.spec, again.status) == ({"c": 3}, {"state": "up"})
    assert store.get(key()) == again


async def test_an_update_of_an_older_version_is_a_conflict(store: Clearable) -> None:
    first = await create(store)
    (second,) = await store.write(Update(key=key(), version=first.version, spec={"new": True}))
    with pytest.raises(VersionConflict):
        await store.write(Update(key=key(), version=first.version, spec={"late": True}))
    assert store.get(key()) == second


async def test_an_update_of_what_is_missing_is_a_conflict(store: Clearable) -> None:
    with pytest.raises(VersionConflict):
        await store.write(Update(key=key(), version=1, spec={}))


async def test_a_delete_answers_what_was_there(store: Clearable) -> None:
    created = await create(store, a=1)
    (gone,) = await store.write(Delete(key=key(), version=created.version))
    assert gone == created
    assert store.get(key()) is None


async def test_a_delete_without_a_version_takes_any_and_needs_one(store: Clearable) -> None:
    await create(store)
    await store.write(Delete(key=key()))
    with pytest.raises(VersionConflict):
        await store.write(Delete(key=key()))


async def test_a_delete_of_another_version_is_a_conflict(store: Clearable) -> None:
    created = await create(store)
    with pytest.raises(VersionConflict):
        await store.write(Delete(key=key(), version=created.version + 1))
    assert store.get(key()) == created


async def test_versions_rise_over_all_resources_and_past_a_deletion(store: Clearable) -> None:
    first = await create(store, "a")
    second = await create(store, "b")
    await store.write(Delete(key=key("b")))
    third = await create(store, "b")
    assert first.version < second.version < third.version


async def test_all_changes_of_a_write_happen_or_none(store: Clearable) -> None:
    created = await create(store, "there")
    with pytest.raises(AlreadyExists):
        await store.write(
            Create(key=key("new"), spec={}),
            Update(key=key("there"), version=created.version, spec={"changed": True}),
            Create(key=key("there"), spec={}),
        )
    assert store.get(key("new")) is None
    assert store.get(key("there")) == created


async def test_changes_of_a_write_see_each_other(store: Clearable) -> None:
    await store.write(Create(key=key(), spec={}))
    removed, created = await store.write(
        Delete(key=key()), Create(key=key(), spec={"second": True})
    )
    assert removed.spec == {}
    assert store.get(key()) == created


async def test_a_write_of_nothing_is_nothing(store: Clearable) -> None:
    assert list(await store.write()) == []


async def test_a_kind_is_listed_by_name(store: Clearable) -> None:
    for name in ("b", "C", "a"):
        await create(store, name)
    assert [one.key.name for one in store.list("model")] == ["C", "a", "b"]
    assert list(store.list("endpoint")) == []


async def test_the_versions_of_a_kind_are_those_of_its_list(store: Clearable) -> None:
    for name in ("b", "a", "c"):
        await create(store, name)
    await store.write(Create(key=key("other", kind="endpoint"), spec={}))
    await store.write(Delete(key=key("c")), Create(key=key("a", region="r2"), spec={}))
    (first, *_) = store.list("model")
    await store.write(Update(key=first.key, version=first.version, status={"s": 1}))
    versions = store.versions("model")
    assert versions == {one.key: one.version for one in store.list("model")}
    assert len(versions) == 3


async def test_those_of_a_kind_whose_names_begin_alike_are_listed(store: Clearable) -> None:
    names = ["B/1", "B/1/a", "B/1/b", "B/10", "B/2/a", "b/1/c", "C", "B/1/é"]
    await store.write(*(Create(key=key(name), spec={}) for name in names))
    await store.write(Create(key=key("Live", kind="endpoint"), spec={}))

    assert [one.key.name for one in store.list("model", prefix="B/1/")] == [
        "B/1/a",
        "B/1/b",
        "B/1/é",
    ]
    assert [one.key.name for one in store.list("endpoint", prefix="Li")] == ["Live"]
    assert store.list("endpoint", prefix="li") == []


async def test_what_is_read_or_written_may_be_edited_without_harm(store: Clearable) -> None:
    spec = {"list": [1]}
    (written,) = await store.write(Create(key=key(), spec=spec))
    spec["list"].append(2)
    written.spec["list"].append(3)
    read = store.get(key())
    assert read is not None
    read.spec["list"].append(4)
    again = store.get(key())
    assert again is not None
    assert again.spec == {"list": [1]}


async def test_listeners_hear_each_committed_change_before_the_writer_goes_on(
    store: Clearable,
) -> None:
    heard: list[Key] = []
    store.subscribe(heard.append)

    await store.write(Create(key=key("a"), spec={}), Create(key=key("b"), spec={}))
    assert heard == [key("a"), key("b")]

    with pytest.raises(AlreadyExists):
        await store.write(Create(key=key("c"), spec={}), Create(key=key("a"), spec={}))
    assert heard == [key("a"), key("b")]

    await store.write(Delete(key=key("a")))
    assert heard[2:] == [key("a")]


async def test_a_listener_sees_the_change_in_the_store(store: Clearable) -> None:
    seen: list[bool] = []
    store.subscribe(lambda changed: seen.append(store.get(changed) is not None))
    await create(store)
    assert seen == [True]


async def test_of_many_writers_of_one_name_one_wins(store: Clearable) -> None:
    outcomes = await asyncio.gather(
        *(create(store, n=n) for n in range(20)), return_exceptions=True
    )
    winners = [one for one in outcomes if isinstance(one, Resource)]
    assert len(winners) == 1
    assert sum(isinstance(one, AlreadyExists) for one in outcomes) == 19
    assert store.get(key()) == winners[0]


async def test_a_conflict_in_a_crowd_touches_nobody_else(store: Clearable) -> None:
    await create(store, "taken")
    outcomes = await asyncio.gather(
        *(create(store, "taken" if n % 3 == 0 else f"m{n}") for n in range(30)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, AlreadyExists) for one in outcomes) == 10
    assert len(store.list("model")) == 21


async def test_counting_up_with_retries_loses_no_step(store: Clearable) -> None:
    await create(store, count=0)

    async def step() -> None:
        while True:
            current = store.get(key())
            assert current is not None
            spec = {"count": current.spec["count"] + 1}
            try:
                await store.write(Update(key=key(), version=current.version, spec=spec))
                return
            except VersionConflict:
                continue

    await asyncio.gather(*(step() for _ in range(25)))
    final = store.get(key())
    assert final is not None
    assert final.spec == {"count": 25}


async def test_clear_empties_the_store_and_versions_rise_on(store: Clearable) -> None:
    first = await create(store, "a")
    await store.write(Create(key=key("e", kind="endpoint"), spec={}))
    heard: list[Key] = []
    store.subscribe(heard.append)

    await store.clear()

    assert list(store.list("model")) == list(store.list("endpoint")) == []
    assert set(heard) == {key("a"), key("e", kind="endpoint")}
    assert (await create(store, "a")).version > first.version
