"""Builds of bots: each ends, whatever dies on the way; what was built before answers until then."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home, Limits
from modelyard.control.bot_builds import BotBuildReconciler, model_name, models_in_use, process_id
from modelyard.control.garbage import GarbageCollector
from modelyard.control.keys import KeyPublisher
from modelyard.control.loop import GARBAGE
from modelyard.control.processes import Processes
from modelyard.control.routes import RoutePublisher
from modelyard.domain.routes import RoutingTable
from modelyard.domain.text_training import ATTEMPTS
from modelyard.runtimes.runtime import ProcessSpec, ProcessState
from modelyard.store.published import Publisher
from modelyard.store.resources import Create, Json, Key, Resource, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.fake_runtime import FakeRuntime
from modelyard.testing.memory_store import MemoryResourceStore

KEY = Key(kind="lex-build", account="1", region="r", name="BOT/en_US")


class Killed(Exception):
    """Control dies here."""


class MortalStore(MemoryResourceStore):
    """Dies before or after a write, once."""

    def __init__(self, *, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.dies_at = 0
        self.is_late = False
        self.writes = 0

    async def write(self, *changes: Any) -> list[Resource]:
        self.writes += 1
        if self.writes == self.dies_at and not self.is_late:
            raise Killed
        written = await super().write(*changes)
        if self.writes == self.dies_at:
            raise Killed
        return written


def definition(utterance: str = "order a pizza", prompt: str = "Which one?") -> Json:
    intent = {
        "intentName": "Order",
        "sampleUtterances": [{"utterance": utterance}],
        "slots": [],
        "initialResponseSetting": {"prompt": prompt},
    }
    return {"botId": "BOT", "localeId": "en_US", "intents": [intent], "slotTypes": []}


class World:
    """``learns`` False: the job fails with two reasons."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.home = Home(folder)
        self.home.create()
        self.store = MortalStore(clock=self.clock)
        self.learns, self.dies = True, False
        self.runtime = FakeRuntime(on_start=self._job)
        self.restart()

    def restart(self) -> None:
        """Another control, which knows nothing but the store and what runs."""
        self.processes = Processes(self.runtime)
        self.reconciler = BotBuildReconciler(
            store=self.store, processes=self.processes, home=self.home
        )

    def _job(self, runtime: FakeRuntime, spec: ProcessSpec) -> None:
        if self.dies:
            runtime.die(spec.id, "killed")
        elif self.learns:
            target = Path(spec.payload["target"])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(spec.payload["definition"]["intents"][0]["intentName"])
            runtime.become(spec.id, ProcessState.SUCCEEDED)
        else:
            runtime.become(
                spec.id, ProcessState.FAILED, reason="a b", progress={"reasons": ["a", "b"]}
            )

    async def ask(self, of: Json) -> None:
        """As BuildBotLocale does."""
        found = self.store.get(KEY)
        status = {**(found.status if found else {}), "Status": "Building"}
        spec = {"definition": of, "number": (found.spec["number"] if found else 0) + 1}
        if found is None:
            await MemoryResourceStore.write(self.store, Create(key=KEY, spec=spec, status=status))
        else:
            change = Update(key=KEY, version=found.version, spec=spec, status=status)
            await MemoryResourceStore.write(self.store, change)

    async def settle(self) -> Json:
        for _ in range(20):
            await self.processes.refresh()
            try:
                await self.reconciler.reconcile(KEY)
            except Killed:
                self.restart()
        found = self.store.get(KEY)
        assert found is not None
        return found.status

    def model(self, name: str) -> Path:
        return self.home.packs / name / "model.tar"


def run(folder: Path, story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story(World(folder)))


def test_a_build_names_its_model_and_what_it_was_learned_of(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.ask(definition())
        status = await world.settle()
        assert (status["Status"], status["failureReasons"]) == ("Built", [])
        assert status["definition"] == definition() and world.model(status["Model"]).exists()
        assert not await world.runtime.list()

    run(tmp_path, story)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 5))
def test_a_build_ends_though_control_dies_at_any_write(
    tmp_path: Path, dies_at: int, is_late: bool
) -> None:
    async def story(world: World) -> None:
        await world.ask(definition())
        world.store.dies_at, world.store.is_late = dies_at, is_late
        status = await world.settle()
        assert status["Status"] == "Built" and world.model(status["Model"]).exists()

    run(tmp_path, story)


def test_a_job_that_is_killed_is_begun_again_and_at_last_given_up(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.dies = True
        await world.ask(definition())
        status = await world.settle()
        assert (status["Status"], status["failureReasons"]) == ("Failed", ["killed"])
        assert status["training"]["attempt"] == ATTEMPTS
        world.dies = False
        await world.ask(definition())
        assert (await world.settle())["Status"] == "Built"

    run(tmp_path, story)


def test_a_build_that_fails_says_why_and_leaves_the_last_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.ask(definition())
        built = await world.settle()
        world.learns = False
        await world.ask(definition("something else"))
        status = await world.settle()
        assert (status["Status"], status["failureReasons"]) == ("Failed", ["a", "b"])
        assert (status["Model"], status["definition"]) == (built["Model"], built["definition"])

    run(tmp_path, story)


def test_another_prompt_is_built_without_learning_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.ask(definition())
        first = await world.settle()
        world.learns = False
        await world.ask(definition(prompt="What kind?"))
        status = await world.settle()
        assert (status["Status"], status["Model"]) == ("Built", first["Model"])
        assert status["definition"] == definition(prompt="What kind?")

    run(tmp_path, story)


def test_a_build_that_is_asked_for_while_another_runs_replaces_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.runtime = FakeRuntime()
        world.restart()
        await world.ask(definition())
        await world.reconciler.reconcile(KEY)
        found = world.store.get(KEY)
        assert found is not None
        first = process_id(found)
        await world.ask(definition("another"))
        await world.reconciler.reconcile(KEY)
        assert first in world.runtime.stopping
        (running,) = [
            one for one in await world.runtime.list() if one.state is ProcessState.STARTING
        ]
        spec = world.runtime.specs[running.id]
        assert spec.payload["definition"] == definition("another")

    run(tmp_path, story)


def test_models_are_kept_while_a_draft_or_a_version_names_them(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.ask(definition())
        first = (await world.settle())["Model"]
        version = Key(kind="lex-bot-version", account="1", region="r", name="BOT/1")
        locales = {"en_US": {"Model": first, "definition": definition()}}
        await world.store.write(Create(key=version, spec={"locales": locales}))
        await world.ask(definition("another"))
        second = (await world.settle())["Model"]
        await world.ask(definition("a third"))
        third = (await world.settle())["Model"]
        assert models_in_use(world.store) == {first, third}
        long_ago = time.time() - 86_400
        for name in (first, second, third):
            os.utime(world.model(name).parent, (long_ago, long_ago))
        world.clock.advance(time.time() + 86_400)
        await collector(world).reconcile(GARBAGE)
        assert {one.name for one in world.home.packs.iterdir()} == {first, third}
        assert first == model_name(definition())

    run(tmp_path, story)


def collector(world: World) -> GarbageCollector:
    publisher = Publisher(world.home.run, "routes")
    return GarbageCollector(
        store=world.store,
        processes=world.processes,
        routes=RoutePublisher(publisher, initial=RoutingTable()),
        keys=KeyPublisher(store=world.store, publisher=Publisher(world.home.run, "keys")),
        clock=world.clock,
        home=world.home,
        limits=Limits(),
    )
