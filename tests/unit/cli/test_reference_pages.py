"""The pages of commands and settings say what the code does."""

from pathlib import Path

import pytest

from modelyard.cli import reference

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_generated_page_is_the_one_that_the_code_gives(name: str) -> None:
    page = DOCS / "reference" / f"{name}.md"
    assert page.read_text() == reference.page(name), "run: make docs"


def test_every_setting_and_limit_has_its_text() -> None:
    rows = [line for line in reference.page("settings").splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    assert all(len(row.split("|")[-2].strip()) > 5 for row in rows)


def test_every_command_is_on_its_page() -> None:
    text = reference.page("commands")
    for words in ("up", "deploy", "transform", "simulate scaling", "image add", "run"):
        assert f"## modelyard {words}\n" in text
    assert "[bold]" not in text
