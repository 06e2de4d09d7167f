"""Training a classifier of texts: rows from CSV objects, a test, the model's file, and how good it is."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from modelyard.ai.classifier import FILE, ClassifierEngine, chosen
from modelyard.ai.text_classifier import train
from modelyard.domain.text_training import (
    MULTI_CLASS,
    MULTI_LABEL,
    BadTrainingData,
    Example,
    Labels,
    check,
    confusion,
    examples,
    measure,
    split,
)
from modelyard.domain.transform import Location
from modelyard.jobs.inputs import Objects
from modelyard.jobs.training_texts import lines

_QUESTION = 500


def train_classifier(spec: dict[str, Any], folder: Path, objects: Objects) -> dict[str, Any]:
    """Writes its file into the folder; what its description shows. Raises ``BadTrainingData`` and ``ValueError``."""
    given, mode = spec["InputDataConfig"], spec["Mode"]
    delimiter = given.get("LabelDelimiter") or "|"

    def rows(uri: str) -> list[Example]:
        return list(examples(lines(objects, uri), mode, delimiter))

    found = rows(given["S3Uri"])
    check(found, mode)
    learn, test = (found, rows(given["TestS3Uri"])) if given.get("TestS3Uri") else split(found)
    classifier = train(
        [one.text for one in learn],
        [one.labels for one in learn],
        is_multi_label=mode == MULTI_LABEL,
    )
    expected = [one.labels for one in test]
    predicted = _predicted(ClassifierEngine(classifier), test, mode)
    unknown = {label for some in expected for label in some} - set(classifier.classes)
    if unknown:
        raise BadTrainingData(
            f"The test data has labels that the training data lacks: {sorted(unknown)[:5]}."
        )
    if spec.get("OutputUri"):
        matrix = confusion(expected, predicted, classifier.classes) if mode == MULTI_CLASS else None
        said = {"type": mode.lower(), "labels": classifier.classes, "confusion_matrix": matrix}
        _write_archive(objects, spec["OutputUri"], "output/confusion_matrix.json", said)
    classifier.save(folder / FILE)
    return {
        "labels": len(classifier.classes),
        "trained": len(learn),
        "tested": len(test),
        "metrics": asdict(measure(expected, predicted, classifier.classes)) if test else {},
    }


def _predicted(engine: ClassifierEngine, test: Sequence[Example], mode: str) -> list[Labels]:
    predicted: list[Labels] = []
    for begin in range(0, len(test), _QUESTION):
        items = [{"text": one.text} for one in test[begin : begin + _QUESTION]]
        predicted += [
            chosen(finding.result["scores"], is_multi_label=mode == MULTI_LABEL)
            for finding in engine.answer("classify", items, {})
        ]
    return predicted


def _write_archive(objects: Objects, uri: str, name: str, said: object) -> None:
    data = msgspec.json.encode(said)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        about = tarfile.TarInfo(name)
        about.size = len(data)
        archive.addfile(about, io.BytesIO(data))
    place = Location.parse(uri)
    writer = objects.writer(place.bucket, place.key, content_type="application/gzip")
    writer.write(packed.getvalue())
    writer.commit()
