"""How a text feels about what it tells: a linear classifier over the whole text, and over its clauses for what is mixed.

The classifier tells positive, negative and neutral apart; nobody has labelled texts as mixed that could be learned from. A text
is mixed as far as one of its clauses is positive and another one negative: the likelihood of both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.array_file import Array
from modelyard.ai.engine import required_folder
from modelyard.ai.questions import Finding, Item
from modelyard.ai.sentences import clauses
from modelyard.ai.text_classifier import TextClassifier

FILE = "sentiment.npz"
POSITIVE, NEGATIVE, NEUTRAL, MIXED = "POSITIVE", "NEGATIVE", "NEUTRAL", "MIXED"


class SentimentEngine:
    """Task ``sentiment``: ``{"scores": {"POSITIVE": p, …}}``, four probabilities that sum to 1."""

    def __init__(self, classifier: TextClassifier) -> None:
        self._classifier = classifier

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All texts and all their clauses go through the classifier at once."""
        texts = [item["text"] for item in items]
        parts = [found if len(found := clauses(text)) > 1 else [] for text in texts]
        every = [*texts, *(clause for some in parts for clause in some)]
        scores = self._classifier.scores(every)
        findings = []
        place = len(texts)
        for number, some in enumerate(parts):
            findings.append(self._finding(scores[number], scores[place : place + len(some)]))
            place += len(some)
        return findings

    def _finding(self, whole: Array, of_clauses: Array) -> Finding:
        column = self._classifier.classes.index
        mixed = 0.0
        if len(of_clauses):
            positive = of_clauses[:, column(POSITIVE)]
            negative = of_clauses[:, column(NEGATIVE)]
            both = np.outer(positive, negative)
            np.fill_diagonal(both, 0.0)  # One clause is not both.
            mixed = float(both.max())
        scores = {
            name: float(whole[column(name)]) * (1.0 - mixed)
            for name in (POSITIVE, NEGATIVE, NEUTRAL)
        }
        return Finding(result={"scores": {**scores, MIXED: mixed}})


def load(folder: Path | None, options: Mapping[str, str]) -> SentimentEngine:
    """Raises ``EngineError``."""
    return SentimentEngine(TextClassifier.read(required_folder(folder) / FILE))
