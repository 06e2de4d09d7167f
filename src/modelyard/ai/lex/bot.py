"""A bot as its model sees it: intents, their slots, and a recogniser for each slot type. And a text as the bot reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from modelyard.domain.lex.matches import Match
from modelyard.domain.lex.recognisers import Recogniser, recogniser_of
from modelyard.domain.lex.templates import Part, parts_of
from modelyard.domain.lex.vocabulary import Word, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """``kind`` is the id of its type."""

    name: str
    kind: str
    templates: tuple[tuple[Part, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Slots in the order of their priorities."""

    name: str
    templates: tuple[tuple[Part, ...], ...]
    slots: tuple[Slot, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of its slots, each once."""
        return tuple(dict.fromkeys(slot.kind for slot in self.slots))


@dataclass(frozen=True)
class Bot:
    """``learned`` is what ``domain.lex.templates.learned`` keeps of a definition."""

    learned: Mapping[str, Any]

    @cached_property
    def intents(self) -> tuple[Intent, ...]:
        return tuple(
            Intent(
                name=one["intentName"],
                templates=tuple(parts for text in one["utterances"] if (parts := parts_of(text))),
                slots=tuple(
                    Slot(
                        name=slot["slotName"],
                        kind=slot["slotTypeId"],
                        templates=tuple(parts_of(text) for text in slot["utterances"]),
                    )
                    for slot in one["slots"]
                ),
            )
            for one in self.learned["intents"]
        )

    @cached_property
    def types(self) -> Mapping[str, Mapping[str, Any]]:
        """Custom slot types by id."""
        return {one["slotTypeId"]: one for one in self.learned["slotTypes"]}

    @cached_property
    def recognisers(self) -> Mapping[str, Recogniser]:
        """By the id of the slot type, for each that an intent uses."""
        kinds = dict.fromkeys(kind for one in self.intents for kind in one.kinds)
        found = {kind: self.recogniser(kind) for kind in kinds}
        return {kind: one for kind, one in found.items() if one is not None}

    def recogniser(self, kind: str) -> Recogniser | None:
        """None where there is no such slot type."""
        return recogniser_of(kind, self.types.get(kind), self.learned["localeId"])


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text in words, and what of it may be a value of which slot type."""

    text: str
    words: Sequence[Word]
    matches: Mapping[str, Sequence[Match]]

    @cached_property
    def hits(self) -> Mapping[str, Sequence[str]]:
        """For each type and each word: ``B`` where a match begins, ``I`` within it, ``b`` and ``i`` for weak ones, or nothing."""
        return {kind: self._marks(found) for kind, found in self.matches.items()}

    def _marks(self, found: Sequence[Match]) -> Sequence[str]:
        marks = [""] * len(self.words)
        for match in found:
            inside = [
                place
                for place, word in enumerate(self.words)
                if word.begin < match.end and match.begin < word.end
            ]
            for number, place in enumerate(inside):
                mark = "I" if number else "B"
                marks[place] = mark.lower() if match.is_weak else mark
        return marks


def read(bot: Bot, text: str, today: date) -> Reading:
    """All recognisers look at the text."""
    return Reading(
        text=text,
        words=words_of(text),
        matches={kind: one.find(text, today) for kind, one in bot.recognisers.items()},
    )
