"""What a model may say of its answer's type, and what stands in the header then."""

import pytest

from modelyard.gateway.answers import TYPE_LIMIT, shown_type


@pytest.mark.parametrize("text", ["text/csv", "application/json; charset=utf-8", ""])
def test_a_type_is_shown_as_the_model_says_it(text: str) -> None:
    assert shown_type(text) == text


@pytest.mark.parametrize(
    "text", ["text/csv\r\nX-Forged: 1", "text/csv\n\n", "text/\u00fc", "a" * (TYPE_LIMIT + 1)]
)
def test_what_would_be_more_than_one_header_is_shown_as_bytes(text: str) -> None:
    assert shown_type(text) == "application/octet-stream"
