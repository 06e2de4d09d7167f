"""``python -m benchmarks ai-services``: what a synchronous call costs beside its bare model, and mixed requests under kills."""

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import ai_latencies
from modelyard.ai.apertium import MODES
from modelyard.cli.platform import Platform
from modelyard.testing import counting_bot, tagged_documents
from modelyard.testing.losses import wait_for
from modelyard.testing.mixed_requests import (
    ANSWERED,
    Asked,
    Kind,
    Storm,
    booked_ids,
    conversation_kind,
    custom_kind,
    kill_one,
    misbooked,
    small_sentiment,
    text_kinds,
    translation_kind,
)
from modelyard.testing.platform import command, running_platform

ROLE = "arn:aws:iam::123456789012:role/ModelyardExecutionRole"
VICTIMS = ("0", "1", "2", "control", "3", "4")
"""Workers by their place in the list, and control; in turn."""


@contextmanager
def _platform(*options: str) -> Iterator[tuple[Platform, Path]]:
    with tempfile.TemporaryDirectory(prefix="ai-services-") as name:
        folder = Path(name)
        with running_platform(folder / "home", *options) as platform:
            yield platform, folder


def latencies(requests: int, console: Console, *, with_packs: bool) -> list[dict[str, Any]]:
    """As ``ai_latencies.latencies``, on a platform of its own."""
    with _platform() as (platform, folder):
        return ai_latencies.latencies(platform, folder, requests, console, with_packs=with_packs)


def storm(
    requests: int, callers: int, every: int, console: Console, *, seconds: float
) -> dict[str, Any]:
    """Mixed requests with a process killed after each ``every`` answers; the report. Bounded by ``seconds``."""
    with _platform() as (platform, folder):
        kinds = _kinds(platform, folder, console)
        for kind in kinds:
            # Its model is hosted, as one that is in use is. No other request has this number.
            kind.ask(platform.client(kind.service), requests)
        before = booked_ids(platform.home)
        killed: Counter[str] = Counter()
        victims = itertools.cycle(VICTIMS)
        began = time.monotonic()
        with Storm(platform, kinds, count=requests, callers=callers, seconds=seconds) as running:
            for wanted in range(every, requests, every):
                wait_for(
                    lambda wanted=wanted: running.done or len(running.asked) >= wanted,  # type: ignore[misc]
                    f"{wanted} answers",
                )
                if running.done:
                    break
                killed[_noun(kill_one(platform, next(victims)))] += 1
        report = _report(running.asked, time.monotonic() - began)
        report |= {"callers": callers, "killed": dict(killed)}
        report["misbooked"] = misbooked(platform.home, running.asked, before)
    return report


def _noun(name: str) -> str:
    return "control" if name == "control" else "workers"


def _kinds(platform: Platform, folder: Path, console: Console) -> list[Kind]:
    small_sentiment(platform, folder / "sentiment")
    bot = counting_bot.build(platform.client("lexv2-models"))
    kinds = [*text_kinds(), custom_kind(_recogniser(platform)), conversation_kind(bot)]
    if Path(MODES, "eng-spa.mode").exists():
        done = command(
            "models", "install", "apertium-en-es", "--accept-license", home=platform.home.root
        )
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        kinds.append(translation_kind())
    else:
        console.print("without TranslateText: Apertium's English and Spanish are not installed")
    return kinds


def _recogniser(platform: Platform) -> str:
    """The ARN of an endpoint of a recogniser that is trained here."""
    documents = tagged_documents.tagged_documents(180, seed=1)
    s3, comprehend = platform.client("s3"), platform.client("comprehend")
    s3.create_bucket(Bucket="storm")
    files = {
        "docs.txt": tagged_documents.documents_file(documents),
        "notes.csv": tagged_documents.annotations_file(documents, "docs.txt"),
    }
    for name, text in files.items():
        s3.put_object(Bucket="storm", Key=name, Body=text.encode())
    arn = comprehend.create_entity_recognizer(
        RecognizerName="staff",
        DataAccessRoleArn=ROLE,
        LanguageCode="en",
        InputDataConfig={
            "EntityTypes": [{"Type": one} for one in tagged_documents.TYPES],
            "Documents": {"S3Uri": "s3://storm/docs.txt"},
            "Annotations": {"S3Uri": "s3://storm/notes.csv"},
        },
    )["EntityRecognizerArn"]

    def status() -> str:
        found = comprehend.describe_entity_recognizer(EntityRecognizerArn=arn)
        return str(found["EntityRecognizerProperties"]["Status"])

    wait_for(lambda: status() not in ("SUBMITTED", "TRAINING"), "the training's end")
    made = comprehend.create_endpoint(EndpointName="staff", ModelArn=arn, DesiredInferenceUnits=1)
    return str(made["EndpointArn"])


def _report(asked: Sequence[Asked], seconds: float) -> dict[str, Any]:
    kinds = {}
    for name in dict.fromkeys(one.kind for one in asked):
        mine = [one for one in asked if one.kind == name]
        times = sorted(one.seconds for one in mine)
        kinds[name] = {
            "requests": len(mine),
            **Counter(one.outcome for one in mine),
            "repeated": sum(one.attempts > 1 for one in mine),
            "p50_ms": times[len(times) // 2] * 1e3,
            "p99_ms": times[len(times) * 99 // 100] * 1e3,
            "slowest_s": times[-1],
        }
    reasons = Counter(one.detail for one in asked if one.outcome != ANSWERED)
    return {
        "requests": len(asked),
        "answered": sum(one.outcome == ANSWERED for one in asked),
        "seconds": seconds,
        "reasons": dict(reasons),
        "kinds": kinds,
    }


def storm_table(report: dict[str, Any]) -> Table:
    """One line a kind of request."""
    found = Table(
        title=f"{report['requests']:,} mixed requests by {report['callers']} callers in {report['seconds']:.0f} s; "
        f"killed: {report['killed']}"
    )
    names = ("requests", "answered", "wrong", "refused", "broken", "repeated")
    for heading in ("operation", *names, "p50", "p99", "slowest"):
        found.add_column(heading, justify="left" if heading == "operation" else "right")
    for kind, row in report["kinds"].items():
        found.add_row(
            kind, *(f"{row.get(name, 0):,}" for name in names), f"{row['p50_ms']:.0f} ms",
            f"{row['p99_ms']:.0f} ms", f"{row['slowest_s']:.1f} s",
        )  # fmt: skip
    return found
