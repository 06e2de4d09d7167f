"""The store against a model of it: any writes, in any order, with deaths of the process in between."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Key,
    Resource,
    Update,
    VersionConflict,
)
from modelyard.store.sqlite import SqliteResourceStore
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

NAMES = ("a", "A", "b")
KINDS = ("model", "endpoint")
KEYS = [
    Key(kind=kind, account="1", region=region, name=name)
    for kind in KINDS
    for region in ("r", "q")
    for name in NAMES
]
specs = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3) | st.text(max_size=3), max_size=2)
keys = st.sampled_from(KEYS)
# What a change relates to the current version: it, an older one, or (of deletes) whichever there is.
ages = st.sampled_from(["current", "older", "any"])
requests = st.tuples(st.sampled_from(["create", "update", "delete"]), keys, specs, ages)


class StoreMachine(RuleBasedStateMachine):
    """The fake, which is simple enough to be right, runs beside the real one."""

    @initialize()
    def open(self) -> None:
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.path = self.folder / "0.db"
        self.store = SqliteResourceStore(self.path, clock=self.clock)
        self.model = MemoryResourceStore(clock=self.clock)
        self.highest = 0

    @rule(wanted=st.lists(requests, min_size=1, max_size=3))
    def write(self, wanted: list[Any]) -> None:
        real = self.runner.run(self._attempt(self.store, wanted))
        fake = self.runner.run(self._attempt(self.model, wanted))
        assert real == fake

    @rule(writes=st.lists(st.tuples(keys, specs), min_size=2, max_size=6))
    def write_at_once(self, writes: list[tuple[Key, dict[str, Any]]]) -> None:
        async def together(store: Any) -> list[Any]:
            found = await asyncio.gather(
                *(store.write(Create(key=key, spec=spec)) for key, spec in writes),
                return_exceptions=True,
            )
            return [_shape(one) for one in found]

        assert self.runner.run(together(self.store)) == self.runner.run(together(self.model))

    @rule()
    def clear(self) -> None:
        self.runner.run(self.store.clear())
        self.runner.run(self.model.clear())

    @rule(seconds=st.floats(0.5, 100))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def close_and_open(self) -> None:
        self.store.close()
        self.store = SqliteResourceStore(self.path, clock=self.clock)

    @rule()
    def die_and_open(self) -> None:
        """The next process finds the files as they lie there, the write-ahead log included."""
        before = self.path
        self.generation += 1
        self.path = self.folder / f"{self.generation}.db"
        for suffix in ("", "-wal"):
            source = before.with_name(before.name + suffix)
            if source.exists():
                shutil.copy(source, self.path.with_name(self.path.name + suffix))
        self.store.close()
        self.store = SqliteResourceStore(self.path, clock=self.clock)

    @invariant()
    def both_hold_the_same(self) -> None:
        for kind in KINDS:
            assert [_content(one) for one in self.store.list(kind)] == [
                _content(one) for one in self.model.list(kind)
            ]
        for key in KEYS:
            real, fake = self.store.get(key), self.model.get(key)
            assert (real and _content(real)) == (fake and _content(fake))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _attempt(self, store: Any, wanted: list[Any]) -> Any:
        changes = [_change(store, *one) for one in wanted]
        try:
            written = await store.write(*changes)
        except (AlreadyExists, VersionConflict) as error:
            return type(error), error.key
        if store is self.store:
            fresh = [
                one.version
                for one, change in zip(written, changes, strict=True)
                if not isinstance(change, Delete)
            ]
            assert fresh == sorted(fresh)
            assert all(version > self.highest for version in fresh)
            self.highest = max([self.highest, *fresh])
        return [_content(one) for one in written]


def _change(store: Any, what: str, key: Key, spec: dict[str, Any], age: str) -> Change:
    if what == "create":
        return Create(key=key, spec=spec)
    current = store.get(key)
    version = (0 if current is None else current.version) - (age == "older")
    if what == "update":
        return Update(key=key, version=version, spec=spec, status={"by": age})
    return Delete(key=key, version=None if age == "any" else version)


def _content(resource: Resource) -> Any:
    """Everything but the version, whose steps are the store's own affair."""
    return (
        resource.key,
        resource.spec,
        resource.status,
        resource.created_at,
        resource.updated_at,
    )


def _shape(outcome: Any) -> Any:
    return type(outcome) if isinstance(outcome, Exception) else [_content(one) for one in outcome]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
