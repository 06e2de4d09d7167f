"""Custom terminology: reading its files, writing them, and finding terms in texts. Pure.

A file is a table: a column for each language, a row for each term. CSV and TSV have the languages' codes in their first line; a
TMX file says them of each text. An XML file that declares entities is refused: a kilobyte of them can unfold to a gigabyte.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

UNI, MULTI = "UNI", "MULTI"
_DELIMITERS = {"CSV": ",", "TSV": "\t"}
CELL_CHARACTERS = 10_000
_DEPTH_MAX = 100


class TermsError(Exception):
    """The file is none; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One place of a text where a term stands; offsets are code points."""

    begin: int
    end: int
    source: str
    target: str


@dataclass(frozen=True)
class Terms:
    """From one language to one other."""

    targets: Mapping[str, str]

    @cached_property
    def _lengths(self) -> Mapping[str, Sequence[int]]:
        """Of the terms that begin with a character, the longest first."""
        lengths: dict[str, set[int]] = {}
        for term in self.targets:
            lengths.setdefault(term[0], set()).add(len(term))
        return {first: sorted(some, reverse=True) for first, some in lengths.items()}

    def find(self, text: str) -> Iterator[Found]:
        """Exact matches of whole words, the longest first where several begin; none within another."""
        place = 0
        while place < len(text):
            end = self._match(text, place)
            if end is None:
                place += 1
                continue
            source = text[place:end]
            yield Found(begin=place, end=end, source=source, target=self.targets[source])
            place = end

    def _match(self, text: str, begin: int) -> int | None:
        lengths = self._lengths.get(text[begin])
        if lengths is None or _is_within_word(text, begin):
            return None
        for length in lengths:
            end = begin + length
            if text[begin:end] in self.targets and not _is_within_word(text, end):
                return end
        return None


def _is_within_word(text: str, place: int) -> bool:
    """Whether a place has letters of one word on both sides; scripts without spaces have no words to be within."""
    if not 0 < place < len(text):
        return False
    before, after = text[place - 1], text[place]
    return all(one.isalnum() and not _is_unspaced(one) for one in (before, after))


def _is_unspaced(letter: str) -> bool:
    """Chinese, Japanese, Thai, Lao, Khmer, Burmese: written without spaces."""
    code = ord(letter)
    return (
        0x0E00 <= code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0x20000 <= code <= 0x3FFFF
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A terminology: ``languages``, the source first, and a row of texts for each term, empty where there is none."""

    languages: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    skipped: int = 0

    def terms(self, source: str, target: str, directionality: str) -> Terms:
        """The first of several rows with the same source counts. None where the languages are not in the table."""
        if target not in self.languages or source not in self.languages:
            return Terms({})
        origin, goal = self.languages.index(source), self.languages.index(target)
        if origin == goal or (directionality != MULTI and origin != 0):
            return Terms({})
        found: dict[str, str] = {}
        for row in self.rows:
            if row[origin] and row[goal]:
                found.setdefault(row[origin], row[goal])
        return Terms(found)


def read(data: bytes, form: str) -> Table:
    """Raises ``TermsError``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TermsError(f"The file is not UTF-8: {error}") from error
    table = _read_tmx(data) if form == "TMX" else _read_table(text, _DELIMITERS[form])
    if len(table.languages) < 2:
        raise TermsError("The file has to name a source language and at least one target language.")
    if len(set(table.languages)) != len(table.languages):
        raise TermsError("The file names a language twice.")
    if not table.rows:
        raise TermsError("The file has no terms.")
    return table


def _read_table(text: str, delimiter: str) -> Table:
    rows: list[tuple[str, ...]] = []
    skipped = 0
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        languages = tuple(code.strip() for code in next(lines, []))
        for number, cells in enumerate(lines, 2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(languages):
                raise TermsError(
                    f"Line {number} has more fields than the first line has languages."
                )
            row = _row(cells, len(languages))
            if row is None:
                skipped += 1
            else:
                rows.append(row)
    except csv.Error as error:
        raise TermsError(f"The file cannot be read: {error}") from error
    return Table(languages=languages, rows=tuple(rows), skipped=skipped)


def _row(cells: Sequence[str], width: int) -> tuple[str, ...] | None:
    """None for one without a source, without any target, or with a text that is too long."""
    row = tuple(cell.strip() for cell in cells) + ("",) * (width - len(cells))
    is_whole = row[0] and any(row[1:]) and all(len(cell) <= CELL_CHARACTERS for cell in row)
    return row if is_whole else None


class _TmxReader:
    """What expat tells of a TMX file."""

    def __init__(self) -> None:
        self.source = ""
        self.units: list[dict[str, str]] = []
        self._language = ""
        self._depth = 0
        self._segment: list[str] | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise TermsError(f"The elements are nested more than {_DEPTH_MAX} deep.")
        if tag == "header":
            self.source = attributes.get("srclang", "")
        elif tag == "tu":
            self.units.append({})
        elif tag == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif tag == "seg":
            self._segment = []

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "seg" and self._segment is not None:
            if self.units and self._language:
                self.units[-1].setdefault(self._language, "".join(self._segment).strip())
            self._segment = None

    def text(self, data: str) -> None:
        if self._segment is not None:
            self._segment.append(data)


def _refuse_entity(*_: object) -> None:
    raise TermsError("The file declares entities, which are not accepted.")


def _read_tmx(data: bytes) -> Table:
    reader = _TmxReader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise TermsError(f"The file is no XML: {error}") from error
    seen = dict.fromkeys(code for unit in reader.units for code in unit)
    source = reader.source if reader.source in seen else next(iter(seen), "")
    languages = (source, *(code for code in seen if code != source))
    rows = [
        _row([unit.get(code, "") for code in languages], len(languages)) for unit in reader.units
    ]
    good = tuple(row for row in rows if row is not None)
    return Table(languages=languages, rows=good, skipped=len(rows) - len(good))


def write(table: Table, form: str) -> bytes:
    """A file of the form."""
    if form == "TMX":
        return "".join(_tmx(table)).encode()
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=_DELIMITERS[form], lineterminator="\n")
    writer.writerows([table.languages, *table.rows])
    return out.getvalue().encode()


def _tmx(table: Table) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
    yield '<header creationtool="modelyard" creationtoolversion="1" datatype="PlainText" segtype="sentence" '
    yield f'adminlang="en-us" srclang={quoteattr(table.languages[0])} o-tmf="modelyard"/>\n<body>\n'
    for row in table.rows:
        yield "<tu>"
        for code, text in zip(table.languages, row, strict=True):
            if text:
                yield f"<tuv xml:lang={quoteattr(code)}><seg>{escape(text)}</seg></tuv>"
        yield "</tu>\n"
    yield "</body>\n</tmx>\n"
