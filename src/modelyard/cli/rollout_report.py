"""A rollout's ledger for people: as tables on the terminal, and as a page that needs no other file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from modelyard.cli import output

Json = Mapping[str, Any]
Rows = Sequence[tuple[str, ...]]
_FLEETS = (("answered by the old fleet", "blue"), ("answered by the new fleet", "green"))
_DECISION_COLUMNS = ("at", "stage", "decision", "new fleet's share", "why", "old: answered, errors, p99",
                     "new: answered, errors, p99", "alarms")  # fmt: skip
_CHECK_COLUMNS = ("check", "has to hold", "passed", "failed", "no data", "newest values", "of")
_FLEET_COLUMNS = ("", "old fleet", "new fleet", "difference")


def show(report: Json) -> None:
    """Print every rollout of a report."""
    if not report["rollouts"]:
        output.notes.print("Nothing has been rolled out on this endpoint.")
    for ledger in report["rollouts"]:
        output.print_table(("rollout", ""), headline(ledger), empty="")
        output.console.print()
        output.print_table(("requests", "count"), requests(ledger), empty="")
        output.console.print()
        output.print_table(_FLEET_COLUMNS, fleets(ledger), empty="")
        output.console.print()
        if ledger["checks"]:
            output.print_table(_CHECK_COLUMNS, checks(ledger), empty="")
            output.console.print()
        output.print_table(_DECISION_COLUMNS, decisions(ledger, alarm=_alarm_briefly), empty="")
        output.console.print()


def headline(ledger: Json) -> Rows:
    """What it was, and how it ended."""
    ended = ledger["ended"] or (ledger["decisions"][-1]["at"] if ledger["decisions"] else 0.0)
    rows = [
        ("from", ledger["from_config"]),
        ("to", ledger["to_config"]),
        ("policy", ledger["kind"]),
        ("outcome", ledger["outcome"]),
        ("because", ledger["reason"]),
        ("began", _moment(ledger["began"])),
        ("took", f"{max(0.0, ended - ledger['began']):.1f} seconds"),
        ("ledger", "closed" if ledger["closed"] else "open: requests are still on their way"),
    ]
    tested = ledger["test"]
    if tested is not None:
        rows.append(("test before traffic", _tested(tested)))
    if ledger["left_out"]:
        rows.append(("left out", f"{ledger['left_out']} decisions before the last one"))
    return [(name, value) for name, value in rows if value]


def _tested(tested: Json) -> str:
    """Its requests are not among those of callers."""
    answers = f"{tested['passed']} of {tested['sent']} answers were as they should be"
    return f"{answers}, the slowest in {tested.get('slowest_ms', 0.0):.0f} ms"


def checks(ledger: Json) -> Rows:
    """What came of each."""
    return [
        (
            one["name"],
            one["rule"],
            *(str(one[name]) for name in ("passed", "failed", "inconclusive")),
            ", ".join("none" if value is None else f"{value:g}" for value in one["values"][-5:]),
            ", ".join(f"{name} {value:g}" for name, value in sorted(one["inputs"].items())),
        )
        for one in ledger["checks"]
    ]


def requests(ledger: Json) -> Rows:
    """The balance: all that was accepted, and what became of it."""
    totals = ledger["totals"]
    rows = [("accepted", totals["accepted"])]
    rows += [(f"  {text}", totals[fleet]["answered"]) for text, fleet in _FLEETS]
    rows += [(f"  refused: {code}", count) for code, count in sorted(totals["refused"].items())]
    rows += [
        ("  the caller left", totals["left"]),
        ("  cut off: their gateway was killed", totals["cut"]),
    ]
    if not ledger["closed"]:
        rows.append(("  in flight", totals["in_flight"]))
    rows += [
        ("lost", totals["lost"]),
        ("answered twice", totals["twice"]),
        ("crossed", totals["crossed"]),
        ("executed again after a worker's death", sum(totals[f]["repeated"] for _, f in _FLEETS)),
    ]
    return [(text, str(count)) for text, count in rows]


def fleets(ledger: Json) -> Rows:
    """Latencies and errors of both, and their differences."""
    blue, green = ledger["totals"]["blue"], ledger["totals"]["green"]
    rows: list[tuple[str, ...]] = [("answered", str(blue["answered"]), str(green["answered"]), "")]
    for name in ("errors_4xx", "errors_5xx"):
        shares = [
            100 * one[name] / one["answered"] if one["answered"] else 0.0 for one in (blue, green)
        ]
        cells = [
            f"{one[name]} ({share:.2f} %)" for one, share in zip((blue, green), shares, strict=True)
        ]
        rows.append((name.replace("_", " "), *cells, f"{shares[1] - shares[0]:+.2f} points"))
    for name, text in (("mean_ms", "mean"), ("p50_ms", "p50"), ("p99_ms", "p99")):
        old, new = blue[name], green[name]
        both = blue["answered"] and green["answered"]
        rows.append(
            (
                f"model latency, {text}",
                f"{old:.2f} ms",
                f"{new:.2f} ms",
                f"{new - old:+.2f} ms" if both else "",
            )
        )
    if blue["compared"] or green["compared"]:
        cells = [f"{one['disagreed']} of {one['compared']}" for one in (blue, green)]
        rows.append(("a shadow's answers that disagreed", *cells, ""))
    return rows


def decisions(ledger: Json, *, alarm: Callable[[Json], str] | None = None) -> Rows:
    """Each with what was known when it was taken; ``alarm`` writes an alarm, by default with all that is known of it."""
    write = alarm or _alarm
    return [
        (
            f"+{max(0.0, one['at'] - ledger['began']):.1f} s",
            f"{one['stage']} of {one['stages']}",
            one["act"],
            ", ".join(f"{name} {share:.0%}" for name, share in one["shares"].items()),
            one["why"],
            _so_far(one["totals"]["blue"]),
            _so_far(one["totals"]["green"]),
            "; ".join(write(seen) for seen in one["alarms"]) or "none",
        )
        for one in ledger["decisions"]
    ]


def _so_far(figures: Json) -> str:
    errors = figures["errors_4xx"] + figures["errors_5xx"]
    compared = (
        f", {figures['disagreed']} of {figures['compared']} disagree" if figures["compared"] else ""
    )
    return f"{figures['answered']}, {errors}, {figures['p99_ms']:.2f} ms{compared}"


def _alarm(alarm: Json) -> str:
    values = ", ".join(f"{value:g}" for value in alarm["values"]) or "no data"
    reason = f". {alarm['reason']}" if alarm["reason"] else ""
    return f"{alarm['name']} {alarm['state']} ({alarm['rule']}; newest: {values}){reason}"


def _alarm_briefly(alarm: Json) -> str:
    newest = f" {alarm['values'][-1]:g}" if alarm["values"] else ""
    return f"{alarm['name']} {alarm['state']}{newest}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def page(report: Json) -> str:
    """The report as HTML."""
    parts = [f"<h1>Rollouts of {escape(report['endpoint'])}</h1>"]
    for ledger in reversed(report["rollouts"]):
        parts += _section(ledger)
    if not report["rollouts"]:
        parts.append("<p>Nothing has been rolled out on this endpoint.</p>")
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rollouts of {escape(report["endpoint"])}</title>
<style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def _section(ledger: Json) -> Iterator[str]:
    yield f'<section class="{"good" if ledger["outcome"] == "promoted" else "bad"}">'
    yield f"<h2>{escape(ledger['from_config'])} → {escape(ledger['to_config'])}: {escape(ledger['outcome'])}</h2>"
    yield _table((), headline(ledger))
    yield _picture(ledger)
    yield "<h3>Every request</h3>"
    yield _table(("", "count"), requests(ledger))
    yield "<h3>Old and new</h3>"
    yield _table(_FLEET_COLUMNS, fleets(ledger))
    if ledger["checks"]:
        yield "<h3>Checks</h3>"
        yield _table(_CHECK_COLUMNS, checks(ledger))
    yield "<h3>Every decision, and what it was taken from</h3>"
    yield _table(_DECISION_COLUMNS, decisions(ledger))
    yield "</section>"


def _table(columns: Sequence[str], rows: Rows) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def _picture(ledger: Json) -> str:
    """The new fleet's share of the traffic over time."""
    taken = ledger["decisions"]
    seconds = max(1e-6, (ledger["ended"] or taken[-1]["at"]) - ledger["began"]) if taken else 1.0
    points = []
    share = 0.0
    for one in taken:
        x = 40 + 600 * min(1.0, max(0.0, one["at"] - ledger["began"]) / seconds)
        points.append(f"{x:.1f},{110 - 90 * share:.1f}")
        share = max(one["shares"].values(), default=0.0)
        points.append(f"{x:.1f},{110 - 90 * share:.1f}")
    points.append(f"640,{110 - 90 * share:.1f}")
    return (
        '<svg viewBox="0 0 660 130" role="img" aria-label="Share of the new fleet over time">'
        '<line x1="40" y1="110" x2="640" y2="110"/><line x1="40" y1="20" x2="40" y2="110"/>'
        f'<polyline points="{" ".join(points)}"/><text x="4" y="24">100 %</text><text x="16" y="114">0 %</text>'
        f'<text x="600" y="126">{seconds:.0f} s</text></svg>'
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5dae0; --new: #0a7f6f; --bad: #b3372f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #15181b; --line: #3a4047; --new: #3cc3ae; --bad: #f0857d; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
section { border-left: 4px solid var(--new); padding-left: 1rem; margin: 2rem 0; }
section.bad { border-color: var(--bad); }
table { border-collapse: collapse; margin: .5rem 0 1rem; display: block; overflow-x: auto; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; text-align: left; }
td, th { vertical-align: top; white-space: pre-wrap; }
svg { width: 100%; max-width: 44rem; font-size: 11px; fill: var(--ink); } svg line { stroke: var(--line); }
svg polyline { fill: none; stroke: var(--new); stroke-width: 2.5; }
"""
