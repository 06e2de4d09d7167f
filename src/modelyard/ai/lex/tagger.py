"""Which words of a text are values of which slots: an averaged perceptron over labels of words.

Each word is outside of any value, begins one, or goes on with it; the likeliest row of labels is found by dynamic programming.
It is learned from the templates with values in their slots, so it knows the words around a slot as well as the values. The
intents of a bot learn together: where two have a slot of the same name and type, what is seen of one holds for the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from modelyard.ai.lex.bot import Bot, Intent, Reading
from modelyard.ai.lex.examples import Example, background
from modelyard.ai.lex.features import of_words, of_words_of
from modelyard.domain.lex.vocabulary import words_of

Array = np.ndarray[Any, np.dtype[Any]]
_OUTSIDE = 0
_NEVER = -1e9
_ROUNDS = 10
_VISITS_MAX = 40_000
"""Examples that are looked at in all rounds together; with more of them in fewer rounds."""
_COMMON = 2
"""Foreign sentences that have a word make it a usual one."""


class Tagged(NamedTuple):
    """Words ``first`` to ``last``, both included, are a value."""

    slot: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotTagger:
    """Labels: 0 is outside, ``2n + 1`` begins a value of the slot ``n``, ``2n + 2`` goes on with it.

    A slot is a name and the id of a type; ``usual`` marks words that are seldom values.
    """

    slots: tuple[tuple[str, str], ...]
    usual: Mapping[str, str]
    features: Mapping[str, int]
    weights: Array
    """A row for each feature, and one of zeros for those that are not known; a column for each label."""
    moves: Array
    """From a label (the last row: from the beginning) to the next."""

    def tag(self, reading: Reading, intents: Sequence[Intent]) -> dict[str, list[Tagged]]:
        """The values of the slots of each intent that has any, in the order of the text: all intents together."""
        slotted = [one for one in intents if one.slots]
        if not slotted or not reading.words:
            return {}
        shared = self._emitted(of_words(reading, self.usual))
        own = [word for one in slotted for word in of_words_of(reading, one.name)]
        masks = np.stack([_mask(one, self.slots) for one in slotted])[:, None]
        emitted = self._emitted(own).reshape(len(slotted), *shared.shape) + shared + masks
        return {
            one.name: _spans(labels, self.slots)
            for one, labels in zip(slotted, _best(emitted, self.moves), strict=True)
        }

    def _emitted(self, rows: Sequence[Sequence[str]]) -> Array:
        """For each word what is known of it, added up."""
        known: list[int] = []
        begins: list[int] = []
        for row in rows:
            begins.append(len(known))
            known.append(len(self.features))  # Zeros, for a word of which nothing is known.
            known += [self.features[name] for name in row if name in self.features]
        found: Array = np.add.reduceat(self.weights[known], begins)
        return found


def train(
    bot: Bot, examples: Mapping[str, Sequence[Example]], readings: Mapping[str, Sequence[Reading]]
) -> SlotTagger:
    """Learn from examples by intent, each with its reading. The same input gives the same tagger."""
    slots = tuple(
        dict.fromkeys((slot.name, slot.kind) for one in bot.intents for slot in one.slots)
    )
    usual = _usual(bot)
    width = 2 * len(slots) + 1
    seen: list[tuple[list[list[str]], list[int], Array]] = []
    for intent in bot.intents if slots else ():
        mask = _mask(intent, slots)
        places = {slot.name: slots.index((slot.name, slot.kind)) for slot in intent.slots}
        own = examples.get(intent.name, ()), readings.get(intent.name, ())
        for one, reading in zip(*own, strict=True):
            rows = [
                [*shared, *its]
                for shared, its in zip(
                    of_words(reading, usual), of_words_of(reading, intent.name), strict=True
                )
            ]
            if rows:
                seen.append((rows, _labels(one, reading, places)[: len(rows)], mask))
    features: dict[str, int] = {}
    for name in (name for rows, _, _ in seen for word in rows for name in word):
        features.setdefault(name, len(features))
    numbered = [(_numbers(rows, features), labels, mask) for rows, labels, mask in seen]
    weights = np.zeros((len(features) + 1, width), dtype=np.float32)
    moves = _allowed(width)
    _learn(numbered, weights, moves)
    return SlotTagger(slots=slots, usual=usual, features=features, weights=weights, moves=moves)


def _learn(
    numbered: Sequence[tuple[Array, list[int], Array]], weights: Array, moves: Array
) -> None:
    """The mean of the weights over all steps, kept by sums that are taken off at the end."""
    summed, moved = np.zeros_like(weights, dtype=np.float64), np.zeros_like(moves, dtype=np.float64)
    step, order, last = 1, np.random.default_rng(0), len(moves) - 1
    for _ in range(max(2, min(_ROUNDS, _VISITS_MAX // max(1, len(numbered))))):
        errors = 0
        for place in order.permutation(len(numbered)):
            known, wanted, mask = numbered[place]
            (got,) = _best((weights[known].sum(axis=1) + mask)[None], moves)
            step += 1
            if got == wanted:
                continue
            errors += 1
            for labels, sign in ((wanted, 1.0), (got, -1.0)):
                before = last
                for row, label in zip(known, labels, strict=True):
                    weights[row, label] += sign
                    summed[row, label] += sign * step
                    moves[before, label] += sign
                    moved[before, label] += sign * step
                    before = label
            weights[-1] = 0.0
        if not errors:
            break
    weights -= (summed / step).astype(np.float32)
    moves -= (moved / step).astype(np.float32)
    weights[-1] = 0.0


def _usual(bot: Bot) -> dict[str, str]:
    """``L``: a word that some template has beside its slots; ``C``: a common one of the language; both are seldom values."""
    counts: dict[str, int] = {}
    for sentence in background():
        for text in {word.text for word in words_of(sentence)}:
            counts[text] = counts.get(text, 0) + 1
    usual = {text: "C" for text, count in counts.items() if count >= _COMMON}
    for template in (one for intent in bot.intents for one in intent.templates):
        for part in template:
            if not part.is_slot:
                usual |= {word.text: "L" for word in words_of(part.text)}
    return dict(sorted(usual.items()))


def _numbers(rows: Sequence[Sequence[str]], features: Mapping[str, int]) -> Array:
    """Rows of the same length; what is not known or not there is the last row of the weights."""
    unknown = len(features)
    width = max(map(len, rows))
    numbers = np.full((len(rows), width), unknown)
    for place, names in enumerate(rows):
        numbers[place, : len(names)] = [features.get(name, unknown) for name in names]
    return numbers


def _mask(intent: Intent, slots: Sequence[tuple[str, str]]) -> Array:
    """No label of another intent's slots."""
    mask = np.full(2 * len(slots) + 1, _NEVER, dtype=np.float32)
    mask[_OUTSIDE] = 0.0
    for slot in intent.slots:
        place = slots.index((slot.name, slot.kind))
        mask[2 * place + 1 : 2 * place + 3] = 0.0
    return mask


def _allowed(width: int) -> Array:
    """A value goes on only after it has begun."""
    moves = np.zeros((width + 1, width), dtype=np.float32)
    for label in range(2, width, 2):
        moves[:, label] = _NEVER
        moves[label - 1, label] = moves[label, label] = 0.0
    return moves


def _best(emitted: Array, moves: Array) -> list[list[int]]:
    """The rows of labels with the highest sums; ``emitted`` has texts, words and labels."""
    score = emitted[:, 0] + moves[-1]
    before = []
    for at in range(1, emitted.shape[1]):
        paths = score[:, :, None] + moves[:-1]
        before.append(paths.argmax(axis=1).tolist())
        score = paths.max(axis=1) + emitted[:, at]
    found = []
    for text, last in enumerate(score.argmax(axis=1).tolist()):
        labels = [last]
        for back in reversed(before):
            labels.append(back[text][labels[-1]])
        found.append(labels[::-1])
    return found


def _labels(example: Example, reading: Reading, places: Mapping[str, int]) -> list[int]:
    """Of each word; a word is of a value if it begins within it."""
    labels = [_OUTSIDE] * len(reading.words)
    for span in example.spans:
        has_begun = False
        for place, word in enumerate(reading.words):
            if span.begin <= word.begin < span.end:
                labels[place] = 2 * places[span.slot] + (2 if has_begun else 1)
                has_begun = True
    return labels


def _spans(labels: Sequence[int], slots: Sequence[tuple[str, str]]) -> list[Tagged]:
    found: list[Tagged] = []
    for place, label in enumerate(labels):
        if label == _OUTSIDE:
            continue
        slot = slots[(label - 1) // 2][0]
        if label % 2 == 0 and found and found[-1] == (slot, found[-1].first, place - 1):
            found[-1] = found[-1]._replace(last=place)
        else:
            found.append(Tagged(slot, place, place))
    return found
