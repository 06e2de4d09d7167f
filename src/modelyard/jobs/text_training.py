"""A job that trains a model on a user's texts: reads them, learns, tests, puts the model into its place, says how good it is."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.ai.engine import EngineError
from modelyard.domain.text_training import TEXT_CHARACTERS, BadTrainingData
from modelyard.jobs import classifier_training, recogniser_training
from modelyard.jobs.inputs import Objects
from modelyard.jobs.model_archive import put_archive

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
        about = put_archive(target, lambda files: train_model(payload["spec"], files, objects))
    except (BadTrainingData, EngineError, OSError, ValueError) as error:
        report("failed", str(error))
        return 0
    report("succeeded", "", about)
    return 0
