"""Training a model on a user's texts, and a classifier: the rows of its file, which of them test it, how good it is. Pure."""

import csv
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

MULTI_CLASS, MULTI_LABEL = "MULTI_CLASS", "MULTI_LABEL"
LABELS_MAX = {MULTI_CLASS: 1_000, MULTI_LABEL: 100}
DOCUMENTS_MIN = 10
"""Of a label; with fewer there is nothing to learn and nothing to test."""
LABEL_CHARACTERS, TEXT_CHARACTERS = 5_000, 10_000_000
DELIMITER = "|"
_TEST_SHARE = 10
ATTEMPTS = 3
"""Times that a training whose process was killed is begun."""

Labels = tuple[str, ...]


class BadTrainingData(Exception):
    """Nothing can be learned of it; the text is the model's ``Message``."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row."""

    labels: Labels
    text: str


class Sample(Protocol):
    """What a test is taken of: an ``Example``, or a document with entities."""

    @property
    def labels(self) -> Labels: ...
    @property
    def text(self) -> str: ...


S = TypeVar("S", bound=Sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Of a test. ``accuracy`` is the share of documents whose labels are all right; the next three are means over labels."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    hamming_loss: float


def examples(lines: Iterable[str], mode: str, delimiter: str = DELIMITER) -> Iterator[Example]:
    """Rows of two fields: a label (several, in mode multi-label), and a text. Raises ``BadTrainingData``."""
    try:
        for number, row in enumerate(csv.reader(lines, strict=True), 1):
            if not row:
                continue
            if len(row) != 2:
                raise BadTrainingData(
                    f"Row {number} has {len(row)} fields; a label and a text are expected."
                )
            names = row[0].split(delimiter) if mode == MULTI_LABEL else [row[0]]
            labels = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
            if not labels or not row[1].strip():
                raise BadTrainingData(f"Row {number} lacks a label or a text.")
            if any(len(label) > LABEL_CHARACTERS for label in labels):
                raise BadTrainingData(
                    f"Row {number} has a label of more than {LABEL_CHARACTERS} characters."
                )
            yield Example(labels, row[1])
    except csv.Error as error:
        raise BadTrainingData(f"The training data is no CSV: {error}") from error


def check(found: Sequence[Example], mode: str) -> None:
    """Raises ``BadTrainingData`` for too few documents or labels, or too many labels."""
    counts = Counter(label for one in found for label in one.labels)
    if len(counts) < 2:
        raise BadTrainingData(
            f"There must be at least 2 labels; the training data has {len(counts)}."
        )
    if len(counts) > LABELS_MAX[mode]:
        raise BadTrainingData(
            f"There are {len(counts)} labels; at most {LABELS_MAX[mode]} are allowed."
        )
    few = sorted(label for label, count in counts.items() if count < DOCUMENTS_MIN)
    if few:
        shown = ", ".join(f"{label[:50]} ({counts[label]})" for label in few[:5])
        raise BadTrainingData(
            f"Each label needs at least {DOCUMENTS_MIN} documents; these have fewer: {shown}."
        )


def split(found: Sequence[S]) -> tuple[list[S], list[S]]:
    """A tenth of each label's documents to test, the others to learn from; the same rows fall the same way."""
    by_labels: dict[Labels, list[S]] = {}
    for one in found:
        by_labels.setdefault(one.labels, []).append(one)
    learn: list[S] = []
    test: list[S] = []
    for some in by_labels.values():
        some.sort(key=lambda one: (zlib.crc32(one.text.encode()), one.text))
        count = -(-len(some) // _TEST_SHARE) if len(some) > 1 else 0
        test += some[:count]
        learn += some[count:]
    return learn, test


def measure(
    expected: Sequence[Labels], predicted: Sequence[Labels], labels: Sequence[str]
) -> Metrics:
    """Of a test with at least one document."""
    pairs = [(set(e), set(p)) for e, p in zip(expected, predicted, strict=True)]
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for wanted, found in pairs:
        right.update(wanted & found)
        wrong.update(found - wanted)
        missed.update(wanted - found)
    each = [rates(right[label], wrong[label], missed[label]) for label in labels]
    micro = rates(right.total(), wrong.total(), missed.total())
    mean = [sum(some[place] for some in each) / len(labels) for place in range(3)]
    return Metrics(
        accuracy=sum(wanted == found for wanted, found in pairs) / len(pairs),
        precision=mean[0],
        recall=mean[1],
        f1=mean[2],
        micro_precision=micro[0],
        micro_recall=micro[1],
        micro_f1=micro[2],
        hamming_loss=(wrong.total() + missed.total()) / (len(pairs) * len(labels)),
    )


def rates(right: int, wrong: int, missed: int) -> tuple[float, float, float]:
    """Precision, recall and their harmonic mean."""
    precision = right / (right + wrong) if right + wrong else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


def confusion(
    expected: Sequence[Labels], predicted: Sequence[Labels], labels: Sequence[str]
) -> list[list[int]]:
    """Of classes that exclude each other: a row for each expected one, a column for each predicted one."""
    place = {label: number for number, label in enumerate(labels)}
    matrix = [[0] * len(labels) for _ in labels]
    for (wanted,), (found,) in zip(expected, predicted, strict=True):
        matrix[place[wanted]][place[found]] += 1
    return matrix


Phase = Literal["start", "wait", "stop", "trained", "failed", "stopped"]


def next_phase(state: str, *, attempt: int, stopping: bool) -> Phase:
    """What becomes of a training whose process is in this state; the empty one: there is none."""
    if state == "succeeded":
        return "trained"
    if state == "failed":
        return "failed"
    if stopping:
        return "stop" if state in ("starting", "ready", "running") else "stopped"
    if state == "dead":
        return "start" if attempt < ATTEMPTS else "failed"
    return "start" if not state else "wait"
