"""A bot that is built and talked to as the guide says: by boto3 alone, with a function, in the terminal, through a kill."""

import base64
import contextlib
import datetime
import gzip
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from modelyard.cli.platform import Platform
from modelyard.testing.losses import is_answered, wait_for
from modelyard.testing.platform import command, running_platform

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "lex-conversations.md"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:orders"
CODE = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
Json = dict[str, Any]


def run(platform: Platform, code: str) -> list[str]:
    """The lines that the code prints under ``modelyard run``."""
    done = command("run", "--", sys.executable, "-c", code, home=platform.home.root)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def pizzeria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The guide's bot, before it has a function; the platform knows where that is."""
    folder = tmp_path_factory.mktemp("lex")
    build, function, _ = CODE
    (folder / "orders.py").write_text(function)
    with contextlib.chdir(folder):
        platform_of = running_platform(folder / "home", "--lambda", f"{FUNCTION}=orders:handler")
        with platform_of as platform:
            said = run(platform, build)
            assert said[-1] == "Fulfilled", said
            assert said[2].endswith("-> We are open from ten to ten.")
            assert said[-2] == "yes -> Your large pizza is in the oven."
            yield platform


def place(platform: Platform, **members: str) -> Json:
    (bot,) = platform.client("lexv2-models").list_bots()["botSummaries"]
    return {
        "botId": bot["botId"], "botAliasId": "TSTALIASID", "localeId": "en_US", "sessionId": "s-1", **members,
    }  # fmt: skip


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def last_words(answer: Json) -> str:
    return str(answer["messages"][-1]["content"])


def test_a_session_survives_a_killed_control_and_a_deleted_one_is_gone(pizzeria: Platform) -> None:
    runtime, session = pizzeria.client("lexv2-runtime"), place(pizzeria)
    state = {"sessionAttributes": {"user": "Ada"}}
    asked = runtime.recognize_text(**session, text="a large pizza please", sessionState=state)
    assert last_words(asked) == "How many?"
    assert asked["sessionState"]["intent"]["slots"]["Count"] is None
    assert asked["interpretations"][0]["nluConfidence"]["score"] > 0.4
    os.kill(json.loads(pizzeria.home.process_table.read_text())["control"], signal.SIGKILL)
    wait_for(lambda: is_answered(pizzeria), "another control")
    found = runtime.get_session(**session)
    assert found["sessionState"]["sessionAttributes"] == {"user": "Ada"}
    assert found["messages"] == asked["messages"]
    answer = runtime.recognize_text(**session, text="three")
    assert last_words(answer) == "3 large pizza, is that right?"
    runtime.delete_session(**session)
    with pytest.raises(runtime.exceptions.ResourceNotFoundException, match="no session"):
        runtime.get_session(**session)


def test_a_state_is_put_and_a_text_is_an_utterance(pizzeria: Platform) -> None:
    runtime, session = pizzeria.client("lexv2-runtime"), place(pizzeria, sessionId="s-2")
    wanted = {
        "dialogAction": {"type": "ElicitSlot", "slotToElicit": "Count"},
        "intent": {
            "name": "OrderPizza",
            "slots": {"Size": {"value": {"interpretedValue": "small"}}},
        },
    }
    put = runtime.put_session(
        **session, sessionState=wanted, responseContentType="text/plain; charset=utf-8"
    )
    assert unpacked(put["messages"]) == [{"contentType": "PlainText", "content": "How many?"}]
    assert (put["sessionId"], put["audioStream"].read()) == ("s-2", b"")
    answer = runtime.recognize_utterance(
        **session, requestContentType="text/plain; charset=utf-8", inputStream=b"two"
    )
    assert last_words({"messages": unpacked(answer["messages"])}) == "2 small pizza, is that right?"
    assert answer["inputMode"] == "Text"


def test_requests_that_lex_refuses_are_refused_as_lex_does(pizzeria: Platform) -> None:
    runtime = pizzeria.client("lexv2-runtime", parameter_validation=False)
    session = place(pizzeria, sessionId="bad")

    def code(operation: str, **members: Any) -> tuple[str, int]:
        with pytest.raises(ClientError) as refused:
            getattr(runtime, operation)(**{**session, **members})
        response = refused.value.response
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]

    invalid = ("ValidationException", 400)
    missing = ("ResourceNotFoundException", 404)
    assert code("recognize_text", text="") == invalid
    assert code("recognize_text", text="x" * 1025) == invalid
    assert code("recognize_text", text="hi", sessionId="a b") == invalid
    assert code("recognize_text", text="hi", sessionId="x" * 101) == invalid
    assert code("recognize_text", text="hi", botId="short") == invalid
    assert code("recognize_text", text="hi", botId="NOBOT00000") == missing
    assert code("recognize_text", text="hi", botAliasId="NOALIAS000") == missing
    assert code("recognize_text", text="hi", localeId="fr_FR")[1] in (400, 404)
    colour = {"name": "OrderPizza", "slots": {"Colour": {"value": {"interpretedValue": "x"}}}}
    asked = {"dialogAction": {"type": "ConfirmIntent"}, "intent": colour}
    assert code("put_session", sessionState=asked) == invalid
    huge = {"sessionAttributes": {"a": "x" * 200_000}}
    assert code("put_session", sessionState=huge) == invalid
    assert code("get_session") == missing
    speech = {"requestContentType": "audio/l16; rate=16000; channels=1", "inputStream": b"\0"}
    assert code("recognize_utterance", **speech) == ("UnsupportedOperation", 501)


def test_a_stream_may_come_unsigned_and_nothing_else(pizzeria: Platform) -> None:
    """As newer clients send utterances, over plain HTTP too."""

    def status(path: str, body: bytes, kind: str) -> int:
        session = place(pizzeria, sessionId="unsigned")
        url = f"{pizzeria.url}/bots/{session['botId']}/botAliases/TSTALIASID/botLocales/en_US/sessions/unsigned/{path}"
        headers = {"Content-Type": kind, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
        request = AWSRequest(method="POST", url=url, data=body, headers=headers)
        keys = pizzeria.credentials
        signer = Credentials(keys.access_key_id, keys.secret_access_key)
        SigV4Auth(signer, "lex", pizzeria.region).add_auth(request)
        return int(URLLib3Session().send(request.prepare()).status_code)

    assert status("utterance", b"when do you open", "text/plain; charset=utf-8") == 200
    assert status("text", b'{"text": "when do you open"}', "application/json") == 403


def test_each_text_is_metered_once(pizzeria: Platform) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    period = {
        "Start": today.isoformat(),
        "End": (today + datetime.timedelta(days=2)).isoformat(),
    }

    def used() -> float:
        (day, *more) = pizzeria.client("ce").get_cost_and_usage(
            TimePeriod=period, Granularity="MONTHLY", Metrics=["UsageQuantity"],
            GroupBy=[{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
        )["ResultsByTime"]  # fmt: skip
        amounts = {
            group["Keys"][0]: float(group["Metrics"]["UsageQuantity"]["Amount"])
            for one in (day, *more)
            for group in one["Groups"]
        }
        return amounts["TextRequest"]

    before = used()
    runtime = pizzeria.client("lexv2-runtime")
    runtime.recognize_text(**place(pizzeria, sessionId="m-1"), text="when do you open")
    runtime.get_session(**place(pizzeria, sessionId="m-1"))
    assert used() == before + 1


def test_many_sessions_talk_at_once_and_one_session_takes_turns(pizzeria: Platform) -> None:
    runtime = pizzeria.client("lexv2-runtime", max_pool_connections=8)

    def order(number: int) -> str:
        session = place(pizzeria, sessionId=f"many-{number}")
        for text in ("a small pizza please", "4", "yes"):
            answer = runtime.recognize_text(**session, text=text)
        return str(answer["sessionState"]["intent"]["state"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(order, range(16))) == {"Fulfilled"}
        session = place(pizzeria, sessionId="one")

        def once(_: int) -> str:
            try:
                runtime.recognize_text(**session, text="when do you open")
            except ClientError as error:
                return str(error.response["Error"]["Code"])
            return "answered"

        outcomes = set(pool.map(once, range(40)))
    assert outcomes <= {"answered", "ConflictException"}
    assert "answered" in outcomes


def test_the_bot_is_talked_to_from_a_pipe(pizzeria: Platform) -> None:
    home = pizzeria.home.root
    talk = "a big pizza please\n\n2\nyes\n"
    done = command("chat", "Pizzeria", home=home, stdin=talk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "How many?",
        "2 large pizza, is that right?",
        "Your large pizza is in the oven.",
    ]
    assert "OrderPizza InProgress, Size=large, waits for Count" in done.stderr
    lines = f"when do you open\n{'x' * 1025}\nnever said\n"
    told = command("chat", "Pizzeria", "--json", home=home, stdin=lines)
    assert json.loads(told.stdout)["sessionState"]["intent"]["name"] == "OpeningHours"
    assert (told.returncode, "ValidationException" in told.stderr) == (1, True)
    nobody = command("chat", "Nobody", home=home, stdin="hello\n")
    assert (nobody.returncode, "Known: Pizzeria." in nobody.stderr) == (1, True)


def test_a_function_of_ones_own_fulfils_and_its_failures_are_told(pizzeria: Platform) -> None:
    """The last test of this module: the bot has a function from now on."""
    assert run(pizzeria, CODE[2]) == ["2 on the way."]
    runtime = pizzeria.client("lexv2-runtime")
    session = place(pizzeria, sessionId="f-1")

    def confirmed() -> Json:
        answer: Json = runtime.recognize_text(**session, text="yes")
        return answer

    runtime.recognize_text(**session, text="order 12 large pizzas")
    answer = confirmed()
    assert (last_words(answer), answer["sessionState"]["intent"]["state"]) == (
        "We have not that much dough.",
        "Failed",
    )
    module = pizzeria.home.root.parent / "orders.py"
    runtime.recognize_text(**session, text="order 2 large pizzas")
    for number, (body, why) in enumerate(
        (
            ("raise ValueError('no dough')", "ValueError: no dough"),
            ("import os; os._exit(9)", "ended with status 9"),
            ("return {'hello': 1}", "not in Lex V2's form"),
        )
    ):
        module.write_text(f"def handler(event, context):\n    {body}\n")
        os.utime(module, (number, number))
        with pytest.raises(runtime.exceptions.DependencyFailedException, match=why):
            confirmed()
    module.write_text(CODE[1])
    assert last_words(confirmed()) == "2 on the way."
