"""What bots have learned is hosted while a draft or a version names it, and asked by its name."""

import asyncio
from collections.abc import Sequence

import pytest

from modelyard.ai.catalogue import Ready
from modelyard.ai.questions import Finding, Item
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ValidationError
from modelyard.domain.lex.understanding import Heard
from modelyard.services.lex.built_models import BuiltModels
from modelyard.store.resources import Create, Delete, Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

HEARD = Heard(text="hello", today="2026-11-28")


class Hosting:
    """Endpoints of the platform's own are resources; ``forgotten`` wakes whoever waits for one to go."""

    def __init__(self, store: MemoryResourceStore) -> None:
        self.store = store
        self.forgotten: asyncio.Queue[str] = asyncio.Queue()
        self.finding = Finding(result={"yesNo": "Yes"})
        self.asked: list[str] = []

    async def host(self, name: str) -> None:
        await self.store.write(Create(key=endpoint(name), spec={}))

    async def forget(self, name: str) -> None:
        await self.store.write(Delete(key=endpoint(name)))
        self.forgotten.put_nowait(name)

    async def ask_pack(
        self, call: Call, ready: Ready, task: str, items: Sequence[Item]
    ) -> list[Finding]:
        self.asked.append(f"{ready.pack.engine}/{ready.pack.name}/{task}")
        return [self.finding for _ in items]


def endpoint(name: str) -> Key:
    return Key(kind="endpoint", account="modelyard", region="local", name=name)


def key(kind: str, name: str) -> Key:
    return Key(kind=kind, account="1", region="r", name=name)


def call() -> Call:
    principal = Principal(kind="root", arn="", id="1", account="1")
    return Call(
        principal=principal, account="1", region="r", action="", request_id="", deadline=9.0
    )


def test_what_no_draft_and_no_version_names_is_let_go() -> None:
    async def story() -> None:
        store = MemoryResourceStore(clock=ManualClock())
        hosting = Hosting(store)
        models = BuiltModels(store=store, models=hosting)  # type: ignore[arg-type]
        for name in ("lex-draft", "lex-version", "lex-nobodys", "sentiment-en"):
            await hosting.host(name)
        draft = key("lex-build", "B/en_US")
        await store.write(Create(key=draft, spec={}, status={"Model": "lex-draft"}))
        locales = {"locales": {"en_US": {"Model": "lex-version", "definition": {}}}}
        await store.write(Create(key=key("lex-bot-version", "B/1"), spec=locales))
        running = asyncio.create_task(models.run())
        async with asyncio.timeout(10):
            assert await hosting.forgotten.get() == "lex-nobodys"
            await store.write(Delete(key=draft))
            assert await hosting.forgotten.get() == "lex-draft"
        running.cancel()
        left = {one.key.name for one in store.list("endpoint")}
        assert left == {"lex-version", "sentiment-en"}

    asyncio.run(story())


def test_a_model_is_asked_by_its_name_and_its_refusal_is_the_callers() -> None:
    async def story() -> None:
        store = MemoryResourceStore(clock=ManualClock())
        hosting = Hosting(store)
        models = BuiltModels(store=store, models=hosting)  # type: ignore[arg-type]
        first, second = await models.understand(call(), "lex-a", [HEARD, HEARD])
        assert first == second and first.yesNo == "Yes"
        assert hosting.asked == ["lex/lex-a/understand"]
        hosting.finding = Finding(error="The text has more than 1024 characters.")
        with pytest.raises(ValidationError, match="1024"):
            await models.understand(call(), "lex-a", [HEARD])

    asyncio.run(story())
