"""Rollouts of every kind under constant load while processes are killed: each request gets its own answer, once.

A handful by default. The long run, with its report for the documentation::

    MODELYARD_ROLLOUTS=100 MODELYARD_ROLLOUTS_REPORT=FILE \\
        pytest -o faulthandler_timeout=0 tests/crash/test_rollouts_under_crashes.py
"""

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.platform import CommandFailed, Platform
from modelyard.testing.candidates import (
    BUCKET,
    KEY,
    Callers,
    Candidate,
    archive,
    deployment,
    patiently,
    prepare,
    reasons_of,
)
from modelyard.testing.losses import PATIENTLY
from modelyard.testing.platform import command, running_platform

ENDPOINT = "rolled"
ROLLOUTS = int(os.environ.get("MODELYARD_ROLLOUTS", "6"))
SEED = int(os.environ.get("MODELYARD_SEED", "7"))
REPORT = os.environ.get("MODELYARD_ROLLOUTS_REPORT", "")
SETTLE_SECONDS = 180.0
VICTIMS = {"worker": 6, "control": 3, "gateway": 2, "host": 1, "objects": 1}
"""How often each is chosen."""
KILL_SECONDS = 5.0
"""The mean between two kills."""
KINDS = ("ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING", "SHADOW")
FIRST = Candidate(ENDPOINT, "ALL_AT_ONCE", "good", "first-")
BAD = ("errors", "slow", "crash", "wrong")


def candidates() -> list[Candidate]:
    """Good ones and those that cannot start first, so that a short run is quick; wrong ones only where they can be seen."""
    quick = [(kind, "good") for kind in KINDS] + [("CANARY", "crash")]
    rest = [
        (kind, behaviour)
        for kind in KINDS
        for behaviour in BAD
        if (kind == "SHADOW" or behaviour != "wrong") and (kind, behaviour) not in quick
    ]
    every = quick + rest + [(kind, "good") for kind in KINDS]
    return [Candidate(ENDPOINT, *every[n % len(every)], f"r{n}-") for n in range(ROLLOUTS)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("rolled") / "home"
    # A refusal for want of a worker is an error of the candidate to its alarm: a good one would go back for a slow host.
    options = ("--no-auth", "--gateways", "2", *PATIENTLY)
    with running_platform(home, *options) as platform:
        s3, sagemaker = platform.client("s3"), platform.client("sagemaker")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=archive())
        prepare(platform, FIRST, serving="")
        sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=FIRST.name)
        settled(platform)
        yield platform


def settled(platform: Platform) -> Any:
    """The endpoint when nothing moves, asked as long as it takes control to be back."""
    sagemaker = platform.client("sagemaker")
    end = time.monotonic() + SETTLE_SECONDS
    found: Any = None
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # of a process that has just been killed
            found = sagemaker.describe_endpoint(EndpointName=ENDPOINT)
            if found["EndpointStatus"] not in ("Creating", "Updating"):
                return found
        time.sleep(0.1)
    raise AssertionError(f"not settled: {found}")


def ledger_of(platform: Platform, config: str) -> Any:
    """The closed ledger of a rollout to this config."""
    end = time.monotonic() + SETTLE_SECONDS
    found: Any = None
    while time.monotonic() < end:
        with contextlib.suppress(CommandFailed, OSError, Exception):
            path = f"/_modelyard/rollouts/report?endpoint={ENDPOINT}&region={platform.region}"
            every = json.loads(platform.own_call("GET", path))["rollouts"]
            found = [one for one in every if one["to_config"] == config][-1]
            if found["closed"]:
                return found
        time.sleep(0.2)
    raise AssertionError(f"the ledger is not closed: {found}")


class Killer:
    """Kills a random process of the platform at random moments."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.killed: Counter[str] = Counter()
        self._platform = platform
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._random.expovariate(1 / KILL_SECONDS)):
            kind = self._random.choices([*VICTIMS], [*VICTIMS.values()])[0]
            with contextlib.suppress(Exception):  # it, or who tells of it, is down already
                if pids := self._pids(kind):
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.killed[kind] += 1

    def _pids(self, kind: str) -> list[int]:
        if kind != "worker":
            table = json.loads(self._platform.home.process_table.read_text())
            return [pid for name, pid in table.items() if name.startswith(kind)]
        # Without boto, which has its own ideas about threads; the platform asks for no signature.
        asked = http.client.HTTPConnection("127.0.0.1", self._platform.settings.port, timeout=10.0)
        with contextlib.closing(asked):
            asked.request("GET", "/_modelyard/status")
            status = json.loads(asked.getresponse().read())
        workers = [one for one in status["processes"] if one["name"].startswith("worker")]
        # One that has not been forked yet has no process id; and 0 would be the group of this very process.
        return [one["pid"] for one in workers if one["state"] == "ready" and one["pid"] > 1]


@pytest.mark.timeout(300 + 60 * ROLLOUTS)
def test_every_request_of_many_rollouts_gets_its_own_answer_once(
    platform: Platform, tmp_path: Path
) -> None:
    wanted = candidates()
    rows: list[dict[str, Any]] = []
    serving = (FIRST.name, FIRST.name)  # config, and the model that answers
    begun = time.monotonic()
    callers = Callers(platform.settings.port, ENDPOINT, count=8, pause=0.01)
    with callers, Killer(platform, SEED) as killer:
        for candidate in wanted:
            serving = roll_out(platform, candidate, serving, rows)
    totals = Counter[str]()
    for row in rows:
        for name in ("accepted", "left", "cut", "lost", "twice", "crossed"):
            totals[name] += row["ledger"]["totals"][name]
        totals["repeated"] += sum(
            row["ledger"]["totals"][fleet]["repeated"] for fleet in ("blue", "green")
        )
        totals["refused"] += sum(row["ledger"]["totals"]["refused"].values())
    summary = {
        "rollouts": len(rows),
        "seconds": round(time.monotonic() - begun, 1),
        "callers": {
            "requests": callers.requests,
            "outcomes": dict(callers.outcomes),
            "asked_again": dict(callers.asked_again),
            "lost": len(callers.lost),
            "twice": callers.twice,
            "crossed": len(callers.crossed),
            "slowest_seconds": round(callers.slowest, 2),
        },
        "ledgers": dict(totals),
        "killed": dict(killer.killed),
        "seed": SEED,
        "rows": rows,
    }
    report = Path(REPORT) if REPORT else tmp_path / "report.json"
    report.write_text(json.dumps(summary, indent=1))
    assert callers.lost == [], summary["callers"]
    assert callers.crossed == [], summary["callers"]
    assert callers.twice == 0
    assert totals["lost"] == totals["twice"] == totals["crossed"] == 0, totals
    assert callers.requests > 20 * ROLLOUTS
    page = report.with_suffix(".html")
    told = command(
        "rollout", "report", ENDPOINT, "--all", "--html", str(page), home=platform.home.root
    )
    assert told.returncode == 0, told.stderr
    assert wanted[-1].name in page.read_text()


def roll_out(
    platform: Platform,
    candidate: Candidate,
    serving: tuple[str, str],
    rows: list[dict[str, Any]],
) -> tuple[str, str]:
    """Roll one candidate out; the config and the model that serve then."""
    config, model = serving
    prepare(platform, candidate, serving=model)
    patiently(
        lambda: platform.client("sagemaker").update_endpoint(
            EndpointName=ENDPOINT,
            EndpointConfigName=candidate.name,
            DeploymentConfig=deployment(candidate),
        )
    )
    last = settled(platform)
    ledger = ledger_of(platform, candidate.name)
    rows.append({"candidate": candidate.name, "ledger": ledger})
    balance = ledger["totals"]
    ended = balance["blue"]["answered"] + balance["green"]["answered"] + balance["left"]
    ended += sum(balance["refused"].values()) + balance["cut"] + balance["lost"]
    assert balance["accepted"] == ended, "every request that was accepted is accounted for"
    assert last["EndpointStatus"] == "InService"
    if candidate.behaviour == "good":
        assert (last["EndpointConfigName"], ledger["outcome"]) == (candidate.name, "promoted"), last
        return candidate.name, model if candidate.kind == "SHADOW" else candidate.name
    assert (last["EndpointConfigName"], ledger["outcome"]) == (config, "rolled back"), last
    assert any(one in last["FailureReason"] for one in reasons_of(candidate)), last
    return serving
