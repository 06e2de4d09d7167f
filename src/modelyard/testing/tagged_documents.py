"""Made-up documents with entities of three types, and the files that a custom recogniser is trained from."""

import csv
import io
import random
import re
from collections.abc import Sequence

from modelyard.domain.entity_training import TaggedDocument
from modelyard.domain.tagged_texts import Span

TYPES = ("ENGINEER", "MANAGER", "PART")
_TEMPLATES = (
    "{ENGINEER} is an engineer in the high tech industry.",
    "Our new manager, {MANAGER}, has been here for {number} years.",
    "😀 {ENGINEER} has been an engineer for {number} years.",
    "Yesterday {MANAGER} was named manager of the plant in {place}.",
    "We met {person} in {place} last week.",
    "Order {PART} was shipped to {person}.",
    "Please send {PART} and {PART} to {place}, said {MANAGER}, the manager.",
    "The engineer {ENGINEER} repaired {PART}.",
    "Nothing happened in {place}.",
)
_SYLLABLES = ["ba", "del", "kor", "mi", "nas", "ro", "shi", "tan", "vel", "zor", "jin", "lap"]


def tagged_documents(count: int, seed: int) -> list[TaggedDocument]:
    """Whose names are made of syllables, so that hardly any comes twice; the same seed gives the same ones."""
    dice = random.Random(seed)  # noqa: S311 - documents, not secrets
    return [_document(_TEMPLATES[number % len(_TEMPLATES)], dice) for number in range(count)]


def _document(template: str, dice: random.Random) -> TaggedDocument:
    text, spans = "", []
    for part in re.split(r"(\{\w+\})", template):
        kind = part.strip("{}") if part.startswith("{") else ""
        value = _value(kind, dice) if kind else part
        if kind in TYPES:
            spans.append(Span(len(text), len(text) + len(value), kind))
        text += value
    return TaggedDocument(text, tuple(spans))


def _value(kind: str, dice: random.Random) -> str:
    if kind == "number":
        return str(dice.randint(2, 30))
    if kind == "PART":
        return f"{dice.choice('ABC')}{dice.choice('XYZ')}-{dice.randint(100, 9999)}"
    words = ["".join(dice.choices(_SYLLABLES, k=dice.randint(2, 3))) for _ in range(2)]
    return " ".join(words[: 1 if kind == "place" else 2]).title()


def documents_file(documents: Sequence[TaggedDocument]) -> str:
    """One document a line."""
    return "".join(f"{one.text}\n" for one in documents)


def annotations_file(documents: Sequence[TaggedDocument], name: str) -> str:
    """Of that file."""
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(["File", "Line", "Begin Offset", "End Offset", "Type"])
    for line, one in enumerate(documents):
        writer.writerows([name, line, span.begin, span.end, span.type] for span in one.spans)
    return rows.getvalue()
