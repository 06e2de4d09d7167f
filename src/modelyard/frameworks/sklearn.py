"""scikit-learn estimators from skops files, and from pickles behind the firewall."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks import scan
from modelyard.frameworks.bodies import Batch
from modelyard.frameworks.model import (
    Array,
    BadInput,
    LoadError,
    Model,
    Output,
    framework_missing,
    one_output,
)

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
)


def load_skops(path: Path, *, output: str, trusted: Collection[str]) -> Model:
    """Raises ``LoadError`` for types that are neither skops' own trusted ones nor on the platform's list."""
    try:
        import skops.io
    except ImportError:
        raise framework_missing("skops", "sklearn") from None
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        for name in unknown:
            module, _, last = name.rpartition(".")
            scan.allowed(module, last, trusted)
        estimator = skops.io.load(path, trusted=unknown)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(f"{path.name} is not a skops file that can be loaded: {error}") from error
    return EstimatorModel(estimator, output)


def load_pickled(path: Path, *, output: str, trusted: Collection[str]) -> Model:
    """Raises ``LoadError`` for a pickle that names more than models need."""
    estimator = scan.load_pickle(path, extra=trusted)
    if not any(hasattr(estimator, method) for method in METHODS):
        raise LoadError(f"{path.name} holds a {type(estimator).__name__}, which has no predict.")
    return EstimatorModel(estimator, output)


class EstimatorModel:
    """Answers what ``predict`` gives, or the method that ``MODELYARD_OUTPUT`` names."""

    def __init__(self, estimator: Any, output: str) -> None:
        method = output or ("predict" if hasattr(estimator, "predict") else "transform")
        if method not in METHODS or not hasattr(estimator, method):
            raise one_output(output, [name for name in METHODS if hasattr(estimator, name)])
        self._call = getattr(estimator, method)
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
        self._width = getattr(estimator, "n_features_in_", None)

    @property
    def row_wise(self) -> bool:
        return self._width is not None

    def predict(self, batch: Batch) -> Output:
        rows = self._rows(batch)
        if self._width is not None and rows.ndim == 2 and rows.shape[1] != self._width:
            raise BadInput(f"The model takes {self._width} values a row, {rows.shape[1]} came.")
        return np.asarray(_dense(self._call(rows)))

    def _rows(self, batch: Batch) -> Array:
        if batch.array is not None:
            return batch.array
        assert batch.columns is not None
        names = self._names or list(batch.columns)
        missing = [name for name in names if name not in batch.columns]
        if missing:
            raise BadInput(f"The records lack {', '.join(missing)}.")
        columns = [batch.columns[name] for name in names]
        if any(column.dtype == object for column in columns):
            columns = [column.astype(object) for column in columns]
        return np.stack(columns, axis=1)


def _dense(result: Any) -> Any:
    return result.toarray() if hasattr(result, "toarray") else result
