"""A simulation of scaling as an SVG picture: load against capacity, replicas, and how long requests waited."""

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from modelyard.domain.scaling.simulation import ROW_SECONDS, Report, Row

WIDTH, PANEL, GAP = 960, 150, 46
_LEFT, _RIGHT, _TOP = 64, 16, 54
_POINTS_MAX = 960
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#444}.title{font-size:15px;font-weight:600;fill:#111}
.grid{stroke:#e4e4e7}.load{fill:none;stroke:#2563eb;stroke-width:1.5}.can{fill:#dbeafe;stroke:none}
.want{fill:none;stroke:#f59e0b;stroke-width:1.5;stroke-dasharray:4 3}.have{fill:none;stroke:#059669;stroke-width:2}
.wait{fill:none;stroke:#dc2626;stroke-width:1.5}.not{stroke:#d4d4d8}.out{stroke:#059669}.in{stroke:#f59e0b}
""".strip()


@dataclass(frozen=True, slots=True)
class _Panel:
    top: float
    highest: float
    started_at: float
    seconds: float

    def x(self, moment: float) -> float:
        return _LEFT + (moment - self.started_at) / self.seconds * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.top + PANEL * (1 - min(value, self.highest) / self.highest)


def draw(report: Report, *, rate: float, title: str) -> str:
    """``rate``: requests a second that one replica serves."""
    rows = list(_thinned(report.rows))
    seconds = max(1.0, report.ended_at - report.started_at)
    height = _TOP + 3 * PANEL + 3 * GAP
    loads = [row.arrived / ROW_SECONDS for row in rows]
    panels = [
        _Panel(_TOP + n * (PANEL + GAP), _nice(highest), report.started_at, seconds)
        for n, highest in enumerate(
            (
                max(*loads, *(row.in_service * rate for row in rows)),
                max(row.desired for row in rows),
                max(row.latency for row in rows),
            )
        )
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>',
    ]
    names = (
        "Requests a second (line) and what the replicas can serve (area)",
        "Replicas in service (line) and desired (dashed); a mark is a scaling activity",
        "Longest wait for an answer, seconds",
    )
    for panel, name in zip(panels, names, strict=True):
        parts += _frame(panel, name)
    parts += _marks(panels[1], report)
    can = [row.in_service * rate for row in rows]
    parts.append(_area(panels[0], rows, can))
    parts.append(_line(panels[0], rows, loads, "load"))
    parts.append(_line(panels[1], rows, [row.desired for row in rows], "want"))
    parts.append(_line(panels[1], rows, [row.in_service for row in rows], "have"))
    parts.append(_line(panels[2], rows, [row.latency for row in rows], "wait"))
    parts += _times(panels[2], report)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _thinned(rows: Sequence[Row]) -> Iterator[Row]:
    """At most so many rows as there are pixels; of several the one with the longest wait."""
    size = math.ceil(len(rows) / _POINTS_MAX)
    for start in range(0, len(rows), size):
        yield max(rows[start : start + size], key=lambda row: row.latency)


def _nice(highest: float) -> float:
    """The end of a scale: 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * 0.999)


def _frame(panel: _Panel, name: str) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="{panel.top - 8:.0f}">{escape(name)}</text>'
    for share in (0.0, 0.5, 1.0):
        value = panel.highest * share
        y = panel.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'


def _marks(panel: _Panel, report: Report) -> Iterator[str]:
    counts = {row.at: row.desired for row in report.rows}
    for one in report.activities:
        x = panel.x(one.started_at)
        before = counts.get(one.started_at // ROW_SECONDS * ROW_SECONDS - ROW_SECONDS, 0)
        wanted = one.description.rstrip(".").rpartition(" ")[2]
        kind = "not"
        if one.is_scaled and wanted.isdecimal():
            kind = "out" if int(wanted) >= before else "in"
        y = panel.top + PANEL
        yield (
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y + 7:.1f}">'
            f"<title>{escape(one.description)} {escape(one.cause)}</title></line>"
        )


def _line(panel: _Panel, rows: Sequence[Row], values: Sequence[float], kind: str) -> str:
    points = " ".join(
        f"{panel.x(row.at):.1f},{panel.y(value):.1f}"
        for row, value in zip(rows, values, strict=True)
    )
    return f'<polyline class="{kind}" points="{points}"/>'


def _area(panel: _Panel, rows: Sequence[Row], values: Sequence[float]) -> str:
    points = " ".join(
        f"{panel.x(row.at):.1f},{panel.y(value):.1f}"
        for row, value in zip(rows, values, strict=True)
    )
    base = panel.y(0)
    first, last = panel.x(rows[0].at), panel.x(rows[-1].at)
    return f'<polygon class="can" points="{first:.1f},{base:.1f} {points} {last:.1f},{base:.1f}"/>'


def _times(panel: _Panel, report: Report) -> Iterator[str]:
    for share in range(9):
        moment = report.started_at + panel.seconds * share / 8
        text = dt.datetime.fromtimestamp(moment, tz=dt.UTC).strftime("%H:%M")
        y = panel.top + PANEL + 18
        yield f'<text x="{panel.x(moment):.1f}" y="{y:.0f}" text-anchor="middle">{text}</text>'
