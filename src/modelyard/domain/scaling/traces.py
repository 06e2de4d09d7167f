"""Traffic over time: how many requests came within each interval of a trace.

A trace is CSV with a header: ``time,requests``. ``time`` is seconds from the beginning, epoch seconds, or ISO 8601 (UTC
unless it says otherwise); ``requests`` the number that came from then until the next row. The last row lasts as long as
the one before.
"""

import csv
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.base.errors import ValidationError

ROWS_MAX = 1_000_000
SECONDS_MAX = 32 * 86_400
_EPOCH_FROM = 1e8
"""A number above this is a time of the epoch, not an offset."""
OFFSET_START = 1_767_225_600.0
"""When a trace of offsets begins: midnight of 1 January 2026, UTC; fixed, so that a simulation repeats exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """``starts`` and the requests a second from each; ``end`` closes the last. All in whole epoch seconds."""

    starts: Sequence[int]
    rates: Sequence[float]
    end: int

    @property
    def requests(self) -> float:
        """All of them."""
        ends = [*self.starts[1:], self.end]
        return math.fsum(
            rate * (end - start)
            for start, end, rate in zip(self.starts, ends, self.rates, strict=True)
        )


def parse(text: str) -> Trace:
    """Raises ``ValidationError`` that names the row."""
    rows = csv.reader(text.splitlines())
    header = [name.strip().lower() for name in next(rows, [])]
    if header[:2] != ["time", "requests"]:
        raise ValidationError("A trace is CSV that begins with the header: time,requests")
    times: list[int] = []
    counts: list[float] = []
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(times) >= ROWS_MAX:
            raise ValidationError(f"A trace has at most {ROWS_MAX} rows.")
        moment, count = _row(row, number)
        if times and moment <= times[-1]:
            raise ValidationError(
                f"Row {number}: its time must be later than that of the row before."
            )
        times.append(moment)
        counts.append(count)
    if len(times) < 2:
        raise ValidationError("A trace has at least two rows.")
    end = times[-1] + (times[-1] - times[-2])
    if end - times[0] > SECONDS_MAX:
        raise ValidationError(f"A trace lasts at most {SECONDS_MAX // 86_400} days.")
    ends = [*times[1:], end]
    rates = [
        count / (after - start) for start, after, count in zip(times, ends, counts, strict=True)
    ]
    return Trace(starts=times, rates=rates, end=end)


def _row(row: Sequence[str], number: int) -> tuple[int, float]:
    try:
        moment = _seconds(row[0].strip())
        count = float(row[1])
    except (ValueError, IndexError, OverflowError):
        raise ValidationError(
            f"Row {number}: give a time and a number of requests, not {','.join(row)[:80]}."
        ) from None
    if not (0 <= count < math.inf):
        raise ValidationError(f"Row {number}: the number of requests must be 0 or more.")
    return moment, count


def _seconds(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return round(moment.timestamp())
    return round(value if value >= _EPOCH_FROM else OFFSET_START + value)
