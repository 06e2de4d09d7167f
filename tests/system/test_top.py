"""``modelyard top``: what endpoints do, through the command."""

import json
import time
from typing import Any

from modelyard.cli.platform import Platform
from modelyard.testing.platform import command


def test_top_shows_requests_latencies_and_replicas(platform: Platform, booster: Any) -> None:
    home = platform.home.root
    assert command("deploy", str(booster.archive), "--name", "watched", home=home).returncode == 0
    runtime = platform.client("sagemaker-runtime")

    def line() -> dict[str, Any]:
        runtime.invoke_endpoint(
            EndpointName="watched", ContentType="text/csv", Body=booster.csv.read_bytes()
        )
        found = json.loads(command("top", "--json", home=home).stdout)
        (one,) = [one for one in found if one["endpoint"] == "watched"]
        return dict(one)

    end = time.monotonic() + 60
    while not (seen := line())["rate"]:
        assert time.monotonic() < end, seen
    assert (seen["status"], seen["variant"], seen["instances"]) == ("InService", "AllTraffic", 1)
    assert seen["rate"] > 0
    assert 0 < seen["p50_ms"] <= seen["p99_ms"] < 60_000
    assert seen["errors"] == 0
    shown = command("top", "--once", home=home)
    assert shown.returncode == 0
    assert "watched" in shown.stdout
    platform.client("sagemaker").delete_endpoint(EndpointName="watched")
