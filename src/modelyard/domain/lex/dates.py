"""Days as people write and say them, read from the day on which they are said. English words; ISO dates in any locale.

As Amazon Lex V2 documents it: a day without a year or a month is the next one of that name, today included; "next month"
and "next year" are their last days, "next week" is the last day of the current week, and what is current or past is its first.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from modelyard.domain.lex.matches import Match, disjoint, folded
from modelyard.domain.lex.numbers import COUNT, ORDINALS, count

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_MONTH_OF = {name: place + 1 for place, name in enumerate(_MONTHS)}
_MONTH_OF |= {name[:3]: place for name, place in _MONTH_OF.items()} | {"sept": 9}
_DAY_OF = {name: place for place, name in enumerate(_DAYS)}
_DAY_OF |= {name[:3]: place for name, place in _DAY_OF.items()} | {"tues": 1, "thur": 3, "thurs": 3}
_MONTH = r"(?P<month>" + "|".join(sorted(_MONTH_OF, key=len, reverse=True)) + r")\.?"
_WEEKDAY = r"(?P<day>" + "|".join(sorted(_DAY_OF, key=len, reverse=True)) + r")\b\.?"
_TEENS = "|".join(sorted(ORDINALS, key=len, reverse=True))
_ORDINAL = r"(?P<ordinal>\d{1,2}(?:st|nd|rd|th)|(?:twenty|thirty)[ -](?:" + _TEENS + r")|" + _TEENS + r")"  # fmt: skip
_NUMBERED = r"(?P<number>\d{1,2}(?:st|nd|rd|th)?|(?:twenty|thirty)[ -](?:" + _TEENS + r")|" + _TEENS + r")"  # fmt: skip
_YEAR = r"(?:,?[ ]+(?P<year>\d{4})\b)?"
_FIXED = {
    "christmas eve": (12, 24),
    "christmas day": (12, 25),
    "christmas": (12, 25),
    "new year's eve": (12, 31),
    "new years eve": (12, 31),
    "new year's day": (1, 1),
    "new years day": (1, 1),
    "halloween": (10, 31),
    "valentine's day": (2, 14),
    "valentines day": (2, 14),
}
_NEAR = {
    "the day after tomorrow": 2,
    "day after tomorrow": 2,
    "the day before yesterday": -2,
    "day before yesterday": -2,
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "yesterday": -1,
}
Groups = dict[str, str]
Read = Callable[[Groups, date], date]


def find(text: str, today: date, *, day_first: bool = False) -> list[Match]:
    """Every day. ``day_first``: 3/4 is the third of April."""
    small = folded(text)
    return disjoint(_all(small, today, day_first))


def _all(small: str, today: date, day_first: bool) -> Iterator[Match]:
    for pattern, read, is_weak in _GRAMMAR:
        for one in pattern.finditer(small):
            groups = {name: said for name, said in one.groupdict().items() if said is not None}
            if day_first:
                groups["day_first"] = "yes"
            try:
                day = read(groups, today)
            except (ValueError, OverflowError):  # the thirtieth of February, the year 10000
                continue
            yield Match(begin=one.start(), end=one.end(), value=day.isoformat(), is_weak=is_weak)


def _iso(groups: Groups, _: date) -> date:
    return date(int(groups["year"]), int(groups["month"]), int(groups["number"]))


def _slashed(groups: Groups, today: date) -> date:
    first, second = int(groups["first"]), int(groups["second"])
    month, day = (second, first) if "day_first" in groups else (first, second)
    if month > 12:
        month, day = day, month
    year = groups.get("year")
    if year is None:
        return _coming(month, day, today)
    return date(int(year) + (2000 if len(year) == 2 else 0), month, day)


def _named(groups: Groups, today: date) -> date:
    month = _MONTH_OF[groups["month"]]
    day = _ordinal(groups["number"]) if "number" in groups else _ordinal(groups["ordinal"])
    if "year" in groups:
        return date(int(groups["year"]), month, day)
    return _coming(month, day, today)


def _month(groups: Groups, today: date) -> date:
    """A whole month: its first day, or its last where it is still to come."""
    month = _MONTH_OF[groups["month"]]
    year = int(groups["year"]) if "year" in groups else today.year + (month < today.month)
    first = date(year, month, 1)
    return first if first <= today else _months_on(first, 1) - timedelta(days=1)


def _day_of_month(groups: Groups, today: date) -> date:
    day = _ordinal(groups["ordinal"])
    for ahead in range(13):
        first = _months_on(today.replace(day=1), ahead)
        try:
            found = first.replace(day=day)
        except ValueError:
            continue
        if found >= today:
            return found
    raise ValueError(day)


def _weekday(groups: Groups, today: date) -> date:
    wanted = _DAY_OF[groups["day"]]
    match groups.get("which", ""):
        case "next":
            return today + timedelta(days=7 - today.weekday() + wanted)
        case "last":
            return today - timedelta(days=(today.weekday() - wanted - 1) % 7 + 1)
    return today + timedelta(days=(wanted - today.weekday()) % 7)


def _near(groups: Groups, today: date) -> date:
    return today + timedelta(days=_NEAR[groups["near"]])


def _fixed(groups: Groups, today: date) -> date:
    return _coming(*_FIXED[groups["fixed"]], today)


def _counted(groups: Groups, today: date) -> date:
    amount = count(groups["count"])
    return _moved(today, -amount if groups.get("ago") == "ago" else amount, groups["unit"])


def _from_day(groups: Groups, today: date) -> date:
    near = groups["near"]
    begin = today + timedelta(days=_NEAR[near]) if near in _NEAR else _weekday({"day": near}, today)
    return _moved(begin, count(groups["count"]), groups["unit"])


def _period(groups: Groups, today: date) -> date:
    which, unit = groups["which"], groups["unit"]
    ahead = {"next": 1, "coming": 1, "last": -1, "previous": -1}.get(which, 0)
    if unit == "weekend":
        return today + timedelta(days=5 - today.weekday() + 7 * ahead)
    if unit == "week":
        monday = today - timedelta(days=today.weekday())
        return monday + timedelta(days=6) if ahead > 0 else monday + timedelta(days=7 * ahead)
    if unit == "month":
        first = _months_on(today.replace(day=1), ahead)
        return _months_on(first, 1) - timedelta(days=1) if ahead > 0 else first
    year = today.year + ahead
    return date(year, 12, 31) if ahead > 0 else date(year, 1, 1)


def _moved(day: date, amount: int, unit: str) -> date:
    if unit.startswith("day"):
        return day + timedelta(days=amount)
    if unit.startswith("week"):
        return day + timedelta(days=7 * amount)
    return _months_on(day, amount if unit.startswith("month") else 12 * amount)


def _months_on(day: date, months: int) -> date:
    """The same day of another month, or the last that it has."""
    years, month = divmod(day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(day.year + years, month + 1, min(day.day, last))
        except ValueError:
            if last == 28:
                raise
    raise AssertionError


def _coming(month: int, day: int, today: date) -> date:
    """This year's, or the next one's that has it."""
    for ahead in range(9):
        try:
            found = date(today.year + ahead, month, day)
        except ValueError:
            continue
        if found >= today:
            return found
    raise ValueError(f"{month}-{day}")


def _ordinal(said: str) -> int:
    digits = re.match(r"\d+", said)
    if digits:
        return int(digits.group())
    tens, _, unit = said.replace("-", " ").rpartition(" ")
    return {"": 0, "twenty": 20, "thirty": 30}[tens] + ORDINALS[unit]


def _rule(pattern: str, read: Read, *, is_weak: bool = False) -> tuple[re.Pattern[str], Read, bool]:
    return re.compile(rf"(?<![\w/-]){pattern}(?![\w/-])"), read, is_weak


_UNIT = r"(?P<unit>days?|weeks?|months?|years?)"
_NEARS = "|".join(_NEAR)
_GRAMMAR = (
    _rule(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<number>\d{1,2})", _iso),
    _rule(r"(?P<first>\d{1,2})[/.](?P<second>\d{1,2})[/.](?P<year>\d{4}|\d{2})", _slashed),
    _rule(r"(?P<first>\d{1,2})/(?P<second>\d{1,2})", _slashed),
    _rule(rf"(?:{_WEEKDAY},?[ ]+)?{_MONTH}[ ]+(?:the[ ]+)?{_NUMBERED}{_YEAR}", _named),
    _rule(rf"(?:the[ ]+)?{_NUMBERED}[ ]+(?:of[ ]+)?{_MONTH}{_YEAR}", _named),
    _rule(rf"{_MONTH},?[ ]+(?P<year>\d{{4}})", _month),
    _rule(_MONTH.replace("|may|", "|").replace("march|", "") + r"(?![ ]+\d)", _month),
    _rule(r"(?P<month>may|march|mar)", _month, is_weak=True),
    _rule(rf"the[ ]+{_ORDINAL}", _day_of_month),
    _rule(_ORDINAL, _day_of_month, is_weak=True),
    _rule(rf"(?:(?P<which>next|last|this|coming)[ ]+)?{_WEEKDAY}", _weekday),
    _rule(rf"(?P<near>{_NEARS})", _near),
    _rule("(?P<fixed>" + "|".join(_FIXED) + ")", _fixed),
    _rule(rf"in[ ]+(?P<count>{COUNT})[ ]+{_UNIT}(?:['][ ]*time)?", _counted),
    _rule(
        rf"(?P<count>{COUNT})[ ]+{_UNIT}[ ]+(?P<ago>ago|from[ ]now|from[ ]today|later)", _counted
    ),
    _rule(
        rf"(?P<count>{COUNT})[ ]+{_UNIT}[ ]+(?:from|after)[ ]+(?P<near>tomorrow|{'|'.join(_DAYS)})",
        _from_day,
    ),
    _rule(
        r"(?P<which>this|next|last|coming|previous)[ ]+(?P<unit>weekend|week|month|year)", _period
    ),
)
