"""What the files of a recogniser say: spans of documents, names of a list; and what nothing can be learned of."""

from collections.abc import Mapping

import pytest

from modelyard.domain.entity_training import (
    Place,
    TaggedDocument,
    annotations,
    check,
    entity_list,
    listed,
    measure,
)
from modelyard.domain.tagged_texts import NameList, Span, may_follow, tags_of, tokens
from modelyard.domain.text_training import BadTrainingData

HEADER = "File,Line,Begin Offset,End Offset,Type"
DOCUMENTS: Mapping[Place, str] = {("a.txt", 0): "😀 Jo Brown", ("a.txt", 1): "", ("b.txt", 0): "x"}
TYPES = ["NAME", "CODE"]


def test_annotations_are_spans_of_code_points_whatever_the_order_of_the_columns() -> None:
    rows = [
        "\ufeffType,File,line,begin_offset,End Offset"[1:],
        "NAME,a.txt,0,2,10",
        "ELSE,b.txt,0,0,1",
    ]
    found = annotations(rows, TYPES, DOCUMENTS, per_line=True)
    assert found == {("a.txt", 0): (Span(2, 10, "NAME"),)}
    assert DOCUMENTS["a.txt", 0][2:10] == "Jo Brown"
    whole = annotations(
        ["File, Begin Offset, End Offset, Type", "c.txt, 0, 2, CODE", "c.txt, 0, 2, CODE"],
        TYPES,
        {("c.txt", None): "AB"},
        per_line=False,
    )
    assert whole == {("c.txt", None): (Span(0, 2, "CODE"),)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        (["File,Line,Type"], "columns are expected"),
        (["a.txt,0,2,10,NAME"], "columns are expected"),
        ([HEADER, "a.txt,0,2,10"], "4 fields"),
        ([HEADER, "c.txt,0,2,10,NAME"], "no document is c.txt, line 0"),
        ([HEADER, "a.txt,7,2,10,NAME"], "no document is a.txt, line 7"),
        ([HEADER, "a.txt,-1,2,10,NAME"], "Line is no number"),
        ([HEADER, "a.txt,0,two,10,NAME"], "Begin Offset is no number"),
        ([HEADER, "a.txt,0,2,²,NAME"], "End Offset is no number"),
        ([HEADER, "a.txt,0,2,99999999999999999999,NAME"], "End Offset is no number"),
        ([HEADER, "a.txt,0,2,11,NAME"], "no part of a document of 10 characters"),
        ([HEADER, "a.txt,0,4,4,NAME"], "no part of a document"),
        ([HEADER, "a.txt,0,1,2,NAME"], "only white space"),
        ([HEADER, "a.txt,0,2,6,NAME", "a.txt,0,5,10,CODE"], "overlap: 2 to 6 and 5 to 10"),
        ([HEADER, 'a.txt,0,2,10,"NAME'], "no CSV"),
        ([HEADER, "a.txt,0,2,1\0,NAME"], "End Offset is no number"),
    ],
)
def test_bad_annotations_say_which_row_is_wrong(rows: list[str], message: str) -> None:
    with pytest.raises(BadTrainingData) as caught:
        annotations(rows, TYPES, DOCUMENTS, per_line=True)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Name,Type"], "columns are expected: Text, Type"),
        (["Text,Type", ",NAME"], "1 to 5000 characters"),
        (["Text,Type", "x" * 5_001 + ",NAME"], "1 to 5000 characters"),
        (["Text,Type", "Jo,NAME", "Jo,CODE"], "Jo is NAME and CODE"),
    ],
)
def test_a_bad_list_says_which_row_is_wrong(rows: list[str], message: str) -> None:
    with pytest.raises(BadTrainingData) as caught:
        entity_list(rows, TYPES)
    assert message in str(caught.value)


def test_names_of_a_list_are_found_whole_the_longest_first() -> None:
    names = entity_list(["Text, Type", "Jo, NAME", "Jo Brown, NAME", "X-1, CODE"], TYPES)
    (found,) = listed(["Jo  Brown and Jo use X-1, not JoBrown, X-12."], names)
    assert [(found.text[one.begin : one.end], one.type) for one in found.spans] == [
        ("Jo  Brown", "NAME"),
        ("Jo", "NAME"),
        ("X-1", "CODE"),
    ]
    assert NameList({}).find(tokens("Jo")) == []


def test_a_type_needs_mentions_and_documents() -> None:
    def documents(count: int, each: int) -> list[TaggedDocument]:
        spans = tuple(Span(place, place + 1, "NAME") for place in range(each))
        return [TaggedDocument("x" * each, spans) for _ in range(count)]

    check(documents(5, 5), ["NAME"])
    with pytest.raises(BadTrainingData, match=r"at least 25 times.*NAME \(20\)"):
        check(documents(4, 5), ["NAME"])
    with pytest.raises(BadTrainingData, match="at least 3 documents"):
        check(documents(2, 30), ["NAME"])


def test_tags_are_those_of_the_tokens_that_a_span_touches() -> None:
    found = tokens("Jo Brown, AB12 東京")
    assert [one.text for one in found] == ["Jo", "Brown", ",", "AB", "12", "東", "京"]
    spans = [Span(0, 8, "NAME"), Span(10, 14, "CODE"), Span(15, 16, "NAME")]
    tags = tags_of(found, spans)
    assert tags == ["B-NAME", "I-NAME", "O", "B-CODE", "I-CODE", "B-NAME", "O"]
    assert all(may_follow(one, other) for one, other in zip(["", *tags], tags, strict=False))
    assert not may_follow("", "I-CODE") and not may_follow("B-NAME", "I-CODE")


def test_an_entity_is_right_if_its_place_and_its_type_are() -> None:
    expected = [[Span(0, 2, "NAME"), Span(3, 5, "CODE")], [Span(0, 2, "NAME")]]
    predicted = [[Span(0, 2, "NAME"), Span(3, 5, "NAME")], []]
    whole, each = measure(expected, predicted, ["NAME", "CODE", "ELSE"])
    assert (whole.precision, whole.recall) == (0.5, pytest.approx(1 / 3))
    assert (each["NAME"].precision, each["NAME"].recall) == (0.5, 0.5)
    assert each["CODE"].f1 == 0.0 and "ELSE" not in each
