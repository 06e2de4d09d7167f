"""LightGBM boosters in their text format."""

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.bodies import Batch
from modelyard.frameworks.model import Array, BadInput, LoadError, Model, Output, framework_missing


def load(path: Path) -> Model:
    """Raises ``LoadError`` for what LightGBM refuses."""
    try:
        import lightgbm
    except ImportError:
        raise framework_missing("lightgbm", "lightgbm") from None
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except (lightgbm.basic.LightGBMError, OSError) as error:
        raise LoadError(f"{path.name} is not a model that LightGBM reads: {error}") from error
    return BoosterModel(booster)


class BoosterModel:
    """Scores as ``Booster.predict`` gives them."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self._width = booster.num_feature()
        self._names = booster.feature_name()

    @property
    def row_wise(self) -> bool:
        return True

    def predict(self, batch: Batch) -> Output:
        rows = self._rows(batch)
        if rows.dtype == object:
            raise BadInput("The model takes numbers.")
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise BadInput(f"The model takes {self._width} values a row, {rows.shape[-1]} came.")
        return np.asarray(self._booster.predict(rows, num_threads=1))

    def _rows(self, batch: Batch) -> Array:
        if batch.array is not None:
            return batch.array
        assert batch.columns is not None
        missing = [name for name in self._names if name not in batch.columns]
        if missing:
            raise BadInput(f"The records lack {', '.join(missing)}.")
        return np.stack([batch.columns[name] for name in self._names], axis=1)
