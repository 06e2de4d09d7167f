"""A bad candidate by each kind of rollout: an alarm sends it back, and the report says which, from which figures."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli.platform import Platform
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
        yield roll_out(platform)


def roll_out(platform: Platform) -> dict[str, Any]:
    sagemaker = platform.client("sagemaker")
    for candidate in JUDGED:
        sagemaker.create_endpoint(EndpointName=candidate.endpoint, EndpointConfigName=GOOD.name)
        prepare(platform, candidate, serving=GOOD.name)
    for candidate in JUDGED:
        settled(sagemaker, candidate.endpoint)
    found = {}
    with contextlib.ExitStack() as stack:
        callers = {}
        for candidate in JUDGED:
            load = Callers(platform.settings.port, candidate.endpoint, count=2, pause=0.03)
            callers[candidate.name] = stack.enter_context(load)
            sagemaker.update_endpoint(
                EndpointName=candidate.endpoint,
                EndpointConfigName=candidate.name,
                DeploymentConfig=deployment(candidate),
            )
        for candidate in JUDGED:
            last = settled(sagemaker, candidate.endpoint)
            query = f"endpoint={candidate.endpoint}&region={platform.region}"
            told = platform.own_call("GET", f"/_modelyard/rollouts/report?{query}")
            (ledger,) = json.loads(told)["rollouts"]
            found[candidate.name] = (last, ledger, callers[candidate.name])
    return found


def settled(sagemaker: Any, name: str) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] not in ("Creating", "Updating"):
            return found
        time.sleep(0.2)
    raise AssertionError(f"{name} did not settle: {found}")


@pytest.mark.timeout(600)
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
