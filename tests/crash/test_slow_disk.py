"""A disk that takes a second for each commit: writes are late and kept, what runs does not notice, status says so."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelyard.cli.platform import Platform
from modelyard.testing import losses
from modelyard.testing.models import doubling_model
from modelyard.testing.platform import command, running_platform

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/double"
QUICK_COMMITS = 40
"""Enough to deploy; each further one is slow."""
WRITERS = 12
CALLERS = 4


def facts(platform: Platform) -> dict[str, str]:
    found: dict[str, str] = json.loads(platform.own_call("GET", "/_modelyard/status"))["facts"]
    return found


def test_a_slow_disk_delays_writes_and_nothing_else(tmp_path: Path) -> None:
    slow = {"MODELYARD_FAILPOINTS": f"store.before-commit=slow:{QUICK_COMMITS}"}
    with running_platform(
        tmp_path / "home", "--no-auth", *losses.PATIENTLY, environment=slow
    ) as platform:
        home = platform.home.root
        model = doubling_model(tmp_path / "double.onnx")
        deployed = command("deploy", str(model), "--name", "double", "--count", "2", home=home)
        assert deployed.returncode == 0, deployed.stderr
        sagemaker = platform.client("sagemaker")

        def tag(number: int) -> None:
            sagemaker.add_tags(ResourceArn=ARN, Tags=[{"Key": f"t{number}", "Value": "v"}])

        for number in range(QUICK_COMMITS):
            tag(number % 10)
            if "a write took" in facts(platform)["Disk"]:
                break
        with losses.Callers(platform, "double", count=CALLERS) as callers:
            losses.wait_for(lambda: callers.since(0.0) > 50, "answers")
            with ThreadPoolExecutor(WRITERS) as pool:
                answered = 0
                while answered <= 100:
                    began = callers.since(0.0)
                    list(pool.map(tag, range(20, 20 + WRITERS)))
                    during = callers.since(0.0) - began
                    assert during > 2 * CALLERS, "who asks waits for who writes"
                    answered += during
            killed_at = losses.kill(losses.victims(platform, "worker"))
            losses.wait_for(lambda: callers.since(killed_at) > 100, "answers after a loss")
            losses.wait_for(lambda: losses.is_whole(platform, 2), "a whole platform")
        seen = losses.summary("worker", callers.answers, 0.0)
        assert (seen.refused, seen.broken, seen.other) == (0, 0, 0)
        assert "slow, a write took" in facts(platform)["Disk"]
        tags = {one["Key"] for one in sagemaker.list_tags(ResourceArn=ARN)["Tags"]}
        assert {f"t{number}" for number in range(20, 20 + WRITERS)} <= tags
