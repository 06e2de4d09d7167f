"""What is kept of each resource: as of now, and made only of what has changed."""

import pytest

from modelyard.store.digests import Digests
from modelyard.store.resources import Create, Delete, Key, Resource, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

pytestmark = pytest.mark.anyio


def key(name: str) -> Key:
    return Key(kind="endpoint", account="1", region="r", name=name)


async def test_only_what_changed_is_made_anew_and_what_is_gone_is_gone() -> None:
    store = MemoryResourceStore(clock=ManualClock())
    made: list[str] = []

    def size(resource: Resource) -> int:
        made.append(resource.key.name)
        number: int = resource.spec["size"]
        return number

    digests = Digests(store, "endpoint", size)
    assert digests.all() == {}
    for number in range(10):
        await store.write(Create(key=key(f"e{number}"), spec={"size": number}))
    assert digests.all() == {key(f"e{number}"): number for number in range(10)}
    assert len(made) == 10

    made.clear()
    (_, second, *_) = store.list("endpoint")
    await store.write(
        Update(key=second.key, version=second.version, spec={"size": 100}), Delete(key=key("e0"))
    )
    found = digests.all()
    assert (found[key("e1")], len(found)) == (100, 9)
    assert digests.all() == found
    assert made == ["e1"]


async def test_a_name_that_was_deleted_and_created_again_is_another_resource() -> None:
    store = MemoryResourceStore(clock=ManualClock())
    digests = Digests(store, "endpoint", lambda resource: resource.spec["size"])
    await store.write(Create(key=key("a"), spec={"size": 1}))
    assert digests.all() == {key("a"): 1}
    await store.write(Delete(key=key("a")))
    await store.write(Create(key=key("a"), spec={"size": 2}))
    assert digests.all() == {key("a"): 2}
