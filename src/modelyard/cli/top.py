"""``top``: what every endpoint does now. Asks DescribeEndpoint, GetMetricData and DescribeScalableTargets, as anybody could."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelyard.cli import output
from modelyard.cli.options import HomeOption, JsonOption, RegionOption
from modelyard.cli.platform import Platform, connect

PERIOD_SECONDS = 10
REFRESH_SECONDS = 2.0
ENDPOINTS_MAX = 100
_WIDTH = 200
_DOING_CHARACTERS = 60
_WINDOW = timedelta(seconds=6 * PERIOD_SECONDS)
_METRICS = {
    "rate": ("Invocations", "Sum"),
    "p50_ms": ("ModelLatency", "p50"),
    "p99_ms": ("ModelLatency", "p99"),
    "errors": ("InvocationModelErrors", "Average"),
    "in_flight": ("ConcurrentRequestsPerModel", "Average"),
}
"""What is shown of a variant: metric and statistic."""
_SCALE = {"rate": 1 / PERIOD_SECONDS, "p50_ms": 1e-3, "p99_ms": 1e-3, "errors": 100.0}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant of one endpoint. ``rate`` in requests a second, ``errors`` in percent; None: nothing was measured."""

    endpoint: str
    status: str
    variant: str
    weight: float
    instances: int
    desired: int
    scaling: str
    rate: float | None
    p50_ms: float | None
    p99_ms: float | None
    errors: float | None
    in_flight: float | None
    doing: str


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    home: HomeOption = None,
    region: RegionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch endpoints: requests, latencies, errors, replicas, scaling and rollouts. Ctrl-C ends it."""
    watcher = _Watcher(connect(home, region=region))
    if as_json:
        output.print_json([asdict(line) for line in watcher.lines()])
        return
    if once:
        # Into a file or a pipe, lines are as long as they have to be.
        width = None if output.console.is_terminal else _WIDTH
        output.console.print(_shown(watcher.lines()), width=width, crop=False)
        return
    with Live(console=output.console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_shown(watcher.lines()), refresh=True)
            time.sleep(REFRESH_SECONDS)


class _Watcher:
    def __init__(self, platform: Platform) -> None:
        self._sagemaker = platform.client("sagemaker")
        self._cloudwatch = platform.client("cloudwatch")
        self._scaling = platform.client("application-autoscaling")

    def lines(self) -> list[Line]:
        """Every variant, endpoints by name."""
        found = self._sagemaker.list_endpoints(
            SortBy="Name", SortOrder="Ascending", MaxResults=ENDPOINTS_MAX
        )["Endpoints"]
        described = []
        for one in found:
            try:
                described.append(
                    self._sagemaker.describe_endpoint(EndpointName=one["EndpointName"])
                )
            except self._sagemaker.exceptions.ClientError:
                continue  # deleted a moment ago
        variants = [
            (endpoint, variant)
            for endpoint in described
            for variant in (
                *endpoint.get("ProductionVariants", ()),
                *endpoint.get("ShadowProductionVariants", ()),
            )
        ]
        measured = self._measured(variants)
        ranges = self._ranges()
        return [
            _line(endpoint, variant, measured.get(place, {}), ranges)
            for place, (endpoint, variant) in enumerate(variants)
        ]

    def _measured(
        self, variants: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> dict[int, dict[str, float]]:
        """By place: the newest closed period's values."""
        queries = [
            {
                "Id": f"{name}_{place}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": metric,
                        "Dimensions": [
                            {"Name": "EndpointName", "Value": endpoint["EndpointName"]},
                            {"Name": "VariantName", "Value": variant["VariantName"]},
                        ],
                    },
                    "Period": PERIOD_SECONDS,
                    "Stat": statistic,
                },
            }
            for place, (endpoint, variant) in enumerate(variants)
            for name, (metric, statistic) in _METRICS.items()
        ]
        now = datetime.now(UTC)
        closed = datetime.fromtimestamp(now.timestamp() // PERIOD_SECONDS * PERIOD_SECONDS, UTC)
        found: dict[int, dict[str, float]] = {}
        for some in _parts(queries, 500):
            answer = self._cloudwatch.get_metric_data(
                MetricDataQueries=some, StartTime=closed - _WINDOW, EndTime=closed
            )
            for result in answer["MetricDataResults"]:
                name, _, place = result["Id"].rpartition("_")
                if result["Values"]:
                    value = result["Values"][0] * _SCALE.get(name, 1.0)
                    found.setdefault(int(place), {})[name] = value
        return found

    def _ranges(self) -> dict[str, str]:
        answer = self._scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
        return {
            one["ResourceId"]: f"{one['MinCapacity']}-{one['MaxCapacity']}"
            for one in answer["ScalableTargets"]
        }


def _parts(queries: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, len(queries), size):
        yield list(queries[first : first + size])


def _line(
    endpoint: Mapping[str, Any],
    variant: Mapping[str, Any],
    measured: Mapping[str, float],
    ranges: Mapping[str, str],
) -> Line:
    name, called = endpoint["EndpointName"], variant["VariantName"]
    return Line(
        endpoint=name,
        status=endpoint["EndpointStatus"],
        variant=called,
        weight=variant.get("CurrentWeight", 0.0),
        instances=variant.get("CurrentInstanceCount", 0),
        desired=variant.get("DesiredInstanceCount", 0),
        scaling=ranges.get(f"endpoint/{name}/variant/{called}", ""),
        doing=_doing(endpoint, called),
        **{metric: measured.get(metric) for metric in _METRICS},
    )


def _doing(endpoint: Mapping[str, Any], variant: str) -> str:
    """What a rollout does with the variant now, or why the last one went back."""
    pending = endpoint.get("PendingDeploymentSummary") or {}
    shadows = {one["VariantName"] for one in endpoint.get("ShadowProductionVariants", ())}
    members = "ShadowProductionVariants" if variant in shadows else "ProductionVariants"
    for one in pending.get(members, ()):
        if one["VariantName"] == variant:
            for status in one.get("VariantStatus", ()):
                text = status.get("StatusMessage", status["Status"])
                return f"→ {pending['EndpointConfigName']}: {text}"
    reason: str = endpoint.get("FailureReason", "")
    return reason or ("a shadow: it gets copies and answers nobody" if variant in shadows else "")


def _shown(lines: Sequence[Line]) -> Group | Text:
    if not lines:
        return Text("No endpoints. Serve a model: modelyard deploy MODEL --name NAME")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("endpoint", "status", "variant"):
        table.add_column(column, no_wrap=True)
    for column in (
        "weight",
        "replicas",
        "scaling",
        "req/s",
        "p50 ms",
        "p99 ms",
        "errors",
        "in flight",
    ):
        table.add_column(column, justify="right")
    table.add_column("rollout", overflow="ellipsis", no_wrap=True)
    for line in lines:
        count = str(line.instances)
        if line.desired != line.instances:
            count += f"→{line.desired}"
        failing = bool(line.errors)
        table.add_row(
            line.endpoint,
            output.coloured(line.status),
            line.variant,
            f"{line.weight:g}",
            count,
            line.scaling or "-",
            _number(line.rate, 1),
            _number(line.p50_ms, 2),
            _number(line.p99_ms, 2),
            Text(_number(line.errors, 1, "%"), style="red" if failing else ""),
            _number(line.in_flight, 1),
            Text(line.doing[:_DOING_CHARACTERS]),
        )
    note = f"of the last {PERIOD_SECONDS} seconds that are over; Ctrl-C ends"
    return Group(table, Text(f"\n{note}", style="dim"))


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.{digits}f}{unit}"
