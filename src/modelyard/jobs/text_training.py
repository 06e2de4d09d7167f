"""A job that trains a classifier of texts: rows from CSV objects, a test, the model into its place, and how good it is."""

import codecs
import csv
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from modelyard.ai.classifier import FILE, ClassifierEngine, chosen
from modelyard.ai.engine import EngineError
from modelyard.ai.text_classifier import train
from modelyard.domain.text_training import (
    MULTI_CLASS,
    MULTI_LABEL,
    TEXT_CHARACTERS,
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

DATA_BYTES = 512 * 1024 * 1024
"""Of all training data, which is in memory while it is learned from."""
_QUESTION = 500

Report = Callable[..., None]


def run_training(payload: dict[str, Any], report: Report, *, objects: Objects) -> int:
    """The exit code. The last word that is reported has what the classifier's description shows."""
    report("running")
    csv.field_size_limit(TEXT_CHARACTERS)
    try:
        about = _train(payload["spec"], Path(payload["target"]), objects)
    except (BadTrainingData, EngineError, OSError, ValueError) as error:
        report("failed", str(error))
        return 0
    report("succeeded", "", about)
    return 0


def _train(spec: dict[str, Any], target: Path, objects: Objects) -> dict[str, Any]:
    given, mode = spec["InputDataConfig"], spec["Mode"]
    delimiter = given.get("LabelDelimiter") or "|"

    def rows(uri: str) -> list[Example]:
        return list(examples(_lines(objects, uri), mode, delimiter))

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
    with tempfile.TemporaryDirectory(dir=_folder(target)) as work:
        classifier.save(Path(work, FILE))
        _put(Path(work, FILE), target)
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


def _lines(objects: Objects, uri: str) -> Iterator[str]:
    """Of all objects below an address. Raises ``BadTrainingData``."""
    place = Location.parse(uri)
    after, size, files = "", 0, 0
    while page := objects.page(place.bucket, place.key, after=after):
        for info in page:
            after = info.key
            opened = None if info.key.endswith("/") else objects.open_object(place.bucket, info.key)
            if opened is None:
                continue
            files += 1
            size += info.size
            if size > DATA_BYTES:
                raise BadTrainingData(f"The training data is larger than {DATA_BYTES} bytes.")
            with opened[1] as file:
                try:
                    yield from codecs.getreader("utf-8-sig")(file)
                except UnicodeDecodeError as error:
                    raise BadTrainingData(f"{info.key} is not UTF-8: {error}") from error
    if not files:
        raise BadTrainingData(f"There are no objects at {uri}.")


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


def _folder(target: Path) -> Path:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return target.parent


def _put(model: Path, target: Path) -> None:
    """The archive is there whole or not at all, and stays."""
    packed = model.with_name("model.tar")
    with packed.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            archive.add(model, model.name)
        file.flush()
        os.fsync(file.fileno())
    os.replace(packed, target)
