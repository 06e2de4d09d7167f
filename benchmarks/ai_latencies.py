"""What a synchronous call of an AI service costs beside its bare model, in the platform and in AWS's client.

The model in this process, the call over one connection with nothing of a client around it (its requests are signed before they
are timed), and the call by AWS's own client; asked in two ways. Back to back: some of one, some of the next, round by round, as
``wrk`` asks servers. In turn: one of each, so that each finds a machine that has just done something else; the model in this
process, too, takes several times as long then.
"""

import itertools
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from rich.console import Console
from rich.table import Table

from modelyard.ai.catalogue import ARCHIVE, Catalogue, PackMissing
from modelyard.ai.engine import load_engine
from modelyard.ai.installing import install
from modelyard.cli.platform import Platform
from modelyard.testing import counting_bot
from modelyard.testing.archives import unpack
from modelyard.testing.mixed_requests import small_sentiment
from modelyard.testing.platform import command

TEXT = "I loved the film, but the ending was terrible. Bob saw it in Seattle on Monday; write to bob@example.com."
SAID = "let us count"
WARM = 20
WAYS = {"back to back": 25, "in turn": 1}
"""How many of one are asked before the next."""
PACKS = ("sentiment-en", "spacy-en")
READ_BYTES = 65_536
COLUMNS = ("bare p50", "call p50", "so added", "call least", "call p99", "AWS's client p50")
_TASKS = (
    ("DetectDominantLanguage", ("dominant-language",), "*"),
    ("DetectSentiment", ("sentiment",), "en"),
    ("DetectEntities", ("entities",), "en"),
    ("DetectKeyPhrases", ("key-phrases",), "en"),
    ("DetectSyntax", ("syntax",), "en"),
    ("DetectPiiEntities", ("pii-patterns", "pii-names"), "en"),
)
"""What each operation asks its model, which is what the bare model is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """One operation, three ways. ``bare`` and ``sdk`` ask; ``call`` makes a request, which ``Light`` sends."""

    operation: str
    model: str
    bare: Callable[[], Any]
    call: Callable[[], bytes]
    sdk: Callable[[], Any]


class Light:
    """One connection, and no client around it: requests go out as they are."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        address = platform.settings.host, platform.settings.port
        self._place = "{}:{}".format(*address)
        keys = platform.credentials
        self._keys = Credentials(keys.access_key_id, keys.secret_access_key)
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def request(self, service: str, path: str, given: Any, **headers: str) -> bytes:
        """Signed, ready to be sent."""
        request = AWSRequest(
            method="POST",
            url=f"http://{self._place}{path}",
            data=json.dumps(given).encode(),
            headers={"Host": self._place, "Content-Type": "application/x-amz-json-1.1", **headers},
        )
        SigV4Auth(self._keys, service, self._platform.region).add_auth(request)
        ready = request.prepare()
        lines = [f"POST {path} HTTP/1.1", *(f"{n}: {_text(v)}" for n, v in ready.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + request.data

    def send(self, request: bytes) -> bytes:
        """The answer's body. Ends the program where it is a refusal."""
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        (length,) = (int(one[15:]) for one in lines if one[:15].lower() == b"content-length:")
        while len(body) < length:
            body += self._more()
        if status.split()[1] != b"200":
            raise SystemExit(f"{status!r}: {body!r}")
        return body

    def _more(self) -> bytes:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise SystemExit("The platform closed the connection.")
        return data


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _light(platform: Platform) -> Iterator[Light]:
    light = Light(platform)
    try:
        yield light
    finally:
        light.close()


def latencies(
    platform: Platform, folder: Path, requests: int, console: Console, *, with_packs: bool
) -> list[dict[str, Any]]:
    """A row for each operation. Without packs: those that need no download, and a tiny model of sentiment."""
    _install(platform, folder, console, with_packs=with_packs)
    rows = []
    with _light(platform) as light:
        measured = itertools.chain(
            _comprehend(platform, folder, light), [_conversation(platform, folder, light)]
        )
        for one in measured:
            for way, block in WAYS.items():
                named = {"operation": one.operation, "model": one.model, "asked": way}
                rows.append(named | _row(*_times(one, light, requests, block)))
                console.print(rows[-1])
    return rows


def _install(platform: Platform, folder: Path, console: Console, *, with_packs: bool) -> None:
    home = platform.home
    if with_packs:
        for pack in Catalogue(home.packs).builtins():
            if pack.name in PACKS:
                install(pack, home.packs, accept_licence=False, say=console.print)
    else:
        small_sentiment(platform, folder / "sentiment")
    command("models", "use", "comprehend", "pii-names", "en", "pii-patterns", home=home.root)


def _comprehend(platform: Platform, folder: Path, light: Light) -> Iterator[_Measured]:
    client = platform.client("comprehend")
    catalogue = Catalogue(platform.home.packs)
    for operation, tasks, language in _TASKS:
        try:
            ready = catalogue.find("comprehend", tasks[0], language)
        except PackMissing:
            continue
        place = None
        if ready.archive is not None:
            place = _unpacked(ready.archive, folder / ready.pack.name)
        engine = load_engine(ready.pack.engine, place, ready.pack.options)
        given = {"Text": TEXT} | ({} if language == "*" else {"LanguageCode": language})
        target = {"X-Amz-Target": f"Comprehend_20171127.{operation}"}

        def bare(engine: Any = engine, tasks: Sequence[str] = tasks) -> Any:
            return [engine.answer(task, [{"text": TEXT}], {}) for task in tasks]

        def call(given: Any = given, target: dict[str, str] = target) -> bytes:
            return light.request("comprehend", "/", given, **target)

        def sdk(operation: str = operation, given: Any = given) -> Any:
            return client._make_api_call(operation, given)

        yield _Measured(operation=operation, model=ready.pack.name, bare=bare, call=call, sdk=sdk)


def _conversation(platform: Platform, folder: Path, light: Light) -> _Measured:
    """The first turn of a conversation: each is of a session of its own."""
    bot = counting_bot.build(platform.client("lexv2-models"))
    client = platform.client("lexv2-runtime")
    (archive,) = platform.home.packs.glob(f"lex-*/{ARCHIVE}")
    engine = load_engine("lex", _unpacked(archive, folder / "bot"), {})
    numbers = itertools.count()
    place = {"botId": bot, "botAliasId": "TSTALIASID", "localeId": "en_US"}

    def call() -> bytes:
        path = f"/bots/{bot}/botAliases/TSTALIASID/botLocales/en_US/sessions/n{next(numbers)}/text"
        return light.request("lex", path, {"text": SAID})

    return _Measured(
        operation="RecognizeText",
        model="a bot",
        bare=lambda: engine.answer("understand", [{"text": SAID, "today": "2026-11-28"}], {}),
        call=call,
        sdk=lambda: client.recognize_text(**place, sessionId=f"n{next(numbers)}", text=SAID),
    )


def _unpacked(archive: Path, folder: Path) -> Path:
    return folder if folder.exists() else unpack(archive, folder)


def _times(
    one: _Measured, light: Light, requests: int, block: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of bare model, call and AWS's client."""
    found: tuple[list[float], list[float], list[float]] = [], [], []
    for first in range(-WARM, requests, block):
        sent = iter([one.call() for _ in range(block)])
        ways = (one.bare, lambda: light.send(next(sent)), one.sdk)  # noqa: B023 - called below
        for times, ask in zip(found, ways, strict=True):
            for _ in range(block):
                began = time.perf_counter()
                ask()
                if first >= 0:
                    times.append(time.perf_counter() - began)
    return found


def _row(bare: Sequence[float], call: Sequence[float], sdk: Sequence[float]) -> dict[str, float]:
    half = [statistics.median(some) * 1e3 for some in (bare, call, sdk)]
    return {
        "bare_p50_ms": half[0],
        "call_p50_ms": half[1],
        "added_p50_ms": half[1] - half[0],
        "call_least_ms": min(call) * 1e3,
        "call_p99_ms": sorted(call)[len(call) * 99 // 100] * 1e3,
        "sdk_p50_ms": half[2],
        "bare_least_ms": min(bare) * 1e3,
        "sdk_least_ms": min(sdk) * 1e3,
    }


def latency_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line an operation."""
    found = Table(title="one caller, one connection, one short text")
    names = ("operation", "model", "asked")
    for heading in (*names, *COLUMNS):
        found.add_column(heading, justify="left" if heading in names else "right")
    for row in rows:
        figures = itertools.islice(row.items(), len(names), len(names) + len(COLUMNS))
        found.add_row(*(row[name] for name in names), *(f"{one:.2f} ms" for _, one in figures))
    return found
