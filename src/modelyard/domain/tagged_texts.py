"""Texts with spans of entities: how a text falls into tokens, spans as tags of tokens and back, and names of a list. Pure.

Offsets are code points. A token is a run of letters, a run of digits, or one other sign; scripts without spaces fall into
characters. A tag says that a token begins an entity of a type, continues it, or is outside of any.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

OUTSIDE = "O"
_TOKEN = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\d_]+|\d+|\S"
)
"""Thai, Lao, Japanese and Chinese one by one."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """An entity of a text."""

    begin: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is what lies between the offsets."""

    text: str
    begin: int
    end: int


def tokens(text: str) -> list[Token]:
    """Everything but white space."""
    return [Token(one.group(), one.start(), one.end()) for one in _TOKEN.finditer(text)]


def begins(type: str) -> str:
    """The tag of the first token of an entity."""
    return f"B-{type}"


def continues(type: str) -> str:
    """The tag of each further one."""
    return f"I-{type}"


def may_follow(before: str, tag: str) -> bool:
    """Whether the tags can stand in this order; ``before`` is empty at the beginning of a text."""
    return not tag.startswith("I-") or before[2:] == tag[2:]


def tags_of(found: Sequence[Token], spans: Iterable[Span]) -> list[str]:
    """Of each token; a span covers each token that it touches. Spans do not overlap."""
    tags = [OUTSIDE] * len(found)
    ordered = sorted(spans)
    place = 0
    for number, token in enumerate(found):
        while place < len(ordered) and ordered[place].end <= token.begin:
            place += 1
        if place == len(ordered) or ordered[place].begin >= token.end:
            continue
        span = ordered[place]
        is_further = number > 0 and found[number - 1].end > span.begin
        tags[number] = continues(span.type) if is_further else begins(span.type)
    return tags


@dataclass(frozen=True, slots=True)
class NameList:
    """Names and the type of each, found in texts letter by letter; white space between tokens does not matter."""

    types: Mapping[str, str]
    _names: dict[tuple[str, ...], str] = field(init=False, repr=False, compare=False)
    _longest: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[tuple[str, ...], str] = {}
        longest: dict[str, int] = {}
        for name, type in self.types.items():
            words = tuple(token.text for token in tokens(name))
            if words:
                names[words] = type
                longest[words[0]] = max(longest.get(words[0], 0), len(words))
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_longest", longest)

    def find(self, found: Sequence[Token]) -> list[Span]:
        """In the tokens of a text, from left to right, the longest first."""
        spans, place = [], 0
        while place < len(found):
            limit = min(self._longest.get(found[place].text, 0), len(found) - place)
            for length in range(limit, 0, -1):
                words = tuple(token.text for token in found[place : place + length])
                type = self._names.get(words)
                if type is not None:
                    spans.append(Span(found[place].begin, found[place + length - 1].end, type))
                    place += length
                    break
            else:
                place += 1
        return spans
