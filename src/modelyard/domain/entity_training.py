"""Training a recogniser of entities: the rows of its files, what they say of its documents, and how good it is. Pure."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.domain.tagged_texts import NameList, Span, tokens
from modelyard.domain.text_training import BadTrainingData, rates

TYPES_MAX = 25
MENTIONS_MIN, DOCUMENTS_MIN = 25, 3
"""Mentions of each type in the documents, and documents that have any."""
NAMES_MAX, NAME_CHARACTERS = 1_000_000, 5_000
CORPUS_BYTES, DOCUMENT_BYTES = 200_000_000, 100_000
TOKENS_MAX = 400_000
"""That are learned from; of a larger collection a part is taken."""
_COLUMNS = ("File", "Line", "Begin Offset", "End Offset", "Type")
_LIST_COLUMNS = ("Text", "Type")

Place = tuple[str, int | None]
"""A document: its file, and its line where each line is one."""


@dataclass(frozen=True, slots=True)
class TaggedDocument:
    """A document and the entities in it, which do not overlap."""

    text: str
    spans: tuple[Span, ...]

    @property
    def labels(self) -> tuple[()]:
        """All documents are alike where some are taken for a test."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """An entity is right if its place and its type are."""

    precision: float
    recall: float
    f1: float


def annotations(
    lines: Iterable[str], types: Sequence[str], documents: Mapping[Place, str], *, per_line: bool
) -> dict[Place, tuple[Span, ...]]:
    """Of each annotated document its spans; those of other types are passed over. Raises ``BadTrainingData``."""
    columns = _COLUMNS if per_line else tuple(name for name in _COLUMNS if name != "Line")
    found: dict[Place, set[Span]] = {}
    for number, row in _rows(lines, columns, "annotations"):
        line = _number(row["Line"], "Line", number) if per_line else None
        place = row["File"], line
        text = documents.get(place)
        if text is None:
            where = row["File"][:200] + ("" if line is None else f", line {line}")
            raise BadTrainingData(f"Row {number} of the annotations: no document is {where}.")
        begin = _number(row["Begin Offset"], "Begin Offset", number)
        end = _number(row["End Offset"], "End Offset", number)
        if not begin < end <= len(text):
            raise BadTrainingData(
                f"Row {number} of the annotations: {begin} to {end} is no part of a document of {len(text)} characters."
            )
        if not text[begin:end].strip():
            raise BadTrainingData(f"Row {number} of the annotations: there is only white space.")
        if row["Type"] in types:
            found.setdefault(place, set()).add(Span(begin, end, row["Type"]))
    ordered = {place: tuple(sorted(spans)) for place, spans in found.items()}
    for place, spans in ordered.items():
        for one, other in itertools.pairwise(spans):
            if other.begin < one.end:
                where = place[0][:200] + ("" if place[1] is None else f", line {place[1]}")
                raise BadTrainingData(
                    f"Annotations of {where} overlap: {one.begin} to {one.end} and {other.begin} to {other.end}."
                )
    return ordered


def entity_list(lines: Iterable[str], types: Sequence[str]) -> NameList:
    """Names and their types; those of other types are passed over. Raises ``BadTrainingData``."""
    names: dict[str, str] = {}
    for number, row in _rows(lines, _LIST_COLUMNS, "entity list"):
        name, type = row["Text"], row["Type"]
        if not name or len(name) > NAME_CHARACTERS:
            raise BadTrainingData(
                f"Row {number} of the entity list: a text has 1 to {NAME_CHARACTERS} characters."
            )
        if type not in types:
            continue
        if names.setdefault(name, type) != type:
            raise BadTrainingData(
                f"Row {number} of the entity list: {name[:100]} is {names[name]} and {type}."
            )
        if len(names) > NAMES_MAX:
            raise BadTrainingData(f"The entity list has more than {NAMES_MAX} texts.")
    return NameList(names)


def _rows(
    lines: Iterable[str], columns: Sequence[str], what: str
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by column, numbered as a reader counts them; the first one names the columns. Raises ``BadTrainingData``."""
    wanted = ", ".join(columns)
    order: list[str] | None = None
    try:
        for number, row in enumerate(csv.reader(lines, strict=True), 1):
            if not row:
                continue
            fields = [one.strip() for one in row]
            if order is None:
                order = [_plain(one) for one in fields]
                if sorted(order) != sorted(_plain(name) for name in columns):
                    shown = ", ".join(one[:50] for one in fields[:8])
                    raise BadTrainingData(
                        f"The first row of the {what} is {shown}; these columns are expected: {wanted}."
                    )
                continue
            if len(fields) != len(columns):
                raise BadTrainingData(
                    f"Row {number} of the {what} has {len(fields)} fields; these are expected: {wanted}."
                )
            by_name = dict(zip(order, fields, strict=True))
            yield number, {name: by_name[_plain(name)] for name in columns}
    except csv.Error as error:
        raise BadTrainingData(f"The {what} is no CSV: {error}") from error
    if order is None:
        raise BadTrainingData(f"The {what} is empty; these columns are expected: {wanted}.")


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "")


def _number(text: str, column: str, row: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise BadTrainingData(
            f"Row {row} of the annotations: {column} is no number: {text[:50] or 'empty'}."
        )
    return int(text)


def listed(documents: Iterable[str], names: NameList) -> list[TaggedDocument]:
    """Documents with what of the list is in them."""
    return [TaggedDocument(text, tuple(names.find(tokens(text)))) for text in documents]


def mentions(documents: Iterable[TaggedDocument]) -> Counter[str]:
    """How many of each type."""
    return Counter(span.type for one in documents for span in one.spans)


def check(documents: Sequence[TaggedDocument], types: Sequence[str]) -> None:
    """Raises ``BadTrainingData`` for too few documents or mentions."""
    having = sum(bool(one.spans) for one in documents)
    if having < DOCUMENTS_MIN:
        raise BadTrainingData(
            f"There must be at least {DOCUMENTS_MIN} documents with entities; there are {having}."
        )
    counts = mentions(documents)
    few = [type for type in types if counts[type] < MENTIONS_MIN]
    if few:
        shown = ", ".join(f"{type} ({counts[type]})" for type in few[:5])
        raise BadTrainingData(
            f"Each entity type must be found at least {MENTIONS_MIN} times in the documents; these are not: {shown}."
        )


def measure(
    expected: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]], types: Sequence[str]
) -> tuple[Metrics, dict[str, Metrics]]:
    """Of all entities, and of each type that the test has or the recogniser has found there."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for wanted, found in zip(expected, predicted, strict=True):
        right.update(one.type for one in set(wanted) & set(found))
        wrong.update(one.type for one in set(found) - set(wanted))
        missed.update(one.type for one in set(wanted) - set(found))
    each = {
        type: _metrics(right[type], wrong[type], missed[type])
        for type in types
        if right[type] + wrong[type] + missed[type]
    }
    return _metrics(right.total(), wrong.total(), missed.total()), each


def _metrics(right: int, wrong: int, missed: int) -> Metrics:
    precision, recall, f1 = rates(right, wrong, missed)
    return Metrics(precision=precision, recall=recall, f1=f1)
