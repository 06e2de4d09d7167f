"""The runtime's operations, with a real store of sessions and a model that goes by words."""

import asyncio
import base64
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SeededRandom
from modelyard.domain.lex.understanding import Heard, Understanding
from modelyard.services.lex.hooks import (
    CodeHooks,
    FunctionFailed,
    FunctionUnknown,
    FunctionUnreachable,
)
from modelyard.services.lex.kinds import ALIAS, BUILD
from modelyard.services.lex.runtime import Conversations
from modelyard.services.lex.turns import Turns
from modelyard.services.metering import Metering
from modelyard.store.lex_sessions import LexSessions
from modelyard.store.resources import Create, Key
from modelyard.store.usage import TooMuchUsage, Usage
from modelyard.testing.bots import KeywordModel, pizzeria
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT, REGION, BOT = "123456789012", "us-east-1", "PIZZABOT01"
PLACE = {"bot_id": BOT, "bot_alias_id": "TSTALIASID", "locale_id": "en_US", "session_id": "s-1"}
ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"
HOOKED = {"dialogCodeHook": {"enabled": True}}
Json = dict[str, Any]

pytestmark = pytest.mark.anyio


class Models:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked: list[Heard] = []

    async def understand(
        self, call: Call, model: str, heard: Sequence[Heard]
    ) -> list[Understanding]:
        self.asked += heard
        await self.may_answer.wait()
        return [KeywordModel().understand(one) for one in heard]


class Functions:
    """One function, which does as it is told."""

    def __init__(self) -> None:
        self.does: Callable[[Json], bytes] = lambda event: b""
        self.events: list[Json] = []

    async def invoke(self, arn: str, event: bytes, *, seconds: float) -> bytes:
        assert arn == ARN
        assert seconds == 30.0
        self.events.append(json.loads(event))
        return self.does(self.events[-1])


class First(SeededRandom):
    """Chance takes the first of all variations."""

    def uniform(self) -> float:
        return 0.0


class Recorder:
    """Keeps what was metered."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self.is_full = False

    def record(self, usage_id: str, usage: Usage, *, now: float) -> None:
        if self.is_full:
            raise TooMuchUsage("full")
        self.used[usage_id] = usage


class World:
    """The runtime and all that is around it."""

    def __init__(self, folder: Path, *, sessions: int = 100) -> None:
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.models, self.functions, self.recorder = Models(), Functions(), Recorder()
        self.folder, self.limit, self.requests = folder, sessions, 0
        self.restart()

    def restart(self) -> None:
        """As control after a kill."""
        turns = Turns(
            store=self.store,
            sessions=LexSessions(self.folder / "lex.db", limit=self.limit),
            models=self.models,
            hooks=CodeHooks(functions=self.functions, clock=self.clock),
            clock=self.clock,
            random=First(1),
        )
        metering = Metering(usage=self.recorder, clock=self.clock)
        self.runtime = Conversations(turns=turns, metering=metering, clock=self.clock)

    async def build(self, definition: Json, *, hook: str = "") -> None:
        settings = {"enabled": True}
        if hook:
            lambda_hook = {"lambdaARN": hook, "codeHookInterfaceVersion": "1.0"}
            settings |= {"codeHookSpecification": {"lambdaCodeHook": lambda_hook}}
        alias = {
            "botAliasName": "TestBotAlias",
            "botVersion": "DRAFT",
            "botAliasLocaleSettings": {"en_US": settings, "en_GB": settings},
        }
        changes = [self._create(ALIAS, "TSTALIASID", alias)]
        changes += [
            self._create(BUILD, locale, {}, {"Model": "lex-1", "definition": {**definition, "localeId": locale}})
            for locale in ("en_US", "en_GB")
        ]  # fmt: skip
        await self.store.write(*changes)

    def _create(self, kind: str, name: str, spec: Json, status: Json | None = None) -> Create:
        key = Key(kind=kind, account=ACCOUNT, region=REGION, name=f"{BOT}/{name}")
        return Create(key=key, spec=spec, status=status or {})

    def call(self, operation: str = "RecognizeText", invocation_id: str = "") -> Call:
        self.requests += 1
        principal = Principal(kind="root", arn="", id=ACCOUNT, account=ACCOUNT)
        return Call(
            principal=principal,
            account=ACCOUNT,
            region=REGION,
            action=f"lex:{operation}",
            request_id=f"r-{self.requests}",
            deadline=self.clock.monotonic() + 60.0,
            invocation_id=invocation_id,
        )

    async def say(self, text: str, *, invocation_id: str = "", **members: Any) -> Json:
        call = self.call(invocation_id=invocation_id)
        return await self.runtime.recognize_text(call, **{**PLACE, "text": text, **members})


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.build(pizzeria())
    return world


async def hooked(folder: Path, **members: Any) -> World:
    world = World(folder)
    await world.build(pizzeria(**{**HOOKED, **members}), hook=ARN)
    return world


def packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def texts(answer: Json) -> list[str]:
    return [one["content"] for one in answer.get("messages", [])]


async def test_a_conversation_survives_a_restart_and_is_metered_by_the_request(
    world: World,
) -> None:
    await world.say("a large pizza")
    world.restart()
    answer = await world.say("ham")
    assert texts(answer) == ["A large pizza with ham?"]
    state = answer["sessionState"]
    assert state["dialogAction"] == {"type": "ConfirmIntent"}
    assert state["originatingRequestId"] == "r-2"
    assert state["intent"]["slots"]["note"] is None
    assert answer["sessionId"] == "s-1"
    assert [(one.usage_type, one.quantity) for one in world.recorder.used.values()] == [
        ("TextRequest", 1)
    ] * 2


async def test_a_session_is_over_when_nobody_used_it_for_its_time(world: World) -> None:
    await world.say("a large pizza")
    world.clock.advance(299)
    assert (await world.runtime.get_session(world.call(), **PLACE))["messages"]
    world.clock.advance(2)
    with pytest.raises(ServiceError, match="no session s-1") as gone:
        await world.runtime.get_session(world.call(), **PLACE)
    assert (gone.value.code, gone.value.status) == ("ResourceNotFoundException", 404)
    assert texts(await world.say("ham")) == ["Pardon?"], "it begins anew"


async def test_the_same_id_in_another_locale_is_another_session(world: World) -> None:
    await world.say("a large pizza", session_state={"sessionAttributes": {"user": "Ada"}})
    answer = await world.say("ham", locale_id="en_GB")
    assert (texts(answer), answer["sessionState"]["sessionAttributes"]) == (["Pardon?"], {})


async def test_a_repeated_request_gets_the_answer_that_was_lost(world: World) -> None:
    first = await world.say("a large pizza", invocation_id="i-1")
    world.restart()
    again = await world.say("a large pizza", invocation_id="i-1")
    assert again == first
    assert len(world.models.asked) == 1, "no second turn"
    assert len(world.recorder.used) == 1
    assert texts(await world.say("ham", invocation_id="i-2")) == ["A large pizza with ham?"]


async def test_what_could_not_be_metered_is_metered_when_it_is_repeated(world: World) -> None:
    world.recorder.is_full = True
    with pytest.raises(ServiceError, match="usage cannot be written"):
        await world.say("pizza", invocation_id="i-1")
    world.recorder.is_full = False
    assert texts(await world.say("pizza", invocation_id="i-1")) == ["Which size?"]
    assert len(world.recorder.used) == 1


async def test_a_busy_session_is_a_conflict_and_others_are_not(world: World) -> None:
    world.models.may_answer.clear()
    first = asyncio.create_task(world.say("pizza"))
    while not world.models.asked:
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: None)
    with pytest.raises(ServiceError, match="busy") as busy:
        await world.say("large")
    assert (busy.value.code, busy.value.status) == ("ConflictException", 409)
    with pytest.raises(ServiceError, match="busy"):
        await world.runtime.delete_session(world.call(), **PLACE)
    other = asyncio.create_task(world.say("pizza", session_id="s-2"))
    world.models.may_answer.set()
    assert texts(await first) == texts(await other) == ["Which size?"]
    assert texts(await world.say("large")) == ["Which topping?"]


async def test_a_request_brings_a_state_along(world: World) -> None:
    size = {"value": {"interpretedValue": "small"}}
    state = {
        "dialogAction": {"type": "ElicitSlot", "slotToElicit": "topping"},
        "intent": {"name": "OrderPizza", "slots": {"size": size}},
        "sessionAttributes": {"user": "Ada"},
    }
    answer = await world.say("ham", session_state=state, request_attributes={"a": "b"})
    assert texts(answer) == ["A small pizza with ham?"]
    assert answer["requestAttributes"] == {"a": "b"}
    assert texts(await world.say("yes")) == ["Enjoy your small pizza, Ada!"]


async def test_today_is_the_users_day(world: World) -> None:
    zone = {"x-amz-lex:time-zone": "Pacific/Auckland"}
    await world.say("pizza")
    await world.say("pizza", request_attributes=zone)
    assert [one.today for one in world.models.asked] == ["2023-11-14", "2023-11-15"]
    with pytest.raises(ServiceError, match="has to be a time zone"):
        await world.say("pizza", request_attributes={"x-amz-lex:time-zone": "Moon/Sea"})


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"intent": {"name": "Nothing"}}, "no intent Nothing"),
        ({"intent": {"name": "OrderPizza", "slots": {"colour": {}}}}, "no slot colour"),
        ({"dialogAction": {"type": "ElicitSlot"}}, "needs an intent"),
        ({"sessionAttributes": {"a": "x" * 30_000}}, "larger than"),
        ({"runtimeHints": {"slotHints": {"x": "y" * 10_000}}}, "larger than"),
    ],
)
async def test_states_that_the_bot_cannot_be_in_are_refused_and_change_nothing(
    world: World, state: Json, why: str
) -> None:
    await world.say("a large pizza")
    for act in (
        world.say("ham", session_state=state),
        world.runtime.put_session(world.call("PutSession"), **PLACE, session_state=state),
    ):
        with pytest.raises(ServiceError, match=why) as refused:
            await act
        assert refused.value.code == "ValidationException"
    assert texts(await world.say("ham")) == ["A large pizza with ham?"]


async def test_a_state_is_put_read_and_deleted(world: World) -> None:
    state = {"dialogAction": {"type": "Delegate"}, "intent": {"name": "OrderPizza"}}
    answer = await world.runtime.put_session(world.call("PutSession"), **PLACE, session_state=state)
    assert [one["content"] for one in unpacked(answer["messages"])] == ["Which size?"]
    assert unpacked(answer["sessionState"])["dialogAction"]["slotToElicit"] == "size"
    assert answer["contentType"] == "text/plain; charset=utf-8"
    found = await world.runtime.get_session(world.call("GetSession"), **PLACE)
    assert (texts(found), found["sessionState"]["intent"]["name"]) == (
        ["Which size?"],
        "OrderPizza",
    )
    deleted = await world.runtime.delete_session(world.call("DeleteSession"), **PLACE)
    assert (deleted["botId"], deleted["sessionId"]) == (BOT, "s-1")
    with pytest.raises(ServiceError, match="no session"):
        await world.runtime.get_session(world.call("GetSession"), **PLACE)
    assert world.recorder.used == {}, "nobody said anything"


async def test_a_text_is_an_utterance_too_with_packed_headers(world: World) -> None:
    async def utter(**members: Any) -> Json:
        given = {"request_content_type": "text/plain; charset=utf-8", "input_stream": b"ham"}
        return await world.runtime.recognize_utterance(
            world.call(), **PLACE, **{**given, **members}
        )

    answer = await utter(
        input_stream=b"a large pizza",
        session_state=packed({"sessionAttributes": {"user": "Ada"}}),
        request_attributes=packed({"a": "b"}),
    )
    assert [one["content"] for one in unpacked(answer["messages"])] == ["Which topping?"]
    assert unpacked(answer["sessionState"])["sessionAttributes"] == {"user": "Ada"}
    assert unpacked(answer["interpretations"])[0]["intent"]["name"] == "OrderPizza"
    assert (answer["inputMode"], unpacked(answer["inputTranscript"])) == ("Text", "a large pizza")
    for members, code in (
        ({"request_content_type": "audio/l16; rate=16000; channels=1"}, "UnsupportedOperation"),
        ({"response_content_type": "audio/mpeg"}, "UnsupportedOperation"),
        ({"session_state": "no base64!"}, "ValidationException"),
        ({"session_state": base64.b64encode(b"no gzip").decode()}, "ValidationException"),
        ({"session_state": packed([1])}, "ValidationException"),
        ({"session_state": packed("x" * 1_000_000)}, "ValidationException"),
        ({"request_attributes": packed({"a": 1})}, "ValidationException"),
        ({"input_stream": b""}, "ValidationException"),
        ({"input_stream": b"x" * 1025}, "ValidationException"),
        ({"input_stream": b"\xff"}, "ValidationException"),
    ):
        with pytest.raises(ServiceError) as refused:
            await utter(**members)
        assert refused.value.code == code, members


async def test_past_the_limit_of_sessions_new_ones_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path, sessions=1)
    await world.build(pizzeria())
    await world.say("pizza")
    with pytest.raises(ServiceError, match="lex_sessions") as refused:
        await world.say("pizza", session_id="s-2")
    assert (refused.value.code, refused.value.status) == ("ThrottlingException", 429)
    assert len(world.recorder.used) == 1, "what was refused is not metered"


async def test_the_function_of_the_alias_is_called_and_its_answer_is_done(tmp_path: Path) -> None:
    world = await hooked(tmp_path)

    def refuse(event: Json) -> bytes:
        state = {
            "dialogAction": {"type": "Close"},
            "intent": {**event["sessionState"]["intent"], "state": "Failed"},
            "sessionAttributes": {"why": "closed"},
        }
        said = [{"contentType": "PlainText", "content": "We are closed."}]
        return msgspec.json.encode({"sessionState": state, "messages": said})

    world.functions.does = refuse
    answer = await world.say("pizza")
    assert texts(answer) == ["We are closed."]
    assert answer["sessionState"]["sessionAttributes"] == {"why": "closed"}
    assert answer["sessionState"]["intent"]["state"] == "Failed"
    assert world.functions.events[0]["bot"]["aliasName"] == "TestBotAlias"


@pytest.mark.parametrize(
    ("outcome", "code", "status", "why"),
    [
        (b"rubbish", "DependencyFailedException", 424, "cannot be used"),
        (b"{}", "DependencyFailedException", 424, "cannot be used"),
        (TimeoutError(), "DependencyFailedException", 424, "within 30 seconds"),
        (FunctionFailed("boom"), "DependencyFailedException", 424, "failed: boom"),
        (FunctionUnknown(), "DependencyFailedException", 424, f"--lambda {ARN}=http://"),
        (FunctionUnreachable("refused"), "BadGatewayException", 502, "cannot be reached: refused"),
    ],
)
async def test_a_function_that_gives_no_good_answer_is_the_callers_error_and_the_session_stays(
    tmp_path: Path, outcome: bytes | Exception, code: str, status: int, why: str
) -> None:
    world = await hooked(tmp_path)

    def fail(event: Json) -> bytes:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def go_on(event: Json) -> bytes:
        intent = event["sessionState"]["intent"]
        return msgspec.json.encode(
            {"sessionState": {"dialogAction": {"type": "Delegate"}, "intent": intent}}
        )

    world.functions.does = go_on
    await world.say("a large pizza")
    world.functions.does = fail
    with pytest.raises(ServiceError, match=why) as refused:
        await world.say("ham")
    assert (refused.value.code, refused.value.status) == (code, status)
    assert len(world.recorder.used) == 1, "what was not answered is not metered"
    world.functions.does = go_on
    assert texts(await world.say("ham")) == ["A large pizza with ham?"]


async def test_an_alias_without_a_function_says_what_to_do(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.build(pizzeria(**HOOKED))
    with pytest.raises(ServiceError, match="UpdateBotAlias") as refused:
        await world.say("pizza")
    assert refused.value.code == "DependencyFailedException"


async def test_an_unknown_bot_alias_or_locale_is_not_found(world: World) -> None:
    for members in ({"bot_id": "NOBOT00000"}, {"bot_alias_id": "NOALIAS000"}):
        with pytest.raises(ServiceError) as refused:
            await world.say("pizza", **members)
        assert (refused.value.code, refused.value.status) == ("ResourceNotFoundException", 404)
