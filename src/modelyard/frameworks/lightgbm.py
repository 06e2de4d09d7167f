"""LightGBM boosters: files in their text format, and boosters that ``formats`` found in a pickle."""

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import (
    FrameworkMissing,
    LoadError,
    Model,
    Output,
    numbers_of,
    unknown_output,
)

OUTPUTS = ("predict", "raw_score")


def load(path: Path, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for what LightGBM refuses."""
    try:
        import lightgbm
    except ImportError:
        raise FrameworkMissing("lightgbm", "lightgbm") from None
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except (lightgbm.basic.LightGBMError, OSError, ValueError, TypeError) as error:
        raise LoadError(f"{path.name} is not a model that LightGBM reads: {error}") from error
    return booster_model(booster, output=output, threads=threads)


def booster_model(booster: Any, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for an output that no booster has."""
    if output and output not in OUTPUTS:
        raise unknown_output(output, OUTPUTS)
    return BoosterModel(booster, output or "predict", threads)


class BoosterModel:
    """Scores as ``Booster.predict`` gives them, or with ``MODELYARD_OUTPUT=raw_score`` before the link function."""

    def __init__(self, booster: Any, output: str, threads: int) -> None:
        self._booster = booster
        self._raw = output == "raw_score"
        self._threads = threads
        self._width = booster.num_feature()
        self._names = booster.feature_name()

    @property
    def row_wise(self) -> bool:
        return True

    def predict(self, batch: Batch) -> Output:
        rows = numbers_of(batch, self._names, self._width)
        scores = self._booster.predict(rows, raw_score=self._raw, num_threads=self._threads)
        return np.asarray(scores)
