"""Which intent a text stands for, and how sure that is: logistic regression, and how much of the text the intent knows.

The two are put together by ``CALIBRATION``, which was fitted on bots of other domains than those that it is measured on
(``benchmarks/quality/lex.py``). A text that is foreign to the bot is told by sentences that have nothing to do with most
bots, from which each bot learns a class of its own, and by words that an intent has never seen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modelyard.ai.engine import LibraryMissing
from modelyard.ai.lex.bot import Reading
from modelyard.ai.lex.features import GROUPS, of_text, rarity, weighted

Array = np.ndarray[Any, np.dtype[Any]]
FOREIGN = ""
"""The class of what is no intent."""
_ITERATIONS = 200
_STRENGTH = 20.0
_ALIKE = 0.55
"""A foreign sentence that is so near to an example is not learned from."""
_MARGIN_MAX = 8.0


class Calibration(NamedTuple):
    """Of a logistic model of the two."""

    base: float
    margin: float
    coverage: float


CALIBRATION = Calibration(base=-0.52, margin=1.01, coverage=1.43)


class Evidence(NamedTuple):
    """For one intent. ``margin``: log odds of the classifier; ``coverage``: from 0 to 1, how much of the text it knows."""

    intent: str
    margin: float
    coverage: float

    def score(self, by: Calibration = CALIBRATION) -> float:
        """The chance that it is the intent."""
        raw = by.base + by.margin * self.margin + by.coverage * self.coverage
        return 1.0 / (1.0 + math.exp(-raw))


@dataclass(frozen=True, kw_only=True, eq=False)
class IntentClassifier:
    """``names`` are the classes, ``FOREIGN`` among them; ``rare`` has each known feature, in the order of ``weights``' columns.

    ``known`` has for each class the words that its examples hold.
    """

    names: tuple[str, ...]
    rare: Mapping[str, float]
    weights: Array
    bias: Array
    known: Mapping[str, frozenset[str]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_column", {name: at for at, name in enumerate(self.rare)})
        object.__setattr__(self, "_unknown", max(self.rare.values(), default=1.0))
        # What a text needs of each class lies together.
        object.__setattr__(self, "_rows", np.ascontiguousarray(self.weights.T))

    def evidence(self, reading: Reading, kinds: Mapping[str, Sequence[str]]) -> list[Evidence]:
        """Of each intent, the likeliest first. ``kinds``: by intent the slot types that it has."""
        unknown: float = self._unknown  # type: ignore[attr-defined]
        found = weighted(of_text(reading), self.rare, unknown)
        column: Mapping[str, int] = self._column  # type: ignore[attr-defined]
        seen = sorted((column[name], value) for name, value in found.items() if name in column)
        here = np.array([at for at, _ in seen], dtype=np.intp)
        values = np.array([value for _, value in seen], dtype=np.float32)
        rows: Array = self._rows  # type: ignore[attr-defined]
        raw = (values @ rows[here] + self.bias).tolist()
        # Of so few numbers, one by one is faster than numpy.
        highest = max(raw)
        shares = [math.exp(one - highest) for one in raw]
        total = sum(shares)
        words = [(word.text, self.rare.get(f"w{word.text}", unknown)) for word in reading.words]
        evidence = [
            Evidence(
                intent=name,
                margin=_margin(shares[place] / total),
                coverage=self._coverage(reading, words, name, kinds.get(name, ())),
            )
            for place, name in enumerate(self.names)
            if name != FOREIGN
        ]
        return sorted(evidence, key=lambda one: (-one.score(), one.intent))

    def _coverage(
        self,
        reading: Reading,
        words: Sequence[tuple[str, float]],
        name: str,
        kinds: Sequence[str],
    ) -> float:
        """Which part of the words, weighted by their rarity, an intent has seen or takes for a value of its slots."""
        known = self.known[name]
        total = covered = 0.0
        marks = [reading.hits[kind] for kind in kinds if kind in reading.hits]
        for place, (word, weight) in enumerate(words):
            total += weight
            if word in known or any(mark[place] in ("B", "I") for mark in marks):
                covered += weight
        return covered / total if total else 0.0


def _margin(share: float) -> float:
    bounded = min(max(share, 1e-9), 1.0 - 1e-9)
    return min(max(math.log(bounded / (1.0 - bounded)), -_MARGIN_MAX), _MARGIN_MAX)


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
    used = sorted({name for some in [*rows.values(), apart] for one in some for name in one})
    own = [one for name in sorted(rows) for one in rows[name]]
    alike = _alike(_packed(own, used), _packed(apart, used), len(used))
    apart = [one for one, is_alike in zip(apart, alike, strict=True) if not is_alike]
    rare = {name: rare.get(name, most) for name in used}
    names = (FOREIGN, *sorted(rows))
    owned = [(0, one) for one in apart]
    owned += [(place, one) for place, name in enumerate(names) if place for one in rows[name]]
    columns, values, starts = _packed([one for _, one in owned], used)
    owners = np.array([owner for owner, _ in owned], dtype=np.int32)
    weights, bias = _fit(columns, values, starts, owners, len(used), len(names))
    return IntentClassifier(
        names=names,
        rare=rare,
        weights=weights,
        bias=bias,
        known={
            name: frozenset(word.text for one in readings.get(name, ()) for word in one.words)
            for name in names
        },
    )


Rows = tuple[Array, Array, Array]


def _alike(own: Rows, others: Rows, width: int) -> list[bool]:
    """Which of the others are near to one of the bot's own examples, so that they are what it is for."""
    found = []
    columns, values, starts = others
    for begin, end in zip(starts, np.append(starts[1:], len(values)), strict=True):
        query = np.zeros(width, dtype=np.float32)
        query[columns[begin:end]] = values[begin:end]
        near = np.add.reduceat(own[1] * query[own[0]], own[2]) / len(GROUPS)
        found.append(bool(near.max() > _ALIKE))
    return found


def _packed(rows: Sequence[Mapping[str, float]], used: Sequence[str]) -> Rows:
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
