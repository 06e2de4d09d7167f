"""``usage``: what the AI services were used for, and what it costs."""

import datetime
from typing import Annotated, Any

import typer

from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import CommandFailed, connect

_METRICS = ["UsageQuantity", "UnblendedCost"]


def usage(
    days: Annotated[
        int, typer.Option(help="So many days up to today, in UTC.", min=1, max=455)
    ] = 30,
    daily: Annotated[bool, typer.Option("--daily", help="A line for each day.")] = False,
    region: RegionOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the AI services were used for, and what it costs.

    The units are AWS's. The prices are AWS's public ones for us-east-1; a file prices.toml in the platform's home replaces
    any of them. The same figures come from Cost Explorer: aws ce get-cost-and-usage.
    """
    platform = connect(home, region=region)
    end = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    start = end - datetime.timedelta(days=days)
    answer = platform.client("ce").get_cost_and_usage(
        TimePeriod={"Start": start.isoformat(), "End": end.isoformat()},
        Granularity="DAILY" if daily else "MONTHLY",
        Metrics=_METRICS,
        GroupBy=[{"Type": "DIMENSION", "Key": key} for key in ("SERVICE", "USAGE_TYPE")],
    )
    rows = _rows(answer, daily=daily)
    if as_json:
        names = ("day", "service", "usage_type", "quantity", "unit", "cost")
        output.print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    output.print_table(
        ("DAY" if daily else "SINCE", "SERVICE", "USAGE", "QUANTITY", "UNIT", "USD"),
        rows,
        empty=f"No AI service was used in the last {days} days.",
    )


def _rows(answer: Any, *, daily: bool) -> list[tuple[str, str, str, str, str, str]]:
    rows = []
    for part in answer["ResultsByTime"]:
        for group in part["Groups"]:
            if len(group["Keys"]) != 2:
                raise CommandFailed(
                    "The platform answered in another form.", "Is it of this version?"
                )
            service, usage_type = group["Keys"]
            quantity, dollars = (group["Metrics"][name] for name in _METRICS)
            rows.append(
                (
                    part["TimePeriod"]["Start"],
                    service,
                    usage_type,
                    quantity["Amount"],
                    quantity["Unit"],
                    dollars["Amount"],
                )
            )
    return rows
