"""A job that finds the topics of a collection: all its documents are one question, and two tables the answer."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelyard.services.comprehend.documents import Document
from modelyard.services.job_objects import JobFailed
from modelyard.store.resources import Json

TASK = "topics"
COLLECTION_BYTES = 10_000_000
"""Of all texts, which travel to the model as one question."""
DOCUMENTS_MAX = 100_000
TOPICS_DEFAULT = 25
MEGABYTE = 1_000_000


def collection(source: Iterable[Document]) -> list[Document]:
    """The documents that have text. Raises ``JobFailed``."""
    found: list[Document] = []
    size = 0
    for document in source:
        size += len(document.text.encode())
        if size > COLLECTION_BYTES or len(found) >= DOCUMENTS_MAX:
            raise JobFailed(
                f"SIZE_LIMIT_EXCEEDED: There are more than {DOCUMENTS_MAX} documents or {COLLECTION_BYTES} bytes "
                "of text; use fewer of them."
            )
        if document.error is None:
            found.append(document)
    if not found:
        raise JobFailed("INVALID_INPUT: There is no document that has text.")
    return found


def question(found: Sequence[Document], spec: Json) -> Json:
    """The one item that the model is asked."""
    texts = [one.text for one in found]
    return {"texts": texts, "topics": spec.get("NumberOfTopics") or TOPICS_DEFAULT}


def megabytes(found: Sequence[Document]) -> int:
    """What is metered: begun megabytes of text."""
    return -(-sum(len(one.text.encode()) for one in found) // MEGABYTE)


def tables(found: Sequence[Document], result: Mapping[str, Any]) -> Mapping[str, bytes]:
    """``topic-terms.csv`` and ``doc-topics.csv``, as Comprehend's archive has them."""

    def terms() -> Iterator[tuple[Any, ...]]:
        for topic, words in enumerate(result["terms"]):
            for word, weight in words:
                yield f"{topic:03}", word, weight

    def shares() -> Iterator[tuple[Any, ...]]:
        for document, parts in zip(found, result["shares"], strict=True):
            name = document.file if document.line is None else f"{document.file}:{document.line}"
            for topic, share in parts:
                yield name, f"{topic:03}", share

    return {
        "topic-terms.csv": _table(("topic", "term", "weight"), terms()),
        "doc-topics.csv": _table(("docname", "topic", "proportion"), shares()),
    }


def _table(names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode()
