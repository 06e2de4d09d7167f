"""``rehearse``: captured traffic against a candidate, before anybody's request meets it."""

import json
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from modelyard.base.ids import SeededRandom
from modelyard.cli import captured, output
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, Platform, connect
from modelyard.cli.replay import Fleet, Pace, Replay, candidate
from modelyard.domain.deployment import alarm_names, check_deployment, policy_of
from modelyard.domain.fleet import TOLERANCE_DEFAULT
from modelyard.domain.rehearsal import Exchange, Plan, rehearse
from modelyard.domain.rehearsal_report import report_of, requirements_of
from modelyard.domain.rehearsed_alarms import Fleets, Watched, watched_of
from modelyard.domain.rollout_tags import deciding

STOPPED = 3
"""Exit status of a candidate that would not have been promoted; 1 is a rehearsal that could not be held."""
LIMIT_MAX = 100_000
CALLERS_MAX = 64
Json = Mapping[str, Any]
MomentOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC.")
]


def command(  # the parameters are its options
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT")],
    config: Annotated[str, typer.Option("--candidate", help="Endpoint config to try.")],
    capture: Annotated[
        str, typer.Option("--capture", help="s3:// prefix of the endpoint's data capture.")
    ],
    deployment: Annotated[
        Path | None,
        typer.Option(
            "--deployment",
            help="JSON: the DeploymentConfig of the update.",
            show_default="the endpoint's last",
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, help="Captured seconds in a second; 0 does not wait.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    callers: Annotated[int, typer.Option(min=1, max=CALLERS_MAX, help="Requests at a time.")] = 8,
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="Requests, the oldest first.")
    ] = 10_000,
    after: MomentOption = None,
    before: MomentOption = None,
    recorded: Annotated[
        bool,
        typer.Option(
            "--recorded", help="Compare with the captured answers; do not ask the endpoint."
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Relative difference of numbers that still agree.")
    ] = TOLERANCE_DEFAULT,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="FIGURE<=BOUND", help="Such as agreement>=0.99."),
    ] = None,
    without_tags: Annotated[
        bool,
        typer.Option(
            "--without-tags",
            help="Leave out gates, dry runs, checks and the test that the endpoint's tags add.",
        ),
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure latencies; they differ from run to run.")
    ] = False,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay captured requests against a candidate and the fleet in service, and say what a rollout would do.

    The candidate runs on an endpoint of its own, which is deleted in the end. The same input gives the same report,
    to the byte. Exit status 3: the rollout would have been rolled back, or a requirement does not hold.
    """
    # Told to end, it ends as at Ctrl-C: with the candidate's endpoint deleted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    requirements = requirements_of(require or (), measured=latency)
    if recorded and latency:
        raise CommandFailed("--recorded has no latencies to compare with: leave out --latency.")
    stage = _Stage(connect(home, region=region), endpoint, config, measured=latency)
    tags = stage.tags()
    if tags and not without_tags:
        raise CommandFailed(
            f"Endpoint {endpoint} has {', '.join(tags)}: a rollout obeys them, a rehearsal cannot.",
            "Rehearse requests, answers and alarms alone: --without-tags",
        )
    plan, alarms = stage.plan(deployment)
    wanted = captured.Wanted(
        endpoint=endpoint,
        after=_epoch(after, 0.0),
        before=_epoch(before, float("inf")),
        limit=limit,
    )
    pace = Pace(speed=speed, callers=callers, seed=seed)
    exchanges, left_out = stage.replay(
        capture, wanted, pace, tolerance=tolerance, recorded=recorded
    )
    course = rehearse(exchanges, plan, SeededRandom(seed).uniform)
    report = {
        "endpoint": endpoint,
        "config": stage.fleets.old,
        "candidate": config,
        "compared_with": "captured answers" if recorded else "the fleet in service",
        "seed": seed,
        "policy": plan.policy.kind,
        "alarms": alarms,
        "tags_left_out": list(tags),
        "lines_left_out": left_out,
        **report_of(exchanges, course, requirements, tolerance=tolerance, measured=latency),
    }
    if as_json:
        output.print_json(report)
    else:
        _print(report)
    if report["verdict"] != "go":
        raise typer.Exit(STOPPED)


def _epoch(moment: datetime | None, otherwise: float) -> float:
    return otherwise if moment is None else moment.replace(tzinfo=UTC).timestamp()


class _Stage:
    """The endpoint, its candidate, and how the update would go."""

    def __init__(self, platform: Platform, endpoint: str, config: str, *, measured: bool) -> None:
        self._platform = platform
        self._sagemaker = platform.client("sagemaker")
        self._described = self._sagemaker.describe_endpoint(EndpointName=endpoint)
        self._config = self._sagemaker.describe_endpoint_config(EndpointConfigName=config)
        if self._described["EndpointStatus"] != "InService":
            raise CommandFailed(
                f"Endpoint {endpoint} is {self._described['EndpointStatus']}.",
                "Rehearse when it is InService: modelyard rollout status " + endpoint,
            )
        old = self._described["EndpointConfigName"]
        self.fleets = Fleets(endpoint=endpoint, old=old, new=config, measured=measured)

    def tags(self) -> tuple[str, ...]:
        """Those that decide about the endpoint's rollouts, and not about a rehearsal's."""
        pages = self._sagemaker.get_paginator("list_tags").paginate(
            ResourceArn=self._described["EndpointArn"]
        )
        return deciding([tag for page in pages for tag in page["Tags"]])

    def plan(self, file: Path | None) -> tuple[Plan, list[Json]]:
        """The rollout, and of each alarm of it whether it can be rehearsed."""
        deployment = self._deployment(file)
        new = {
            one["VariantName"]: one.get("InitialInstanceCount") or 1
            for one in self._config["ProductionVariants"]
        }
        check_deployment(deployment, new)
        old = {
            one["VariantName"]: one["DesiredInstanceCount"]
            for one in self._described["ProductionVariants"]
        }
        names = sorted(set(alarm_names(deployment)))
        watched: list[Watched] = []
        told: list[Json] = []
        for alarm in self._alarms(names):
            found = watched_of(alarm, self.fleets)
            is_watched = isinstance(found, Watched)
            told.append({"name": alarm["AlarmName"], "left_out": "" if is_watched else found})
            if isinstance(found, Watched):
                watched.append(found)
        plan = Plan(policy=policy_of(deployment), old=old, new=new, alarms=tuple(watched))
        return plan, told

    def _deployment(self, file: Path | None) -> Json:
        if file is None:
            last: Json = self._described.get("LastDeploymentConfig") or {}
            return last
        try:
            given = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise CommandFailed(f"Cannot read {file}: {error}.") from error
        if not isinstance(given, dict):
            raise CommandFailed(f"{file} is no DeploymentConfig: a JSON object.")
        return given

    def _alarms(self, names: list[str]) -> list[Json]:
        if not names:
            return []
        cloudwatch = self._platform.client("cloudwatch")
        found = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
        missing = sorted(set(names) - {one["AlarmName"] for one in found})
        if missing:
            raise CommandFailed(f"There is no alarm {', '.join(missing)}.")
        return sorted(found, key=lambda one: str(one["AlarmName"]))

    def replay(
        self, uri: str, wanted: captured.Wanted, pace: Pace, *, tolerance: float, recorded: bool
    ) -> tuple[list[Exchange], int]:
        """Both answers to every captured request, and how many lines were none."""
        name = self.fleets.endpoint
        old = Fleet(endpoint=name, weights=_weights(self._described, "CurrentWeight"))
        runtime = self._platform.client("sagemaker-runtime", max_pool_connections=pace.callers)
        with ExitStack() as stack:
            reading = output.notes.status(f"Reading {uri} …")
            with reading:
                spool = stack.enter_context(captured.read(self._platform.client("s3"), uri, wanted))
            if recorded and any(one.answer is None for one, _ in spool):
                raise CommandFailed("Some lines have no answer: leave out --recorded.")
            with output.notes.status(f"Starting the candidate {self.fleets.new} …"):
                asked = stack.enter_context(candidate(self._sagemaker, name, self.fleets.new))
            new = Fleet(endpoint=asked, weights=_weights(self._config, "InitialVariantWeight"))
            progress = stack.enter_context(Progress(console=output.notes, transient=True))
            bar = progress.add_task("Asking", total=len(spool))
            replay = Replay(runtime, None if recorded else old, new, pace=pace, tolerance=tolerance)
            exchanges = replay.run(spool, lambda: progress.advance(bar))
            return exchanges, spool.left_out


def _weights(described: Json, member: str) -> dict[str, float]:
    return {one["VariantName"]: one.get(member, 1.0) for one in described["ProductionVariants"]}


def _print(report: Json) -> None:
    answers, errors, rollout = report["answers"], report["errors"], report["rollout"]
    beyond = answers["beyond_tolerance"]
    agreement = "nothing to compare" if answers["agreement"] is None else (
        f"{answers['agreement']:.2%} ({answers['agreed']} of {answers['compared']})"
    )  # fmt: skip
    rows = [
        ("endpoint", f"{report['endpoint']} on {report['config']}"),
        ("candidate", report["candidate"]),
        ("captured", "{requests} requests, {first} to {last}".format(**report["capture"])),
        ("agreement", agreement),
        ("numeric drift", "none beyond the tolerance" if not beyond["numeric"] else
         f"p50 {beyond['p50']:g}, p99 {beyond['p99']:g}, max {beyond['max']:g} in {beyond['numeric']} answers"),
        ("errors now", _errors(errors["old"])),
        ("errors of the candidate", _errors(errors["new"])),
    ]  # fmt: skip
    rows += [
        (f"latency {name}", f"{old:.2f} ms now, {report['latency']['new'][name]:.2f} ms")
        for name, old in report.get("latency", {}).get("old", {}).items()
    ]
    output.print_table(("rehearsal", ""), rows, empty="")
    output.console.print()
    output.print_table(
        ("at", "stage", report["policy"], "candidate's share", "why"),
        [
            (
                f"+{event['seconds']} s",
                f"{event['stage']} of {event['stages']}",
                event["act"],
                ", ".join(f"{name} {share:.0%}" for name, share in event["shares"].items()),
                event["why"],
            )
            for event in rollout["events"]
        ],
        empty="",
    )
    _print_alarms(report)
    if report["tags_left_out"]:
        output.console.print(f"Left out: {', '.join(report['tags_left_out'])}.", soft_wrap=True)
    output.console.print()
    output.print_table(
        ("requirement", "value", ""),
        [
            (one["requirement"], one["value"], "holds" if one["met"] else "does not hold")
            for one in report["requirements"]
        ],
        empty="",
    )
    output.console.print()
    if report["verdict"] == "go":
        output.console.print("[green]Go:[/] it would be promoted.")
        return
    because = "; ".join(report["because"])
    output.console.print(Text.assemble(("Stop: ", "red"), because), soft_wrap=True)


def _errors(side: Json) -> str:
    return f"{side['share']:.2%} ({side['errors_4xx']} 4xx, {side['errors_5xx']} 5xx)"


def _print_alarms(report: Json) -> None:
    rings = report["rollout"]["rings"]
    rows = [(ring["alarm"], f"rings at {ring['seconds']:+} s", ring["reason"]) for ring in rings]
    rung = {ring["alarm"] for ring in rings}
    rows += [
        (one["name"], "is not rehearsed" if one["left_out"] else "is quiet", one["left_out"])
        for one in report["alarms"]
        if one["name"] not in rung
    ]
    output.console.print()
    output.print_table(("alarm", "", "why"), rows, empty="No alarm watches this rollout.")
