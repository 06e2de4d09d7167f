"""What neural engines share, with an engine that says every word backwards."""

from collections.abc import Sequence
from typing import Any

from modelyard.ai.stretches import Section, Stretch, Word, answered, sections


def backwards(stretches: Sequence[Stretch]) -> list[list[Word]]:
    """It keeps the words' order, and swallows what it is not to say."""
    found = []
    for one in stretches:
        place, words = 0, []
        for word in one.bare.split(" "):
            if word != "hush":
                words.append(Word(f" {word[::-1]}", place))
            place += len(word) + 1
        found.append(words)
    return found


def said(*pieces: Any) -> Any:
    (finding,) = answered([{"pieces": list(pieces)}], backwards)
    return finding.error or finding.result["parts"]


def test_spaces_at_the_edges_keep_their_own_markup() -> None:
    assert said([" "], ["one"], [" two"], ["\n"]) == [(0, " "), (1, "eno"), (2, " owt"), (3, "\n")]
    assert said(["12 "], ["+"]) == [(0, "12 "), (1, "+")]


def test_a_fixed_run_that_does_not_come_back_cuts_the_sentence() -> None:
    assert said(["one "], [{"fixed": "ZOZ"}], [" two"]) == [(0, "eno"), (1, " ZOZ"), (2, " owt")]
    assert said(["one ", {"fixed": "ABC"}, " two"]) == [(0, "eno ABC owt")]
    assert said(["one "], ["two "], [{"fixed": "ABC"}]) == [(0, "eno"), (1, " owt "), (2, "ABC")]


def test_a_sentence_without_a_translation_is_an_error_of_its_item() -> None:
    findings = answered([{"pieces": [["hush"]]}, {"pieces": [["one"]]}], backwards)
    assert "no translation" in findings[0].error and findings[1].result == {"parts": [(0, "eno")]}


def test_a_text_is_cut_between_words_and_no_token_is_lost() -> None:
    def encode(words: Sequence[str]) -> list[list[str]]:
        return [list(word) for word in words]

    assert list(sections("ab cde  f ghijkl m", encode, 5)) == [
        Section(list("abcde"), [0, 0, 3, 3, 3], 6),
        Section(["f"], [8], 9),
        Section(list("ghijkl"), [10] * 6, 16),
        Section(["m"], [17], 18),
    ]
    assert list(sections("", encode, 5)) == []
