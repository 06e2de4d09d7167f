"""HTML documents: their texts, with inline markup as part of sentences; everything else stays as it is written. Pure.

Read as browsers do, not as XML: whatever the bytes, something comes out, and in linear time. Not translated are attributes,
comments, scripts, styles, formulas, and what says ``translate="no"``.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.services.translate.markup import Builder, Element, Layout

_MARKUP = re.compile(
    r"""<!--(?:-?>|.*?(?:--!?>|\Z))|<[!?][^>]*+(?:>|\Z)|</(?![a-zA-Z])[^>]*+(?:>|\Z)
    |<(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+)
     (?P<attributes>(?:[^"'>=]++|=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))?|["'])*+)(?:>|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>]*))?""")
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]{1,31});?")
_NEWLINES = re.compile(r"(\r?\n)")
_INLINE = frozenset(
    (
        "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn",
        "em", "font", "i", "ins", "kbd", "label", "mark", "nobr", "output", "q", "rb", "rp", "rt",
        "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u",
        "var",
    )
)  # fmt: skip
_BETWEEN = frozenset(["img", "input", "wbr", "embed", "object"])
"""Void, or as good as: they stand between words."""
_VOID = frozenset(
    (
        "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input",
        "link", "meta", "param", "source", "track", "wbr",
    )
)  # fmt: skip
_RAW = frozenset(["script", "style", "xmp", "iframe", "noembed", "noframes"])
_TEXT_ONLY = frozenset(("title", "textarea"))
_KEEPS_SPACES = frozenset(("pre", "textarea", "listing"))
_IMPLIED_ENDS: dict[str, frozenset[str]] = {
    "li": frozenset(("li",)),
    "dt": frozenset(("dt", "dd")),
    "dd": frozenset(("dt", "dd")),
    "tr": frozenset(("tr", "td", "th")),
    "td": frozenset(("td", "th")),
    "th": frozenset(("td", "th")),
    "option": frozenset(("option",)),
}
_OPEN_MAX = 1_000
"""Elements that are remembered as open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """An element that has begun. ``element`` is None where it is no part of a sentence."""

    name: str
    element: Element | None
    translates: bool
    keeps_spaces: bool


class _Spelling:
    """How this document writes characters: as references where it never writes them otherwise."""

    def __init__(self) -> None:
        self._references: dict[str, str] = {}
        self._bare: set[str] = set()
        self._table: dict[int, str] | None = None

    def read(self, raw: str) -> str:
        """The text of some source."""
        place = 0
        for found in _REFERENCE.finditer(raw):
            self._bare.update(raw[place : found.start()])
            letter = html.unescape(found[0])
            if len(letter) == 1:
                self._references.setdefault(letter, found[0])
            place = found.end()
        self._bare.update(raw[place:])
        return html.unescape(raw)

    def write(self, text: str) -> str:
        """The source of a text."""
        if self._table is None:
            table = {"&": "&amp;", "<": "&lt;"}
            if ">" not in self._bare:
                table[">"] = "&gt;"
            table |= {
                letter: reference
                for letter, reference in self._references.items()
                if letter not in self._bare or letter in "&<"
            }
            self._table = str.maketrans(table)
        return text.translate(self._table)


def read_html(text: str) -> Layout:
    """Every text is a document of some sort."""
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._spelling = _Spelling()
        self._builder = Builder(self._spelling.write)
        self._open: list[_Open] = []
        self._counts: Counter[str] = Counter()
        self._place = 0

    def read(self) -> Layout:
        for begin, found in self._tags():
            self._words(self._text[self._place : begin])
            self._place = found.end()
            if found["name"] is None:
                self._other(found[0])
            elif found["end"]:
                self._end(found["name"].lower(), found[0])
            else:
                self._start(found["name"].lower(), found)
        self._words(self._text[self._place :])
        return self._builder.finish()

    def _tags(self) -> Iterator[tuple[int, re.Match[str]]]:
        """Each piece of markup, from wherever the reader has got to."""
        begin = self._text.find("<")
        while begin >= 0:
            found = _MARKUP.match(self._text, begin)
            if found is None:
                begin = self._text.find("<", begin + 1)
                continue
            yield begin, found
            begin = self._text.find("<", self._place)

    @property
    def _translates(self) -> bool:
        return self._open[-1].translates if self._open else True

    @property
    def _keeps_spaces(self) -> bool:
        return self._open[-1].keeps_spaces if self._open else False

    def _words(self, raw: str) -> None:
        if not raw:
            return
        if not self._translates:
            self._builder.cut(raw)
        elif not self._keeps_spaces:
            self._builder.text(self._spelling.read(raw), raw, is_loose=True)
        else:
            for place, line in enumerate(_NEWLINES.split(raw)):
                if place % 2:
                    self._builder.cut(line)
                elif line:
                    self._builder.text(self._spelling.read(line), line)

    def _other(self, raw: str) -> None:
        """A comment has no place in a sentence; declarations have none in a paragraph."""
        if raw.startswith("<!--"):
            self._builder.mark(raw)
        else:
            self._builder.cut(raw)

    def _start(self, name: str, found: re.Match[str]) -> None:
        raw = found[0]
        if name in _RAW or name == "plaintext":
            self._builder.cut(raw + self._until_end(name))
        elif name in _TEXT_ONLY:
            self._only_text(name, found)
        elif name in _VOID:
            self._void(name, raw)
        elif name == "math":
            self._builder.fixed(raw + self._until_end(name), is_word=True)
        else:
            self._element(name, found)

    def _void(self, name: str, raw: str) -> None:
        if not self._translates or name == "br":
            self._builder.cut(raw)
        elif name in _BETWEEN:
            self._builder.fixed(raw)
        else:
            self._builder.block(raw)

    def _only_text(self, name: str, found: re.Match[str]) -> None:
        """A title or a text field: what looks like markup there is none."""
        translates = _translates(found["attributes"], self._translates)
        self._builder.block(found[0])
        inside = self._until_end(name)
        end = inside.rfind("</") if inside.endswith(">") else -1
        body, closing = (inside, "") if end < 0 else (inside[:end], inside[end:])
        self._push(name, None, translates, keeps_spaces=name in _KEEPS_SPACES)
        self._words(body)
        self._pop()
        self._builder.block(closing)

    def _element(self, name: str, found: re.Match[str]) -> None:
        raw = found[0]
        translates = _translates(found["attributes"], self._translates)
        if name not in _INLINE:
            while self._open and self._open[-1].name in _IMPLIED_ENDS.get(name, ()):
                self._pop()
            translates = _translates(found["attributes"], self._translates)
            self._builder.block(raw)
            self._push(name, None, translates, self._keeps_spaces or name in _KEEPS_SPACES)
            return
        if self._translates and not translates:
            self._builder.fixed(raw + self._until_closed(name), is_word=True)
            return
        element = Element(opening=raw, closing=f"</{found['name']}>")
        if not self._translates:
            self._builder.cut(raw)
        elif self._builder.open(element):
            self._push(name, element, translates, self._keeps_spaces)
            return
        self._push(name, None, translates, self._keeps_spaces)

    def _end(self, name: str, raw: str) -> None:
        if not self._counts[name]:
            self._builder.block(raw) if name not in _INLINE else self._builder.cut(raw)
            return
        if name not in _INLINE:
            while self._pop().name != name:
                pass
            self._builder.block(raw)
            return
        place = max(place for place, one in enumerate(self._open) if one.name == name)
        one = self._open.pop(place)
        self._counts[name] -= 1
        if one.element is None:
            self._builder.cut(raw)
        else:
            self._builder.close(one.element, raw)

    def _push(
        self, name: str, element: Element | None, translates: bool, keeps_spaces: bool
    ) -> None:
        if len(self._open) < _OPEN_MAX:
            self._open.append(
                _Open(
                    name=name, element=element, translates=translates, keeps_spaces=keeps_spaces
                )
            )  # fmt: skip
            self._counts[name] += 1

    def _pop(self) -> _Open:
        one = self._open.pop()
        self._counts[one.name] -= 1
        return one

    def _until_end(self, name: str) -> str:
        """The source up to the end tag of what holds no markup, with it."""
        end = re.compile(rf"</{re.escape(name)}(?=[\s/>])[^>]*+(?:>|\Z)", re.IGNORECASE)
        found = None if name == "plaintext" else end.search(self._text, self._place)
        return self._take(found.end() if found else len(self._text))

    def _until_closed(self, name: str) -> str:
        """The source up to the end tag of the element that has just begun, with it."""
        depth, place = 1, self._place
        while depth:
            begin = self._text.find("<", place)
            if begin < 0:
                return self._take(len(self._text))
            found = _MARKUP.match(self._text, begin)
            place = found.end() if found else begin + 1
            if found and found["name"] and found["name"].lower() == name:
                depth += -1 if found["end"] else 1
        return self._take(place)

    def _take(self, end: int) -> str:
        taken = self._text[self._place : end]
        self._place = end
        return taken


def _translates(attributes: str, inherited: bool) -> bool:
    """By the attribute ``translate``; without it as around it."""
    if "translate" not in attributes.lower():
        return inherited
    for name, value in _ATTRIBUTE.findall(attributes):
        if name.lower() == "translate":
            said = value.strip("\"'").strip().lower()
            return {"no": False, "yes": True, "": True}.get(said, inherited)
    return inherited
