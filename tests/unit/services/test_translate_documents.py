"""Documents of the three kinds: what of them is translated, that everything else stays, and what is refused of them."""

import asyncio
import io
import re
import zipfile
from collections.abc import Sequence
from html.parser import HTMLParser
from xml.dom import minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.ai.translating import Part
from modelyard.base.errors import ServiceError
from modelyard.services.translate import word_documents
from modelyard.services.translate.documents import CHARACTERS_MAX, DOCUMENT_BYTES, read
from modelyard.services.translate.formats import HTML, PIECE_CHARACTERS, PLAIN, WORD, read_document
from modelyard.services.translate.html_documents import read_html
from modelyard.services.translate.translator import Sentence
from modelyard.services.translate.word_documents import BadDocument, read_word_xml

NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml"
FRAGMENTS = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<b>", "</b>", "<a href='x>'>", "</a>", "<img>", "<br>", "<!--n-->", "one", "two", "&amp;", "&nbsp;",
         "<pre>", "</pre>", "<", ">", "<li>", "<i>", "</i>", "<span translate=no>", "</span>", "<script>if(a<b)x</script>",
         "&eacute;t&eacute;", "7"]
    ),
    max_size=14,
)  # fmt: skip


def shouted(sentence: Sentence) -> list[Part]:
    """A translation into capitals, in the order of the source."""
    return [
        (number, span.text if span.is_fixed else span.text.upper())
        for number, span in enumerate(sentence)
    ]


def turned(sentence: Sentence) -> list[Part]:
    return shouted(sentence)[::-1]


def html(text: str, translate: object = shouted) -> str:
    layout = read_html(text)
    return layout.write([translate(one.sentence) for one in layout.passages])  # type: ignore[operator]


def xml(body: str) -> bytes:
    return f'<?xml version="1.0"?><w:document {NAMESPACE}><w:body>{body}</w:body></w:document>'.encode()


def docx(files: dict[str, bytes] | None = None, *, document: bytes = b"") -> bytes:
    """A Word document as small as they can be."""
    kinds = {"document": "document.main", "header1": "header", "footnotes": "footnotes"}
    parts = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{MAIN}.{kind}+xml"/>'
        for name, kind in kinds.items()
    )
    types = f'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">{parts}</Types>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("word/document.xml", document or xml("<w:p><w:r><w:t>a</w:t></w:r></w:p>"))
        for name, data in (files or {}).items():
            archive.writestr(name, data)
    return out.getvalue()


def sentences(document: bytes, content_type: str) -> list[str]:
    found = read_document(document, content_type).sentences
    return ["".join(span.text for span in one) for one in found]


def translated(document: bytes, content_type: str) -> bytes:
    found = read_document(document, content_type)
    return found.write([shouted(one) for one in found.sentences])


def test_a_plain_text_keeps_its_paragraphs_and_is_cut_where_sentences_end() -> None:
    text = "\ufeffOne.\n\n  Two\n \n" + "A sentence. " * 600
    assert translated(text.encode(), PLAIN).decode() == text.upper()
    found = sentences(text.encode(), PLAIN)
    assert found[:2] == ["One.", "Two"] and len(found) == 4
    assert max(map(len, found)) <= PIECE_CHARACTERS and found[2].endswith("sentence.")
    assert read_document(text.encode(), PLAIN).characters == len(text) - 1
    assert "".join(sentences(b"x" * 12_000, PLAIN)) == "x" * 12_000


def test_html_keeps_all_but_its_texts() -> None:
    document = (
        "<!DOCTYPE html><html lang=en><head><title>{} &amp; {}</title><style>p > b {{}}</style></head>\n"
        "<body class='x>y'>\n  <p>{}{}<b id=1>{}</b> {} &copy; <a href=\"?a=1&amp;b=c\">{}</a>.<br/>{}<!-- why --></p>\n"
        "<p translate=no>no <b translate=yes>{}</b> no</p><ul><li>{}<li>{} &lt; 3</ul>"
        "<script>a<b && 'x'</script>\n12 &euro;</body></html>"
    )
    words = ["one", "two", "the", "red", "house", "of us", "end", "but", "one", "two"]
    before, after = list(words), [one.upper() for one in words]
    before.insert(3, "\n   ")
    after.insert(3, " ")
    assert html(document.format(*before)) == document.format(*after)


def test_inline_elements_are_part_of_one_sentence_and_move_with_their_words() -> None:
    layout = read_html(
        "<p>The <b>red</b> house<a name=x></a> of <i translate=no>Acme <u>Inc</u></i></p>"
    )
    (passage,) = layout.passages
    texts = [span.text for span in passage.sentence]
    assert texts[:3] == ["The ", "red", " house"] and len(texts) == 6
    anchor, acme = texts[3], texts[5]
    said = [(0, "La "), (2, "casa "), (1, "roja"), (3, anchor), (4, " de "), (5, acme)]
    assert layout.write([said]) == (
        "<p>La casa <b>roja</b><a name=x></a> de <i translate=no>Acme <u>Inc</u></i></p>"
    )


def test_an_engine_that_loses_markup_or_says_it_twice_loses_and_doubles_none() -> None:
    layout = read_html("<p>A <b>red</b> <img src=1> house <a href=2>here</a> now</p>")
    (passage,) = layout.passages
    image = next(span.text for span in passage.sentence if span.is_fixed)
    said = layout.write([[(0, f"Una {image}casa{image}")]])
    assert said == "<p>Una <img src=1>casa<b></b><a href=2></a></p>"
    assert layout.write([[]]) == "<p><img src=1><b></b><a href=2></a></p>"


def test_lines_of_preformatted_text_are_sentences_and_keep_their_spaces() -> None:
    assert html("<pre>\n  one   two\r\n\tthree</pre>") == "<pre>\n  ONE   TWO\r\n\tTHREE</pre>"
    assert html("<textarea>a <b> c</textarea>") == "<textarea>A &lt;B> C</textarea>"


class Seen(HTMLParser):
    """Of an HTML document its words, and what has no words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words = ""
        self.others: list[str] = []
        self.feed(text)
        self.close()

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_starttag(self, tag: str, _: Sequence[tuple[str, str | None]]) -> None:
        if tag in ("img", "br"):
            self.others.append(tag)


@given(FRAGMENTS)
def test_whatever_the_html_its_words_are_translated_and_nothing_else_is_lost(
    parts: list[str],
) -> None:
    source = " ".join(parts)
    same = html(source, lambda sentence: [(n, s.text) for n, s in enumerate(sentence)])
    before, after = Seen(source), Seen(same)
    assert re.sub(r"[ \n]+", "", after.words) == re.sub(r"[ \n]+", "", before.words)
    assert sorted(Seen(html(source, turned)).others) == sorted(before.others)


@pytest.mark.parametrize(
    "piece",
    [
        "<b>",
        "<b><i>",
        "</b>",
        "<!--",
        "<a b='",
        "<div>",
        "<",
        "</",
        "&",
        "<script>",
        "<i translate=no>",
        "<pre>x\n",
    ],
)
@pytest.mark.timeout(120)  # Minutes, were it quadratic.
def test_hostile_html_is_read_in_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    assert html(text, lambda sentence: [(n, s.text) for n, s in enumerate(sentence)]) == text


def test_runs_of_a_word_document_are_sentences_with_their_looks() -> None:
    layout = read_word_xml(
        xml(
            '<w:p w:x="1"><w:pPr><w:b/></w:pPr><w:bookmarkStart w:id="0"/><w:r><w:t xml:space="preserve">The </w:t></w:r>'
            '<w:r w:x="2"><w:rPr><w:b/></w:rPr><w:t>red</w:t></w:r><w:proofErr/><w:r><w:t xml:space="preserve"> ho</w:t></w:r>'
            '<w:r w:x="3"><w:t>use &amp;</w:t></w:r><w:bookmarkEnd w:id="0"/><w:hyperlink><w:r><w:t> me</w:t></w:r></w:hyperlink>'
            '<w:r><w:footnoteReference/></w:r><w:r><w:t>!</w:t><w:tab/><w:t>End</w:t></w:r></w:p>'
        )
    )  # fmt: skip
    first, second = layout.passages
    texts = [span.text for span in first.sentence]
    assert texts[:4] == ["The ", "red", " house &", "me"] and texts[-1] == "!"
    said = [(2, "LA CASA "), (1, "ROJA "), (3, "YO<"), (4, texts[4]), (5, "\x07!")]
    written = layout.write([said, [(0, "FIN")]])
    assert (
        '<w:bookmarkStart w:id="0"/><w:r><w:t xml:space="preserve">LA CASA </w:t></w:r>'
        '<w:r w:x="2"><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">ROJA </w:t></w:r>'
    ) in written
    assert '<w:hyperlink><w:r><w:t xml:space="preserve">YO&lt;</w:t></w:r></w:hyperlink>' in written
    assert written.count("<w:footnoteReference/>") == 1
    assert written.endswith(
        '<w:bookmarkEnd w:id="0"/><w:r><w:tab/><w:t xml:space="preserve">FIN</w:t></w:r></w:p></w:body></w:document>'
    )
    minidom.parseString(written)
    assert second.sentence[0].text == "End"


def test_text_boxes_are_translated_within_their_run_and_deleted_text_is_not() -> None:
    body = (
        "<w:p><w:r><w:drawing><x xmlns=''><w:p><w:r><w:t>box</w:t></w:r></w:p></x></w:drawing></w:r><w:r><w:t>out</w:t></w:r>"
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p><w:p/><w:p><w:r/><w:r><w:t>12</w:t></w:r></w:p>"
        "<w:p><w:r><w:fldChar/></w:r><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
    )
    layout = read_word_xml(xml(body))
    assert [one.sentence[0].text for one in layout.passages] == ["box", "out"]
    same = layout.write([[(0, "box")], [(0, "out")]])
    assert same.replace(' xml:space="preserve"', "") == xml(body).decode()


def test_every_other_byte_of_a_word_document_stays() -> None:
    picture = bytes(range(256)) * 9
    header = xml("<w:p><w:r><w:t>Head</w:t></w:r></w:p>")
    source = docx(
        {"word/media/a.png": picture, "word/header1.xml": header, "word/styles.xml": b"<s>text</s>"}
    )
    found = read_document(source, WORD)
    assert found.characters == 5
    said = found.write([[(0, "Uno")], [(0, "Kopf")]])
    with zipfile.ZipFile(io.BytesIO(said)) as new, zipfile.ZipFile(io.BytesIO(source)) as old:
        assert new.namelist() == old.namelist()
        assert b">Kopf<" in new.read("word/header1.xml") and b">Uno<" in new.read(
            "word/document.xml"
        )
        for name in ("[Content_Types].xml", "word/media/a.png", "word/styles.xml"):
            assert new.read(name) == old.read(name)
            assert new.getinfo(name).date_time == old.getinfo(name).date_time


BOMB = (
    b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + xml("<w:p>&b;</w:p>").split(b"?>")[1]
)
OUTSIDE = b'<!DOCTYPE d SYSTEM "file:///etc/passwd">' + xml("<w:p/>").split(b"?>")[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "no whole ZIP"),
        (docx()[:-40], "no whole ZIP"),
        (docx(document=BOMB), "document type"),
        (docx(document=OUTSIDE), "document type"),
        (docx(document=b'<?xml version="1.0" encoding="utf-16"?><d/>'), "encoded as utf-16"),
        (docx(document=b"\xff\xfe<\0d\0/\0>\0"), "not UTF-8"),
        (docx(document=b"<w:p>"), "no XML"),
        (docx(document=xml("<w:a>" * 300 + "</w:a>" * 300)), "nested"),
        (docx({f"{n}": b"" for n in range(word_documents.MEMBERS_MAX)}), "more than 5000 files"),
        (docx({"bomb": bytes(word_documents.MEMBER_BYTES_MAX + 1)}), "Unpacked"),
        (docx(document=xml("<w:p><w:r><w:t> </w:t></w:r></w:p>")), "no text"),
    ],
)  # fmt: skip
def test_a_hostile_word_document_is_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(BadDocument, match=message):
        read_document(data, WORD)


def test_what_an_archive_says_of_itself_is_not_believed() -> None:
    """A size that is too small, a password, another content: an error, whatever it is, and never more bytes than it said."""
    source = docx({"other": b"x" * 5_000})
    with zipfile.ZipFile(io.BytesIO(source)) as archive:
        info = archive.getinfo("other")
    lying = source.replace(info.file_size.to_bytes(4, "little"), (7).to_bytes(4, "little"))
    protected = bytearray(source)
    place = source.rindex(b"PK\x01\x02")
    protected[place + 8] |= 1
    for data in (lying, bytes(protected)):
        with pytest.raises(BadDocument):
            read_document(data, WORD)


@pytest.mark.parametrize("content_type", [PLAIN, HTML])
@pytest.mark.parametrize(("data", "message"), [(b"\xff", "not UTF-8"), (b" \n", "no text")])
def test_a_text_that_is_none_is_refused(data: bytes, message: str, content_type: str) -> None:
    with pytest.raises(BadDocument, match=message):
        read_document(data, content_type)


def test_few_bytes_that_hold_too_many_characters_are_refused() -> None:
    text = "word " * (CHARACTERS_MAX // 5 + 1)
    data = docx(document=xml(f"<w:p><w:r><w:t>{text}.</w:t></w:r></w:p>"))
    assert len(data) < DOCUMENT_BYTES
    with pytest.raises(ServiceError) as caught:
        asyncio.run(read(data, WORD))
    assert caught.value.code == "LimitExceededException"
