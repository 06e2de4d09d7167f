"""A job that trains a model on a user's texts: reads them, learns, tests, puts the model into its place, says how good it is."""

import csv
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.ai.engine import EngineError
from modelyard.domain.text_training import TEXT_CHARACTERS, BadTrainingData
from modelyard.jobs import classifier_training, recogniser_training
from modelyard.jobs.inputs import Objects

Report = Callable[..., None]
Train = Callable[[dict[str, Any], Path, Objects], dict[str, Any]]
"""Writes the model's files into a folder, and tells what the model's description shows."""

_TRAIN: dict[str, Train] = {
    "comprehend-classifier": classifier_training.train_classifier,
    "comprehend-recogniser": recogniser_training.train_recogniser,
}


def run_training(payload: dict[str, Any], report: Report, *, objects: Objects) -> int:
    """The exit code. The last word that is reported has what the model's description shows."""
    report("running")
    csv.field_size_limit(TEXT_CHARACTERS)
    # Not there in a job that an older control has started.
    train_model = _TRAIN[payload.get("kind", "comprehend-classifier")]
    target = Path(payload["target"])
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            files = Path(work, "files")
            files.mkdir()
            about = train_model(payload["spec"], files, objects)
            _put(files, target)
    except (BadTrainingData, EngineError, OSError, ValueError) as error:
        report("failed", str(error))
        return 0
    report("succeeded", "", about)
    return 0


def _put(files: Path, target: Path) -> None:
    """The archive is there whole or not at all, and stays."""
    packed = files.with_name("model.tar")
    with packed.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(files.iterdir()):
                archive.add(path, path.name)
        file.flush()
        os.fsync(file.fileno())
    os.replace(packed, target)
