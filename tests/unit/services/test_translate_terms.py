"""Custom terminology: its three formats, what is refused of them, and where terms stand in texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.services.translate.terms import MULTI, UNI, Table, Terms, TermsError, read, write

CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=12
).map(lambda text: text.strip().replace("\ufeff", "x"))
TMX = b"""<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header srclang="fr"/><body>
<tu><tuv xml:lang="en"><seg>Blue &amp; <ph>green</ph></seg></tuv><tuv xml:lang="fr"><seg>Bleu</seg></tuv></tu>
<tu><tuv lang="en"><seg>alone</seg></tuv></tu></body></tmx>"""


def found(terms: dict[str, str], text: str) -> list[tuple[int, str]]:
    return [(one.begin, one.source) for one in Terms(terms).find(text)]


def test_the_longest_term_wins_where_several_begin() -> None:
    terms = {"Amazon": "1", "Amazon Photos": "2", "Photos": "3"}
    assert found(terms, "Amazon Photos, Amazon, Photos") == [
        (0, "Amazon Photos"), (15, "Amazon"), (23, "Photos"),
    ]  # fmt: skip


def test_terms_are_whole_words_in_the_case_that_they_were_given_in() -> None:
    assert found({"art": "x"}, "Art, party, art-house, art") == [(12, "art"), (23, "art")]
    assert found({"C++": "x"}, "C++ and C++.") == [(0, "C++"), (8, "C++")]
    assert found({"東京": "Tokyo"}, "私は東京に住む") == [(2, "東京")]


@given(st.dictionaries(CELLS.filter(bool), CELLS, max_size=5), st.text(max_size=60))
def test_found_terms_stand_where_they_are_said_to_and_never_overlap(
    terms: dict[str, str], text: str
) -> None:
    place = 0
    for one in Terms(terms).find(text):
        assert place <= one.begin < one.end and text[one.begin : one.end] == one.source
        place = one.end


def test_a_csv_file_names_languages_first() -> None:
    table = read('\ufeffen,fr,de\n"a, b",c,\n\n,x,y\nlone\n'.encode(), "CSV")
    assert table == Table(languages=("en", "fr", "de"), rows=(("a, b", "c", ""),), skipped=2)
    assert table.terms("en", "fr", UNI).targets == {"a, b": "c"}
    assert table.terms("en", "de", UNI).targets == table.terms("fr", "en", UNI).targets == {}
    assert table.terms("fr", "en", MULTI).targets == {"c": "a, b"}
    assert table.terms("en", "en", MULTI).targets == table.terms("xx", "en", UNI).targets == {}


def test_a_tmx_file_says_languages_of_each_text() -> None:
    table = read(TMX, "TMX")
    assert (table.languages, table.skipped) == (("fr", "en"), 1)
    assert table.terms("fr", "en", UNI).targets == {"Bleu": "Blue & green"}


@pytest.mark.parametrize(
    ("data", "form", "message"),
    [
        (b"", "CSV", "source language"),
        (b"en\nx\n", "CSV", "source language"),
        (b"en,fr\n", "CSV", "no terms"),
        (b"en,en\nx,y\n", "CSV", "twice"),
        (b"en,fr\na,b,c\n", "CSV", "Line 2"),
        (b'en,fr\n"a,b\n', "CSV", "cannot be read"),
        (b"\xff\xfe", "TSV", "not UTF-8"),
        (b"en,fr\nx,y\n", "TMX", "no XML"),
        (b"<tmx/>", "TMX", "source language"),
        (b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><tmx>&b;</tmx>', "TMX", "entities"),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "TMX", "entities"),
        (b"<a>" * 200, "TMX", "deep"),
    ],
)
def test_what_is_no_terminology_is_refused_with_a_reason(
    data: bytes, form: str, message: str
) -> None:
    with pytest.raises(TermsError, match=message):
        read(data, form)


@given(
    st.lists(st.tuples(CELLS.filter(bool), CELLS.filter(bool), CELLS), min_size=1, max_size=4),
    st.sampled_from(["CSV", "TSV", "TMX"]),
)
def test_a_terminology_that_is_written_reads_the_same(
    rows: list[tuple[str, str, str]], form: str
) -> None:
    table = Table(languages=("en", "fr", "de"), rows=(("x", "y", "z"), *rows))
    assert read(write(table, form), form) == table
