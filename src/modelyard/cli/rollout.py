"""``rollout``: look at an update of an endpoint, hold it, let it go on, hurry it, send it back."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from modelyard.cli import output, rollout_report
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import connect

app = typer.Typer(no_args_is_help=True, help="Watch and steer an endpoint's update.")
Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT")]


@app.command()
def status(
    endpoint: Endpoint,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stage, the share of the new version, and how long it still bakes."""
    platform = connect(home, region=region)
    query = urlencode({"endpoint": endpoint, "region": platform.region})
    found = json.loads(platform.own_call("GET", f"/_modelyard/rollouts?{query}"))
    if as_json:
        output.print_json(found)
        return
    output.console.print(
        f"{endpoint}: ", output.coloured(found["status"]), f" on {found['config']}"
    )
    if found["rollout"] is None:
        output.console.print(found["reason"] or "Nothing is being rolled out.")
        return
    _print(found["rollout"])


def _print(rollout: Mapping[str, Any]) -> None:
    held = ", held" if rollout["held"] else ""
    rows = [
        ("to", rollout["to"]),
        ("policy", rollout["policy"]),
        ("stage", f"{rollout['stage']} of {rollout['stages']}, {rollout['doing']}{held}"),
        ("baked", f"{rollout['baked_seconds']:.0f} of {rollout['bake_seconds']:.0f} seconds"),
        ("elapsed", f"{rollout['elapsed_seconds']:.0f} seconds"),
        ("alarms", ", ".join(rollout["alarms"]) or "none"),
    ]
    if rollout["dry_run_alarms"]:
        rows.append(("dry-run alarms", ", ".join(rollout["dry_run_alarms"])))
    if rollout["route_header"]:
        rows.append(("to the new one by", rollout["route_header"]))
    rows += list(_trials(rollout))
    rows += [
        ("would have gone back", f"in stage {stage}, by {name}")
        for name, stage in rollout["would_have_gone_back"].items()
    ]
    rows += [(f"share of {name}", f"{share:.0%}") for name, share in rollout["shares"].items()]
    if rollout["why_back"]:
        rows.append(("goes back", rollout["why_back"]))
    output.print_table(("", ""), rows, empty="")


def _trials(rollout: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What came of the test and the checks by now."""
    tested = rollout["test"]
    if rollout["tests"]:
        passed = f"passed, {tested['passed']} answers" if tested else "still to come"
        yield "test before traffic", (tested and tested.get("failure")) or passed
    for check in rollout["checks"]:
        newest = check["values"][-1] if check["values"] else None
        value = "no data yet" if newest is None else f"{newest:g}"
        counts = ", ".join(f"{check[name]} {name}" for name in ("passed", "failed", "inconclusive"))
        yield f"check {check['name']}", f"{check['rule']}: {value} ({counts})"
    if rollout["doubt"]:
        yield "in doubt", rollout["doubt"]


@app.command()
def report(
    endpoint: Endpoint,
    home: HomeOption = None,
    region: RegionOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every rollout that is kept, not the last alone.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write it as a page that needs no other file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what became of every request of a rollout, and why each step of it was taken."""
    platform = connect(home, region=region)
    query = urlencode({"endpoint": endpoint, "region": platform.region})
    found = json.loads(platform.own_call("GET", f"/_modelyard/rollouts/report?{query}"))
    if not every:
        found["rollouts"] = found["rollouts"][-1:]
    if html is not None:
        html.write_text(rollout_report.page(found), encoding="utf-8")
        output.notes.print(f"Written: {html}")
    if as_json:
        output.print_json(found)
    elif html is None:
        rollout_report.show(found)


@app.command()
def pause(endpoint: Endpoint, home: HomeOption = None, region: RegionOption = None) -> None:
    """Hold it where it is: the bake does not run on."""
    _tell(endpoint, "pause", home, region)


@app.command()
def resume(endpoint: Endpoint, home: HomeOption = None, region: RegionOption = None) -> None:
    """Let one go on that is held, or that waits at its gate or in doubt."""
    _tell(endpoint, "resume", home, region)


@app.command()
def promote(endpoint: Endpoint, home: HomeOption = None, region: RegionOption = None) -> None:
    """End this stage's bake now, and open the gate before it."""
    _tell(endpoint, "promote", home, region)


@app.command()
def abort(endpoint: Endpoint, home: HomeOption = None, region: RegionOption = None) -> None:
    """Send it back to the old version."""
    _tell(endpoint, "abort", home, region)


def _tell(endpoint: str, word: str, home: Any, region: str | None) -> None:
    platform = connect(home, region=region)
    query = urlencode({"endpoint": endpoint, "region": platform.region, "word": word})
    platform.own_call("POST", f"/_modelyard/rollouts?{query}")
    output.notes.print(f"Told. See: modelyard rollout status {endpoint}")
