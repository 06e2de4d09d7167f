"""Models that the platform hosts for itself: made on first use, updated to what is installed, refused with reasons."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.ai import installing
from modelyard.ai.catalogue import (
    Catalogue,
    Licence,
    NotServed,
    Pack,
    Package,
    Ready,
    Serves,
    choice_key,
    write_choices,
)
from modelyard.ai.questions import Finding, decode_question, encode_findings
from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.services.hosted_models import (
    ACCOUNT,
    FOUND_SECONDS,
    REGION,
    HostedModels,
    PackNotInstalled,
)
from modelyard.store.resources import Delete, Json, Key, Update
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

PACK = Pack(
    name="tiny",
    version="1",
    title="A thing",
    engine="sentiment",
    licence=Licence(code="MIT", weights="MIT"),
    serves=(Serves(service="comprehend", task="sentiment", languages=("en",)),),
    packages=(Package(name="p", version="1", file="p.whl", sha256="0" * 64),),
)
ENDPOINT = Key(kind="endpoint", account=ACCOUNT, region=REGION, name="tiny")


class World:
    """A store whose endpoints become ready as soon as somebody lets them; a data plane that echoes."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.routed: set[str] = set()
        self.asked: list[list[str]] = []
        self.outcome: Callable[[list[Finding]], bytes] = encode_findings
        self.models = HostedModels(
            store=self.store,
            catalogue=Catalogue(root, [PACK]),
            data_plane=self,
            clock=self.clock,
        )

    def is_routed(self, account: str, region: str, name: str) -> bool:
        assert (account, region) == (ACCOUNT, REGION)
        return name in self.routed

    async def ask(
        self,
        account: str,
        region: str,
        name: str,
        *,
        body: bytes,
        content_type: str,
        seconds: float,
    ) -> bytes:
        texts = [item["text"] for item in decode_question(body).items]
        self.asked.append(texts)
        return self.outcome([Finding(result={"text": text}) for text in texts])

    async def endpoint(self) -> Json:
        """Its spec, when it is there."""
        while (found := self.store.get(ENDPOINT)) is None:
            await asyncio.sleep(0)
        return found.spec

    async def become(self, status: str, **more: str) -> None:
        await self.endpoint()
        found = self.store.get(ENDPOINT)
        assert found is not None
        if status == "InService":
            self.routed.add("tiny")
        new = {**found.status, "EndpointStatus": status, **more}
        await self.store.write(Update(key=ENDPOINT, version=found.version, status=new))

    def call(self) -> Call:
        principal = Principal(kind="root", arn="", id="1", account="1")
        return Call(
            principal=principal,
            account="1",
            region="r",
            action="comprehend:DetectSentiment",
            request_id="q",
            deadline=self.clock.monotonic() + 60,
        )

    def question(self, *texts: str) -> "asyncio.Task[list[Finding]]":
        items = [{"text": text} for text in texts]
        asking = self.models.ask(self.call(), "comprehend", "sentiment", "en", items)
        return asyncio.ensure_future(asking)


def install(root: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text(content)
    installing.add_folder(PACK, folder, root)


def test_the_first_question_makes_the_endpoint_and_all_wait_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        questions = [world.question(f"text {n}") for n in range(3)]
        spec = await world.endpoint()
        container = spec["models"][spec["EndpointConfigName"]]["PrimaryContainer"]
        assert container["ModelDataUrl"].startswith("s3://.packs/tiny/tiny-")
        assert container["Environment"] == {"MODELYARD_ENGINE": "sentiment"}
        assert not world.asked
        await world.become("InService")
        found = await asyncio.gather(*questions)
        assert [one[0].result["text"] for one in found] == ["text 0", "text 1", "text 2"]
        assert [one.key for one in world.store.list("endpoint", account="1")] == []

    asyncio.run(scenario())


def test_another_content_of_the_pack_is_rolled_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        question = world.question("a")
        first = (await world.endpoint())["EndpointConfigName"]
        await world.become("InService")
        await question
        install(tmp_path / "packs", tmp_path, "2")
        await world.question("b")
        found = world.store.get(ENDPOINT)
        assert found is not None
        assert found.spec["EndpointConfigName"] != first
        assert found.status["EndpointStatus"] == "Updating"
        await world.question("c")  # While it rolls out, what serves goes on serving.
        assert world.asked == [["a"], ["b"], ["c"]]

    asyncio.run(scenario())


def test_a_pack_is_looked_for_again_when_packs_change_and_now_and_then(tmp_path: Path) -> None:
    root = tmp_path / "packs"
    install(root, tmp_path, "1")
    world = World(root)

    def find() -> Ready:
        return world.models.find("comprehend", "sentiment", "en")

    first = find()
    assert find() is first
    write_choices(root, {choice_key("comprehend", "sentiment", "en"): "another"})
    with pytest.raises(NotServed):
        find()
    write_choices(root, {})
    second = find()
    assert second == first and find() is second
    world.clock.advance(FOUND_SECONDS)
    assert find() is not second
    installing.remove("tiny", root)
    with pytest.raises(PackNotInstalled):
        find()


def test_a_reset_platform_hosts_its_models_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        question = world.question("a")
        await world.become("InService")
        await question
        await world.question("b")
        await world.question("c")
        await world.store.write(Delete(key=ENDPOINT))
        world.routed.clear()
        question = world.question("d")
        await world.become("InService")
        await question
        assert world.asked == [["a"], ["b"], ["c"], ["d"]]

    asyncio.run(scenario())


def test_a_model_that_fails_says_why_and_is_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        question = world.question("a")
        await world.become("Failed", FailureReason="the weights are odd")
        with pytest.raises(ServiceError, match="cannot be served: the weights are odd"):
            await question
        found = world.store.get(ENDPOINT)
        assert found is not None and found.status["EndpointStatus"] == "Deleting"

    asyncio.run(scenario())


def test_nothing_is_left_of_a_model_that_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        question = world.question("a")
        await world.become("InService")
        await question
        await world.models.forget("other")
        assert len(world.store.list("model")) == len(world.store.list("endpoint-config")) == 1
        await asyncio.gather(world.models.forget("tiny"), world.models.forget("tiny"))
        assert world.store.list("model") == world.store.list("endpoint-config") == []
        found = world.store.get(ENDPOINT)
        assert found is not None and found.status["EndpointStatus"] == "Deleting"

    asyncio.run(scenario())


def test_a_model_is_not_hosted_by_a_wish_from_before_it_was_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        ready = world.models.find("comprehend", "sentiment", "en")
        await world.models.wish(ready)
        await world.become("InService")
        await world.models.forget("tiny")
        wish = asyncio.ensure_future(world.models.wish(ready))  # Waits for what is being deleted.
        forgetting = asyncio.ensure_future(world.models.forget("tiny"))
        for _ in range(10):
            await asyncio.sleep(0)
        await world.store.write(Delete(key=ENDPOINT))
        await wish
        await world.become("InService")
        await forgetting
        found = world.store.get(ENDPOINT)
        assert found is not None and found.status["EndpointStatus"] == "Deleting"
        assert world.store.list("model") == []

    asyncio.run(scenario())


def test_a_pack_that_is_not_installed_is_an_error_with_the_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path / "packs")
        with pytest.raises(PackNotInstalled, match="modelyard models install tiny"):
            await world.question("a")
        assert world.store.get(ENDPOINT) is None

    asyncio.run(scenario())


def test_a_model_that_is_not_ready_in_time_is_a_503(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        call = world.call()
        late = call.__class__(
            **{**{f: getattr(call, f) for f in call.__struct_fields__}, "deadline": 0.01}
        )
        with pytest.raises(ServiceError, match="is being started") as caught:
            await world.models.ask(late, "comprehend", "sentiment", "en", [{"text": "a"}])
        assert caught.value.status == 503

    asyncio.run(scenario())


def test_an_answer_that_is_none_is_the_models_fault(tmp_path: Path) -> None:
    async def scenario() -> None:
        install(tmp_path / "packs", tmp_path, "1")
        world = World(tmp_path / "packs")
        question = world.question("a")
        await world.become("InService")
        await question
        world.outcome = lambda findings: b"nonsense"
        with pytest.raises(ServiceError, match="cannot be read") as caught:
            await world.question("a")
        assert caught.value.status == 500
        world.outcome = lambda findings: encode_findings([])
        with pytest.raises(ServiceError, match="0 findings for 1 items"):
            await world.question("a")
        assert await world.question() == []

    asyncio.run(scenario())
