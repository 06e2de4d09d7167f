"""Every kind of process, and a whole zone, lost under load by callers that repeat nothing."""

from collections.abc import Iterator

import pytest

from modelyard.cli.platform import Platform
from modelyard.testing import losses
from modelyard.testing.models import doubling_model
from modelyard.testing.platform import command, running_platform

CALLERS, REPLICAS = 6, 4
HOLDS_CONNECTIONS = ("gateway-0", "zone b")
"""Whatever a process was asked and had not answered ends with its connections."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("available")
    options = ("--zones", "2", "--gateways", "2", "--standby", "--no-auth", *losses.PATIENTLY)
    with running_platform(folder / "home", *options) as platform:
        deployed = command(
            "deploy", str(doubling_model(folder / "double.onnx")), "--name", "double",
            "--count", str(REPLICAS), home=platform.home.root,
        )  # fmt: skip
        assert deployed.returncode == 0, deployed.stderr
        yield platform


def test_replicas_are_spread_over_the_zones(platform: Platform) -> None:
    # A zone whose host was slow to begin gets its part a moment later.
    losses.wait_for(lambda: losses.is_whole(platform, REPLICAS), "a whole platform")
    zones = [row["zone"] for row in losses.workers(platform)]
    assert sorted(zones) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    "victim",
    ["worker", "every worker", "host", "objects", "control", "gateway-0", "zone b", "control"],
)
def test_a_loss_under_load_loses_no_request(platform: Platform, victim: str) -> None:
    losses.wait_for(lambda: losses.is_whole(platform, REPLICAS), "a whole platform")
    sagemaker = platform.client("sagemaker", retries=losses.PATIENT)
    with losses.Callers(platform, "double", count=CALLERS) as callers:
        losses.wait_for(lambda: callers.since(0.0) > 50, "load")
        killed_at = losses.kill(losses.victims(platform, victim))
        described = sagemaker.describe_endpoint(EndpointName="double")
        losses.wait_for(lambda: callers.since(killed_at) > 500, "answers after the loss")
        losses.wait_for(lambda: losses.is_whole(platform, REPLICAS), "a whole platform")
    seen = losses.summary(victim, callers.answers, killed_at)
    print(seen)
    assert described["EndpointStatus"] == "InService"
    assert seen.other == 0, "neither answered nor refused, or somebody else's answer"
    if victim in HOLDS_CONNECTIONS:
        assert seen.broken <= CALLERS
    else:
        assert (seen.broken, seen.refused) == (0, 0)
