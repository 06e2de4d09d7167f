"""``simulate scaling``: what policies would do to a day of traffic, in seconds, by the code that runs live."""

import json
import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from modelyard.base.errors import ServiceError
from modelyard.cli import output, scaling_picture
from modelyard.cli.options import JsonOption
from modelyard.cli.platform import CommandFailed
from modelyard.cli.scenario import Bounds, read_scenario
from modelyard.domain.scaling import traces
from modelyard.domain.scaling.alarm_evaluation import evaluate
from modelyard.domain.scaling.load_model import Replica
from modelyard.domain.scaling.simulation import Report, Row, simulate, to_json

_TABLE_ROWS = 24
_ACTIVITIES_SHOWN = 40

app = typer.Typer(no_args_is_help=True, help="Try a change on a simulated clock.")


@app.callback()
def _group() -> None:
    """Try a change on a simulated clock, by the code that runs live."""


@app.command("scaling")
def scaling(
    policy: Annotated[
        Path, typer.Option("--policy", help="JSON: a target tracking configuration, or a scenario.")
    ],
    trace: Annotated[Path, typer.Option("--trace", help="CSV with the header time,requests.")],
    low: Annotated[int | None, typer.Option("--min", help="Smallest capacity.")] = None,
    high: Annotated[int | None, typer.Option("--max", help="Largest capacity.")] = None,
    initial: Annotated[int | None, typer.Option("--initial", help="Capacity at first.")] = None,
    seconds: Annotated[
        float, typer.Option("--seconds-per-request", min=1e-6, help="Work of one request.")
    ] = 0.1,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests that a replica serves at a time.")
    ] = 1,
    startup: Annotated[
        float, typer.Option("--startup-seconds", min=0, help="Until a new replica serves.")
    ] = 5.0,
    price: Annotated[
        float, typer.Option("--dollars-per-hour", min=0, help="Price of a replica.")
    ] = 0.0,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw a picture.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a trace of traffic against scaling policies: replicas, queue, latency and cost over time.

    The planner and the alarms are those of the platform; only the clock and the replicas are simulated. The same
    input gives the same output, to the byte.
    """
    replica = Replica(
        seconds=seconds,
        concurrency=concurrency,
        startup_seconds=startup,
        dollars_per_hour=price,
    )
    traffic = _read_trace(trace)
    bounds = Bounds(low=low, high=high, initial=initial)
    scenario = read_scenario(policy, replica, bounds, start=float(traffic.starts[0]))
    report = simulate(scenario, traffic, evaluate)
    if svg is not None:
        title = f"{policy.name} on {trace.name}"
        svg.write_text(scaling_picture.draw(report, rate=replica.rate, title=title))
    if as_json:
        typer.echo(json.dumps(to_json(report), indent=2, sort_keys=True))
        return
    _print(report)
    if svg is not None:
        output.console.print(f"Picture: {svg}", markup=False, soft_wrap=True)


def _read_trace(path: Path) -> traces.Trace:
    try:
        return traces.parse(path.read_text())
    except OSError as error:
        raise CommandFailed(f"Cannot read {path}: {error.strerror}.", "") from None
    except (ServiceError, UnicodeDecodeError) as error:
        message = error.message if isinstance(error, ServiceError) else "it is no text"
        raise CommandFailed(f"{path}: {message}", "") from None


def _print(report: Report) -> None:
    output.print_table(
        ("Time (UTC)", "Requests/s", "Replicas", "Queue", "Longest wait", "Refused"),
        [_cells(rows) for rows in _grouped(report.rows)],
        empty="The trace is empty.",
    )
    output.console.print()
    changes = [one for one in report.activities if one.is_scaled]
    output.print_table(
        ("Time (UTC)", "Status", "What", "Why"),
        [
            (_time(one.started_at), one.status, one.description, one.cause)
            for one in changes[:_ACTIVITIES_SHOWN]
        ],
        empty="Nothing was scaled.",
    )
    if len(changes) > _ACTIVITIES_SHOWN:
        output.console.print(f"and {len(changes) - _ACTIVITIES_SHOWN} more: --json")
    output.console.print()
    reasons = Counter(
        one.code or one.message.partition(" has ")[0]
        for one in report.activities
        if not one.is_scaled
    )
    output.print_table(
        ("Times", "Not scaled, because (--json says when)"),
        [(count, reason) for reason, count in reasons.most_common()],
        empty="",
    )
    output.console.print()
    for name, value in report.summary.items():
        shown_value = "no answer" if value is None else f"{value:,}"
        output.console.print(f"{name.replace('_', ' '):24}{shown_value}", markup=False)


def _grouped(rows: list[Row]) -> list[list[Row]]:
    """At most 24 groups of minutes."""
    size = max(1, math.ceil(len(rows) / _TABLE_ROWS))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _cells(rows: list[Row]) -> tuple[str, ...]:
    arrived = math.fsum(row.arrived for row in rows) / (60.0 * len(rows))
    low, high = (pick(row.in_service for row in rows) for pick in (min, max))
    return (
        _time(rows[0].at),
        f"{arrived:,.2f}",
        str(low) if low == high else f"{low}-{high}",
        f"{max(row.queue for row in rows):,.0f}",
        f"{max(row.latency for row in rows):.2f} s",
        f"{math.fsum(row.refused for row in rows):,.0f}",
    )


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%m-%d %H:%M:%S")
