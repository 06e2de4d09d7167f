"""CatBoost models: its binary format (``.cbm``).

``MODELYARD_OUTPUT`` is one of CatBoost's prediction types (``OUTPUTS``) that the model can give. A classifier's default
is ``Class``, a regressor's ``RawFormulaVal``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import (
    BadInput,
    FrameworkMissing,
    LoadError,
    Model,
    Output,
    shape_of,
    table_of,
    unknown_output,
)

OUTPUTS = ("RawFormulaVal", "Class", "Probability", "LogProbability", "Exponent")


def load(path: Path, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for what CatBoost refuses."""
    try:
        import catboost
    except ImportError:
        raise FrameworkMissing("catboost", "catboost") from None
    if output and output not in OUTPUTS:
        raise unknown_output(output, OUTPUTS)
    model = catboost.CatBoost()
    try:
        model.load_model(str(path), format="cbm")
    except (catboost.CatBoostError, ValueError) as error:
        text = (str(error).strip() or "no reason").splitlines()[0]
        raise LoadError(f"{path.name} is not a model that CatBoost reads: {text}") from error
    return CatBoostModel(model, output, threads)


class CatBoostModel:
    """Numbers and texts: a column that the model took as a category is handed over as text."""

    row_wise = True

    def __init__(self, model: Any, output: str, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._names = [str(name) for name in model.feature_names_ or ()]
        self._categories = set(model.get_cat_feature_indices())
        self._texts = set(model.get_text_feature_indices())
        self._width = len(self._names)
        self._output = output or ("Class" if _is_classifier(model) else "RawFormulaVal")

    def predict(self, batch: Batch) -> Output:
        rows = table_of(batch, self._names)
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise BadInput(f"The model takes {self._width} values a row, {shape_of(rows)} came.")
        special = self._categories | self._texts
        try:
            table = (
                [
                    [_text(cell) if at in special else float(cell) for at, cell in enumerate(row)]
                    for row in rows.tolist()
                ]
                if special
                else rows.astype(np.float64)
            )
        except (TypeError, ValueError) as error:
            raise BadInput(f"The model takes numbers: {error}.") from error
        found = self._model.predict(table, prediction_type=self._output, thread_count=self._threads)
        array = np.asarray(found)
        return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array


def _is_classifier(model: Any) -> bool:
    return bool(len(model.classes_))


def _text(cell: Any) -> str:
    """Categories are texts; a whole number that JSON or CSV made a float is written as it was."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
