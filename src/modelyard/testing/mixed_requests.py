"""Mixed requests to the AI services, each with an answer that tells whose it is, while processes are killed under them.

Callers are AWS's own client, which repeats what got no answer under the same id. In the end each request was answered, with its
own answer, or refused; and the platform's book of usage has each answered request once, a refused one at most once.
"""

import contextlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from modelyard.ai.sentiment import FILE
from modelyard.ai.text_classifier import train
from modelyard.base.settings import Home
from modelyard.cli.platform import Platform
from modelyard.store.usage import fold_journals
from modelyard.testing import counting_bot
from modelyard.testing.losses import is_answered, platform_processes, victims, wait_for
from modelyard.testing.losses import workers as ready_workers
from modelyard.testing.platform import command

ANSWERED, WRONG, REFUSED, BROKEN = "answered", "wrong", "refused", "broken"
_LANGUAGES = (
    ("Where is the station, please? Number", "en"),
    ("Il fait beau aujourd'hui à Marseille, jour", "fr"),
    ("Ich möchte bitte ein Bier, nämlich", "de"),
)
_FEELINGS = {
    "POSITIVE": ("good", "great", "lovely", "wonderful", "I love it", "excellent"),
    "NEGATIVE": ("bad", "awful", "terrible", "horrible", "I hate it", "dreadful"),
    "NEUTRAL": ("the table", "it is Monday", "a train", "the box", "rain", "paper"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``ask`` a service with a client of it and a number, once each; ``is_own``: whether that is the number's answer."""

    name: str
    service: str
    ask: Callable[[Any, int], Any]
    is_own: Callable[[Any, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of one request; ``id`` is the client's own of it and all its repetitions."""

    kind: str
    id: str
    outcome: str
    seconds: float
    attempts: int
    detail: str = ""


def small_sentiment(platform: Platform, folder: Path) -> None:
    """Teach the platform a tiny model of sentiment, and to do without one of names."""
    texts = [text for some in _FEELINGS.values() for text in some]
    labels = [[label] for label, some in _FEELINGS.items() for _ in some]
    folder.mkdir()
    train(texts, labels, strength=100.0).save(folder / FILE)
    for arguments in (
        ("models", "add", "tiny-sentiment", str(folder), "--engine", "sentiment", "--service", "comprehend",
         "--task", "sentiment", "--language", "en"),
        ("models", "use", "comprehend", "pii-names", "en", "pii-patterns"),
    ):  # fmt: skip
        done = command(*arguments, home=platform.home.root)
        assert done.returncode == 0, done.stderr


def text_kinds() -> list[Kind]:
    """Of Comprehend, with models that need no download."""

    def language(client: Any, number: int) -> Any:
        text, _ = _LANGUAGES[number % 3]
        return client.detect_dominant_language(Text=f"{text} {number}")

    def personal(client: Any, number: int) -> Any:
        text = f"{'x' * (number % 97)} jo{number}@example.com"
        return client.detect_pii_entities(Text=text, LanguageCode="en")

    def is_there(answer: Any, number: int) -> bool:
        begin = number % 97 + 1
        found = [(one["BeginOffset"], one["EndOffset"]) for one in answer["Entities"]]
        return found == [(begin, begin + len(f"jo{number}@example.com"))]

    def feelings(number: int) -> list[str]:
        return [list(_FEELINGS)[(number + place) % 3] for place in range(3)]

    def batch(client: Any, number: int) -> Any:
        texts = [_FEELINGS[one][number % 6] for one in feelings(number)]
        return client.batch_detect_sentiment(TextList=texts, LanguageCode="en")

    return [
        Kind(
            name="DetectDominantLanguage",
            service="comprehend",
            ask=language,
            is_own=lambda answer, number: (
                answer["Languages"][0]["LanguageCode"] == _LANGUAGES[number % 3][1]
            ),
        ),
        Kind(name="DetectPiiEntities", service="comprehend", ask=personal, is_own=is_there),
        Kind(
            name="BatchDetectSentiment",
            service="comprehend",
            ask=batch,
            is_own=lambda answer, number: (
                [one["Sentiment"] for one in answer["ResultList"]] == feelings(number)
            ),
        ),
    ]


def custom_kind(endpoint_arn: str) -> Kind:
    """A recogniser of ``tagged_documents`` at its endpoint."""

    def ask(client: Any, number: int) -> Any:
        text = f"Order AX-{number} was shipped to Tavel Mikas."
        return client.detect_entities(Text=text, EndpointArn=endpoint_arn)

    return Kind(
        name="DetectEntities",
        service="comprehend",
        ask=ask,
        is_own=lambda answer, number: f"AX-{number}" in [one["Text"] for one in answer["Entities"]],
    )


def conversation_kind(bot: str) -> Kind:
    """The first turn of a session of its own with ``counting_bot``; a second one would fill its second slot."""

    def ask(client: Any, number: int) -> Any:
        return client.recognize_text(
            botId=bot, botAliasId="TSTALIASID", localeId="en_US",
            sessionId=f"storm-{number}", text=f"count from {number}",
        )  # fmt: skip

    return Kind(
        name="RecognizeText",
        service="lexv2-runtime",
        ask=ask,
        is_own=lambda answer, number: (
            counting_bot.numbers(answer) == [str(number), None, None, None]
        ),
    )


def translation_kind() -> Kind:
    """English to Spanish."""

    def ask(client: Any, number: int) -> Any:
        return client.translate_text(
            Text=f"The house {number} is big.", SourceLanguageCode="en", TargetLanguageCode="es"
        )

    return Kind(
        name="TranslateText",
        service="translate",
        ask=ask,
        is_own=lambda answer, number: f"casa {number} " in answer["TranslatedText"],
    )


class Storm:
    """``count`` requests of the kinds in turn, by ``callers`` threads; none begins after ``seconds``."""

    def __init__(
        self,
        platform: Platform,
        kinds: Sequence[Kind],
        *,
        count: int,
        callers: int,
        seconds: float,
    ) -> None:
        self._platform = platform
        self._kinds = kinds
        self._count = count
        self._until = time.monotonic() + seconds
        self._asked: list[list[Asked]] = [[] for _ in range(callers)]
        self._threads = [
            threading.Thread(target=self._call, args=(n,), name=f"storm-{n}")
            for n in range(callers)
        ]

    def __enter__(self) -> "Storm":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def asked(self) -> list[Asked]:
        """So far, of all callers."""
        return [one for mine in self._asked for one in list(mine)]

    @property
    def done(self) -> bool:
        """Whether nobody asks any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def _call(self, caller: int) -> None:
        clients: dict[str, Any] = {}
        sent: list[str] = []

        def note(request: Any, **_: Any) -> None:
            given = request.headers["amz-sdk-invocation-id"]
            sent.append(given.decode() if isinstance(given, bytes) else given)

        for number in range(caller, self._count, len(self._threads)):
            if time.monotonic() > self._until:
                return
            kind = self._kinds[number % len(self._kinds)]
            if kind.service not in clients:
                clients[kind.service] = self._platform.client(kind.service)
                clients[kind.service].meta.events.register("before-send", note)
            sent.clear()
            began = time.monotonic()
            outcome, detail = _ask(kind, clients[kind.service], number)
            assert len(set(sent)) == 1, "a request has one id"
            self._asked[caller].append(
                Asked(
                    kind=kind.name,
                    id=sent[0],
                    outcome=outcome,
                    seconds=time.monotonic() - began,
                    attempts=len(sent),
                    detail=detail,
                )
            )


def _ask(kind: Kind, client: Any, number: int) -> tuple[str, str]:
    try:
        answer = kind.ask(client, number)
    except ClientError as error:
        return REFUSED, error.response["Error"]["Code"]
    except BotoCoreError as error:
        return BROKEN, type(error).__name__
    try:
        is_own = kind.is_own(answer, number)
    except (KeyError, IndexError):  # An answer without what an answer has.
        is_own = False
    return (ANSWERED, "") if is_own else (WRONG, json.dumps(answer)[:500])


def kill_one(platform: Platform, what: str) -> str:
    """SIGKILL one process: ``control``, or a worker; which one that was. Waits until control answers."""
    wait_for(lambda: is_answered(platform), "an answer of control")
    if what == "control":
        name, (pid,) = what, victims(platform, what)
    else:
        workers = ready_workers(platform)
        if not workers:
            return ""
        chosen = workers[int(what) % len(workers)]
        name, pid = chosen["name"], chosen["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if what == "control":
        wait_for(lambda: platform_processes(platform.home).get("control", pid) != pid, "another control")  # fmt: skip
    return name


def booked_ids(home: Home) -> list[str]:
    """Ids of the requests in the book of usage, one for each time that they are in it."""
    fold_journals(home.usage_database)
    with contextlib.closing(_book(home)) as connection:
        return [row[0].rsplit("/", 1)[1] for row in connection.execute("SELECT id FROM recorded")]


def _book(home: Home) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{home.usage_database}?mode=ro", uri=True)


def misbooked(home: Home, asked: Sequence[Asked], before: Sequence[str] = ()) -> list[str]:
    """What the book of usage has too often, or not at all; nothing if it is right. ``before`` was in it already."""
    ids = booked_ids(home)
    with contextlib.closing(_book(home)) as connection:
        (counted,) = connection.execute("SELECT SUM(requests) FROM used").fetchone()
    booked = Counter(ids)
    wrong = []
    for one in asked:
        times = booked[one.id]
        if times > 1 or (times == 0 and one.outcome in (ANSWERED, WRONG)):
            wrong.append(f"{one.kind} {one.id} was {one.outcome} and is booked {times} times")
    known = {one.id for one in asked}.union(before)
    wrong += [f"{one} is booked and nobody asked it" for one in booked if one not in known]
    if counted != len(ids):
        wrong.append(f"{len(ids)} requests are booked, and {counted} counted")
    return wrong
