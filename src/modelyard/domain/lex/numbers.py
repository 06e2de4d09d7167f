"""Numbers as people write and say them: "23", "1,200.5", "twenty three", "a hundred and five", "three point one four".

English words; digits in any locale.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

from modelyard.domain.lex.matches import Match, disjoint, folded

_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth",
    "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
]  # fmt: skip
WORDS: dict[str, int] = {
    **{word: number for number, word in enumerate(_SMALL)},
    **{word: 20 + 10 * number for number, word in enumerate(_TENS)},
    "oh": 0,
}
ORDINALS: dict[str, int] = {
    **{word: number for number, word in enumerate(_ORDINALS, 1)},
    "twentieth": 20,
    "thirtieth": 30,
}
_WORD = re.compile(r"[a-z]+")
_PHRASE = re.compile(
    r"\b(?:(?:a|an)[ ]+(?=dozen|hundred|thousand|million|billion))?"
    r"(?:" + "|".join([*(w for w in WORDS if w != "oh"), *_SCALES, "dozen"]) + r")\b"
    r"(?:[ -]+(?:and[ ]+(?=[a-z]))?(?:" + "|".join([*WORDS, *_SCALES]) + r")\b)*"
    r"(?:[ ]+(?:point|dot)(?:[ -]+(?:" + "|".join(WORDS) + r")\b)+)?"
)
_DIGITS = re.compile(
    r"(?<![\w.,/:-])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w/:])(?!\.\d)|(?<![\w.])\.\d+\b"
)
_DIGITS_MAX = 30


def cardinal(words: Sequence[str]) -> tuple[int, int] | None:
    """The number that the first words say, and how many words that takes; None: they say none."""
    total, group, place, ceiling = 0, -1, 0, 10**12
    for place, word in enumerate(words):
        joined = _extend(group, word)
        if joined is not None:
            group = joined
        elif word in _SCALES and word != "hundred" and group > 0 and _SCALES[word] < ceiling:
            ceiling = _SCALES[word]
            total += group * ceiling
            group = -1
        elif word in ("a", "an") and place == 0 and words[1:2] and words[1] in (*_SCALES, "dozen"):
            group = 1
        elif not _joins(group, words[place:]) or not place:
            break
    else:
        place = len(words)
    if group < 0 and not total:
        return None
    return total + max(group, 0), place


def _joins(group: int, rest: Sequence[str]) -> bool:
    """Whether an "and" comes, as in "a hundred and five"."""
    is_round = group < 0 or group % 100 == 0
    return len(rest) > 1 and rest[0] == "and" and is_round and _extend(group, rest[1]) is not None


def _extend(group: int, word: str) -> int | None:
    """A number below ten thousand with one more word."""
    if word == "hundred":
        return group * 100 if 0 < group < 100 else None
    if word == "dozen":
        return 12 if group < 0 or group == 1 else None
    number = WORDS.get(word)
    if number is None or word == "oh":
        return None
    if group < 0:
        return number
    rest = group % 100
    if rest == 0 and group >= 100:
        return group + number if number else None
    if rest >= 20 and rest % 10 == 0 and 0 < number < 10:
        return group + number
    return None


def find(text: str) -> list[Match]:
    """Every number, as digits."""
    small = folded(text)
    found = [
        Match(begin=one.start(), end=one.end(), value=plain(one.group()))
        for one in _DIGITS.finditer(small)
        if len(one.group()) <= _DIGITS_MAX
    ]
    for phrase in _PHRASE.finditer(small):
        found += _said(small, phrase.start(), phrase.end())
    return [
        _negated(small, one)
        for one in disjoint(one for one in found if not _is_article(small, one))
    ]


def _is_article(small: str, match: Match) -> bool:
    """The "one" of "that one" and "a large one" counts nothing."""
    if small[match.begin : match.end] != "one":
        return False
    before = _WORD.findall(small[: match.begin])
    return bool(before) and before[-1] in ("this", "that", "the", "a", "an", "which", "each", "no")


def _negated(small: str, match: Match) -> Match:
    before = small[: match.begin].rstrip()
    if match.value and before.endswith(("minus", "negative")) and not match.value.startswith("-"):
        begin = before.rindex(before.split()[-1])
        return Match(begin=begin, end=match.end, value=f"-{match.value}")
    return match


def _said(small: str, begin: int, end: int) -> list[Match]:
    """Of a run of number words as many numbers as it takes: "two four" says two."""
    words = [(one.group(), begin + one.start()) for one in _WORD.finditer(small[begin:end])]
    found: list[Match] = []
    while words:
        parsed = cardinal([word for word, _ in words])
        if parsed is None:
            words = words[1:]
            continue
        value, count = str(parsed[0]), parsed[1]
        if count + 1 < len(words) and words[count][0] in ("point", "dot"):
            digits = [word for word, _ in words[count + 1 :]]
            if all(WORDS.get(word, 10) < 10 for word in digits):
                value = plain(f"{value}.{''.join(str(WORDS[word]) for word in digits)}")
                count = len(words)
        last, place = words[count - 1]
        found.append(Match(begin=words[0][1], end=place + len(last), value=value))
        words = words[count:]
    return found


def plain(digits: str) -> str:
    """Without commas, a leading plus, or zeros that say nothing."""
    bare = digits.replace(",", "").lstrip("+")
    if "." in bare:
        return format(Decimal(bare).normalize(), "f")
    return str(int(bare))


def as_words(number: int) -> str:
    """ "twenty three"; below one thousand."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens = _TENS[number // 10 - 2]
        return f"{tens} {_SMALL[number % 10]}" if number % 10 else tens
    rest = f" {as_words(number % 100)}" if number % 100 else ""
    return f"{_SMALL[number // 100]} hundred{rest}"


COUNT = r"(?:\d{1,4}|an?|(?:" + "|".join([*_TENS, *_SMALL[1:]]) + r")(?:[ -](?:" + "|".join(_SMALL[1:10]) + r"))?)"  # fmt: skip
"""A pattern of a small count, for the grammars of dates, times and durations."""


def count(said: str) -> int:
    """Of what ``COUNT`` matches."""
    if said.isdigit():
        return int(said)
    if said in ("a", "an"):
        return 1
    parsed = cardinal(_WORD.findall(said))
    return parsed[0] if parsed is not None else 0
