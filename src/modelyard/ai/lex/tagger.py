"""Which words of a text are values of which slots of an intent: an averaged perceptron over labels of words.

Each word is outside of any value, begins one, or goes on with it; the likeliest row of labels is found by dynamic programming.
It is learned from the templates with values in their slots, so it knows the words around a slot as well as the values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modelyard.ai.lex.bot import Intent, Reading
from modelyard.ai.lex.examples import Example
from modelyard.ai.lex.features import of_words

Array = np.ndarray[Any, np.dtype[Any]]
_OUTSIDE = 0
_NEVER = -1e9
_ROUNDS = 8
_VISITS_MAX = 4_000
"""Examples that are looked at while one intent is learned; with more of them in fewer rounds."""
_SEEN_MIN = 1


class Tagged(NamedTuple):
    """Words ``first`` to ``last``, both included, are a value."""

    slot: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotTagger:
    """Of one intent. Labels: 0 is outside, ``2n + 1`` begins a value of the slot ``n``, ``2n + 2`` goes on with it."""

    slots: tuple[str, ...]
    kinds: tuple[str, ...]
    features: Mapping[str, int]
    weights: Array
    """A row for each feature, and one of zeros for those that are not known; a column for each label."""
    moves: Array
    """From a label (the last row: from the beginning) to the next."""

    def tag(self, reading: Reading) -> list[Tagged]:
        """In the order of the text."""
        if not self.slots or not reading.words:
            return []
        rows = of_words(reading, self.kinds)
        known = _numbers(rows, self.features)
        labels = _best(self.weights[known].sum(axis=1), self.moves)
        return _spans(labels, self.slots)


def train(intent: Intent, examples: Sequence[Example], readings: Sequence[Reading]) -> SlotTagger:
    """Learn from examples of one intent, each with its reading. The same input gives the same tagger."""
    slots, kinds = tuple(slot.name for slot in intent.slots), intent.kinds
    width = 2 * len(slots) + 1
    features: dict[str, int] = {}
    rows = [of_words(one, kinds) for one in readings] if slots else []
    for row in rows:
        for name in (name for word in row for name in word):
            features.setdefault(name, len(features))
    weights = np.zeros((len(features) + 1, width))
    moves = _allowed(width)
    wanted = [_labels(one, reading, slots) for one, reading in zip(examples, readings, strict=True)]
    numbered = [
        (_numbers(row, features), labels)
        for row, labels in zip(rows, wanted, strict=False)
        if len(row) == len(labels) and row
    ]
    _learn(numbered, weights, moves)
    return SlotTagger(
        slots=slots,
        kinds=kinds,
        features=features,
        weights=weights.astype(np.float32),
        moves=moves.astype(np.float32),
    )


def _learn(numbered: Sequence[tuple[Array, list[int]]], weights: Array, moves: Array) -> None:
    """The mean of the weights over all steps, kept by sums that are taken off at the end."""
    if not numbered:
        return
    summed, moved = np.zeros_like(weights), np.zeros_like(moves)
    step = 1
    order = np.random.default_rng(0)
    for _ in range(max(1, min(_ROUNDS, _VISITS_MAX // len(numbered)))):
        errors = 0
        for place in order.permutation(len(numbered)):
            known, wanted = numbered[place]
            got = _best(weights[known].sum(axis=1), moves)
            step += 1
            if got == wanted:
                continue
            errors += 1
            for one, sign in ((wanted, 1.0), (got, -1.0)):
                last = len(moves) - 1
                for row, label in zip(known, one, strict=True):
                    np.add.at(weights, (row, label), sign)
                    np.add.at(summed, (row, label), sign * step)
                    moves[last, label] += sign
                    moved[last, label] += sign * step
                    last = label
        if not errors:
            break
    weights -= summed / step
    moves -= moved / step
    weights[-1] = 0.0


def _numbers(rows: Sequence[Sequence[str]], features: Mapping[str, int]) -> Array:
    unknown = len(features)
    return np.array([[features.get(name, unknown) for name in word] for word in rows])


def _allowed(width: int) -> Array:
    """A value goes on only after it has begun."""
    moves = np.zeros((width + 1, width))
    for label in range(2, width, 2):
        moves[:, label] = _NEVER
        moves[label - 1, label] = moves[label, label] = 0.0
    return moves


def _best(emitted: Array, moves: Array) -> list[int]:
    """The row of labels with the highest sum."""
    score = emitted[0] + moves[-1]
    before = []
    for row in emitted[1:]:
        paths = score[:, None] + moves[:-1]
        back = paths.argmax(axis=0)
        before.append(back)
        score = paths[back, np.arange(len(back))] + row
    labels = [int(score.argmax())]
    for back in reversed(before):
        labels.append(int(back[labels[-1]]))
    return labels[::-1]


def _labels(example: Example, reading: Reading, slots: Sequence[str]) -> list[int]:
    """Of each word; a word is of a value if it begins within it."""
    labels = [_OUTSIDE] * len(reading.words)
    for span in example.spans:
        has_begun = False
        for place, word in enumerate(reading.words):
            if span.begin <= word.begin < span.end:
                labels[place] = 2 * slots.index(span.slot) + (2 if has_begun else 1)
                has_begun = True
    return labels


def _spans(labels: Sequence[int], slots: Sequence[str]) -> list[Tagged]:
    found: list[Tagged] = []
    for place, label in enumerate(labels):
        if label == _OUTSIDE:
            continue
        slot = slots[(label - 1) // 2]
        if label % 2 == 0 and found and found[-1] == (slot, found[-1].first, place - 1):
            found[-1] = found[-1]._replace(last=place)
        else:
            found.append(Tagged(slot, place, place))
    return found
