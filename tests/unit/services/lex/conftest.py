"""A bot builder's API over a store in memory, and a stand-in for the reconciler that trains what is to be built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.ids import SeededRandom
from modelyard.base.settings import Settings
from modelyard.server.lex import BUCKET, Archives, models_api
from modelyard.services import registry
from modelyard.services.lex.kinds import BUILD
from modelyard.services.sagemaker.resources import Roles
from modelyard.store.objects import ObjectStore
from modelyard.store.resources import Resource, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT, REGION = "123456789012", "us-east-1"
BOT = {
    "role_arn": "arn:aws:iam::123456789012:role/lex-bot",
    "data_privacy": {"childDirected": False},
    "idle_session_ttl_in_seconds": 300,
}
PROMPT = {
    "messageGroups": [{"message": {"plainTextMessage": {"value": "Which?"}}}],
    "maxRetries": 1,
}


class World:
    account, region = ACCOUNT, REGION
    bot_members = BOT

    def __init__(self, home: Path) -> None:
        self.clock = ManualClock(1_000.0)
        self.shelf = ObjectStore(home / "objects", clock=self.clock)
        self.store = MemoryResourceStore(clock=self.clock)
        services = models_api(
            store=self.store,
            clock=self.clock,
            random=SeededRandom(6),
            roles=Roles(store=self.store, strict=False),
            archives=Archives(shelf=self.shelf, settings=Settings(home=home)),
        )
        objects = {type(one): one for one in services}
        self._operations = registry.operations({"lex": registry.LEX_MODELS}, objects)["lex"]

    async def call(self, operation: str, **given: Any) -> Any:
        principal = Principal(kind="root", arn="arn:aws:iam::1:root", id=ACCOUNT, account=ACCOUNT)
        call = Call(
            principal=principal,
            account=ACCOUNT,
            region=REGION,
            action=f"lex:{operation}",
            request_id="r",
            deadline=0.0,
        )
        return await self._operations[operation](call, **given)

    async def make_bot(self, name: str = "Pizzeria") -> dict[str, str]:
        """A locale with an intent and a slot; where they are."""
        bot = await self.call("CreateBot", bot_name=name, **BOT)
        place = {"bot_id": bot["botId"], "bot_version": "DRAFT", "locale_id": "en_US"}
        await self.call("CreateBotLocale", **place, nlu_intent_confidence_threshold=0.4)
        intent = await self.call(
            "CreateIntent",
            **place,
            intent_name="Order",
            sample_utterances=[{"utterance": "{count} pizzas"}],
        )
        await self.call(
            "CreateSlot",
            **place,
            intent_id=intent["intentId"],
            slot_name="count",
            slot_type_id="AMAZON.Number",
            value_elicitation_setting={"slotConstraint": "Required", "promptSpecification": PROMPT},
        )
        return place

    async def build(self, place: dict[str, str], *reasons: str) -> None:
        """BuildBotLocale, and what the reconciler does then."""
        await self.call("BuildBotLocale", **place)
        await self.train(*reasons)

    async def train(self, *reasons: str) -> None:
        for build in self.builds():
            if build.status["Status"] != "Building":
                continue
            status = {**build.status, "Status": "Failed", "failureReasons": list(reasons)}
            if not reasons:
                status = {
                    "Status": "Built",
                    "Model": f"model-{build.spec['number']}",
                    "definition": build.spec["definition"],
                }
            await self.store.write(Update(key=build.key, version=build.version, status=status))

    def builds(self) -> list[Resource]:
        return list(self.store.list(BUILD))

    async def export(self, **specification: Any) -> bytes:
        """The archive of what is named."""
        made = await self.call(
            "CreateExport", resource_specification=specification, file_format="LexJson"
        )
        about = await self.call("DescribeExport", export_id=made["exportId"])
        assert about["exportStatus"] == "Completed"
        assert f"/{BUCKET}/" in about["downloadUrl"]
        path = about["downloadUrl"].partition("?")[0].partition(f"/{BUCKET}/")[2]
        opened = self.shelf.open_object(BUCKET, path)
        assert opened is not None
        with opened[1] as file:
            return file.read()

    async def bring(self, data: bytes, merge: str = "FailOnConflict", **specification: Any) -> Any:
        """Upload an archive and import it; what DescribeImport says then."""
        made = await self.call("CreateUploadUrl")
        path = made["uploadUrl"].partition("?")[0].partition(f"/{BUCKET}/")[2]
        with self.shelf.writer(BUCKET, path) as writer:
            writer.write(data)
            writer.commit()
        named = {"import_id": made["importId"]}
        started = await self.call(
            "StartImport", **named, resource_specification=specification, merge_strategy=merge
        )
        assert started["importStatus"] == "InProgress"
        return await self.call("DescribeImport", **named)

    async def status(self, place: dict[str, str]) -> Any:
        return (await self.call("DescribeBotLocale", **place))["botLocaleStatus"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.shelf.close()
