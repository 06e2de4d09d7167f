"""Times of day and lengths of time as people write and say them. English words; 17:30 and ISO 8601 in any locale.

A time that may be in the morning or in the evening has both readings and no value, as Amazon Lex V2 has it.
"""

import re
from collections.abc import Iterator

from modelyard.domain.lex.matches import Match, disjoint, folded
from modelyard.domain.lex.numbers import COUNT, as_words, count

_HOURS = {as_words(number): number for number in range(1, 13)}
_MINUTES = {as_words(number): number for number in range(10, 60)}
_MINUTES |= {f"{oh} {as_words(number)}": number for oh in ("oh", "o") for number in range(1, 10)}
_HOUR = r"(?P<hour>\d{1,2}|" + "|".join(sorted(_HOURS, key=len, reverse=True)) + ")"
_MINUTE = r"(?P<minute>" + "|".join(sorted(_MINUTES, key=len, reverse=True)) + ")"
_HALF = (
    r"(?:[ ]*(?P<half>a\.m\.?|p\.m\.?|am|pm)(?![a-z])"
    r"|[ ]+(?:in[ ]+the[ ]+|at[ ]+|this[ ]+)?(?P<part>morning|afternoon|evening|night|tonight)\b)?"
)
_PARTS = {
    "morning": "MO",
    "afternoon": "AF",
    "evening": "EV",
    "night": "NI",
    "tonight": "NI",
}
_FIXED = {"noon": "12:00", "midday": "12:00", "midnight": "00:00"}


def _pattern(body: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w/.,:$-]){body}(?![\w/:])(?!\.\d)")


_CLOCK = (
    _pattern(rf"(?P<hour>\d{{1,2}})[:.](?P<minute>[0-5]\d)(?::[0-5]\d)?{_HALF}"),
    _pattern(rf"{_HOUR}[ ]+{_MINUTE}{_HALF}"),
    _pattern(rf"{_HOUR}[ ]*o'?[ ]?clock{_HALF}"),
    _pattern(rf"{_HOUR}{_HALF.removesuffix('?')}"),
)
_BARE = _pattern(_HOUR)
_AT = re.compile(r"(?:\bat|\bby|\buntil|\bbefore|\bafter|\baround|\babout)[ ]+$")
_RELATIVE = _pattern(
    rf"(?P<minute>half|(?:a[ ]+)?quarter|{COUNT})(?:[ ]+minutes?)?[ ]+(?P<side>past|after|to|before|till)[ ]+{_HOUR}{_HALF}"
)
_NAMED = re.compile(r"\b(?P<fixed>noon|midday|midnight)\b")
_PART = re.compile(r"\b(?:this[ ]+)?(?P<part>morning|afternoon|evening|night|tonight)\b")


def find(text: str) -> list[Match]:
    """Every time of day."""
    return disjoint(_times(folded(text)))


def _times(small: str) -> Iterator[Match]:
    for pattern in _CLOCK:
        for one in pattern.finditer(small):
            minute = one.groupdict().get("minute") or "0"
            hour = one["hour"]
            yield from _time(
                one,
                _HOURS[hour] if hour in _HOURS else int(hour),
                _MINUTES[minute] if minute in _MINUTES else int(minute),
            )
    for one in _RELATIVE.finditer(small):
        hour = _HOURS.get(one["hour"]) or int(one["hour"])
        said = one["minute"]
        minute = 30 if said == "half" else 15 if said.endswith("quarter") else count(said)
        if 0 < minute < 60 and hour < 24:
            if one["side"] in ("past", "after"):
                yield from _time(one, hour, minute)
            else:
                yield from _time(one, (hour - 1) % 24 if hour > 1 else 12, 60 - minute)
    for one in _NAMED.finditer(small):
        yield Match(begin=one.start(), end=one.end(), value=_FIXED[one["fixed"]])
    for one in _PART.finditer(small):
        yield Match(begin=one.start(), end=one.end(), value=_PARTS[one["part"]])
    for one in _BARE.finditer(small):
        hour = _HOURS.get(one["hour"]) or int(one["hour"])
        is_weak = not _AT.search(small, 0, one.start())
        for match in _time(one, hour, 0):
            yield Match(
                begin=match.begin,
                end=match.end,
                value=match.value,
                resolved=match.resolved,
                is_weak=is_weak,
            )


def _time(one: re.Match[str], hour: int, minute: int) -> Iterator[Match]:
    groups = one.groupdict()
    half, part = (groups.get("half") or "").replace(".", ""), groups.get("part") or ""
    readings = _readings(hour, minute, half, part, len(one["hour"]) == 2 and one["hour"][0] == "0")
    if len(readings) == 1:
        yield Match(begin=one.start(), end=one.end(), value=readings[0])
    elif readings:
        yield Match(begin=one.start(), end=one.end(), value=None, resolved=readings)


def _readings(hour: int, minute: int, half: str, part: str, is_full: bool) -> tuple[str, ...]:
    """None for what is no time; two where it may be before or after noon."""
    if hour > 23 or minute > 59 or (half and not 1 <= hour <= 12):
        return ()
    is_late = part in ("afternoon", "evening") or ("night" in part and hour >= 6)
    if half or part:
        if 1 <= hour <= 12:
            is_late = is_late and not ("night" in part and hour == 12)
            hour = hour % 12 + 12 * (half == "pm" or is_late)
        return (f"{hour:02}:{minute:02}",)
    if 1 <= hour <= 12 and not is_full:
        return (f"{hour % 12:02}:{minute:02}", f"{hour % 12 + 12:02}:{minute:02}")
    return (f"{hour:02}:{minute:02}",)


_UNITS = {
    "year": "Y",
    "yr": "Y",
    "month": "M",
    "week": "W",
    "day": "D",
    "hour": "H",
    "hr": "H",
    "minute": "M",
    "min": "M",
    "second": "S",
    "sec": "S",
}
_UNIT = r"(?P<unit>years?|yrs?|months?|weeks?|days?|hours?|hrs?|h|minutes?|mins?|seconds?|secs?)"
_AMOUNT = (
    rf"(?:(?P<half>half[ ]+an?)|(?P<count>\d{{1,6}}(?:\.\d{{1,4}})?|{COUNT})(?P<and_half>[ ]+and[ ]+a[ ]+half)?)"
    rf"[ -]*{_UNIT}(?P<later>[ ]+and[ ]+a[ ]+half)?\b"
)
_ONE = re.compile(rf"(?<![\w.,-]){_AMOUNT}")
_JOINT = re.compile(r"[ ]*(?:,|and)?[ ]*")
_ISO = re.compile(r"\bp(?=[\dt])(?:\d+y)?(?:\d+m)?(?:\d+w)?(?:\d+d)?(?:t(?:\d+h)?(?:\d+m)?(?:\d+s)?)?\b")  # fmt: skip
_BELOW = {
    "year": ("month", 12),
    "week": ("day", 7),
    "day": ("hour", 24),
    "hour": ("minute", 60),
    "minute": ("second", 60),
}
_ORDER = ("year", "month", "week", "day", "hour", "minute", "second")


def find_durations(text: str) -> list[Match]:
    """Every length of time, as ISO 8601 writes it."""
    small = folded(text)
    found = [
        Match(begin=one.start(), end=one.end(), value=one.group().upper())
        for one in _ISO.finditer(small)
        if one.group()[-1].isalpha() and one.group()[-1] not in "pt"
    ]
    begin = 0
    while one := _ONE.search(small, begin):
        parts: dict[str, float] = {}
        end = start = one.start()
        while one is not None and one.start() == end and _unit(one) not in parts:
            for unit, amount in _amounts(one):
                parts[unit] = parts.get(unit, 0) + amount
            begin = one.end()
            joint = _JOINT.match(small, begin)
            end = joint.end() if joint else begin
            one = _ONE.match(small, end)
        found.append(Match(begin=start, end=begin, value=_duration(parts)))
    return disjoint(found)


def _unit(one: re.Match[str]) -> str:
    unit = one["unit"].removesuffix("s")
    return {"yr": "year", "hr": "hour", "h": "hour", "min": "minute", "sec": "second"}.get(
        unit, unit
    )


def _amounts(one: re.Match[str]) -> Iterator[tuple[str, float]]:
    """Of "an hour and a half": an hour, and thirty minutes."""
    unit, said = _unit(one), one["count"] or ""
    amount = 0.0 if one["half"] else float(said) if said[:1].isdigit() else float(count(said))
    if one["half"] or one["and_half"] or one["later"]:
        amount += 0.5
    rest = amount % 1
    if rest and unit in _BELOW:
        below, factor = _BELOW[unit]
        if int(amount):
            yield unit, int(amount)
        yield below, round(rest * factor)
    else:
        yield unit, amount


def _duration(parts: dict[str, float]) -> str:
    days = "".join(f"{_plain(parts[one])}{_UNITS[one]}" for one in _ORDER[:4] if one in parts)
    times = "".join(f"{_plain(parts[one])}{_UNITS[one]}" for one in _ORDER[4:] if one in parts)
    return f"P{days}{'T' + times if times else ''}"


def _plain(amount: float) -> str:
    return f"{amount:g}" if amount < 1e6 else str(int(amount))
