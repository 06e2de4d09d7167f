"""What was measured, as a table with ratios, as JSON, and as a picture for the docs."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from rich.table import Table

from benchmarks.load import Figures

BAR, GAP, LABEL, WIDTH = 20, 8, 170, 720


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system at one number of connections: medians over its runs."""

    system: str
    case: str
    figures: Figures
    memory_mib: float
    start_seconds: float
    runs: int


def median_row(rows: Sequence[Row]) -> Row:
    """Of repeated runs, each figure's median; errors add up."""
    first = rows[0]
    names = ("rate", "p50", "p99", "p999")
    middle = {name: statistics.median(getattr(row.figures, name) for row in rows) for name in names}
    errors = sum(row.figures.errors for row in rows)
    figures = Figures(connections=first.figures.connections, errors=errors, **middle)
    return Row(
        system=first.system,
        case=first.case,
        figures=figures,
        memory_mib=statistics.median(row.memory_mib for row in rows),
        start_seconds=statistics.median(row.start_seconds for row in rows),
        runs=len(rows),
    )


def table(rows: Sequence[Row], case: str, against: str) -> Table:
    """One line a system and number of connections; the ratio is to ``against`` at the same number."""
    shown = Table(title=f"{case} model", title_justify="left")
    for heading in ("system", "connections", "requests/s", f"of {against}", "p50 ms", "p99 ms",
                    "p99.9 ms", "errors", "MiB", "start s"):  # fmt: skip
        shown.add_column(heading, justify="left" if heading == "system" else "right")
    limits = {
        row.figures.connections: row.figures.rate
        for row in rows
        if row.system == against and row.case == case
    }
    for row in rows:
        if row.case != case:
            continue
        figures = row.figures
        limit = limits.get(figures.connections)
        shown.add_row(
            row.system,
            str(figures.connections),
            f"{figures.rate:,.0f}",
            f"{figures.rate / limit:.2f}" if limit else "",
            f"{figures.p50:.2f}",
            f"{figures.p99:.2f}",
            f"{figures.p999:.2f}",
            str(figures.errors),
            f"{row.memory_mib:,.0f}",
            f"{row.start_seconds:.1f}",
        )
    return shown


def write_json(path: Path, rows: Sequence[Row], versions: dict[str, dict[str, str]]) -> None:
    """Everything, with what it was measured on."""
    machine = {"python": platform.python_version(), "system": platform.platform()}
    document = {"machine": machine, "versions": versions, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def picture(rows: Sequence[Row], title: str) -> str:
    """Requests per second as bars, an SVG without scripts or fonts of others."""
    most = max(row.figures.rate for row in rows)
    height = 40 + len(rows) * (BAR + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for place, row in enumerate(rows):
        top = 34 + place * (BAR + GAP)
        length = (WIDTH - LABEL - 90) * row.figures.rate / most
        colour = "#2563eb" if row.system.startswith("modelyard") else "#94a3b8"
        lines += [
            f'<text x="{LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(row.system)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{top + 15}">{row.figures.rate:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
