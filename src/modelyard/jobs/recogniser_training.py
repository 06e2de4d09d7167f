"""Training a recogniser of entities: documents and their annotations or a list of names, a test, the model's files."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from modelyard.ai.entity_tagger import EntityTagger, train
from modelyard.ai.recogniser import FILE, NAMES
from modelyard.domain.entity_training import (
    CORPUS_BYTES,
    DOCUMENT_BYTES,
    TOKENS_MAX,
    Place,
    TaggedDocument,
    annotations,
    check,
    entity_list,
    listed,
    measure,
    mentions,
)
from modelyard.domain.tagged_texts import NameList, tokens
from modelyard.domain.text_training import BadTrainingData, split
from modelyard.jobs.inputs import Objects
from modelyard.jobs.training_texts import files, lines

PER_FILE = "ONE_DOC_PER_FILE"


def train_recogniser(spec: dict[str, Any], folder: Path, objects: Objects) -> dict[str, Any]:
    """Writes its files into the folder; what its description shows. Raises ``BadTrainingData`` and ``ValueError``."""
    given = spec["InputDataConfig"]
    types = [one["Type"] for one in given["EntityTypes"]]
    names = NameList({})
    if given.get("EntityList"):
        names = entity_list(lines(objects, given["EntityList"]["S3Uri"]), types)
    found = _documents(given, "S3Uri", types, names, objects)
    check(found, types)
    if given["Documents"].get("TestS3Uri"):
        learn, test = found, _documents(given, "TestS3Uri", types, names, objects)
    else:
        learn, test = split(found)
    learned = _some(learn)
    tagger = train([one.text for one in learned], [one.spans for one in learned])
    about = _about(tagger, learned, test, types)
    about["warnings"] = _warnings(about, learn, learned, types)
    tagger.save(folder / FILE)
    (folder / NAMES).write_bytes(msgspec.json.encode(names.types))
    return about


def _documents(
    given: Mapping[str, Any], member: str, types: Sequence[str], names: NameList, objects: Objects
) -> list[TaggedDocument]:
    """Of the training, or of the test. Raises ``BadTrainingData``."""
    per_line = given["Documents"].get("InputFormat") != PER_FILE
    texts = _texts(objects, given["Documents"][member], per_line=per_line)
    if not given.get("Annotations"):
        return listed([text for text in texts.values() if text.strip()], names)
    rows = lines(objects, given["Annotations"][member])
    spans = annotations(rows, types, texts, per_line=per_line)
    return [
        TaggedDocument(text, spans.get(place, ())) for place, text in texts.items() if text.strip()
    ]


def _texts(objects: Objects, uri: str, *, per_line: bool) -> dict[Place, str]:
    """By file and line, which are counted from 0. Raises ``BadTrainingData``."""
    found: dict[Place, str] = {}
    for name, file in files(objects, uri, CORPUS_BYTES):
        data = file.read()
        rows = data.split(b"\n") if per_line else [data]
        for number, row in enumerate(rows):
            where = f"{name}, line {number}" if per_line else name
            if len(row) > DOCUMENT_BYTES:
                raise BadTrainingData(
                    f"{where} is larger than {DOCUMENT_BYTES} bytes: cut it into several documents."
                )
            try:
                text = row.decode("utf-8-sig" if number == 0 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadTrainingData(f"{where} is not UTF-8: {error}") from error
            found[name, number if per_line else None] = text.removesuffix("\r")
    return found


def _some(documents: Sequence[TaggedDocument]) -> list[TaggedDocument]:
    """As many as can be learned from in a minute or two, the same ones each time."""
    chosen, count = [], 0
    for one in sorted(documents, key=lambda one: (zlib.crc32(one.text.encode()), one.text)):
        count += len(tokens(one.text))
        if count > TOKENS_MAX:
            break
        chosen.append(one)
    return chosen


def _about(
    tagger: EntityTagger,
    learned: Sequence[TaggedDocument],
    test: Sequence[TaggedDocument],
    types: Sequence[str],
) -> dict[str, Any]:
    """What the tagger alone finds is measured: a list of names would be right by definition."""
    counts = mentions(learned)
    predicted = [[span for span, _ in some] for some in tagger.find([one.text for one in test])]
    whole, each = measure([one.spans for one in test], predicted, types)
    return {
        "trained": len(learned),
        "tested": len(test),
        "metrics": asdict(whole) if each else {},
        "types": {
            type: {
                "mentions": counts[type],
                "metrics": asdict(each[type]) if type in each else {},
            }
            for type in types
        },
    }


def _warnings(
    about: Mapping[str, Any],
    learn: Sequence[TaggedDocument],
    learned: Sequence[TaggedDocument],
    types: Sequence[str],
) -> list[str]:
    """What a user should know of a recogniser that is trained nevertheless."""
    said = []
    if len(learned) < len(learn):
        said.append(
            f"It has learned from {len(learned)} of {len(learn)} documents, as many as fit."
        )
    untested = [type for type in types if not about["types"][type]["metrics"]]
    if untested:
        said.append(
            f"The test documents have none of these types, so nothing is known of them: {', '.join(untested)}. "
            "Give test documents that have, or more documents."
        )
    poor = [type for type in types if about["types"][type]["metrics"].get("f1") == 0.0]
    if poor:
        said.append(
            f"None of these was found right in the test documents: {', '.join(poor)}. More annotations may help."
        )
    return said
