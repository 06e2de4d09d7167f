"""What the quality page says of translations."""

import pytest
from benchmarks.quality.translation import bleu, chrf

WANTED = ["La casa roja es grande.", "El perro de mi hermano duerme aquí."]


def test_a_perfect_translation_has_a_hundred_and_a_foreign_one_nothing() -> None:
    assert bleu(WANTED, WANTED) == pytest.approx(100.0) == chrf(WANTED, WANTED)
    assert bleu(["x", "y"], WANTED) == 0.0 == chrf(["x", "y"], WANTED)


def test_scores_are_those_of_sacrebleu() -> None:
    said = ["La casa roja es muy grande.", "El perro de mi hermana duerme."]
    assert bleu(said, WANTED) == pytest.approx(47.287, abs=0.01)
    assert chrf(said, WANTED) == pytest.approx(74.657, abs=0.01)
