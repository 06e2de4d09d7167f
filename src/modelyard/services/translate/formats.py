"""The kinds of documents that are translated: what of each is sentences, and how it is put together again. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard.ai.translating import Part
from modelyard.services.translate.html_documents import read_html
from modelyard.services.translate.markup import Layout
from modelyard.services.translate.translator import Sentence, Span
from modelyard.services.translate.word_documents import BadDocument, WordDocument, read_word

PLAIN, HTML = "text/plain", "text/html"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PIECE_CHARACTERS = 5_000
"""A paragraph that is longer is translated in pieces."""
_BREAK = re.compile(r"(\s*\n\s*\n\s*)")
_BOM = "\ufeff"


class Document(Protocol):
    """One that was read."""

    @property
    def sentences(self) -> Sequence[Sentence]: ...

    @property
    def characters(self) -> int:
        """That are metered."""

    def write(self, translated: Sequence[Sequence[Part]]) -> bytes:
        """The document with a translation of each sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """Pieces that are translated, and what stands between, one after the other."""

    bom: str
    pieces: Sequence[str]

    @property
    def sentences(self) -> Sequence[Sentence]:
        return [[Span(text=one)] for one in self.pieces[::2]]

    @property
    def characters(self) -> int:
        return sum(map(len, self.pieces))

    def write(self, translated: Sequence[Sequence[Part]]) -> bytes:
        pieces = list(self.pieces)
        pieces[::2] = ["".join(text for _, text in parts) for parts in translated]
        return (self.bom + "".join(pieces)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Html:
    bom: str
    layout: Layout

    @property
    def sentences(self) -> Sequence[Sentence]:
        return [one.sentence for one in self.layout.passages]

    @property
    def characters(self) -> int:
        return sum(one.characters for one in self.layout.passages)

    def write(self, translated: Sequence[Sequence[Part]]) -> bytes:
        return (self.bom + self.layout.write(translated)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    document: WordDocument

    @property
    def sentences(self) -> Sequence[Sentence]:
        layouts = self.document.layouts.values()
        return [one.sentence for layout in layouts for one in layout.passages]

    @property
    def characters(self) -> int:
        layouts = self.document.layouts.values()
        return sum(one.characters for layout in layouts for one in layout.passages)

    def write(self, translated: Sequence[Sequence[Part]]) -> bytes:
        return self.document.write(translated)


def _read_plain(data: bytes) -> Document:
    bom, text = _decoded(data)
    pieces: list[str] = []
    for place, part in enumerate(_BREAK.split(text)):
        if place % 2:
            pieces.append(part)
        else:
            for number, piece in enumerate(_cut(part)):
                pieces += [piece] if number == 0 else ["", piece]
    return _Plain(bom=bom, pieces=pieces)


def _cut(paragraph: str) -> Iterator[str]:
    """Where a sentence ends, else where a word does, if one of them does."""
    place = 0
    while len(paragraph) - place > PIECE_CHARACTERS:
        window = paragraph[place : place + PIECE_CHARACTERS]
        ends = (window.rfind(mark) + 1 for mark in (". ", "! ", "? ", ".\n", "。", "\n", " "))
        size = next((end for end in ends if end > PIECE_CHARACTERS // 2), PIECE_CHARACTERS)
        yield window[:size]
        place += size
    yield paragraph[place:]


def _read_html(data: bytes) -> Document:
    bom, text = _decoded(data)
    return _Html(bom=bom, layout=read_html(text))


def _read_word(data: bytes) -> Document:
    return _Word(document=read_word(data))


def _decoded(data: bytes) -> tuple[str, str]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadDocument(f"It is not UTF-8: {error}") from error
    return (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)


FORMATS: Mapping[str, Callable[[bytes], Document]] = {
    PLAIN: _read_plain,
    HTML: _read_html,
    WORD: _read_word,
}


def read_document(data: bytes, content_type: str) -> Document:
    """One of ``FORMATS``. Raises ``BadDocument`` for what is none, and for one without any text."""
    document = FORMATS[content_type](data)
    if not any(span.text.strip() for one in document.sentences for span in one):
        raise BadDocument("It has no text that could be translated.")
    return document


def sample(document: Document, characters: int) -> str:
    """Its beginning, to tell its language by."""
    found, size = [], 0
    for sentence in document.sentences:
        text = "".join(span.text for span in sentence if not span.is_fixed)
        found.append(text)
        size += len(text)
        if size >= characters:
            break
    return "\n".join(found)[:characters]
