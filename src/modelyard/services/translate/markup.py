"""Documents with markup: what of them is sentences, and how their translations take the sentences' places. Pure.

A reader (``html_documents``, ``word_documents``) tells a ``Builder`` what it meets, in order. What lies between two boundaries
and has words becomes a ``Passage``: its texts with the elements around them, which is what is translated as one sentence.
Everything else, and every passage without a letter, stays as it stood, character by character.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from modelyard.ai.translating import Part
from modelyard.services.translate.translator import Sentence, Span

DEPTH_MAX = 20
"""Elements around one word; those further inside are boundaries."""
_FIRST, _LAST = "\ufdd0", "\ufdd1"
_PLACE = re.compile(f"{_FIRST}([0-9]+){_LAST}")
"""What a sentence has instead of markup that stands between words: characters that no text may hold."""
_OURS = str.maketrans("", "", _FIRST + _LAST)
_LOOSE = re.compile(r"[ \t\n\r\f]+")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Element:
    """Markup around words, itself and no other like it. ``is_kept``: it stays even if none of its words came back."""

    opening: str
    closing: str
    is_kept: bool = True


Stack = tuple[Element, ...]
_Run = tuple[Stack, int | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """``before`` and ``after``: the elements that are open there."""

    raw: str
    before: Stack
    after: Stack
    text: str | None = None
    is_loose: bool = False
    is_fixed: bool = False
    is_word: bool = False
    marks: str = ""

    @property
    def has_words(self) -> bool:
        return self.is_word or bool(self.text and self.text.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed:
    stack: Stack
    raw: str


class Passage:
    """What is translated at once, and put back."""

    def __init__(self, tokens: Sequence[_Token], write_text: Callable[[str], str]) -> None:
        self._begins, self._ends = tokens[0].before, tokens[-1].after
        self._write_text = write_text
        self._stacks: list[Stack] = []
        self._fixed: list[_Fixed] = []
        self._marks = {
            where: [one.raw for one in tokens if one.marks == where]
            for where in ("before", "after")
        }
        spans: list[Span] = []
        for token in _without_empty(tokens):
            if token.is_fixed:
                spans.append(Span(text=f"{_FIRST}{len(self._fixed)}{_LAST}", is_fixed=True))
                self._stacks.append(token.before)
                self._fixed.append(_Fixed(stack=token.before, raw=token.raw))
            elif token.text:
                if spans and not spans[-1].is_fixed and self._stacks[-1] == token.before:
                    spans[-1] = Span(text=spans[-1].text + token.text)
                else:
                    spans.append(Span(text=token.text))
                    self._stacks.append(token.before)
        is_loose = any(token.is_loose for token in tokens)
        self._lead, self._trail, self.sentence = _trimmed(spans, is_loose)

    @property
    def characters(self) -> int:
        """Of its texts."""
        return sum(len(span.text) for span in self.sentence if not span.is_fixed)

    def write(self, parts: Sequence[Part]) -> str:
        """The translation with its markup: whatever the engine made of it, nothing fixed is lost or comes twice."""
        out = _Writer(self._begins)
        for raw in self._marks["before"]:
            out.at((), raw)
        missing = dict(enumerate(self._fixed))
        for stack, number, text in self._runs(parts):
            fixed = missing.pop(number, None) if number is not None else None
            if fixed is not None:
                out.at(fixed.stack, fixed.raw)
            elif text:
                out.at(stack, self._write_text(text))
        for fixed in missing.values():
            out.at(fixed.stack, fixed.raw)
        for stack in self._stacks:
            for depth, element in enumerate(stack, 1):
                if element.is_kept and element not in out.seen:
                    out.at(stack[:depth], "")
        for raw in self._marks["after"]:
            out.at((), raw)
        out.go(self._ends)
        return out.text

    def _runs(self, parts: Sequence[Part]) -> list[_Run]:
        """Of a translation what is text, with the elements around it, and the numbers of what is fixed."""
        said = list(parts) or [(0, "")]
        said[0] = said[0][0], self._lead + said[0][1]
        said[-1] = said[-1][0], said[-1][1] + self._trail
        runs: list[_Run] = []
        for piece, text in said:
            stack = self._stacks[piece]
            for place, run in enumerate(_PLACE.split(text)):
                if place % 2:
                    runs.append((stack, int(run), ""))
                elif run:
                    runs.append((stack, None, run.translate(_OURS)))
        return _with_spaces_outside(runs)


def _with_spaces_outside(runs: list[_Run]) -> list[_Run]:
    """A space between two texts is part of the one with less markup."""
    for place in range(len(runs) - 1):
        (stack, fixed, text), (other, next_fixed, following) = runs[place : place + 2]
        if fixed is not None or next_fixed is not None:
            continue
        if len(stack) > len(other) and text[-1:] == " ":
            text, following = text[:-1], f" {following}"
        elif len(stack) < len(other) and following[:1] == " ":
            text, following = f"{text} ", following[1:]
        runs[place : place + 2] = (stack, None, text), (other, None, following)
    return runs


class _Writer:
    """Text whose elements are opened and closed as each stretch needs it."""

    def __init__(self, stack: Stack) -> None:
        self.text = ""
        self.seen = set(stack)
        self._stack = stack

    def at(self, stack: Stack, raw: str) -> None:
        self.go(stack)
        self.text += raw

    def go(self, stack: Stack) -> None:
        common = 0
        for one, other in zip(self._stack, stack, strict=False):
            if one is not other:
                break
            common += 1
        self.text += "".join(one.closing for one in reversed(self._stack[common:]))
        self.text += "".join(one.opening for one in stack[common:])
        self.seen.update(stack)
        self._stack = stack


def _without_empty(tokens: Sequence[_Token]) -> list[_Token]:
    """Elements with nothing inside are fixed, as they stand, or gone."""
    found: list[_Token] = []
    for token in tokens:
        opened = found[-1] if found else None
        if (
            opened is not None
            and len(opened.after) == len(opened.before) + 1
            and token.before == opened.after
            and token.after == opened.before
        ):
            found.pop()
            if opened.after[-1].is_kept:
                raw = opened.raw + token.raw
                found.append(_Token(raw=raw, before=token.after, after=token.after, is_fixed=True))
        elif not token.marks:
            found.append(token)
    return found


def _trimmed(spans: list[Span], is_loose: bool) -> tuple[str, str, Sentence]:
    """The whitespace before and after, which is not translated; and the sentence, with single spaces if others mean nothing."""
    lead = trail = ""
    if not spans[0].is_fixed:
        bare = spans[0].text.lstrip()
        lead = spans[0].text[: len(spans[0].text) - len(bare)]
        spans[0] = Span(text=bare)
    if not spans[-1].is_fixed:
        bare = spans[-1].text.rstrip()
        trail = spans[-1].text[len(bare) :]
        spans[-1] = Span(text=bare)
    if is_loose:
        spans = [replace(one, text=_LOOSE.sub(" ", one.text)) for one in spans]
    return lead, trail, spans


@dataclass(slots=True)
class Layout:
    """A document as it will be written: what stays, and the passages between."""

    pieces: list[str | Passage] = field(default_factory=list)

    @property
    def passages(self) -> list[Passage]:
        """In their order."""
        return [one for one in self.pieces if isinstance(one, Passage)]

    def write(self, translated: Sequence[Sequence[Part]]) -> str:
        """With a translation for each passage."""
        parts = iter(translated)
        return "".join(
            one if isinstance(one, str) else one.write(next(parts)) for one in self.pieces
        )


class Builder:
    """Takes a document apart. ``write_text`` makes markup of a text, escapes and all."""

    def __init__(self, write_text: Callable[[str], str]) -> None:
        self.layout = Layout()
        self._write_text = write_text
        self._stack: Stack = ()
        self._saved: list[Stack] = []
        self._tokens: list[_Token] = []

    def text(self, text: str, raw: str, *, is_loose: bool = False) -> None:
        """``raw`` is how the document has it; ``is_loose``: any whitespace is as good as another."""
        self._add(raw, text=text.translate(_OURS), is_loose=is_loose)

    def fixed(self, raw: str, *, is_word: bool = False) -> None:
        """What has its place between words; ``is_word``: it is one of the sentence, though not to be translated."""
        self._add(raw, is_fixed=True, is_word=is_word)

    def mark(self, raw: str, *, is_after: bool = False) -> None:
        """What belongs to the sentence but to no place in it: it goes before or after."""
        self._add(raw, marks="after" if is_after else "before")

    def drop(self, raw: str) -> None:
        """What has no meaning in a translation."""
        self._add(raw, marks="dropped")

    def _add(
        self,
        raw: str,
        *,
        text: str | None = None,
        is_loose: bool = False,
        is_fixed: bool = False,
        is_word: bool = False,
        marks: str = "",
    ) -> None:
        self._tokens.append(
            _Token(
                raw=raw, before=self._stack, after=self._stack, text=text,
                is_loose=is_loose, is_fixed=is_fixed, is_word=is_word, marks=marks,
            )
        )  # fmt: skip

    def open(self, element: Element, raw: str | None = None) -> bool:
        """An element begins within a sentence; False where that is too deep, and it is a boundary."""
        raw = element.opening if raw is None else raw
        if len(self._stack) >= DEPTH_MAX:
            self.cut(raw)
            return False
        after = (*self._stack, element)
        self._tokens.append(_Token(raw=raw, before=self._stack, after=after))
        self._stack = after
        return True

    def close(self, element: Element, raw: str) -> bool:
        """It ends, whichever others are open; False where it is not open here, and its end is a boundary."""
        if element not in self._stack:
            self.cut(raw)
            return False
        after = tuple(one for one in self._stack if one is not element)
        self._tokens.append(_Token(raw=raw, before=self._stack, after=after))
        self._stack = after
        return True

    def cut(self, raw: str) -> None:
        """A boundary between sentences that leaves the elements open."""
        self._flush()
        self._emit(raw)

    def block(self, raw: str) -> None:
        """A boundary behind which no element that is open counts."""
        self._flush()
        self._stack = ()
        self._emit(raw)

    def enter(self, raw: str) -> None:
        """As ``block``, until ``leave``."""
        self._flush()
        self._saved.append(self._stack)
        self._stack = ()
        self._emit(raw)

    def leave(self, raw: str) -> None:
        """The elements before ``enter`` are those that count again."""
        self._flush()
        self._stack = self._saved.pop()
        self._emit(raw)

    def finish(self) -> Layout:
        """The whole document."""
        self._flush()
        return self.layout

    def _emit(self, raw: str) -> None:
        if raw:
            self.layout.pieces.append(raw)

    def _flush(self) -> None:
        tokens, self._tokens = self._tokens, []
        bearing = [place for place, token in enumerate(tokens) if token.has_words]
        if not any(_has_letters(token.text) for token in tokens):
            self._emit("".join(token.raw for token in tokens))
            return
        first, last = bearing[0], bearing[-1]
        while first and len(tokens[first - 1].after) > len(tokens[first - 1].before):
            first -= 1
        while last + 1 < len(tokens) and len(tokens[last + 1].after) < len(tokens[last + 1].before):
            last += 1
        self._emit("".join(token.raw for token in tokens[:first]))
        self.layout.pieces.append(Passage(tokens[first : last + 1], self._write_text))
        self._emit("".join(token.raw for token in tokens[last + 1 :]))


def _has_letters(text: str | None) -> bool:
    return text is not None and any(letter.isalpha() for letter in text)
