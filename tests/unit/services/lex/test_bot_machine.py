"""Whatever is done to a bot in whatever order: its status is true, its names are unique, and its versions never change."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from modelyard.base.errors import ServiceError
from modelyard.services.lex.resolving import resolve

NAMES = st.sampled_from(["A", "B", "C"])
BOT = {"en_US": {"sourceBotVersion": "DRAFT"}}


class BotMachine(RuleBasedStateMachine):
    """``self.drafted`` are the intents that there should be, ``self.built`` those of the last build that succeeded."""

    def __init__(self, world: Any) -> None:
        super().__init__()
        self.world = world
        self.drafted: dict[str, str] = {}
        self.built: dict[str, str] | None = None
        self.status = "NotBuilt"
        self.tried: dict[str, str] | None = None
        self.versions: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.place = self._do("make_bot")
        for one in self._intents("DRAFT"):
            if one["intentName"] == "Order":
                self._call("DeleteIntent", **self.place, intent_id=one["intentId"])

    def _do(self, name: str, *given: Any, **named: Any) -> Any:
        return asyncio.run(getattr(self.world, name)(*given, **named))

    def _call(self, operation: str, **given: Any) -> Any:
        return self._do("call", operation, **given)

    def _intents(self, version: str) -> list[dict[str, Any]]:
        where = {**self.place, "bot_version": version}
        found: list[dict[str, Any]] = self._call("ListIntents", **where)["intentSummaries"]
        return [one for one in found if one["intentName"] != "FallbackIntent"]

    def _id(self, name: str) -> str:
        (found,) = (one["intentId"] for one in self._intents("DRAFT") if one["intentName"] == name)
        return str(found)

    @rule(name=NAMES)
    def create(self, name: str) -> None:
        given = {**self.place, "intent_name": name}
        if name in self.drafted:
            with pytest.raises(ServiceError, match="already"):
                self._call("CreateIntent", **given)
            return
        self.drafted[name] = self._call("CreateIntent", **given)["intentId"]

    @precondition(lambda self: self.drafted)
    @rule(data=st.data(), name=NAMES)
    def rename(self, data: st.DataObject, name: str) -> None:
        old = data.draw(st.sampled_from(sorted(self.drafted)))
        given = {**self.place, "intent_id": self.drafted[old], "intent_name": name}
        if name in self.drafted and name != old:
            with pytest.raises(ServiceError, match="already"):
                self._call("UpdateIntent", **given)
            return
        self._call("UpdateIntent", **given)
        self.drafted[name] = self.drafted.pop(old)

    @precondition(lambda self: self.drafted)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.drafted)))
        self._call("DeleteIntent", **self.place, intent_id=self.drafted.pop(name))

    @precondition(lambda self: self.status != "Building")
    @rule()
    def build(self) -> None:
        self._call("BuildBotLocale", **self.place)
        self.status, self.tried = "Building", dict(self.drafted)

    @precondition(lambda self: self.status == "Building")
    @rule(fails=st.booleans())
    def train(self, fails: bool) -> None:
        self._do("train", *(["It cannot be learned."] if fails else []))
        self.status = "Failed" if fails else "Built"
        if not fails:
            self.built = self.tried

    @precondition(lambda self: len(self.versions) < 4)
    @rule()
    def freeze(self) -> None:
        given = {"bot_id": self.place["bot_id"], "bot_version_locale_specification": BOT}
        if self._expected() != "Built":
            with pytest.raises(ServiceError, match="build it first"):
                self._call("CreateBotVersion", **given)
            return
        number = self._call("CreateBotVersion", **given)["botVersion"]
        self.versions[number] = (self._export(number), dict(self.drafted))

    @rule()
    def overwrite_with_itself(self) -> None:
        """What comes back has new ids, so that nothing of it is built."""
        given = {
            "botName": "Pizzeria",
            "roleArn": "arn:aws:iam::123456789012:role/lex-bot",
            "dataPrivacy": {"childDirected": False},
        }
        done = self._do("bring", self._export("DRAFT"), "Overwrite", botImportSpecification=given)
        assert done["importStatus"] == "Completed", done
        self.drafted = {name: self._id(name) for name in self.drafted}

    def _export(self, version: str) -> bytes:
        named = {"botId": self.place["bot_id"], "botVersion": version}
        data: bytes = self._do("export", botExportSpecification=named)
        for one in self._call("ListExports")["exportSummaries"]:
            self._call("DeleteExport", export_id=one["exportId"])
        return data

    def _expected(self) -> str:
        if self.status in ("Built", "Failed") and self.tried != self.drafted:
            return "NotBuilt"
        return self.status

    @invariant()
    def tells_the_truth(self) -> None:
        assert self._do("status", self.place) == self._expected()
        found = {one["intentName"]: one["intentId"] for one in self._intents("DRAFT")}
        assert found == self.drafted

    @invariant()
    def answers_with_what_was_built_last(self) -> None:
        world, bot_id = self.world, self.place["bot_id"]
        if self.built is None:
            return
        answers = resolve(world.store, world.account, world.region, bot_id, "TSTALIASID", "en_US")
        assert answers.bot.intents == {"FallbackIntent", *self.built}

    @invariant()
    def keeps_its_versions(self) -> None:
        for number, (data, intents) in self.versions.items():
            assert {one["intentName"] for one in self._intents(number)} == set(intents)
            assert self._export(number) == data


def test_a_bot_stays_true_whatever_is_done_to_it(world: Any, tmp_path: Path) -> None:
    made: list[Any] = []

    def machine() -> BotMachine:
        fresh = type(world)(tmp_path / str(len(made)))
        made.append(fresh)
        return BotMachine(fresh)

    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine, settings=settings(max_examples=10, stateful_step_count=12, deadline=None)
        )
    finally:
        for one in made:
            one.shelf.close()
