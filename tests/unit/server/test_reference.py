"""The page of operations says what the code does."""

from pathlib import Path

from modelyard.server import reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "operations.md"


def test_the_page_of_operations_is_the_one_that_the_code_gives() -> None:
    assert PAGE.read_text() == "\n".join(reference.page()).rstrip() + "\n", "run: make docs"


def test_every_operation_and_a_refused_member_are_on_the_page() -> None:
    text = PAGE.read_text()
    assert "`CreateTransformJob`" in text
    assert "`InvokeEndpoint`" in text
    assert "| `SSECustomerKey` | refused |" in text
