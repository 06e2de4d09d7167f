"""What Prometheus is told: requests and latencies since control started, instances, states of endpoints and alarms.

Counters begin again at zero when control does, which Prometheus expects of counters.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.domain.exposition import Family, Sample, text
from modelyard.domain.metrics import BUCKET_WIDTH
from modelyard.store.alarms import ALARM
from modelyard.store.resources import Key, ResourceStore

BOUNDS_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_Place = tuple[str, str, str, str, str]
_LABELS = ("account", "region", "endpoint", "variant", "config")


@dataclass(slots=True)
class _Latency:
    """``counts`` by the bound they are not above; the last is of all that is slower."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))
    seconds: float = 0.0

    def add(self, buckets: Mapping[int, int], microseconds: float) -> None:
        self.seconds += microseconds / 1e6
        for place, count in buckets.items():
            middle = math.exp((place + 0.5) * BUCKET_WIDTH) / 1e6
            bound = next((n for n, limit in enumerate(BOUNDS_SECONDS) if middle <= limit), -1)
            self.counts[bound] += count

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        seen = 0
        for limit, count in zip((*BOUNDS_SECONDS, math.inf), self.counts, strict=True):
            seen += count
            le = "+Inf" if limit == math.inf else f"{limit:g}"
            yield Sample(suffix="_bucket", labels={**labels, "le": le}, value=seen)
        yield Sample(suffix="_sum", labels=labels, value=self.seconds)
        yield Sample(suffix="_count", labels=labels, value=seen)


@dataclass(slots=True)
class _Total:
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    instances: int = 0
    compared: int = 0
    disagreed: int = 0
    dropped: int = 0
    model: _Latency = field(default_factory=_Latency)
    overhead: _Latency = field(default_factory=_Latency)


class Exposition:
    """Sums up reports of gateways, and writes the page."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._totals: dict[_Place, _Total] = {}

    def add(self, cells: Iterable[Any]) -> None:
        """``gateway.counters.Cell``: what one gateway counted since it last told."""
        for cell in cells:
            place = (cell.account, cell.region, cell.endpoint, cell.variant, cell.config)
            total = self._totals.setdefault(place, _Total())
            total.requests += cell.requests
            total.errors["4xx"] += cell.client_errors
            total.errors["5xx"] += cell.server_errors
            total.errors["model"] += cell.model_errors
            total.instances = cell.instances or total.instances
            total.compared += cell.compared
            total.disagreed += cell.disagreed
            total.dropped += cell.dropped
            total.model.add(cell.model, cell.model_sum)
            total.overhead.add(cell.overhead, cell.overhead_sum)

    def text(self, *, dropped_reports: int, more: Iterable[Family] = ()) -> str:
        """The page, with what others count. Endpoints that are gone are forgotten here."""
        for place in list(self._totals):
            account, region, endpoint, *_ = place
            key = Key(kind="endpoint", account=account, region=region, name=endpoint)
            if self._store.get(key) is None:
                del self._totals[place]
        return text((*self._of_requests(), *self._of_resources(), _dropped(dropped_reports), *more))

    def _of_requests(self) -> Iterator[Family]:
        found = [
            (dict(zip(_LABELS, place, strict=True)), total) for place, total in self._totals.items()
        ]
        yield Family(
            name="modelyard_invocations_total",
            kind="counter",
            help="Requests to endpoints that were answered or refused after they had been accepted.",
            samples=[Sample(labels=labels, value=total.requests) for labels, total in found],
        )
        yield Family(
            name="modelyard_invocation_errors_total",
            kind="counter",
            help="Requests without a 200: all of them (model), and those with a 4xx or 5xx status.",
            samples=[
                Sample(labels={**labels, "kind": kind}, value=total.errors[kind])
                for labels, total in found
                for kind in ("4xx", "5xx", "model")
            ],
        )
        for name, what in (
            ("model", "The model's time."),
            ("overhead", "All but the model's time."),
        ):
            yield Family(
                name=f"modelyard_{name}_latency_seconds",
                kind="histogram",
                help=what,
                samples=[
                    sample
                    for labels, total in found
                    for sample in (total.model if name == "model" else total.overhead).samples(
                        labels
                    )
                ],
            )
        yield from _of_shadows(found)
        yield Family(
            name="modelyard_instances",
            kind="gauge",
            help="Instances that requests go to, when a request or a minute last told.",
            samples=[Sample(labels=labels, value=total.instances) for labels, total in found],
        )

    def _of_resources(self) -> Iterator[Family]:
        states = Counter(
            one.status.get("EndpointStatus", "") for one in self._store.list("endpoint")
        )
        yield Family(
            name="modelyard_endpoints",
            kind="gauge",
            help="Endpoints by status.",
            samples=[
                Sample(labels={"status": status}, value=count)
                for status, count in sorted(states.items())
            ],
        )
        yield Family(
            name="modelyard_alarm_state",
            kind="gauge",
            help="1 for the state that an alarm is in.",
            samples=[
                Sample(
                    labels={
                        "account": alarm.key.account,
                        "region": alarm.key.region,
                        "alarm": alarm.key.name,
                        "state": alarm.status["StateValue"],
                    },
                    value=1,
                )
                for alarm in self._store.list(ALARM)
            ],
        )


def _of_shadows(totals: Iterable[tuple[dict[str, str], _Total]]) -> Iterator[Family]:
    found = [(labels, total) for labels, total in totals if total.compared or total.dropped]
    yield Family(
        name="modelyard_shadow_answers_total",
        kind="counter",
        help="A shadow's answers, by whether they agree with the production variant's.",
        samples=[
            Sample(labels={**labels, "agrees": agrees}, value=count)
            for labels, total in found
            for agrees, count in (
                ("yes", total.compared - total.disagreed),
                ("no", total.disagreed),
            )
        ],
    )
    yield Family(
        name="modelyard_shadow_copies_dropped_total",
        kind="counter",
        help="Copies of requests that a shadow had no room for.",
        samples=[Sample(labels=labels, value=total.dropped) for labels, total in found],
    )


def _dropped(reports: int) -> Family:
    return Family(
        name="modelyard_metric_reports_dropped_total",
        kind="counter",
        help="Reports of gateways that control had no room for.",
        samples=[Sample(labels={}, value=reports)],
    )
