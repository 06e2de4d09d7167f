"""What a period of a metric holds, and the statistics that can be said of it. Pure.

A summary keeps every distinct value with its count as long as there are few; past that, values share buckets one percent
wide, so that percentiles stay within that error and a period stays small. Values that came as a statistic set have no
distribution: of these there are no percentiles.
"""

import math
import re
from collections.abc import Iterable, Mapping

import msgspec

from modelyard.base.errors import ServiceError

STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
DISTINCT_MAX = 500
BUCKET_WIDTH = math.log(1.01)
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")
_TRIMMED = re.compile(r"(tm|tc|ts|wm)(\d{1,2}(?:\.\d{1,10})?|100)")


Dimensions = tuple[tuple[str, str], ...]
"""Names and values, by name."""


class Summary(msgspec.Struct, kw_only=True):
    """Of one period. ``values``: count by value; None where there is no distribution; ``coarse``: in buckets."""

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    values: dict[float, float] | None = msgspec.field(default_factory=dict)
    coarse: bool = False

    def add(self, value: float, count: float = 1.0) -> None:
        """A value that was seen ``count`` times."""
        self._widen(value, value, value * count, count)
        if self.values is not None:
            place = bucket(value) if self.coarse else value
            self.values[place] = self.values.get(place, 0.0) + count
            self._coarsen()

    def add_set(self, *, count: float, total: float, low: float, high: float) -> None:
        """A statistic set; all its values are known if its ends meet."""
        if low == high or count == 1:
            self.add(low, count)
            return
        self._widen(low, high, total, count)
        self.values = None

    def merge(self, other: "Summary") -> None:
        """All that the other holds."""
        self._widen(other.low, other.high, other.total, other.count)
        if self.values is None or other.values is None:
            self.values = None
            return
        if other.coarse and not self.coarse:
            self._bucket_all()
        for value, count in other.values.items():
            place = bucket(value) if self.coarse else value
            self.values[place] = self.values.get(place, 0.0) + count
        self._coarsen()

    def statistic(self, name: str) -> float | None:
        """By AWS's name, ``p99`` and ``tm90`` included; None where it cannot be said."""
        if self.count <= 0:
            return None
        match name:
            case "SampleCount":
                return self.count
            case "Sum":
                return self.total
            case "Average":
                return self.total / self.count
            case "Minimum":
                return self.low
            case "Maximum":
                return self.high
        return self._of_distribution(name)

    def _of_distribution(self, name: str) -> float | None:
        if self.values is None:
            return None
        percentile = _PERCENTILE.fullmatch(name)
        if percentile:
            return self._percentile(float(percentile[1]))
        trimmed = _TRIMMED.fullmatch(name)
        if trimmed is None:
            raise unknown_statistic(name)
        return self._trimmed(trimmed[1], self._percentile(float(trimmed[2])))

    def _percentile(self, percent: float) -> float:
        """The smallest value that so many percent of all are not above."""
        assert self.values is not None
        wanted = self.count * percent / 100
        seen = 0.0
        for value in sorted(self.values):
            seen += self.values[value]
            if seen >= wanted - 1e-9:
                return min(self.high, max(self.low, value))
        return self.high

    def _trimmed(self, kind: str, edge: float) -> float:
        assert self.values is not None
        kept = {value: count for value, count in self.values.items() if value <= edge}
        count = sum(kept.values())
        total = sum(value * times for value, times in kept.items())
        if kind == "tc":
            return count
        if kind == "ts":
            return total
        if kind == "wm":  # What is above counts as if it stood at the edge.
            return (total + (self.count - count) * edge) / self.count
        return total / count if count else 0.0

    def _widen(self, low: float, high: float, total: float, count: float) -> None:
        self.count += count
        self.total += total
        self.low = min(self.low, low)
        self.high = max(self.high, high)

    def _coarsen(self) -> None:
        if self.values is not None and not self.coarse and len(self.values) > DISTINCT_MAX:
            self._bucket_all()

    def _bucket_all(self) -> None:
        assert self.values is not None
        exact, self.values, self.coarse = self.values, {}, True
        for value, count in exact.items():
            place = bucket(value)
            self.values[place] = self.values.get(place, 0.0) + count


def bucket(value: float) -> float:
    """The middle of the bucket that a value falls into."""
    if value == 0 or not math.isfinite(value):
        return 0.0
    return math.copysign(math.exp(round(math.log(abs(value)) / BUCKET_WIDTH) * BUCKET_WIDTH), value)


def check_statistic(name: str) -> None:
    """Raises ``InvalidParameterValue`` for what is no statistic."""
    if name not in STATISTICS and not _PERCENTILE.fullmatch(name) and not _TRIMMED.fullmatch(name):
        raise unknown_statistic(name)


def unknown_statistic(name: str) -> ServiceError:
    return ServiceError(
        "InvalidParameterValue",
        f"The value {name} for parameter Stat is not supported: use {', '.join(STATISTICS)}, "
        "a percentile such as p99, or tm, tc, ts, wm with one.",
    )


def regroup(points: Iterable[tuple[int, Summary]], period: int) -> Mapping[int, Summary]:
    """Points by the beginning of the longer period that they fall into, in order of time."""
    found: dict[int, Summary] = {}
    for at, summary in points:
        found.setdefault(at // period * period, Summary()).merge(summary)
    return dict(sorted(found.items()))
