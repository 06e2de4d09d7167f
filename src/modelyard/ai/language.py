"""Which language a text is in: py3langid, a naive Bayes classifier over byte n-grams for about a hundred languages.

Its scores are softmaxes over the square root of the text's length, which its authors found calibrated across lengths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.ai.engine import LibraryMissing
from modelyard.ai.questions import Finding, Item

SCORE_MIN = 0.02
"""Less likely languages are not named."""
LANGUAGES_MAX = 10
_NO_LANGUAGE = "zxx"
"""What py3langid calls text without words."""


class LanguageEngine:
    """Task ``dominant-language``: ``{"languages": [[code, score], …]}``, the likeliest first."""

    def __init__(self, identifier: Any) -> None:
        self._identifier = identifier

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        return [Finding(result={"languages": self._languages(item["text"])}) for item in items]

    def _languages(self, text: str) -> list[tuple[str, float]]:
        scores: dict[str, float] = {}
        if not any(character.isalpha() for character in text):
            return []
        for code, score in self._identifier.rank(text):
            if score < SCORE_MIN:
                break
            if code != _NO_LANGUAGE:
                scores[code] = score
        return list(scores.items())[:LANGUAGES_MAX]


def load(folder: Path | None, options: Mapping[str, str]) -> LanguageEngine:
    """Raises ``LibraryMissing``."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise LibraryMissing("py3langid", "pip install 'modelyard[language]'") from error
    return LanguageEngine(LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))
