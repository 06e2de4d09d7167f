"""Entities, key phrases and syntax by a spaCy pipeline, with scores that come from its own decisions.

Entities: how much of a beam search's probability the entity has. Tokens: the softmax of the tagger, or of all labels of a
morphologizer that are of the token's part of speech. Key phrases are noun chunks; a phrase is as sure as its least certain tag.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.ai.engine import EngineError, LibraryMissing, required_folder
from modelyard.ai.questions import Finding, Item

MODEL = "model"
Array = np.ndarray[Any, np.dtype[Any]]
BEAM_WIDTH, BEAM_DENSITY = 8, 0.001
SCORE_MIN = 0.3
"""An entity that most of the beam does not see is none."""
_LABELS = {
    "PERSON": "PERSON", "PER": "PERSON", "NORP": "OTHER", "FAC": "LOCATION", "ORG": "ORGANIZATION", "GPE": "LOCATION",
    "LOC": "LOCATION", "PRODUCT": "COMMERCIAL_ITEM", "EVENT": "EVENT", "WORK_OF_ART": "TITLE", "LAW": "TITLE",
    "LANGUAGE": "OTHER", "DATE": "DATE", "TIME": "DATE", "PERCENT": "QUANTITY", "MONEY": "QUANTITY",
    "QUANTITY": "QUANTITY", "ORDINAL": "QUANTITY", "CARDINAL": "QUANTITY", "MISC": "OTHER",
}  # fmt: skip
"""From the labels of OntoNotes and WikiNER to the service's."""
_CURRENCIES = ("$", "£", "€", "¥")
_TAGS = {"X": "O", "SPACE": ""}
_TAGGERS = ("tagger", "morphologizer")
"""What tells the part of speech, whichever a pipeline has."""
_NO_TASK = "This pipeline lacks the component that the task needs."


class SpacyEngine:
    """Tasks ``entities`` (and ``pii-names``, the same), ``key-phrases`` and ``syntax``; offsets are code points."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._tasks = {
            "entities": (self._entities, ("ner",)),
            "pii-names": (self._entities, ("ner",)),
            "key-phrases": (self._phrases, ("parser",)),
            "syntax": (self._syntax, _TAGGERS),
        }

    def answer(self, task: str, items: Sequence[Item], options: Mapping[str, Any]) -> list[Finding]:
        """All texts go through each component together."""
        answer, components = self._tasks[task]
        if not any(one in self._pipeline.pipe_names for one in components):
            return [Finding(error=_NO_TASK) for _ in items]
        skipped = {"ner", "lemmatizer", "senter"} | ({"parser"} if task != "key-phrases" else set())
        texts = [item["text"] for item in items]
        with self._pipeline.select_pipes(
            disable=[n for n in skipped if n in self._pipeline.pipe_names]
        ):
            documents = list(self._pipeline.pipe(texts))
        return answer(documents)

    def _entities(self, documents: Sequence[Any]) -> list[Finding]:
        recogniser = self._pipeline.get_pipe("ner")
        beams = recogniser.beam_parse(
            documents, beam_width=BEAM_WIDTH, beam_density=BEAM_DENSITY, drop=0.0
        )
        return [
            Finding(result={"entities": list(_best(document, scored))})
            for document, scored in zip(documents, recogniser.scored_ents(beams), strict=True)
        ]

    def _tag_scores(self, documents: Sequence[Any]) -> list[Array]:
        """Of each document, the probability of each token's tag."""
        (name,) = [one for one in _TAGGERS if one in self._pipeline.pipe_names][:1]
        tagger = self._pipeline.get_pipe(name)
        found = []
        for document, scores in zip(documents, tagger.model.predict(documents), strict=True):
            rows = np.asarray(scores, dtype=np.float64)
            if not len(rows):
                found.append(rows)
                continue
            if not np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):  # The model has not done it.
                powers = np.exp(rows - rows.max(axis=1, keepdims=True))
                rows = powers / powers.sum(axis=1, keepdims=True)
            if name == "tagger":
                found.append(rows.max(axis=1))
            else:
                found.append(_of_parts_of_speech(tagger, document, rows))
        return found

    def _syntax(self, documents: Sequence[Any]) -> list[Finding]:
        findings = []
        for document, scores in zip(documents, self._tag_scores(documents), strict=True):
            tokens = []
            for token, score in zip(document, scores, strict=True):
                tag = _TAGS.get(token.pos_, token.pos_)
                if tag:
                    tokens.append((tag, token.idx, token.idx + len(token.text), float(score)))
            findings.append(Finding(result={"tokens": tokens}))
        return findings

    def _phrases(self, documents: Sequence[Any]) -> list[Finding]:
        findings = []
        for document, scores in zip(documents, self._tag_scores(documents), strict=True):
            phrases = [
                (chunk.start_char, chunk.end_char, float(min(scores[chunk.start : chunk.end])))
                for chunk in document.noun_chunks
                if any(token.pos_ != "PRON" for token in chunk)
            ]
            findings.append(Finding(result={"phrases": phrases}))
        return findings


def _of_parts_of_speech(morphologizer: Any, document: Any, rows: Array) -> Array:
    """A morphologizer's labels are finer than parts of speech: all that have the token's count."""
    parts = morphologizer.cfg["labels_pos"]
    symbols = np.array([parts.get(label, 0) for label in morphologizer.labels])
    own = np.array([token.pos for token in document])
    return np.asarray(np.minimum(1.0, (rows * (symbols[None, :] == own[:, None])).sum(axis=1)))


def _best(
    document: Any, scored: Mapping[tuple[int, int, str], float]
) -> Iterator[tuple[str, int, int, float]]:
    """The likeliest entities that do not overlap, in the order of the text."""
    merged: dict[tuple[int, int, str], float] = {}
    for (begin, end, label), score in scored.items():
        kind = _LABELS.get(label, "OTHER")
        merged[begin, end, kind] = merged.get((begin, end, kind), 0.0) + float(score)
    taken: list[tuple[int, int, str, float]] = []
    for (begin, end, kind), score in sorted(merged.items(), key=lambda pair: (-pair[1], pair[0])):
        if score >= SCORE_MIN and all(end <= b or begin >= e for b, e, _, _ in taken):
            taken.append((begin, end, kind, score))
    for begin, end, kind, score in sorted(taken):
        span = document[begin:end]
        start = span.start_char
        if kind == "QUANTITY" and document.text[start - 1 : start] in _CURRENCIES:
            start -= 1  # The pipeline leaves the currency out of a sum of money.
        yield kind, start, span.end_char, min(1.0, score)


def load(folder: Path | None, options: Mapping[str, str]) -> SpacyEngine:
    """A pipeline's folder, or one with ``model`` in it. Raises ``EngineError``."""
    place = required_folder(folder)
    try:
        import spacy
    except ImportError as error:
        raise LibraryMissing("spaCy", "pip install spacy") from error
    try:
        return SpacyEngine(spacy.load(place / MODEL if (place / MODEL).is_dir() else place))
    except (OSError, ValueError) as error:
        raise EngineError(
            f"The folder holds no spaCy pipeline that can be loaded: {error}"
        ) from error
