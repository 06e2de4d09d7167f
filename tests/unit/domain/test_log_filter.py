import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.log_filter import NotAPattern, NotExecuted, parse

LINES = ["[ERROR 400] BAD REQUEST", "[ERROR 401] UNAUTHORIZED REQUEST", "[WARN 8] slow REQUEST", ""]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("ERROR", [0, 1]),
        ("error", []),
        ("ERROR REQUEST", [0, 1]),
        ('"ERROR 401"', [1]),
        ("ERROR -UNAUTHORIZED", [0]),
        ('-"ERROR 400"', [1, 2, 3]),
        ("?WARN ?UNAUTHORIZED", [1, 2]),
        ("?WARN UNAUTHORIZED", [1]),
        ("  REQUEST  -slow ", [0, 1]),
        ("4", [0, 1]),
    ],
)
def test_words_phrases_and_their_absence_choose_lines(pattern: str, found: list[int]) -> None:
    matches = parse(pattern).matches
    assert [n for n, line in enumerate(LINES) if matches(line)] == found


def test_a_phrase_may_hold_quotation_marks() -> None:
    assert parse(r'"said \"no\""').matches('he said "no"')


@pytest.mark.parametrize("pattern", ["[a, b]", "%a.*b%"])
def test_other_kinds_of_patterns_are_refused_and_not_taken_for_words(pattern: str) -> None:
    with pytest.raises(NotExecuted, match="not executed; filter by words"):
        parse(pattern)


@pytest.mark.parametrize("pattern", ['"open', 'a "', 'a"b'])
def test_an_open_quotation_is_no_pattern(pattern: str) -> None:
    with pytest.raises(NotAPattern, match="quotation"):
        parse(pattern)


@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_is_refused(pattern: str) -> None:
    try:
        parse(pattern).matches("a line")
    except (NotExecuted, NotAPattern) as error:
        assert str(error)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_a_quoted_phrase_finds_the_line_that_it_is(phrase: str) -> None:
    escaped = phrase.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'"{escaped}"').matches(phrase)
