"""A bad candidate by each kind of rollout: an alarm sends it back, and the report says which, from which figures."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.platform import Platform, connect
from modelyard.testing.candidates import (
    BUCKET,
    KEY,
    PATIENCE_SECONDS,
    Callers,
    Candidate,
    archive,
    deployment,
    prepare,
    reasons_of,
)
from modelyard.testing.platform import running_platform

JUDGED = [
    Candidate("at-once", "ALL_AT_ONCE", "slow"),
    Candidate("canary", "CANARY", "errors"),
    Candidate("linear", "LINEAR", "slow"),
    Candidate("rolling", "ROLLING", "errors"),
    Candidate("shadow", "SHADOW", "wrong"),
    Candidate("crash", "LINEAR", "crash"),
]
GOOD = Candidate("all", "ALL_AT_ONCE", "good", "first-")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The endpoint, its ledger and its callers, by candidate: all rolled out at the same time, as bakes take long."""
    home: Path = tmp_path_factory.mktemp("judged") / "home"
    with running_platform(home, "--no-auth") as platform:
        s3 = platform.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=archive())
        prepare(platform, GOOD, serving="")
        with ThreadPoolExecutor(len(JUDGED)) as pool:
            # A session of boto's own for each thread: they may not share one.
            found = pool.map(lambda candidate: roll_out(connect(home), candidate), JUDGED)
            yield dict(zip((one.name for one in JUDGED), found, strict=True))


def roll_out(platform: Platform, candidate: Candidate) -> Any:
    sagemaker, name = platform.client("sagemaker"), candidate.endpoint
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=GOOD.name)
    settled(sagemaker, name)
    prepare(platform, candidate, serving=GOOD.name)
    with Callers(platform.settings.port, name, count=2, pause=0.03) as callers:
        sagemaker.update_endpoint(
            EndpointName=name,
            EndpointConfigName=candidate.name,
            DeploymentConfig=deployment(candidate),
        )
        last = settled(sagemaker, name)
        path = f"/_modelyard/rollouts/report?endpoint={name}&region={platform.region}"
        (ledger,) = json.loads(platform.own_call("GET", path))["rollouts"]
    return last, ledger, callers


def settled(sagemaker: Any, name: str) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] not in ("Creating", "Updating"):
            return found
        time.sleep(0.2)
    raise AssertionError(f"{name} did not settle: {found}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("candidate", JUDGED, ids=lambda one: one.name)
def test_a_bad_candidate_is_sent_back_with_a_reason_that_can_be_read(
    judged: dict[str, Any], candidate: Candidate
) -> None:
    last, ledger, callers = judged[candidate.name]
    assert (last["EndpointStatus"], last["EndpointConfigName"]) == ("InService", GOOD.name)
    assert any(one in last["FailureReason"] for one in reasons_of(candidate)), last
    assert (ledger["outcome"], ledger["reason"]) == ("rolled back", last["FailureReason"])
    decision = next(
        one for one in ledger["decisions"] if one["act"] in ("rolled back", "going back")
    )
    rang = [alarm["name"] for alarm in decision["alarms"] if alarm["state"] == "ALARM"]
    assert bool(rang) == (candidate.behaviour != "crash")
    for alarm in decision["alarms"]:
        assert alarm["state"] != "ALARM" or "Threshold Crossed" in alarm["reason"]
    assert (callers.lost, callers.crossed, callers.twice) == ([], [], 0)
    if candidate.kind == "SHADOW":
        assert set(callers.outcomes) == {"own answer"}, "no caller saw a wrong answer"
        assert decision["totals"]["green"]["disagreed"] > 0
