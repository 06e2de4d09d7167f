"""What may be written as a sample utterance."""

import pytest

from modelyard.domain.lex.utterances import fault_of


@pytest.mark.parametrize(
    "utterance", ["", "  ", "a {size", "a size}", "a {}", "{a b}", "{{a}}", "{-a}", "x" * 501, "{a--b}"]
)  # fmt: skip
def test_a_malformed_utterance_is_known(utterance: str) -> None:
    assert fault_of(utterance)


@pytest.mark.parametrize("utterance", ["x" * 500, "from {city_one} to {city-two}, {n}!", "{a_}"])
def test_a_good_utterance_passes(utterance: str) -> None:
    assert fault_of(utterance) == ""
