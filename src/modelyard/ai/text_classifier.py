"""A linear classifier of texts: hashed words and characters, weighted by rarity, and logistic regression.

Small, quick and as good as linear models get; it learns from hundreds of texts and from a hundred thousand alike. It is kept
as one ``.npz`` without pickles. Several classes exclude each other, or (``is_multi_label``) each is decided for itself.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.array_file import Array, read_arrays, write_arrays
from modelyard.ai.engine import LibraryMissing

FORMAT = 1
WORD_BITS, CHARACTER_BITS = 17, 18
_WORDS = r"(?u)\b\w+\b|[!?]+|[:;=][-']?[()DPp]"
_ITERATIONS = 300
FEW = 8
"""Texts up to this number are scored one by one: three in 0.7 ms, where a matrix of them takes 2.2."""


def _text_features() -> Any:
    try:
        from sklearn.feature_extraction import text as features
    except ImportError as error:
        raise LibraryMissing("scikit-learn", "pip install 'modelyard[language]'") from error
    return features


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextClassifier:
    """``weights`` has a row for each class, ``rarity`` a column for each feature."""

    classes: tuple[str, ...]
    weights: Array
    bias: Array
    rarity: Array
    is_multi_label: bool = False

    def scores(self, texts: Sequence[str]) -> Array:
        """Probabilities, one row a text, one column a class; rows sum to 1 unless classes are independent."""
        if len(texts) <= FEW:
            raw = np.array([self._raw(text) for text in texts]).reshape(-1, len(self.classes))
        else:
            raw = _weighted(_counts(texts), self.rarity) @ self.weights.T + self.bias
        if self.is_multi_label:
            return np.asarray(1.0 / (1.0 + np.exp(-raw)))
        raw -= raw.max(axis=1, keepdims=True)
        powers = np.exp(raw)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _raw(self, text: str) -> Array:
        """What ``_weighted`` and ``_counts`` lead to, without the sparse matrices, whose making takes longer than all else."""
        raw = np.array(self.bias, dtype=np.float32)
        for analyse, bits, start in _analysers():
            counts = _hashed(analyse(text), bits)
            if counts:
                places = np.fromiter(counts, dtype=np.int64, count=len(counts)) + start
                times = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
                values = (1.0 + np.log(times)).astype(np.float32) * self.rarity[places]
                raw += self.weights[:, places] @ (values / np.sqrt(values @ values))
        return raw

    def save(self, path: Path) -> None:
        """Write one file; the same classifier gives the same bytes."""
        about = {"format": FORMAT, "classes": self.classes, "is_multi_label": self.is_multi_label}
        write_arrays(path, about, weights=self.weights, bias=self.bias, rarity=self.rarity)

    @classmethod
    def read(cls, path: Path) -> "TextClassifier":
        """Raises ``EngineError`` for a file that is none."""

        def make(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> "TextClassifier":
            return cls(
                classes=tuple(about["classes"]),
                weights=arrays["weights"],
                bias=arrays["bias"],
                rarity=arrays["rarity"],
                is_multi_label=about["is_multi_label"],
            )

        return read_arrays(path, make, version=FORMAT, what="text classifier")


def _vectorizers() -> tuple[Any, Any]:
    """Of words and pairs of words, and of characters within words."""
    features = _text_features()
    words = features.HashingVectorizer(
        n_features=1 << WORD_BITS, ngram_range=(1, 2), token_pattern=_WORDS,
        alternate_sign=False, norm=None,
    )  # fmt: skip
    characters = features.HashingVectorizer(
        n_features=1 << CHARACTER_BITS, analyzer="char_wb", ngram_range=(2, 5), alternate_sign=False, norm=None,
    )  # fmt: skip
    return words, characters


@functools.cache
def _analysers() -> tuple[tuple[Callable[[str], Iterable[str]], int, int], ...]:
    """What each vectorizer sees in a text, into how many bits it is hashed, and the first of its columns."""
    words, characters = _vectorizers()
    return (
        (words.build_analyzer(), WORD_BITS, 0),
        (characters.build_analyzer(), CHARACTER_BITS, 1 << WORD_BITS),
    )


def _hashed(seen: Iterable[str], bits: int) -> dict[int, int]:
    """Counts by column, as scikit-learn's ``FeatureHasher`` hashes."""
    from sklearn.utils import murmurhash3_32

    counts: dict[int, int] = {}
    for one, times in Counter(seen).items():
        place = abs(murmurhash3_32(one)) % (1 << bits)
        counts[place] = counts.get(place, 0) + times
    return counts


def _counts(texts: Sequence[str]) -> Any:
    """Logarithmic counts of words, pairs of words, and characters within words."""
    from scipy.sparse import hstack

    words, characters = _vectorizers()
    both = hstack([words.transform(texts), characters.transform(texts)], format="csr")
    both.data = (1.0 + np.log(both.data)).astype(np.float32)
    return both


def _weighted(counts: Any, rarity: Array) -> Any:
    """Tf-idf; words and characters each of length 1, so that neither drowns the other."""
    from scipy.sparse import hstack
    from sklearn.preprocessing import normalize

    weighted = counts.multiply(rarity).tocsr()
    split = 1 << WORD_BITS
    return hstack([normalize(weighted[:, :split]), normalize(weighted[:, split:])], format="csr")


def train(
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    *,
    is_multi_label: bool = False,
    strength: float = 4.0,
) -> TextClassifier:
    """Learn from texts and the labels of each (one, unless multi-label). The same input gives the same classifier.

    Raises ``ValueError`` where fewer than two classes are to be told apart.
    """
    from sklearn.linear_model import LogisticRegression

    classes = tuple(sorted({label for some in labels for label in some}))
    if len(classes) < 2:
        raise ValueError("There must be at least two classes to tell apart.")
    counts = _counts(texts)
    seen = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = (np.log((1 + len(texts)) / (1 + seen)) + 1.0).astype(np.float32)
    rows = _weighted(counts, rarity)

    def fit(targets: Sequence[Any]) -> Any:
        return LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(rows, targets)

    if is_multi_label:
        models = [fit([label in some for some in labels]) for label in classes]
        weights = np.vstack([model.coef_[0] for model in models])
        bias = np.array([model.intercept_[0] for model in models])
    else:
        model = fit([some[0] for some in labels])
        weights, bias = model.coef_, model.intercept_
        if len(classes) == 2:  # One row tells both; as a softmax, each has half of it.
            weights, bias = (
                np.vstack([-weights / 2, weights / 2]),
                np.array([-bias[0] / 2, bias[0] / 2]),
            )
    return TextClassifier(
        classes=classes,
        weights=weights.astype(np.float32),
        bias=np.asarray(bias, dtype=np.float32),
        rarity=rarity,
        is_multi_label=is_multi_label,
    )
