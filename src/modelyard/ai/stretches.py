"""Sentences with their markup and terms, and their translations put together again: what neural engines have in common.

A sentence is translated whole and its markup goes to the words of the translation that stand for those within it. A run that is
fixed is shown to the model in its place, and if it does not come back exactly so, what stands before and after is translated by
itself.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.ai.questions import Finding, Item
from modelyard.ai.translating import Part, merged, text_of

_CUT = re.compile(
    r"[.!?\u2026][\"'\u201d\u2019)\]]*(?=\s+[\"'\u201c\u2018(\[\u00bf\u00a1]?[A-Z0-9\u00c0-\u00d6\u00d8-\u00de])"
    r"|[\u3002\uff01\uff1f]|\s*\n\s*\n\s*"
)
_WORD = re.compile(r"\S+")
_NOTHING = "The model gives no translation of this text."


class Run(NamedTuple):
    """A stretch of an item's text: the number of its piece, and whether it stays as it is."""

    piece: int
    text: str
    is_fixed: bool


class Word(NamedTuple):
    """Of a translation, with its space; ``origin`` is the place in the bare source that it stands for."""

    text: str
    origin: int


class Section(NamedTuple):
    """As much of a text as one question to the model may have: its tokens, and where the word of each begins."""

    tokens: list[str]
    places: list[int]
    end: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A sentence of an item, or what is left of one between fixed runs."""

    runs: Sequence[Run]

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def bare(self) -> str:
        """As the model is shown it."""
        return self.text.strip()

    @property
    def has_words(self) -> bool:
        return any(letter.isalpha() for run in self.runs if not run.is_fixed for letter in run.text)

    def as_it_is(self) -> list[Part]:
        return [(run.piece, run.text) for run in self.runs]

    def parts(self, words: Sequence[Word]) -> list[Part] | None:
        """The translation within the edges of the source, which keep their own markup; None where a fixed run is not in it."""
        text, bare = self.text, self.bare
        begin = text.index(bare)
        said = "".join(word.text for word in words).strip()
        if not said:
            return None
        fixed = [run.text for run in self.runs if run.is_fixed]
        if any(said.count(one) != fixed.count(one) for one in fixed):
            return None
        found = merged((self._piece_at(begin + word.origin), word.text) for word in words)
        found[0] = found[0][0], found[0][1].lstrip()
        found[-1] = found[-1][0], found[-1][1].rstrip()
        edges = text[:begin], text[begin + len(bare) :]
        return merged([(self.runs[0].piece, edges[0]), *found, (self.runs[-1].piece, edges[1])])

    def _piece_at(self, place: int) -> int:
        for run in self.runs:
            place -= len(run.text)
            if place < 0:
                return run.piece
        return self.runs[-1].piece

    def between_fixed(self) -> Iterator["Stretch"]:
        """Fixed runs for themselves, and the stretches between."""
        runs: list[Run] = []
        for run in self.runs:
            if run.is_fixed:
                yield from ([Stretch(runs)] if runs else [])
                yield Stretch([run])
                runs = []
            else:
                runs.append(run)
        yield from ([Stretch(runs)] if runs else [])


Translated = Callable[[Sequence[Stretch]], list[list[Word]]]
"""Of each stretch its translation, word by word; none where the model gives none."""


def answered(items: Sequence[Item], translated: Translated) -> list[Finding]:
    """Of each item its translation. All go through the model together, and then what fixed runs have cut."""
    stretches = [list(_stretches(item["pieces"])) for item in items]
    first = _parts([one for some in stretches for one in some], translated)
    again = [list(one.between_fixed()) if parts is None else [] for one, parts in first]
    second = iter(_parts([one for some in again for one in some], translated))
    answers = iter(
        parts if parts is not None else _joined([next(second)[1] for _ in some])
        for (_, parts), some in zip(first, again, strict=True)
    )
    findings = []
    for some in stretches:
        whole = _joined([next(answers) for _ in some])
        findings.append(
            Finding(error=_NOTHING) if whole is None else Finding(result={"parts": whole})
        )
    return findings


def _parts(
    stretches: Sequence[Stretch], translated: Translated
) -> list[tuple[Stretch, list[Part] | None]]:
    """None where the translation cannot be used."""
    asked = [one for one in stretches if one.has_words]
    said = iter(translated(asked) if asked else [])
    return [(one, one.parts(next(said)) if one.has_words else one.as_it_is()) for one in stretches]


def sections(
    text: str, encode: Callable[[Sequence[str]], Sequence[list[str]]], tokens_max: int
) -> Iterator[Section]:
    """The text, cut between two words wherever it has too many tokens; a word that has too many by itself keeps all of them."""
    words = list(_WORD.finditer(text))
    tokens: list[str] = []
    places: list[int] = []
    end = 0
    for word, some in zip(words, encode([word[0] for word in words]), strict=True):
        if tokens and len(tokens) + len(some) > tokens_max:
            yield Section(tokens, places, end)
            tokens, places = [], []
        tokens += some
        places += [word.start()] * len(some)
        end = word.end()
    if tokens:
        yield Section(tokens, places, end)


def _stretches(pieces: Sequence[Sequence[Any]]) -> Iterator[Stretch]:
    """The item's sentences; none ends within a fixed run."""
    sentence: list[Run] = []
    for number, piece in enumerate(pieces):
        for run in piece:
            text = text_of(run)
            if not isinstance(run, str):
                sentence.append(Run(number, text, True))
                continue
            place = 0
            for found in _CUT.finditer(text):
                sentence.append(Run(number, text[place : found.end()], False))
                yield Stretch(sentence)
                sentence, place = [], found.end()
            if place < len(text):
                sentence.append(Run(number, text[place:], False))
    if sentence:
        yield Stretch(sentence)


def _joined(found: Sequence[list[Part] | None]) -> list[Part] | None:
    parts: list[Part] = []
    for some in found:
        if some is None:
            return None
        parts += some
    return merged(parts)
