"""XGBoost boosters: JSON, UBJSON, and the pickled ``xgboost-model`` of SageMaker's older containers."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks import scan
from modelyard.frameworks.bodies import Batch
from modelyard.frameworks.model import Array, BadInput, LoadError, Model, Output, framework_missing
from modelyard.frameworks.sklearn import EstimatorModel

_PICKLE_MAGIC = b"\x80"


def load(path: Path, *, trusted: Collection[str], output: str) -> Model:
    """Raises ``LoadError`` for what XGBoost refuses."""
    try:
        import xgboost
    except ImportError:
        raise framework_missing("xgboost", "xgboost") from None
    with path.open("rb") as file:
        pickled = file.read(1) == _PICKLE_MAGIC
    if pickled:
        loaded = scan.load_pickle(path, extra=trusted)
        if not isinstance(loaded, xgboost.Booster):
            return EstimatorModel(loaded, output)
        return BoosterModel(loaded, xgboost)
    booster = xgboost.Booster(params={"nthread": 1})
    try:
        booster.load_model(path)
    except (xgboost.core.XGBoostError, ValueError, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0] if str(error) else "no reason"
        raise LoadError(f"{path.name} is not a model that XGBoost reads: {text}") from error
    return BoosterModel(booster, xgboost)


class BoosterModel:
    """Scores as ``Booster.predict`` gives them."""

    def __init__(self, booster: Any, xgboost: Any) -> None:
        self._booster = booster
        self._error = xgboost.core.XGBoostError
        booster.set_param({"nthread": 1})
        self._width = booster.num_features()
        self._names = booster.feature_names or []

    @property
    def row_wise(self) -> bool:
        return True

    def predict(self, batch: Batch) -> Output:
        rows = self._rows(batch)
        if rows.dtype == object:
            raise BadInput("The model takes numbers.")
        if rows.ndim != 2 or (self._width and rows.shape[1] != self._width):
            raise BadInput(f"The model takes {self._width} values a row, {rows.shape[-1]} came.")
        result: Array = self._booster.inplace_predict(
            np.ascontiguousarray(rows, dtype=np.float32), validate_features=False
        )
        return result

    def _rows(self, batch: Batch) -> Array:
        if batch.array is not None:
            return batch.array
        assert batch.columns is not None
        names = self._names or list(batch.columns)
        missing = [name for name in names if name not in batch.columns]
        if missing:
            raise BadInput(f"The records lack {', '.join(missing)}.")
        return np.stack([batch.columns[name] for name in names], axis=1)
