"""A simple model of a variant under load: replicas that serve, a queue in front of them, and the metrics they emit.

Deterministic, in steps of a second. Requests are a fluid: each replica serves ``concurrency / seconds`` of them a second,
what comes beyond waits in a queue of ``queue`` requests a replica, and what finds it full is refused, as the gateway does.
A change of capacity takes ``startup_seconds`` to be in service; until then the old replicas serve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.domain.scaling.policies import Metric
from modelyard.domain.scaling.proposals import Point

BUCKET_SECONDS = 10
_KEPT_BUCKETS = 24 * 360

EMITTED = (
    "Invocations",
    "InvocationsPerInstance",
    "ConcurrentRequestsPerModel",
    "ModelLatency",
    "CPUUtilization",
    "ApproximateBacklogSize",
    "ApproximateBacklogSizePerInstance",
    "HasBacklogWithoutCapacity",
)
"""Metrics of the model, by AWS's names; a latency in microseconds, a utilisation in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica does. ``dollars_per_hour`` is for the bill only."""

    seconds: float = 0.1
    concurrency: int = 1
    queue: int = 1_000
    startup_seconds: float = 5.0
    dollars_per_hour: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.concurrency / self.seconds


@dataclass(slots=True)
class _Bucket:
    """What a metric was within ten seconds."""

    total: float = 0.0
    count: int = 0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1
        self.low = min(self.low, value)
        self.high = max(self.high, value)


@dataclass(slots=True, kw_only=True)
class Second:
    """What happened within a second."""

    arrived: float = 0.0
    served: float = 0.0
    refused: float = 0.0
    latency: float = 0.0


@dataclass(slots=True, kw_only=True)
class Variant:
    """The variant's state; ``now`` in epoch seconds is the end of the last second. Only ``emitted`` metrics are kept."""

    replica: Replica
    now: float
    desired: int
    emitted: frozenset[str] = frozenset(EMITTED)
    in_service: int = 0
    revision: int = 1
    queue: float = 0.0
    ready_at: float = 0.0
    _series: dict[str, dict[int, _Bucket]] = field(default_factory=dict)
    _closed: dict[tuple[str, str, int], dict[int, Point | None]] = field(default_factory=dict)

    @property
    def is_updating(self) -> bool:
        """Whether a change is under way."""
        return self.in_service != self.desired

    def set_capacity(self, capacity: int) -> None:
        """As UpdateEndpointWeightsAndCapacities does."""
        self.revision += 1
        self.ready_at = self.now + self.replica.startup_seconds
        self.desired = capacity

    def settle(self) -> bool:
        """Put the desired capacity into service when its time has come; whether that was now."""
        if self.is_updating and self.now >= self.ready_at:
            self.in_service = self.desired
            return True
        return False

    def pass_second(self, arriving: float) -> Second:
        """Serve for a second; ``arriving`` is the number of requests that come within it."""
        replicas, rate = self.in_service, self.replica.rate * self.in_service
        served = min(self.queue + arriving, rate)
        waiting = self.queue + arriving - served
        # Without a replica requests wait: in the queue of one that is to come.
        room = self.replica.queue * max(1, replicas)
        refused = max(0.0, waiting - room)
        self.queue = waiting - refused
        latency = self.replica.seconds + (self.queue / rate if rate else 0.0)
        second = Second(arrived=arriving, served=served, refused=refused, latency=latency)
        self._emit(second, replicas, rate)
        self.now += 1.0
        return second

    def points(self, metric: Metric, *, period: int, count: int) -> Sequence[Point]:
        """The last ``count`` closed periods that have data, oldest first."""
        end = int(self.now // period) * period
        known = self._closed.setdefault((metric.name, metric.statistic, period), {})
        for start in range(end - count * period, end, period):
            if start not in known:  # What is closed does not change.
                known[start] = self._point(metric, start, period)
        found = (known[start] for start in range(end - count * period, end, period))
        return [point for point in found if point is not None]

    def _point(self, metric: Metric, start: int, period: int) -> Point | None:
        value = self._value(metric, start, period)
        if value is None:
            return None
        return Point(at=float(start), value=value, period=float(period))

    def forget(self) -> None:
        """Drop what no alarm looks back to."""
        oldest = int(self.now // BUCKET_SECONDS) - _KEPT_BUCKETS
        for series in self._series.values():
            for bucket in [bucket for bucket in series if bucket < oldest]:
                del series[bucket]
        for known in self._closed.values():
            for start in [start for start in known if start < oldest * BUCKET_SECONDS]:
                del known[start]

    def _emit(self, second: Second, replicas: int, rate: float) -> None:
        values = {
            "Invocations": second.served,
            "ApproximateBacklogSize": self.queue,
            "HasBacklogWithoutCapacity": float(self.queue > 0 and not replicas),
            "CPUUtilization": 100.0 * second.served / rate if rate else 0.0,
            "InvocationsPerInstance": second.served / replicas if replicas else 0.0,
        }
        if replicas:
            busy = self.queue + second.served * self.replica.seconds
            values["ConcurrentRequestsPerModel"] = busy / replicas
            values["ApproximateBacklogSizePerInstance"] = self.queue / replicas
        if second.served:
            values["ModelLatency"] = second.latency * 1e6
        number = int(self.now // BUCKET_SECONDS)
        for name in self.emitted & values.keys():
            series = self._series.setdefault(name, {})
            bucket = series.get(number)
            if bucket is None:
                bucket = series[number] = _Bucket()
            bucket.add(values[name])

    def _value(self, metric: Metric, start: int, period: int) -> float | None:
        series: Mapping[int, _Bucket] = self._series.get(metric.name, {})
        first = start // BUCKET_SECONDS
        buckets = [
            series[number]
            for number in range(first, first + period // BUCKET_SECONDS)
            if number in series
        ]
        if not buckets:
            return None
        match metric.statistic:
            case "Sum":
                return sum(bucket.total for bucket in buckets)
            case "SampleCount":
                return sum(bucket.count for bucket in buckets)
            case "Minimum":
                return min(bucket.low for bucket in buckets)
            case "Maximum":
                return max(bucket.high for bucket in buckets)
            case "Average":
                total = sum(bucket.total for bucket in buckets)
                return total / sum(bucket.count for bucket in buckets)
