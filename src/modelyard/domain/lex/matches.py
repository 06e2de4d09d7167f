"""What a recogniser finds in a text: where, and what it stands for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Characters ``begin`` to ``end``. ``value`` None: ``resolved`` has several readings.

    ``is_weak``: the words say so only where such a value is expected, as "five" does of a time.
    """

    begin: int
    end: int
    value: str | None
    resolved: tuple[str, ...] = ()
    is_weak: bool = False

    @property
    def readings(self) -> tuple[str, ...]:
        """At least one."""
        return self.resolved or ((self.value,) if self.value is not None else ())


def folded(text: str) -> str:
    """In small letters, and of the same length: what is found has the same place in both."""
    small = text.lower()
    if len(small) != len(text):
        small = "".join(one.lower() if len(one.lower()) == 1 else one for one in text)
    return small.replace("\u2019", "'")


def disjoint(found: Iterable[Match]) -> list[Match]:
    """Of those that overlap the longest, and of these the first; in the order of the text."""
    kept: list[Match] = []
    for one in sorted(found, key=lambda match: (match.begin - match.end, match.begin)):
        if all(one.end <= other.begin or other.end <= one.begin for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda match: match.begin)


def whole(found: Sequence[Match], text: str) -> Match | None:
    """That which is all of the text but for blanks and a last point."""
    for one in found:
        if not text[: one.begin].strip() and not text[one.end :].strip(" .!?,\t\n"):
            return one
    return None
