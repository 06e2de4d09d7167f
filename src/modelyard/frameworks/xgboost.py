"""XGBoost boosters: JSON and UBJSON files, and boosters that ``formats`` found in a pickle."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import (
    Array,
    FrameworkMissing,
    LoadError,
    Model,
    Output,
    numbers_of,
    unknown_output,
)

OUTPUTS = ("predict", "margin")


def load(path: Path, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for what XGBoost refuses."""
    try:
        import xgboost
    except ImportError:
        raise FrameworkMissing("xgboost", "xgboost") from None
    booster = xgboost.Booster(params={"nthread": threads})
    try:
        # From memory XGBoost tells JSON from UBJSON by content; from a file by its name.
        booster.load_model(bytearray(path.read_bytes()))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else "no reason"
        raise LoadError(f"{path.name} is not a model that XGBoost reads: {text}") from error
    return booster_model(booster, output=output, threads=threads)


def booster_model(booster: Any, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for an output that no booster has."""
    if output and output not in OUTPUTS:
        raise unknown_output(output, OUTPUTS)
    booster.set_param({"nthread": threads})
    return BoosterModel(booster, output or "predict")


class BoosterModel:
    """Scores as ``Booster.predict`` gives them, or with ``MODELYARD_OUTPUT=margin`` before the link function."""

    def __init__(self, booster: Any, output: str) -> None:
        self._booster = booster
        self._margin = output == "margin"
        self._width = booster.num_features()
        self._names = booster.feature_names or []
        config = json.loads(booster.save_config())
        kind = config["learner"]["gradient_booster"]["name"]
        self._in_place = kind != "gblinear"

    @property
    def row_wise(self) -> bool:
        return True

    @property
    def is_single_precision(self) -> bool:
        """XGBoost's features are float32."""
        return True

    def predict(self, batch: Batch) -> Output:
        rows = np.ascontiguousarray(numbers_of(batch, self._names, self._width), dtype=np.float32)
        if self._in_place:
            kind = "margin" if self._margin else "value"
            scores = self._booster.inplace_predict(rows, predict_type=kind, validate_features=False)
        else:
            scores = self._booster.predict(self._matrix(rows), output_margin=self._margin)
        return np.asarray(scores)

    def _matrix(self, rows: Array) -> Any:
        """Linear boosters cannot predict in place."""
        from xgboost import DMatrix

        return DMatrix(rows, feature_names=self._names or None)
