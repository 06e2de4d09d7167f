"""``python -m benchmarks.rollouts REPORT.json``: the page of the documentation about a long run of rollouts under crashes.

The report is what ``tests/crash/test_rollouts_under_crashes.py`` writes.
"""

import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_POLICIES = {
    "all-at-once": "all at once",
    "canary": "canary",
    "linear": "linear",
    "rolling": "rolling",
    "shadow": "shadow",
}
_FAULTS = {
    "good": "good",
    "errors": "a third of its requests fail",
    "slow": "400 ms instead of 3",
    "crash": "cannot start",
    "wrong": "wrong answers, seen by comparison alone",
}


def page(report: Json) -> str:
    """Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Json) -> Iterator[str]:
    callers, ledgers, killed = report["callers"], report["ledgers"], report["killed"]
    yield f"# {_spelled(report['rollouts'])} rollouts under fire"
    yield ""
    yield (
        f"One endpoint, {report['rollouts']} updates one after the other in {report['seconds'] / 60:.0f} minutes: every kind of "
        "rollout, with good candidates and with bad ones. Meanwhile eight callers ask without a break, each with numbers "
        f"of its own, and about every five seconds a process is killed (`SIGKILL`): {_listed(killed)}. "
        "The platform has two gateways."
    )
    yield ""
    yield "```bash"
    yield f"MODELYARD_ROLLOUTS={report['rollouts']} MODELYARD_ROLLOUTS_REPORT=report.json \\"
    yield (
        "    .venv/bin/python -m pytest -o faulthandler_timeout=0 tests/crash/test_rollouts_under_crashes.py"
    )
    yield "python -m benchmarks.rollouts report.json    # this page"
    yield "```"
    yield ""
    yield "## What callers saw"
    yield ""
    yield "| | |"
    yield "|---|---:|"
    yield f"| requests | {callers['requests']:,} |"
    for outcome, count in sorted(callers["outcomes"].items()):
        yield f"| {_outcome(outcome)} | {count:,} |"
    for why, count in sorted(callers["asked_again"].items()):
        yield f"| asked again: {why} | {count:,} |"
    yield f"| **lost**: no answer within 90 seconds | **{callers['lost']}** |"
    yield f"| **answered twice**: bytes behind the answer | **{callers['twice']}** |"
    yield f"| **crossed**: somebody else's number | **{callers['crossed']}** |"
    yield f"| slowest answer, asking again included | {callers['slowest_seconds']:.1f} s |"
    yield ""
    yield "## What the ledgers say"
    yield ""
    yield "Gateways entered every request that came while something was being rolled out, and struck it off with how it ended:"
    yield ""
    yield "| | |"
    yield "|---|---:|"
    for name, text in (
        ("accepted", "accepted"),
        ("refused", "refused, with a reason"),
        ("left", "the caller left"),
        ("cut", "cut off: their gateway was killed (each was asked again, see above)"),
        ("repeated", "executed again after a worker's death, and answered once"),
        ("lost", "**lost**"),
        ("twice", "**answered twice**"),
        ("crossed", "**crossed**"),
    ):
        yield f"| {text} | {ledgers.get(name, 0):,} |"
    yield ""
    yield "## What became of the candidates"
    yield ""
    yield "| policy | candidate | rollouts | outcome | median time | reason |"
    yield "|---|---|---:|---|---:|---|"
    yield from _candidates(report["rows"])
    yield ""
    yield (
        "Good candidates bake for a second, so that the run is short; a bad one bakes until the next ten-second period of an "
        "alarm has closed, at most two minutes. One that cannot start never gets a request. "
        "The last ten rollouts with every decision, as `modelyard rollout report --all --html` writes them: "
        "[the report](../gallery/rollouts.html)."
    )


def _candidates(rows: list[Json]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for row in rows:
        _, _, name = row["candidate"].partition("-")
        policy, _, fault = name.rpartition("-")
        groups[policy, fault].append(row["ledger"])
    order = [(policy, fault) for policy in _POLICIES for fault in _FAULTS]
    for policy, fault in sorted(groups, key=order.index):
        ledgers = groups[policy, fault]
        outcomes = Counter(one["outcome"] for one in ledgers)
        seconds = statistics.median(one["ended"] - one["began"] for one in ledgers)
        reason = ledgers[-1]["reason"].split("\n")[0][:110].replace("|", "\\|")
        yield (
            f"| {_POLICIES[policy]} | {_FAULTS[fault]} | {len(ledgers)} | {_listed(outcomes)} | {seconds:.1f} s | {reason} |"
        )


def _outcome(name: str) -> str:
    texts = {
        "own answer": "their own answer",
        "error 424": "the candidate's own error (`ModelError`)",
        "wrong answer": "a wrong answer of a candidate",
    }
    return texts.get(name, name)


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        (name,) = counts
        return f"all {name}" if counts[name] > 1 else name
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _spelled(count: int) -> str:
    return "A hundred" if count == 100 else str(count)


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text())), end="")
