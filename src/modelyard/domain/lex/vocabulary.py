"""The values of a custom slot type and their synonyms, found in a text also where they are misspelt."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from modelyard.domain.lex.matches import Match, disjoint, folded

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]", re.UNICODE)
_FUZZY_CHARACTERS = 4
"""Shorter words have to be spelt as they are."""
_LONG_CHARACTERS = 8
"""From here on two letters may be wrong."""
_FUZZY_WORDS = 60
"""Of a text; later ones have to be spelt as they are."""
_TEXTS_MAX = 64
"""That are remembered in words, since each recogniser asks anew."""
_REMEMBERED_MAX = 10_000
RESOLUTIONS_MAX = 5


@dataclass(frozen=True, slots=True)
class Word:
    """In small letters, and where it is."""

    text: str
    begin: int
    end: int


@lru_cache(maxsize=_TEXTS_MAX)
def words_of(text: str) -> tuple[Word, ...]:
    """Words and marks."""
    return tuple(Word(one.group(), one.start(), one.end()) for one in _WORD.finditer(folded(text)))


def normal(text: str) -> str:
    """Words with a blank between each two."""
    return " ".join(one.text for one in words_of(text))


@dataclass(frozen=True)
class Vocabulary:
    """``values``: what is said, in normal form, to the values that it may stand for, in their order."""

    values: Mapping[str, tuple[str, ...]]
    is_exact: bool = False
    """Nothing that is misspelt is found."""

    @classmethod
    def of(cls, values: Iterable[Mapping[str, Any]], *, is_exact: bool = False) -> "Vocabulary":
        """Of a slot type's ``slotTypeValues``."""
        said: dict[str, list[str]] = {}
        listed = list(values)
        for one in listed:
            name = one["sampleValue"]["value"]
            said.setdefault(normal(name), []).append(name)
        for one in listed:
            name = one["sampleValue"]["value"]
            for synonym in one.get("synonyms") or ():
                names = said.setdefault(normal(synonym["value"]), [])
                if name not in names:
                    names.append(name)
        said.pop("", None)
        kept = {words: tuple(names[:RESOLUTIONS_MAX]) for words, names in said.items()}
        return cls(kept, is_exact)

    @cached_property
    def _words_max(self) -> int:
        return max((one.count(" ") + 1 for one in self.values), default=0)

    @cached_property
    def _alike(self) -> Mapping[tuple[str, int, int], tuple[str, ...]]:
        """By first letter, which a misspelling keeps, number of words, and length."""
        found: dict[tuple[str, int, int], list[str]] = {}
        for one in self.values:
            if len(one) >= _FUZZY_CHARACTERS:
                found.setdefault((one[0], one.count(" "), len(one)), []).append(one)
        return {key: tuple(some) for key, some in found.items()}

    def find(self, text: str) -> list[Match]:
        """Every value, longest first where they overlap; spelt rightly before misspelt."""
        words = words_of(text)
        taken = disjoint(self._spans(words, self.values.get))
        if self.is_exact:
            return taken
        fuzzy = [
            one
            for one in self._spans(words[:_FUZZY_WORDS], self._similar)
            if all(one.end <= other.begin or other.end <= one.begin for other in taken)
        ]
        return disjoint([*taken, *fuzzy]) if fuzzy else taken

    def _spans(self, words: Sequence[Word], look: Any) -> Iterable[Match]:
        texts, most = [one.text for one in words], self._words_max
        for first in range(len(words)):
            for end in range(min(first + most, len(words)), first, -1):
                names = look(" ".join(texts[first:end]))
                if names:
                    begin = words[first].begin
                    yield Match(begin=begin, end=words[end - 1].end, value=names[0], resolved=names)
                    break

    def resolve(self, said: str) -> tuple[str, ...]:
        """The values that all of the text may stand for, the likeliest first; empty: none."""
        text = normal(said)
        return self.values.get(text) or self._similar(text) or ()

    @cached_property
    def _remembered(self) -> dict[str, tuple[str, ...] | None]:
        """What words were found to be like; the same ones come again and again."""
        return {}

    def _similar(self, text: str) -> tuple[str, ...] | None:
        if self.is_exact or len(text) < _FUZZY_CHARACTERS:
            return None
        if text not in self._remembered:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[text] = self._nearest(text)
        return self._remembered[text]

    def _nearest(self, text: str) -> tuple[str, ...] | None:
        allowed = 2 if len(text) >= _LONG_CHARACTERS else 1
        best: tuple[int, str] | None = None
        for length in range(len(text) - allowed, len(text) + allowed + 1):
            for one in self._alike.get((text[0], text.count(" "), length), ()):
                away = distance(one, text, allowed)
                if away <= allowed and (best is None or (away, one) < best):
                    best = (away, one)
        return self.values[best[1]] if best else None


def distance(one: str, other: str, most: int) -> int:
    """Letters to change, add, drop or swap with their neighbour; ``most + 1`` where it is more than ``most``."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, right in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)
