"""``python -m benchmarks failover``: each kind of process, and a whole zone, killed under load; what callers saw of it."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelyard.cli.platform import Platform
from modelyard.testing import losses
from modelyard.testing.models import doubling_model
from modelyard.testing.platform import command, running_platform

CALLERS, REPLICAS = 16, 4
VICTIMS = ("worker", "every worker", "host", "gateway-0", "control", "objects", "zone b")
OPTIONS = ("--zones", "2", "--gateways", "2", "--standby", "--no-auth")
AFTER_SECONDS = 2.0


def measure(rounds: int, console: Console, *, plain: bool = False) -> list[dict[str, object]]:
    """A row for each loss: what callers saw, when an API call was answered again, when all was whole.

    ``plain`` is a platform as it starts by default: one process of each kind, one zone.
    """
    options = ("--no-auth",) if plain else OPTIONS
    victims = [victim for victim in VICTIMS if not (plain and victim.startswith("zone"))]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="failover-") as name:
        folder = Path(name)
        with running_platform(folder / "home", *options) as platform:
            deployed = command(
                "deploy", str(doubling_model(folder / "double.onnx")), "--name", "double",
                "--count", str(REPLICAS), home=platform.home.root,
            )  # fmt: skip
            if deployed.returncode != 0:
                raise SystemExit(deployed.stderr)
            for _ in range(rounds):
                for victim in victims:
                    console.print(f"losing {victim}")
                    rows.append(_lose(platform, victim))
    return rows


def _lose(platform: Platform, victim: str) -> dict[str, object]:
    losses.wait_for(lambda: losses.is_whole(platform, REPLICAS), "a whole platform")
    sagemaker = platform.client("sagemaker")
    with losses.Callers(platform, "double", count=CALLERS) as callers:
        losses.wait_for(lambda: callers.since(0.0) > 50 * CALLERS, "load")
        pids = losses.victims(platform, victim)
        killed_at = losses.kill(pids)
        sagemaker.describe_endpoint(EndpointName="double")
        api_seconds = time.monotonic() - killed_at
        losses.wait_for(lambda: losses.is_whole(platform, REPLICAS), "a whole platform")
        whole_seconds = time.monotonic() - killed_at
        losses.wait_for(lambda: time.monotonic() - killed_at > AFTER_SECONDS, "a little time")
    seen = losses.summary(victim, callers.answers, killed_at)
    if seen.other:
        raise SystemExit(
            f"{victim}: {seen.other} requests had another's answer, or an error of no kind"
        )
    return {**asdict(seen), "api_seconds": api_seconds, "whole_seconds": whole_seconds}


def table(rows: Sequence[dict[str, object]]) -> Table:
    """The worst of all rounds, a line for each kind of loss."""
    found = Table(
        title=f"{CALLERS} callers without retries, {REPLICAS} replicas; the worst round of each"
    )
    for heading in ("lost", "refused (503)", "connections cut", "wrong", "window", "slowest answer",
                    "API answers after", "whole after"):  # fmt: skip
        found.add_column(heading, justify="left" if heading == "lost" else "right")
    for victim in VICTIMS:
        mine = [row for row in rows if row["victim"] == victim]
        if mine:
            found.add_row(victim, *(_worst(mine, name) for name in (
                "refused", "broken", "other", "window_seconds", "slowest_seconds", "api_seconds",
                "whole_seconds")))  # fmt: skip
    return found


def _worst(rows: Sequence[dict[str, object]], name: str) -> str:
    values = [value for row in rows if isinstance(value := row[name], int | float)]
    worst = max(values)
    return f"{worst * 1000:,.0f} ms" if name.endswith("_seconds") else f"{worst:,}"
