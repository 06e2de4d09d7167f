"""Personal data that has a form: patterns, the words before them, and check digits where there are any.

Names have no form; the service adds them from a model of entities.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.ai.pii_recognisers import RECOGNISERS, Recogniser
from modelyard.ai.questions import Finding, Item

TASK = "pii-patterns"
BEFORE_CHARACTERS = 48


class PiiEngine:
    """Task ``pii-patterns``: ``{"entities": [[type, begin, end, score], …]}``, in the order of the text."""

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        if task != TASK:  # Names have no form.
            return [Finding(result={"entities": []}) for _ in items]
        return [Finding(result={"entities": find(item["text"])}) for item in items]


def find(text: str) -> list[tuple[str, int, int, float]]:
    """Kind, begin, end (code points) and score of each datum; none overlap: the surer, then the longer one stays."""
    hits = [hit for place, one in enumerate(RECOGNISERS) for hit in _hits(text, one, place)]
    taken: list[tuple[str, int, int, float]] = []
    occupied = bytearray(len(text))
    for _, kind, begin, end, score in sorted(
        hits, key=lambda hit: (-hit[4], hit[2] - hit[3], hit[0])
    ):
        if not any(occupied[begin:end]):
            occupied[begin:end] = b"\1" * (end - begin)
            taken.append((kind, begin, end, score))
    return sorted(taken, key=lambda one: one[1])


def _hits(text: str, one: Recogniser, place: int) -> Iterator[tuple[int, str, int, int, float]]:
    strip = str.maketrans("", "", one.strip)
    for match in one.pattern.finditer(text):
        if one.words is not None:
            before = text[max(0, match.start() - BEFORE_CHARACTERS) : match.start()]
            if one.words.search(before) is None:
                continue
        bare = match.group().translate(strip)
        if one.check(bare):
            yield place, one.kind, match.start(), match.end(), one.score


def load(folder: Path | None, options: Mapping[str, str]) -> PiiEngine:
    """Needs nothing."""
    return PiiEngine()
