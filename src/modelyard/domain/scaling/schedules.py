"""When a scheduled action runs: ``at(…)``, ``rate(…)`` and ``cron(…)`` expressions, in a time zone.

``at`` and ``cron`` are in local time. A local time that a change to summer time skips runs at the moment after the gap;
one that occurs twice runs the first time. ``rate`` counts from the start of the action, in seconds of real time.
"""

import calendar
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from modelyard.base.errors import ValidationError

_RATE_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_YEARS = (1970, 2199)
_LOOK_BACK_SECONDS = (120.0, 3_600.0, 86_400.0)
_HORIZON_DAYS = 366 * 9
"""The longest wait of a cron expression that runs at all: from one 29 February to the next over a year 2100."""


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a local time."""

    moment: dt.datetime


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """Local times by six fields; of ``days`` and ``weekdays`` one is None (``?``): it does not matter."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: str | None
    months: frozenset[int]
    weekdays: str | None
    years: frozenset[int] | None


Schedule = At | Rate | Cron


def parse(text: str) -> Schedule:
    """Raises ``ValidationError`` that says what is wrong."""
    match = re.fullmatch(r"(at|rate|cron)\((.*)\)", text.strip())
    if match is None:
        raise _invalid(text, "it must be at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(fields)")
    kind, inner = match.group(1), match.group(2).strip()
    if kind == "at":
        return _parse_at(text, inner)
    if kind == "rate":
        return _parse_rate(text, inner)
    return _parse_cron(text, inner)


def zone(name: str | None) -> ZoneInfo:
    """The IANA time zone; UTC for None. Raises ``ValidationError``."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationError(
            f"Unknown time zone: {name}. Give an IANA name, such as Europe/Madrid."
        ) from None


def next_run(
    schedule: Schedule, timezone: ZoneInfo, *, after: float, start: float, end: float | None = None
) -> float | None:
    """The first occurrence later than ``after``, not before ``start`` nor after ``end``; None if there is none.

    ``start`` is also where ``rate`` counts from: the action's StartTime, or else when it was put.
    """
    match schedule:
        case At(moment=moment):
            found: float | None = _epoch(moment, timezone)
            found = found if found is not None and found > after else None
        case Rate(seconds=seconds):
            passed = max(0, int((after - start) // seconds) + 1)
            found = start + passed * seconds
        case Cron():
            found = _next_cron(schedule, timezone, max(after, start - 1e-6))
    if found is None or (end is not None and found > end):
        return None
    return found


def last_run(
    schedule: Schedule,
    timezone: ZoneInfo,
    *,
    after: float,
    until: float,
    start: float,
    end: float | None = None,
) -> float | None:
    """The latest occurrence in ``(after, until]``: what is due now, however long nobody looked."""
    # Only the latest counts: look at the last minutes first, so that a frequent schedule is not walked through.
    for span in (*_LOOK_BACK_SECONDS, float("inf")):
        begin = max(after, until - span)
        found = None
        moment = next_run(schedule, timezone, after=begin, start=start, end=end)
        while moment is not None and moment <= until:
            found = moment
            moment = next_run(schedule, timezone, after=moment, start=start, end=end)
        if found is not None or begin == after:
            return found
    return None


def _invalid(text: str, why: str) -> ValidationError:
    return ValidationError(f"Invalid schedule {text}: {why}.")


def _parse_at(text: str, inner: str) -> At:
    try:
        return At(dt.datetime.strptime(inner, "%Y-%m-%dT%H:%M:%S"))  # noqa: DTZ007 - local by nature
    except ValueError:
        raise _invalid(text, "the time must be written yyyy-mm-ddThh:mm:ss") from None


def _parse_rate(text: str, inner: str) -> Rate:
    match = re.fullmatch(r"(\d+) +(minute|hour|day)s?", inner)
    if match is None or int(match.group(1)) < 1:
        raise _invalid(text, "a rate is a positive number and minutes, hours or days")
    return Rate(int(match.group(1)) * _RATE_SECONDS[match.group(2)])


def _parse_cron(text: str, inner: str) -> Cron:
    fields = inner.upper().split()
    if len(fields) != 6:
        raise _invalid(
            text, "cron has six fields: minutes hours day-of-month month day-of-week year"
        )
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise _invalid(text, "exactly one of day-of-month and day-of-week must be ?")
    try:
        return Cron(
            minutes=_numbers(minutes, 0, 59),
            hours=_numbers(hours, 0, 23),
            days=None if days == "?" else _checked_days(days),
            months=_numbers(_named(months, _MONTHS), 1, 12),
            weekdays=None if weekdays == "?" else _checked_weekdays(_named(weekdays, _WEEKDAYS)),
            years=None if years == "*" else _numbers(years, *_YEARS),
        )
    except ValueError as error:
        raise _invalid(text, str(error)) from None


def _named(field: str, names: tuple[str, ...]) -> str:
    for number, name in enumerate(names, start=1):
        field = field.replace(name, str(number))
    return field


def _numbers(field: str, low: int, high: int) -> frozenset[int]:
    """``*``, ``5``, ``1-5``, ``*/15``, ``10/5`` and lists of these. Raises ``ValueError``."""
    found: set[int] = set()
    for part in field.split(","):
        spread, _, step = part.partition("/")
        if step and (not step.isdecimal() or int(step) < 1):
            raise ValueError(f"{part} has no valid step")
        first, dash, last = spread.partition("-")
        if spread == "*":
            begin, stop = low, high
        elif first.isdecimal() and (not dash or last.isdecimal()):
            begin = int(first)
            stop = int(last) if dash else (high if step else begin)
        else:
            raise ValueError(f"{part} is no number, range or step")
        if not low <= begin <= stop <= high:
            raise ValueError(f"{part} is outside {low}-{high}")
        found.update(range(begin, stop + 1, int(step or 1)))
    return frozenset(found)


def _checked_days(field: str) -> str:
    if field in ("L", "LW"):
        return field
    if field.endswith("W"):
        _numbers(field[:-1], 1, 31)
    else:
        _numbers(field, 1, 31)
    return field


def _checked_weekdays(field: str) -> str:
    if field == "L":
        return "7"
    if "#" in field:
        weekday, _, number = field.partition("#")
        _numbers(weekday, 1, 7)
        _numbers(number, 1, 5)
    elif field.endswith("L"):
        _numbers(field[:-1], 1, 7)
    else:
        _numbers(field, 1, 7)
    return field


def _next_cron(cron: Cron, timezone: ZoneInfo, after: float) -> float | None:
    today = dt.datetime.fromtimestamp(after, tz=timezone).date()
    # From yesterday on: a moment after a gap may belong to the local time of the day before.
    for offset in range(-1, _HORIZON_DAYS):
        try:
            day = today + dt.timedelta(days=offset)
        except OverflowError:
            return None
        if _is_day(cron, day):
            moments = (_epoch(local, timezone) for local in _times(cron, day))
            later = [moment for moment in moments if moment > after]
            if later:
                return min(later)
    return None


def _times(cron: Cron, day: dt.date) -> Iterator[dt.datetime]:
    for hour in cron.hours:
        for minute in cron.minutes:
            yield dt.datetime.combine(day, dt.time(hour, minute))


def _is_day(cron: Cron, day: dt.date) -> bool:
    return (
        (cron.years is None or day.year in cron.years)
        and day.month in cron.months
        and (cron.days is None or _is_day_of_month(cron.days, day))
        and (cron.weekdays is None or _is_weekday(cron.weekdays, day))
    )


def _is_day_of_month(field: str, day: dt.date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if field == "L":
        return day.day == last
    if field.endswith("W"):
        wanted = last if field == "LW" else min(int(field[:-1]), last)
        return day.day == _nearest_working_day(day.replace(day=wanted), last).day
    return day.day in _numbers(field, 1, 31)


def _nearest_working_day(day: dt.date, last: int) -> dt.date:
    """Within the month, as cron's ``W`` has it."""
    shift = {5: -1, 6: 1}.get(day.weekday(), 0)
    if day.day + shift < 1:
        shift = 2
    elif day.day + shift > last:
        shift = -2
    return day + dt.timedelta(days=shift)


def _is_weekday(field: str, day: dt.date) -> bool:
    number = day.isoweekday() % 7 + 1  # Sunday is 1
    if "#" in field:
        weekday, _, nth = field.partition("#")
        return number == int(weekday) and (day.day - 1) // 7 + 1 == int(nth)
    if field.endswith("L"):
        last = calendar.monthrange(day.year, day.month)[1]
        return number == int(field[:-1]) and day.day > last - 7
    return number in _numbers(field, 1, 7)


def _epoch(local: dt.datetime, timezone: ZoneInfo) -> float:
    moment = local.replace(tzinfo=timezone)
    epoch = moment.timestamp()
    back = dt.datetime.fromtimestamp(epoch, tz=timezone).replace(tzinfo=None)
    if back == local:
        return epoch
    # The clock jumped over it: the first moment after the gap is where the two offsets meet.
    before = moment.replace(fold=1).timestamp()
    low, high = int(before), int(epoch)
    while low < high:
        middle = (low + high) // 2
        shown = dt.datetime.fromtimestamp(middle, tz=timezone).replace(tzinfo=None)
        if shown < local:
            low = middle + 1
        else:
            high = middle
    return float(low)
