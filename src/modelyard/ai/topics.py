"""Topics of a collection of texts: words weighted by rarity, factorised into topics of words and shares of topics.

Non-negative matrix factorisation (scikit-learn), with the same result each time. Amazon Comprehend's is latent Dirichlet
allocation; both give each topic its words and each document its topics.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.engine import LibraryMissing
from modelyard.ai.questions import Finding, Item

TASK = "topics"
TERMS = 10
"""Words that are named of a topic."""
WORDS_MAX = 20_000
_WORDS = r"(?u)\b[^\W\d_]{3,}\b"
_RARE_BELOW, _OFTEN_ABOVE = 2, 0.5
_FEW = 20
"""With fewer documents no word is too rare or too frequent."""
_SHARE_MIN = 0.01
_ITERATIONS = 300


class TopicsEngine:
    """Task ``topics``. An item is a whole collection: ``{"texts": […], "topics": how many}``.

    A finding is ``{"terms": [[[word, weight], …], …], "shares": [[[topic, share], …], …]}``, for each topic and each text, the
    weightiest first, the weights and the shares of each summing to one. There are no more topics than texts or words.
    """

    def __init__(self, vectoriser: Any, factorisation: Any) -> None:
        self._vectoriser = vectoriser
        self._factorisation = factorisation

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        return [self._find(item["texts"], item["topics"]) for item in items]

    def _find(self, texts: Sequence[str], count: int) -> Finding:
        is_small = len(texts) < _FEW
        vectoriser = self._vectoriser(
            token_pattern=_WORDS,
            stop_words="english",
            max_features=WORDS_MAX,
            min_df=1 if is_small else _RARE_BELOW,
            max_df=1.0 if is_small else _OFTEN_ABOVE,
            sublinear_tf=True,
        )
        try:
            rows = vectoriser.fit_transform(texts)
        except ValueError:  # Of scikit-learn: no words are left.
            return Finding(error="The documents have no words that tell them apart.")
        count = min(count, *rows.shape)
        model = self._factorisation(
            n_components=count, init="nndsvda", random_state=0, max_iter=_ITERATIONS, tol=1e-3
        )
        shares = model.fit_transform(rows)
        words = vectoriser.get_feature_names_out()
        terms = [_largest(row, TERMS, names=words) for row in model.components_]
        return Finding(result={"terms": terms, "shares": [_largest(row, count) for row in shares]})


def _largest(row: Any, most: int, names: Any = None) -> list[tuple[Any, float]]:
    """Of a row what is largest, as parts of their sum."""
    order = np.lexsort((np.arange(len(row)), -row))[:most]
    order = order[row[order] > 0]
    total = float(row[order].sum())
    parts = [
        (int(place) if names is None else str(names[place]), float(row[place]) / total)
        for place in order
    ]
    return parts if names is not None else _without_traces(parts)


def _without_traces(parts: list[tuple[Any, float]]) -> list[tuple[Any, float]]:
    """Shares that are worth naming, which again sum to one."""
    kept = [(topic, share) for topic, share in parts if share >= _SHARE_MIN]
    total = sum(share for _, share in kept)
    return [(topic, share / total) for topic, share in kept]


def load(folder: Path | None, options: Mapping[str, str]) -> TopicsEngine:
    """Raises ``LibraryMissing``."""
    try:
        from sklearn.decomposition import NMF
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise LibraryMissing("scikit-learn", "pip install 'modelyard[language]'") from error
    return TopicsEngine(TfidfVectorizer, NMF)
