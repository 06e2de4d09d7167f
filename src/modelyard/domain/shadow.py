"""A shadow's answer beside the production variant's: do they agree, and how far are their numbers apart? Pure.

Text is compared word by word: numbers by their relative difference, all other words exactly, blanks not at all. So JSON and
CSV need no parsing, a long answer is compared as far as a bound, and the cost is bounded with it. Other content types agree
where their bytes do.
"""

import math
import re
from collections.abc import Sequence
from itertools import zip_longest

import msgspec

COMPARED_BYTES = 16 * 1024
"""So much of an answer is looked at word by word; the gateway does it between two requests."""
_OK = 200
# A quotation that nobody closes is one word to the end: each character is looked at once.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"?|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\w+|\S')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TEXTS = ("text/", "application/json", "application/jsonlines")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a variant said; ``status`` is the container's, or the platform's own where there was none."""

    status: int
    content_type: str
    body: bytes


class Comparison(msgspec.Struct, frozen=True, gc=False):
    """``drift``: the largest relative difference of two numbers in the same place; None where places differ."""

    agrees: bool
    drift: float | None


def compare(production: Answer, shadow: Answer, *, tolerance: float) -> Comparison | None:
    """None where the production variant gave no answer to compare with; a shadow without one disagrees."""
    if production.status != _OK:
        return None
    if shadow.status != _OK:
        return Comparison(False, None)
    if production.body == shadow.body:
        return Comparison(True, 0.0)
    if not (_is_text(production) and _is_text(shadow)):
        return Comparison(False, None)
    ours, theirs = _words(production.body), _words(shadow.body)
    if max(len(production.body), len(shadow.body)) > COMPARED_BYTES:
        known = min(len(ours), len(theirs))
        ours, theirs = ours[:known], theirs[:known]
    apart = _drift(ours, theirs)
    return Comparison(apart is not None and apart <= tolerance, apart)


def drift(one: bytes, other: bytes) -> float | None:
    """The largest relative difference of two numbers in the same place of two whole texts; None where words differ."""
    first, second = (_WORD.findall(text.decode("utf-8", "replace")) for text in (one, other))
    return _drift(first, second)


def _is_text(answer: Answer) -> bool:
    return answer.content_type.strip().lower().startswith(_TEXTS)


def _words(body: bytes) -> Sequence[str]:
    words = _WORD.findall(body[:COMPARED_BYTES].decode("utf-8", "replace"))
    # The last word of what was cut off may be half a word.
    return words[:-1] if len(body) > COMPARED_BYTES else words


def _drift(one: Sequence[str], other: Sequence[str]) -> float | None:
    drift = 0.0
    for left, right in zip_longest(one, other, fillvalue=""):
        if left == right:
            continue
        if not (_NUMBER.fullmatch(left) and _NUMBER.fullmatch(right)):
            return None
        apart = difference(float(left), float(right))
        if not math.isfinite(apart):
            return None
        drift = max(drift, apart)
    return drift


def difference(one: float, other: float) -> float:
    """Relative to the larger of both, so at most 2."""
    size = max(abs(one), abs(other))
    return abs(one - other) / size if size else 0.0
