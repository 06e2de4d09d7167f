"""Which intent a text stands for, and how sure that is: logistic regression, the nearest example, and how much is known.

The three are put together by ``CALIBRATION``, which was fitted on bots of other domains than those that it is measured on
(``benchmarks/quality/intents.py``): a text that is foreign to the bot has few words that an intent knows and is near to no
example, whatever a classifier that has to choose one of the intents says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modelyard.ai.engine import LibraryMissing
from modelyard.ai.lex.bot import Reading
from modelyard.ai.lex.features import of_text, rarity, weighted

Array = np.ndarray[Any, np.dtype[Any]]
FOREIGN = ""
"""The class of what is no intent."""
_ITERATIONS = 200
_STRENGTH = 20.0
_ALIKE = 0.55
"""A foreign sentence that is so near to an example is not learned from."""
_MARGIN_MAX = 8.0


class Calibration(NamedTuple):
    """Of a logistic model of the three."""

    base: float
    margin: float
    similarity: float
    coverage: float


CALIBRATION = Calibration(base=-6.0, margin=0.6, similarity=5.0, coverage=4.0)


class Evidence(NamedTuple):
    """For one intent. ``margin``: log odds of the classifier; the others from 0 to 1."""

    intent: str
    margin: float
    similarity: float
    coverage: float

    def score(self, by: Calibration = CALIBRATION) -> float:
        """The chance that it is the intent."""
        raw = (
            by.base
            + by.margin * self.margin
            + by.similarity * self.similarity
            + by.coverage * self.coverage
        )
        return float(1.0 / (1.0 + np.exp(-raw)))


@dataclass(frozen=True, kw_only=True, eq=False)
class IntentClassifier:
    """``names`` are the classes, ``FOREIGN`` among them; ``rare`` has each known feature, in the order of ``weights``' columns.

    ``examples`` are rows of (column, value) pairs: ``columns`` and ``values`` from ``starts`` on, each of the class ``owners``.
    ``known`` has for each class the words that its examples hold.
    """

    names: tuple[str, ...]
    rare: Mapping[str, float]
    weights: Array
    bias: Array
    columns: Array
    values: Array
    starts: Array
    owners: Array
    known: Mapping[str, frozenset[str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_column", {name: at for at, name in enumerate(self.rare)})
        object.__setattr__(self, "_unknown", max(self.rare.values(), default=1.0))

    def evidence(self, reading: Reading, kinds: Mapping[str, Sequence[str]]) -> list[Evidence]:
        """Of each intent, the likeliest first. ``kinds``: by intent the slot types that it has."""
        unknown: float = self._unknown  # type: ignore[attr-defined]
        found = weighted(of_text(reading), self.rare, unknown)
        column: Mapping[str, int] = self._column  # type: ignore[attr-defined]
        query = np.zeros(len(self.rare), dtype=np.float32)
        for name, value in found.items():
            if name in column:
                query[column[name]] = value
        here = np.flatnonzero(query)
        raw = self.weights[:, here] @ query[here] + self.bias
        raw = raw.astype(np.float64) - raw.max()
        shares = np.exp(raw)
        shares /= shares.sum()
        near = self._similarities(query)
        evidence = [
            Evidence(
                intent=name,
                margin=_margin(float(shares[place])),
                similarity=float(near[place]),
                coverage=self._coverage(reading, name, kinds.get(name, ())),
            )
            for place, name in enumerate(self.names)
            if name != FOREIGN
        ]
        return sorted(evidence, key=lambda one: (-one.score(), one.intent))

    def _similarities(self, query: Array) -> Array:
        """The cosine to the nearest example of each class: a mean over the groups of features."""
        if not len(self.starts):
            return np.zeros(len(self.names))
        each = np.add.reduceat(self.values * query[self.columns], self.starts) / 3.0
        nearest = np.zeros(len(self.names))
        np.maximum.at(nearest, self.owners, np.minimum(each, 1.0))
        return nearest

    def _coverage(self, reading: Reading, name: str, kinds: Sequence[str]) -> float:
        """Which part of the words, weighted by their rarity, an intent has seen or takes for a value of its slots."""
        known, unknown = self.known[name], self._unknown  # type: ignore[attr-defined]
        total = covered = 0.0
        marks = [reading.hits[kind] for kind in kinds if kind in reading.hits]
        for place, word in enumerate(reading.words):
            weight = self.rare.get(f"w{word.text}", unknown)
            total += weight
            if word.text in known or any(mark[place] in ("B", "I") for mark in marks):
                covered += weight
        return covered / total if total else 0.0


def _margin(share: float) -> float:
    bounded = min(max(share, 1e-9), 1.0 - 1e-9)
    return float(np.clip(np.log(bounded / (1.0 - bounded)), -_MARGIN_MAX, _MARGIN_MAX))


def train(
    readings: Mapping[str, Sequence[Reading]],
    unlike: Sequence[Reading],
    templates: Mapping[str, Sequence[int]],
) -> IntentClassifier:
    """Learn from readings of examples by intent; ``templates`` number what each was made of; ``unlike`` are foreign sentences.

    The same input gives the same classifier.
    """
    counted = {name: [of_text(one) for one in some] for name, some in readings.items()}
    foreign = [of_text(one) for one in unlike]
    firsts = [
        features
        for name, some in counted.items()
        for place, features in enumerate(some)
        if templates[name].index(templates[name][place]) == place
    ]
    rare = rarity([*firsts, *foreign])
    most = max(rare.values())
    rows = {name: [weighted(one, rare, most) for one in some] for name, some in counted.items()}
    apart = [weighted(one, rare, most) for one in foreign]
    apart = [one for one in apart if not _is_alike(one, rows)]
    used = sorted({name for some in [*rows.values(), apart] for one in some for name in one})
    rare = {name: rare.get(name, most) for name in used}
    classes = sorted(rows)
    names = (FOREIGN, *classes)
    owned = [(0, one) for one in apart]
    owned += [(place, one) for place, name in enumerate(names) if place for one in rows[name]]
    columns, values, starts = _packed([one for _, one in owned], used)
    owners = np.array([owner for owner, _ in owned], dtype=np.int32)
    weights, bias = _fit(columns, values, starts, owners, len(used), len(names))
    mine = int((owners == 0).sum())
    cut = int(starts[mine]) if mine < len(starts) else len(values)
    return IntentClassifier(
        names=names,
        rare=rare,
        weights=weights,
        bias=bias,
        columns=columns[cut:],
        values=values[cut:],
        starts=starts[mine:] - cut,
        owners=owners[mine:],
        known={
            name: frozenset(word.text for one in readings.get(name, ()) for word in one.words)
            for name in names
        },
    )


def _is_alike(one: Mapping[str, float], rows: Mapping[str, Sequence[Mapping[str, float]]]) -> bool:
    """Whether the sentence is one that the bot is for."""
    return any(
        sum(value * other[name] for name, value in one.items() if name in other) / 3.0 > _ALIKE
        for some in rows.values()
        for other in some
    )


def _packed(rows: Sequence[Mapping[str, float]], used: Sequence[str]) -> tuple[Array, Array, Array]:
    column = {name: at for at, name in enumerate(used)}
    columns: list[int] = []
    values: list[float] = []
    starts: list[int] = []
    for row in rows:
        starts.append(len(columns))
        for at, value in sorted((column[name], value) for name, value in row.items()):
            columns.append(at)
            values.append(value)
    return (
        np.array(columns, dtype=np.int32),
        np.array(values, dtype=np.float32),
        np.array(starts, dtype=np.int64),
    )


def _fit(
    columns: Array, values: Array, starts: Array, owners: Array, width: int, classes: int
) -> tuple[Array, Array]:
    """A row of weights and a bias for each class. Raises ``LibraryMissing``."""
    try:
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise LibraryMissing("scikit-learn", "pip install 'modelyard[language]'") from error
    rows = csr_matrix((values, columns, np.append(starts, len(values))), shape=(len(starts), width))
    present = np.unique(owners)
    weights = np.zeros((classes, width), dtype=np.float32)
    bias = np.full(classes, -20.0, dtype=np.float32)
    if len(present) == 1:
        bias[present[0]] = 0.0
        return weights, bias
    counts = np.bincount(owners, minlength=classes)
    share = {int(one): len(owners) / (len(present) * counts[one]) for one in present}
    model = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS, class_weight=share)
    model.fit(rows, owners)
    if len(present) == 2:  # One row tells both; as a softmax, each has half of it.
        weights[present] = np.vstack([-model.coef_ / 2, model.coef_ / 2])
        bias[present] = (-model.intercept_[0] / 2, model.intercept_[0] / 2)
    else:
        weights[present] = model.coef_
        bias[present] = model.intercept_
    return weights, bias
