"""``python -m benchmarks COMMAND``: ours, peers and limits; ``--help`` lists the commands."""

import itertools
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import (
    ai_latencies,
    ai_services,
    environments,
    instructions,
    overload,
    results,
    starting,
)
from benchmarks import batch as batch_systems
from benchmarks import endpoints as many_endpoints
from benchmarks import failover as losses
from benchmarks import idle as idling
from benchmarks import soak as soaking
from benchmarks.load import measure
from benchmarks.models import load_case
from benchmarks.results import Row
from benchmarks.systems import NotHere, System, systems

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(width=130)
MODELS = environments.ROOT / ".cache" / "benchmarks"
SHORT = ("nginx constant", "nginx + raw server", "modelyard", "modelyard signed")
LIMIT = "nginx constant"
Connections = Annotated[list[int], typer.Option("--connections", "-c")]


@app.command()
def online(
    only: Annotated[list[str], typer.Option("--only", help="A system's name; repeat it.")] = [],  # noqa: B006
    connections: Connections = [1, 16, 64],  # noqa: B006
    case: Annotated[list[str], typer.Option("--model", help="tiny or heavy.")] = ["tiny", "heavy"],  # noqa: B006
    seconds: Annotated[float, typer.Option(help="Of each run.")] = 8.0,
    rounds: Annotated[int, typer.Option(help="Runs of each; medians are shown.")] = 3,
    short: Annotated[
        bool, typer.Option("--short", help="Ours and the limits, two minutes.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of the JSON and the pictures.")] = Path(
        "build/benchmarks"
    ),
) -> None:
    """Invocations: one JSON row of 30 features, the same ONNX model for all."""
    every = systems()
    names = list(only) or (list(SHORT) if short else list(every))
    if short:
        seconds, rounds, case = 4.0, 2, ["tiny"]
    unknown = [name for name in names if name not in every]
    if unknown:
        sys.exit(f"No such system: {', '.join(unknown)}. There are: {', '.join(every)}")
    runs: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    total = rounds * len(case) * len(names)
    with Progress(console=console) as progress:
        task = progress.add_task("measuring", total=total)
        for _, case_name, name in itertools.product(range(rounds), case, names):
            progress.update(task, description=f"{case_name}: {name}")
            for row in _run(every[name], case_name, connections, seconds):
                runs[case_name, name, row.figures.connections].append(row)
            progress.advance(task)
    rows = [results.median_row(found) for found in runs.values()]
    for case_name in case:
        console.print(results.table(rows, case_name, LIMIT))
    output.mkdir(parents=True, exist_ok=True)
    versions = {
        system.name: environments.versions(system.environment)
        for system in every.values()
        if system.environment and any(row.system == system.name for row in rows)
    }
    results.write_json(output / "online.json", rows, versions)
    for case_name in case:
        widest = max(connections)
        shown = [row for row in rows if row.case == case_name and row.figures.connections == widest]
        title = f"{case_name} model, requests/s at {widest} connections"
        if shown:
            (output / f"online-{case_name}.svg").write_text(results.picture(shown, title))
    console.print(f"written to {output}")


def _run(system: System, case_name: str, connections: list[int], seconds: float) -> list[Row]:
    case = load_case(case_name, MODELS)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        began = time.monotonic()
        try:
            with system.run(case, folder) as running:
                start = time.monotonic() - began
                measure(running.target, case, connections=16, seconds=1, folder=folder)  # warm
                for count in connections:
                    figures = measure(
                        running.target, case, connections=count, seconds=seconds, folder=folder
                    )
                    rows.append(
                        Row(
                            system=system.name,
                            case=case_name,
                            figures=figures,
                            runs=1,
                            memory_mib=running.memory_mib(),
                            start_seconds=start,
                        )
                    )
        except NotHere as reason:
            console.print(f"[yellow]{system.name} is left out: {reason}")
    return rows


@app.command()
def batch(
    rows: Annotated[int, typer.Option(help="Of 30 columns.")] = 1_000_000,
    only: Annotated[list[str], typer.Option("--only", help="A system's name; repeat it.")] = [],  # noqa: B006
    rounds: int = 3,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """Batch transform of a CSV, against the usual ways to score a file."""
    found = batch_systems.compare(
        load_case("tiny", MODELS), MODELS, rows, list(only), rounds, console
    )
    console.print(batch_systems.table(found))
    output.mkdir(parents=True, exist_ok=True)
    batch_systems.write_json(output / "batch.json", found)


@app.command()
def failover(
    rounds: Annotated[int, typer.Option(help="Of each loss; the worst is shown.")] = 3,
    plain: Annotated[bool, typer.Option("--plain", help="One process of each kind.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """Every kind of process, and a whole zone, lost under load."""
    rows = losses.measure(rounds, console, plain=plain)
    console.print(losses.table(rows))
    output.mkdir(parents=True, exist_ok=True)
    (output / "failover.json").write_text(json.dumps(rows, indent=2))


@app.command(name="ai-services")
def measure_ai_services(
    requests: Annotated[int, typer.Option(help="Mixed ones, under kills.")] = 10_000,
    callers: Annotated[int, typer.Option(help="At once.")] = 8,
    every: Annotated[int, typer.Option(help="Answers between two kills.")] = 250,
    seconds: Annotated[float, typer.Option(help="No request begins later.")] = 900.0,
    calls: Annotated[int, typer.Option(help="Of each operation, for the latency; 0: none.")] = 300,
    packs: Annotated[bool, typer.Option(help="Install packs for the latency.")] = True,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """What a call costs beside its bare model; and mixed requests while workers and control are killed."""
    output.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    if calls:
        rows = ai_services.latencies(calls, console, with_packs=packs)
        console.print(ai_latencies.latency_table(rows))
        found["latencies"] = rows
    if requests:
        report = ai_services.storm(requests, callers, every, console, seconds=seconds)
        console.print(ai_services.storm_table(report))
        console.print(f"not answered: {report['reasons'] or 'none'}")
        console.print(f"wrong in the book of usage: {report['misbooked'] or 'nothing'}")
        found["storm"] = report
    (output / "ai-services.json").write_text(json.dumps(found, indent=2))


@app.command(name="instructions")
def count_instructions(
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """What a request costs each process, in instructions: comparable between commits on the busiest machine."""
    table = Table("process", "instructions a request", "")
    found: dict[str, int] = {}
    for part, about in instructions.PARTS.items():
        found[part] = instructions.measure(part).instructions
        table.add_row(part, f"{found[part]:,}", about)
    console.print(table)
    output.mkdir(parents=True, exist_ok=True)
    (output / "instructions.json").write_text(json.dumps(found, indent=2))


@app.command()
def endpoints(
    count: Annotated[int, typer.Option(help="How many.")] = 1_000,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """Many serverless endpoints: created, listed, asleep, woken."""
    with Progress(console=console) as progress:
        found = many_endpoints.measure(load_case("tiny", MODELS), count, progress)
    half, most = len(found.woken) // 2, len(found.woken) * 99 // 100
    table = Table("figure", f"{found.endpoints:,} endpoints")
    table.add_row("created, until all are InService", f"{found.created_seconds:.1f} s")
    table.add_row("listed, 100 a page", f"{found.listed_seconds:.2f} s")
    table.add_row("memory of the platform without them", f"{found.memory_before:.0f} MiB")
    table.add_row("with all of them asleep", f"{found.memory_asleep:.0f} MiB")
    table.add_row("so each costs", f"{found.kib_each:.0f} KiB")
    table.add_row("first answer of one asleep, p50", f"{found.woken[half] * 1e3:.0f} ms")
    table.add_row("first answer of one asleep, p99", f"{found.woken[most] * 1e3:.0f} ms")
    table.add_row("its second answer, p50", f"{found.awake[half] * 1e3:.1f} ms")
    table.add_row("each asked once, by 4 callers", f"{found.round_seconds:.1f} s")
    console.print(table)
    output.mkdir(parents=True, exist_ok=True)
    (output / "endpoints.json").write_text(json.dumps(asdict(found), indent=2))


@app.command()
def idle(
    seconds: Annotated[float, typer.Option(help="That are watched.")] = 60.0,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """A platform on which nothing happens: memory, CPU and wake-ups by process."""
    found = idling.measure(seconds)
    table = Table("process", "memory", "CPU", "wakes/s")
    for one in found:
        cpu, wakes = f"{one.cpu_percent:.2f} %", f"{one.wakes_per_second:.1f}"
        table.add_row(one.name, f"{one.memory_mib:.1f} MiB", cpu, wakes)
    memory, cpu = sum(one.memory_mib for one in found), sum(one.cpu_percent for one in found)
    table.add_row("together", f"{memory:.1f} MiB", f"{cpu:.2f} %", "")
    console.print(table)
    output.mkdir(parents=True, exist_ok=True)
    (output / "idle.json").write_text(json.dumps([asdict(one) for one in found], indent=2))


@app.command(name="overload")
def overloaded(
    only: Annotated[list[str], typer.Option("--only", help="A system's name; repeat it.")] = [  # noqa: B006
        "modelyard",
        "modelyard signed",
    ],
    case: Annotated[str, typer.Option("--model", help="tiny or heavy.")] = "heavy",
    factor: Annotated[float, typer.Option(help="Of its capacity, as load.")] = 2.0,
    seconds: Annotated[float, typer.Option(help="Of each phase.")] = 20.0,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """More load than can be answered: what is answered still, and how soon the rest is refused."""
    table = Table(
        "", "capacity/s", "offered/s", "answered/s", "of capacity", "p50", "p99", "refused/s",
        "refused p99", "broken", title=f"{case} model, {factor:g} times capacity for {seconds:g} s",
    )  # fmt: skip
    found = {}
    for name in only:
        at, over = overload.measure(
            systems()[name], load_case(case, MODELS), factor=factor, seconds=seconds
        )
        found[name] = overload.figures(at, over)
        table.add_row(name, *overload.shown(found[name]))
    console.print(table)
    output.mkdir(parents=True, exist_ok=True)
    (output / "overload.json").write_text(json.dumps(found, indent=2))


@app.command()
def soak(
    name: Annotated[str, typer.Option("--system", help="Its name.")] = "modelyard",
    minutes: Annotated[float, typer.Option(help="Of load.")] = 10.0,
    seconds: Annotated[float, typer.Option(help="Of a slice.")] = 15.0,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """Load at the limit for minutes: whether memory stays, and nothing fails."""
    count, found = max(1, round(minutes * 60 / seconds)), []
    with Progress(console=console) as progress:
        task = progress.add_task(f"loading {name}", total=count)
        case = load_case("tiny", MODELS)
        for one in soaking.slices(systems()[name], case, count=count, seconds=seconds):
            found.append(one)
            progress.advance(task)
    table = Table("minute", "requests/s", "p99", "p99.9", "errors", "memory")
    for number, one in enumerate(found, 1):
        table.add_row(
            f"{number * seconds / 60:.2f}", f"{one.rate:,.0f}", f"{one.p99_ms:.1f} ms",
            f"{one.p999_ms:.1f} ms", f"{one.errors}", f"{one.memory_mib:.1f} MiB",
        )  # fmt: skip
    console.print(table)
    requests = sum(one.rate for one in found) * seconds
    errors = sum(one.errors for one in found)
    growth = soaking.growth_mib([one.memory_mib for one in found])
    console.print(f"{requests:,.0f} requests, {errors} errors, memory {growth:+.1f} MiB")
    output.mkdir(parents=True, exist_ok=True)
    (output / "soak.json").write_text(json.dumps([asdict(one) for one in found], indent=2))


@app.command()
def start(
    rounds: Annotated[int, typer.Option(help="Endpoints, one after the other.")] = 20,
    output: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("build/benchmarks"),
) -> None:
    """A new endpoint, and one more replica of it: how long until it answers."""
    with Progress(console=console) as progress:
        found = starting.measure(load_case("tiny", MODELS), rounds, progress)
    table = Table("from the call", "p50", "worst")
    rows = {
        "CreateEndpoint, until it is InService": found.in_service,
        "CreateEndpoint, until the first answer": found.first_answer,
        "UpdateEndpointWeightsAndCapacities, until one more replica answers": found.further_replica,
    }
    for about, seconds in rows.items():
        half = seconds[len(seconds) // 2]
        table.add_row(about, f"{half * 1e3:.0f} ms", f"{seconds[-1] * 1e3:.0f} ms")
    console.print(table)
    output.mkdir(parents=True, exist_ok=True)
    (output / "start.json").write_text(json.dumps(asdict(found), indent=2))


if __name__ == "__main__":
    app()
