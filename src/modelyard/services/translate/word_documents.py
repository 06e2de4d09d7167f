"""Word documents (docx): the texts of their body, headers, footers and notes, run by run; every other byte as it is. Pure.

A docx file is a ZIP archive of XML files. What an archive or a file may hold is bounded before anything is unpacked, and a file
that has a DTD is refused: so neither unfolds to more than it is allowed, and no entity is ever looked up.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import escape

from modelyard.ai.translating import Part
from modelyard.services.translate.markup import Builder, Element, Layout

MEMBERS_MAX = 5_000
MEMBER_BYTES_MAX = 32 << 20
UNPACKED_BYTES_MAX = 128 << 20
"""Of all files of an archive, as the archive declares them; none gives more than it declares."""
TEXT_BYTES_MAX = 24 << 20
"""Of the files with text, together."""
DEPTH_MAX = 256
_CONTENT_TYPES = "[Content_Types].xml"
_TYPES_NAMESPACE = "http://schemas.openxmlformats.org/package/2006/content-types"
_WORD_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml."
_WITH_TEXT = tuple(
    f"{_WORD_TYPE}{kind}+xml"
    for kind in ("document.main", "header", "footer", "footnotes", "endnotes")
)
_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_SEPARATOR = " "
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AROUND_RUNS = frozenset(("hyperlink", "ins", "moveTo"))
_MARKS_BEFORE = frozenset(("bookmarkStart", "commentRangeStart", "permStart"))
_MARKS_AFTER = frozenset(("bookmarkEnd", "commentRangeEnd", "permEnd"))
_MEANINGLESS = frozenset(("proofErr", "lastRenderedPageBreak", "softHyphen"))
_BREAKS = frozenset(("tab", "br", "cr", "ptab", "fldChar", "instrText"))
"""Of a run: what no sentence goes across, and what has to stay in its order."""


class BadDocument(Exception):
    """The file is no such document, or more than is accepted; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordDocument:
    """``layouts``: of each file with text."""

    data: bytes
    layouts: Mapping[str, Layout]

    def write(self, translated: Sequence[Sequence[Part]]) -> bytes:
        """The archive with a translation for each passage of all layouts, in their order."""
        texts: dict[str, bytes] = {}
        place = 0
        for name, layout in self.layouts.items():
            count = len(layout.passages)
            texts[name] = layout.write(translated[place : place + count]).encode()
            place += count
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(self.data)) as source, zipfile.ZipFile(out, "w") as target:
            target.comment = source.comment
            for info in source.infolist():
                target.writestr(
                    info, texts[info.filename] if info.filename in texts else source.read(info)
                )
        return out.getvalue()


def read_word(data: bytes) -> WordDocument:
    """Raises ``BadDocument``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive.infolist())
            names = _files_with_text(archive)
            if sum(archive.getinfo(name).file_size for name in names) > TEXT_BYTES_MAX:
                raise BadDocument(f"Its texts are more than {TEXT_BYTES_MAX} bytes.")
            layouts = {name: read_word_xml(archive.read(name)) for name in names}
            for info in archive.infolist():
                with archive.open(info) as file:
                    while file.read(1 << 20):
                        pass
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, zlib.error) as error:
        raise BadDocument(f"It is no whole ZIP archive: {error}") from error
    except (NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise BadDocument(f"The archive cannot be read: {error}") from error
    return WordDocument(data=data, layouts=layouts)


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    """Before anything is unpacked."""
    if len(members) > MEMBERS_MAX:
        raise BadDocument(f"The archive has more than {MEMBERS_MAX} files.")
    if len({one.filename for one in members}) != len(members):
        raise BadDocument("The archive has two files of one name.")
    if any(one.flag_bits & 1 for one in members):
        raise BadDocument("The document is protected with a password.")
    if any(one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in members):
        raise BadDocument("The archive is compressed in a way that documents are not.")
    sizes = [one.file_size for one in members]
    if max(sizes, default=0) > MEMBER_BYTES_MAX or sum(sizes) > UNPACKED_BYTES_MAX:
        raise BadDocument(f"Unpacked it is more than {UNPACKED_BYTES_MAX} bytes.")


def _files_with_text(archive: zipfile.ZipFile) -> list[str]:
    """In the archive's order."""
    if _CONTENT_TYPES not in archive.namelist():
        raise BadDocument("It is no Word document: it does not say what its files are.")
    types: dict[str, str] = {}

    def start(name: str, attributes: Mapping[str, str]) -> None:
        if name == f"{_TYPES_NAMESPACE}{_SEPARATOR}Override":
            types[attributes.get("PartName", "").lstrip("/")] = attributes.get("ContentType", "")

    parser = safe_parser()
    parser.StartElementHandler = start
    _parse(parser, archive.read(_CONTENT_TYPES))
    found = [name for name in archive.namelist() if types.get(name) in _WITH_TEXT]
    if not any(types[name] == _WITH_TEXT[0] for name in found):
        raise BadDocument("It is no Word document: it has no main part.")
    return found


def safe_parser() -> expat.XMLParserType:
    """One that refuses DTDs, and with them entities; and encodings that hide what is written."""

    def refuse_dtd(*_: object) -> None:
        raise BadDocument("It declares a document type, which is not accepted.")

    def check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise BadDocument(f"It is encoded as {encoding}, and not as UTF-8.")

    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.StartDoctypeDeclHandler = refuse_dtd
    parser.EntityDeclHandler = refuse_dtd
    parser.XmlDeclHandler = check_encoding
    return parser


def _parse(parser: expat.XMLParserType, data: bytes) -> None:
    try:
        data.decode()
        parser.Parse(data, True)
    except UnicodeDecodeError as error:
        raise BadDocument(f"It is not UTF-8: {error}") from error
    except expat.ExpatError as error:
        raise BadDocument(f"It is no XML: {error}") from error


def read_word_xml(data: bytes) -> Layout:
    """One of its files. Raises ``BadDocument``."""
    return _Reader(data).read()


@dataclass(slots=True)
class _Capture:
    """An element that is taken whole: ``take`` gets its source and its text. A paragraph inside breaks it apart."""

    take: Callable[[str, str], None]
    raw: str
    depth: int = 1
    text: str = ""
    is_broken: bool = False


@dataclass(slots=True, kw_only=True)
class _Frame:
    """What is open, and how what is inside is read. ``element`` of a run is None until it is known how it looks."""

    mode: str
    is_entered: bool = False
    element: Element | None = None
    raw: str = ""
    look: str = ""
    suspended: _Capture | None = None


class _Reader:
    """The parser tells where things begin; so what an event is about ends where the next begins."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._builder = Builder(self._written)
        self._frames = [_Frame(mode="other")]
        self._capture: _Capture | None = None
        self._last_run: tuple[str, Element] | None = None
        self._text_tag = "w:t"
        self._waiting: tuple[Callable[[str, str], None], str, int] | None = None

    def read(self) -> Layout:
        parser = self._parser = safe_parser()
        parser.StartElementHandler = lambda name, _: self._event(self._start, name)
        parser.EndElementHandler = lambda name: self._event(self._end, name)
        parser.CharacterDataHandler = lambda text: self._event(self._other, text)
        parser.DefaultHandler = lambda _: self._event(self._other, "")
        begin = len(self._data)
        _parse(parser, self._data)
        self._event(self._other, "", begin)
        return self._builder.finish()

    def _event(self, handle: Callable[[str, str], None], value: str, index: int = -1) -> None:
        index = self._parser.CurrentByteIndex if index < 0 else index
        waiting, self._waiting = self._waiting, (handle, value, index)
        if waiting is not None:
            before, its_value, begin = waiting
            before(its_value, self._data[begin:index].decode())
        elif index:
            self._builder.cut(self._data[:index].decode())

    def _written(self, text: str) -> str:
        clean = _NO_XML.sub("", text)
        return f'<{self._text_tag} xml:space="preserve">{escape(clean)}</{self._text_tag}>'

    def _start(self, name: str, raw: str) -> None:
        if len(self._frames) > DEPTH_MAX:
            raise BadDocument(f"Its elements are nested more than {DEPTH_MAX} deep.")
        local = _local(name)
        if local == "p":
            self._paragraph(raw)
        elif self._capture is not None:
            self._capture.depth += 1
            self._capture.raw += raw
        elif self._frames[-1].mode == "other":
            self._builder.cut(raw)
            self._frames.append(_Frame(mode="other"))
        elif self._frames[-1].mode == "paragraph":
            self._in_paragraph(local, raw)
        else:
            self._in_run(local, raw)

    def _paragraph(self, raw: str) -> None:
        """It may stand in a text box, which is part of a run of another paragraph."""
        capture, self._capture = self._capture, None
        if capture is not None:
            self._builder.cut(capture.raw)
            capture.raw, capture.is_broken = "", True
        self._builder.enter(raw)
        self._frames.append(_Frame(mode="paragraph", is_entered=True, suspended=capture))

    def _in_paragraph(self, local: str, raw: str) -> None:
        builder = self._builder
        if local == "r":
            self._frames.append(_Frame(mode="run", raw=raw))
        elif local in _AROUND_RUNS:
            element = Element(opening=raw, closing=_closing(raw))
            builder.open(element)
            self._frames.append(_Frame(mode="paragraph", element=element))
        elif local in _MARKS_BEFORE:
            self._capture = _Capture(lambda whole, _: builder.mark(whole), raw)
        elif local in _MARKS_AFTER:
            self._capture = _Capture(lambda whole, _: builder.mark(whole, is_after=True), raw)
        elif local in _MEANINGLESS:
            self._capture = _Capture(lambda whole, _: builder.drop(whole), raw)
        else:
            builder.enter(raw)
            self._frames.append(_Frame(mode="paragraph", is_entered=True))

    def _in_run(self, local: str, raw: str) -> None:
        frame, builder = self._frames[-1], self._builder
        if local == "rPr" and frame.element is None:
            self._capture = _Capture(lambda whole, _: self._look(whole), raw)
            return
        self._begin_run()
        if local == "t":
            self._text_tag = raw[1:].split(">")[0].split()[0].rstrip("/")
            keeps = "preserve" in raw
            self._capture = _Capture(
                lambda whole, text: builder.text(text if keeps else text.strip(), whole), raw
            )
        elif local in _MEANINGLESS:
            self._capture = _Capture(lambda whole, _: builder.drop(whole), raw)
        elif local in _BREAKS:
            self._capture = _Capture(lambda whole, _: builder.cut(whole), raw)
        else:
            self._capture = _Capture(lambda whole, _: builder.fixed(whole), raw)

    def _look(self, whole: str) -> None:
        self._frames[-1].look = whole

    def _begin_run(self) -> None:
        """Runs that follow each other and look the same are one: programs split them for reasons of their own."""
        frame = self._frames[-1]
        if frame.element is not None:
            return
        raw = frame.raw + frame.look
        if self._last_run is not None and self._last_run[0] == frame.look:
            frame.element = self._last_run[1]
        else:
            frame.element = Element(opening=raw, closing=_closing(raw), is_kept=False)
            self._last_run = frame.look, frame.element
        self._builder.open(frame.element, raw)

    def _end(self, _name: str, raw: str) -> None:
        capture = self._capture
        if capture is not None:
            capture.depth -= 1
            capture.raw += raw
            if capture.depth == 0:
                self._capture = None
                if capture.is_broken:
                    self._builder.cut(capture.raw)
                else:
                    capture.take(capture.raw, capture.text)
            return
        frame = self._frames[-1]
        if frame.mode == "run":
            self._begin_run()
        self._frames.pop()
        if frame.is_entered:
            self._builder.leave(raw)
            self._capture = frame.suspended
        elif frame.element is not None:
            self._builder.close(frame.element, raw)
        else:
            self._builder.cut(raw)

    def _other(self, text: str, raw: str) -> None:
        """Text, and what has no meaning here, such as comments and line breaks of the file."""
        if self._capture is not None:
            self._capture.raw += raw
            self._capture.text += text
        elif self._frames[-1].mode == "other":
            self._builder.cut(raw)
        else:
            self._builder.drop(raw)


def _local(name: str) -> str:
    """Of Word's own elements the name, of others nothing."""
    namespace, _, local = name.rpartition(_SEPARATOR)
    return local if namespace in _WORD else ""


def _closing(raw: str) -> str:
    return f"</{raw[1:].split('>')[0].split()[0].rstrip('/')}>"
