"""A user's own classifier of texts, trained by the platform."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.ai.engine import required_folder
from modelyard.ai.questions import Finding, Item
from modelyard.ai.text_classifier import TextClassifier

FILE = "classifier.npz"
CERTAIN = 0.5
"""From here a label that is decided for itself is given."""


class ClassifierEngine:
    """Task ``classify``: ``{"scores": [[name, score], …]}``, the likeliest first."""

    def __init__(self, classifier: TextClassifier) -> None:
        self._classifier = classifier

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All texts go through the classifier at once."""
        rows = self._classifier.scores([item["text"] for item in items])
        findings = []
        for row in rows:
            scores = [
                (name, float(score))
                for name, score in zip(self._classifier.classes, row, strict=True)
            ]
            scores.sort(key=lambda pair: (-pair[1], pair[0]))
            findings.append(Finding(result={"scores": scores}))
        return findings


def chosen(scores: Sequence[tuple[str, float]], *, is_multi_label: bool) -> tuple[str, ...]:
    """The labels that the scores, likeliest first, stand for."""
    if is_multi_label:
        return tuple(name for name, score in scores if score >= CERTAIN)
    return (scores[0][0],)


def load(folder: Path | None, options: Mapping[str, str]) -> ClassifierEngine:
    """Raises ``EngineError``."""
    return ClassifierEngine(TextClassifier.read(required_folder(folder) / FILE))
