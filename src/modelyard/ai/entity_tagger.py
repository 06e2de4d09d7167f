"""A tagger of entities: each token's tag by multinomial logistic regression over hashed features of the token, its neighbours
and the tag before it; a text gets its likeliest sequence of tags.

Because each step is a probability given the step before, the probability of an entity (it begins here, goes on to there and no
further, whatever stands before it) is exact, and is its score. It learns in seconds from some hundred documents, with nothing but
scikit-learn; a neural pipeline would take a pack, minutes, and more texts than users label. It is kept as one ``.npz`` without
pickles.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.array_file import Array, read_arrays, write_arrays
from modelyard.ai.engine import LibraryMissing
from modelyard.domain.tagged_texts import (
    OUTSIDE,
    Span,
    Token,
    continues,
    may_follow,
    tags_of,
    tokens,
)

FORMAT = 1
FEATURE_BITS = 18
HIDDEN = "\0"
"""Stands for a word that the learner may not see, so that it learns from what is around it."""
_ITERATIONS = 100
_STRENGTH = 1.0
_WINDOW = 2
_BATCH = 20_000
Scored = tuple[Span, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EntityTagger:
    """``weights`` has a row for each tag and a column for each of ``columns``, the features that were seen;
    ``steps`` a row for each tag before, the last of them for none."""

    tags: tuple[str, ...]
    columns: Array
    weights: Array
    bias: Array
    steps: Array

    def find(self, texts: Sequence[str]) -> list[list[Scored]]:
        """Of each text its entities, in the order of the text, and how likely each is."""
        every = [tokens(text) for text in texts]
        raw = self._raw([word_features(found) for found in every])
        answers, place = [], 0
        for found in every:
            answers.append(self._decoded(found, raw[place : place + len(found)]))
            place += len(found)
        return answers

    def _raw(self, features: Sequence[Sequence[list[str]]]) -> Array:
        """A row for each token of all texts, without the tag before it."""
        rows = [row for some in features for row in some]
        parts = [
            _hashed(rows[begin : begin + _BATCH])[:, self.columns] @ self.weights.T
            for begin in range(0, len(rows), _BATCH)
        ]
        return np.vstack(parts) + self.bias if parts else np.zeros((0, len(self.tags)))

    def _decoded(self, found: Sequence[Token], raw: Array) -> list[Scored]:
        if not len(raw):
            return []
        allowed = self._allowed()
        count = len(self.tags)
        here = _normal(raw[0] + self.steps[count] + allowed[count])
        likely, best = np.exp(here), here
        reached, back = [likely], []
        for row in raw[1:]:
            given = _normal(row + self.steps[:count] + allowed[:count])
            paths = best[:, None] + given
            back.append(paths.argmax(axis=0))
            best = paths.max(axis=0)
            likely = likely @ np.exp(given)
            reached.append(likely)
        path = [int(best.argmax())]
        for pointers in reversed(back):
            path.append(int(pointers[path[-1]]))
        path.reverse()
        return [
            (span, self._score(raw, reached, path, allowed, begin, end))
            for begin, end, span in self._spans(found, path)
        ]

    def _allowed(self) -> Array:
        before = [*self.tags, ""]
        return np.array(
            [[0.0 if may_follow(one, tag) else -np.inf for tag in self.tags] for one in before]
        )

    def _spans(
        self, found: Sequence[Token], path: Sequence[int]
    ) -> Iterator[tuple[int, int, Span]]:
        """First and last token, and the span, of each entity on the path."""
        begin = 0
        for place, number in enumerate(path):
            tag = self.tags[number]
            if tag == OUTSIDE:
                continue
            if tag.startswith("B-"):
                begin = place
            is_last = place + 1 == len(path) or not self.tags[path[place + 1]].startswith("I-")
            if is_last:
                yield begin, place, Span(found[begin].begin, found[place].end, tag[2:])

    def _score(
        self,
        raw: Array,
        reached: Sequence[Array],
        path: Sequence[int],
        allowed: Array,
        begin: int,
        end: int,
    ) -> float:
        """That it begins where it does, times that each step follows, times that it goes no further."""
        score = float(reached[begin][path[begin]])

        def step(place: int) -> Array:
            before = path[place - 1]
            return np.exp(_normal(raw[place] + self.steps[before] + allowed[before]))

        for place in range(begin + 1, end + 1):
            score *= float(step(place)[path[place]])
        further = continues(self.tags[path[begin]][2:])
        if end + 1 < len(path) and further in self.tags:
            score *= 1.0 - float(step(end + 1)[self.tags.index(further)])
        return min(1.0, score)

    def save(self, path: Path) -> None:
        """Write one file; the same tagger gives the same bytes."""
        about = {"format": FORMAT, "tags": self.tags}
        write_arrays(
            path,
            about,
            columns=self.columns,
            weights=self.weights,
            bias=self.bias,
            steps=self.steps,
        )

    @classmethod
    def read(cls, path: Path) -> "EntityTagger":
        """Raises ``EngineError`` for a file that is none."""

        def make(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> "EntityTagger":
            return cls(
                tags=tuple(about["tags"]),
                columns=arrays["columns"],
                weights=arrays["weights"],
                bias=arrays["bias"],
                steps=arrays["steps"],
            )

        return read_arrays(path, make, version=FORMAT, what="tagger of entities")


def train(texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> EntityTagger:
    """Learn from texts and the entities of each, at least one in all. The same input gives the same tagger.

    Texts with entities are learned from twice, the second time without seeing the entities' own words, so that
    the words around them and their shape count for names that were never seen. Raises ``ValueError`` for no entities.
    """
    from scipy.sparse import hstack

    rows, before, tags = _lessons(texts, spans)
    every = sorted(set(tags))
    if len(every) < 2:
        raise ValueError("There are no entities to learn from, or nothing but entities.")
    hashed = _hashed(rows)
    columns = np.unique(hashed.indices)
    steps = np.zeros((len(before), len(every) + 1), dtype=np.float32)
    steps[np.arange(len(before)), [every.index(one) if one else len(every) for one in before]] = 1.0
    weights, bias = _fit(hstack([hashed[:, columns], steps], format="csr"), tags)
    return EntityTagger(
        tags=tuple(every),
        columns=columns,
        weights=weights[:, : len(columns)].astype(np.float32),
        bias=bias.astype(np.float32),
        steps=np.ascontiguousarray(weights[:, len(columns) :].T.astype(np.float32)),
    )


def _lessons(
    texts: Sequence[str], spans: Sequence[Sequence[Span]]
) -> tuple[list[list[str]], list[str], list[str]]:
    """Of each token its features, the tag before it and its own."""
    rows: list[list[str]] = []
    before: list[str] = []
    tags: list[str] = []
    for text, some in zip(texts, spans, strict=True):
        found = tokens(text)
        own = tags_of(found, some)
        rows += word_features(found)
        before += ["", *own[:-1]] if own else []
        tags += own
        hidden = {place for place, tag in enumerate(own) if tag != OUTSIDE}
        near = [
            place
            for place in range(len(own))
            if any(place + step in hidden for step in range(-_WINDOW, _WINDOW + 1))
        ]
        again = word_features(found, hidden) if hidden else []
        rows += [again[place] for place in near]
        before += [own[place - 1] if place else "" for place in near]
        tags += [own[place] for place in near]
    return rows, before, tags


def _fit(rows: Any, tags: Sequence[str]) -> tuple[Array, Array]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS, tol=1e-3).fit(rows, tags)
    if len(model.classes_) > 2:
        return model.coef_, model.intercept_
    # One row tells both; as a softmax, each has half of it.
    return np.vstack([-model.coef_ / 2, model.coef_ / 2]), np.array(
        [-model.intercept_[0] / 2, model.intercept_[0] / 2]
    )


def _normal(scores: Array) -> Array:
    """Logarithms of probabilities over the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _hashed(rows: Sequence[Sequence[str]]) -> Any:
    try:
        from sklearn.feature_extraction import FeatureHasher
    except ImportError as error:
        raise LibraryMissing("scikit-learn", "pip install 'modelyard[language]'") from error
    hasher = FeatureHasher(
        n_features=1 << FEATURE_BITS, input_type="string", alternate_sign=False, dtype=np.float32
    )
    return hasher.transform(rows)


def word_features(found: Sequence[Token], hidden: Set[int] = frozenset()) -> list[list[str]]:
    """Of each token what it is and what stands around it; of the hidden ones only their shape."""
    words = [HIDDEN if n in hidden else one.text.lower() for n, one in enumerate(found)]
    shapes = [shape(one.text) for one in found]
    glued = [n > 0 and found[n - 1].end == one.begin for n, one in enumerate(found)]
    padded = ["<2", "<1", *words, ">1", ">2"]
    outlines = ["<1", *shapes, ">1"]
    rows = []
    for place, word in enumerate(words):
        second, last, _, after, next_one = padded[place : place + 5]
        left, own, right = outlines[place : place + 3]
        row = [
            f"w={word}", f"s={own}", f"-1={last}", f"+1={after}", f"-2={second}", f"+2={next_one}",
            f"l={left}", f"r={right}", f"ls={left}|{own}", f"sr={own}|{right}", f"lsr={left}|{own}|{right}",
            f"-1w={last}|{word}", f"w+1={word}|{after}", f"-2-1={second}|{last}", f"+1+2={after}|{next_one}",
            f"-1s={last}|{own}", f"s+1={own}|{after}", f"g={glued[place]}|{own}",
        ]  # fmt: skip
        if word is not HIDDEN:
            row += [f"p3={word[:3]}", f"x3={word[-3:]}", f"x2={word[-2:]}"]
        rows.append(row)
    return rows


@lru_cache(maxsize=100_000)
def shape(word: str) -> str:
    """Capitals, small letters, digits and other signs, each run as one, and how long the word is if it is short."""
    kinds = "".join(
        "X" if one.isupper() else "x" if one.isalpha() else "d" if one.isdigit() else one
        for one in word
    )
    return re.sub(r"(.)\1+", r"\1+", kinds) + str(min(len(word), 5))
