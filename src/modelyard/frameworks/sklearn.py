"""scikit-learn estimators, and what is made like them; from skops files, or as ``formats`` found them in a pickle."""

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.frameworks import scan
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import (
    Array,
    BadInput,
    FrameworkMissing,
    LoadError,
    Model,
    Output,
    shape_of,
    table_of,
    unknown_output,
)

METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
)
_NOT_ROW_WISE = ("NMF", "MiniBatchNMF")
"""Estimators that look at all rows of a call together, for instance to know when they have converged."""
_TEXT_READERS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
_SKOPS_MIN = (0, 12)
"""The loader of older versions can be made to run code despite its audit (CVE-2025-54412, CVE-2025-54413)."""


def load_skops(path: Path, *, output: str, threads: int, trusted: Collection[str]) -> Model:
    """Raises ``LoadError`` for types that are neither skops' own trusted ones nor on the platform's list."""
    try:
        import skops
        import skops.io
    except ImportError:
        raise FrameworkMissing("skops", "sklearn") from None
    if tuple(int(part) for part in skops.__version__.split(".")[:2]) < _SKOPS_MIN:
        raise LoadError("skops is too old to be safe: pip install --upgrade 'skops>=0.12'.")
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        for name in unknown:
            module, _, last = name.rpartition(".")
            scan.allowed(module, last, trusted)
        estimator = skops.io.load(path, trusted=unknown)
    except (LoadError, MemoryError):
        raise
    except Exception as error:
        raise LoadError(f"{path.name} is not a skops file that can be loaded: {error}") from error
    return estimator_model(estimator, path.name, output=output, threads=threads)


def estimator_model(estimator: Any, name: str, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for an object that predicts nothing, or not what ``MODELYARD_OUTPUT`` asks for."""
    known = [method for method in METHODS if hasattr(estimator, method)]
    if isinstance(estimator, type) or not known:
        raise LoadError(
            f"{name} holds a {type(estimator).__name__}, which is no model: it has no predict."
        )
    if output and output not in known:
        raise unknown_output(output, known)
    if any(getattr(part, "input", "content") in ("file", "filename") for part in _parts(estimator)):
        raise LoadError(
            f"{name} would open the files that its callers name; vectorise content instead."
        )
    _limit_threads(estimator, threads)
    # Asked for by every call for an estimator that was fitted with a data frame; names are checked here.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    method = output or ("predict" if "predict" in known else known[0])
    return EstimatorModel(estimator, method)


def _limit_threads(estimator: Any, threads: int) -> None:
    """Replicas use the cores: what the model asks for in ``n_jobs``, and BLAS and OpenMP take, would fight."""
    if hasattr(estimator, "get_params") and hasattr(estimator, "set_params"):
        names = [name for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"]
        if names:
            estimator.set_params(**dict.fromkeys(names, threads))
    try:
        import threadpoolctl  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        return  # It comes with scikit-learn; without, there are no such pools.
    threadpoolctl.threadpool_limits(limits=threads)


class EstimatorModel:
    """Answers what one method of an estimator gives."""

    def __init__(self, estimator: Any, method: str) -> None:
        self._call = getattr(estimator, method)
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self._width = getattr(estimator, "n_features_in_", None)
        kinds = {type(part).__name__ for part in _parts(estimator)}
        self._reads_text = type(_first(estimator)).__name__ in _TEXT_READERS
        self._row_wise = kinds.isdisjoint(_NOT_ROW_WISE) and not _has_own_function(estimator)
        self._frame = (
            _data_frame(estimator) if self._names and "ColumnTransformer" in kinds else None
        )

    @property
    def row_wise(self) -> bool:
        """Estimators predict row by row, but for a few that are named, and those that hold a function of anybody's."""
        return self._row_wise and (self._width is not None or self._reads_text)

    def predict(self, batch: Batch) -> Output:
        rows = table_of(batch, self._names)
        if self._reads_text:
            return _dense(self._call(_texts(rows)))
        if self._width is not None and (rows.ndim != 2 or rows.shape[1] != self._width):
            raise BadInput(f"The model takes {self._width} values a row, {shape_of(rows)} came.")
        if self._frame is None:
            return _dense(self._call(rows))
        columns = {name: _column(rows[:, at]) for at, name in enumerate(self._names)}
        return _dense(self._call(self._frame(columns)))


def _parts(estimator: Any) -> Iterator[Any]:
    """The estimator and all that it is made of, as far as its parameters tell."""
    yield estimator
    if hasattr(estimator, "get_params"):
        for value in estimator.get_params().values():
            yield value
            if isinstance(value, list | tuple):
                yield from value


def _first(estimator: Any) -> Any:
    """What the rows meet first: the first step of a pipeline, or the estimator."""
    steps = getattr(estimator, "steps", None)
    return _first(steps[0][1]) if steps else estimator


def _has_own_function(estimator: Any) -> bool:
    """A ``FunctionTransformer`` may do anything; numpy's ufuncs go element by element."""
    return any(
        type(part).__name__ == "FunctionTransformer"
        and not isinstance(part.func, np.ufunc | type(None))
        for part in _parts(estimator)
    )


def _data_frame(estimator: Any) -> Any:
    """pandas' ``DataFrame`` for a model that chooses its columns by name. Raises ``LoadError`` without pandas."""
    try:
        import pandas
    except ImportError:
        raise LoadError(
            f"The model ({type(estimator).__name__}) chooses its columns by name, which needs pandas: "
            "pip install pandas, then modelyard down and modelyard up."
        ) from None
    return pandas.DataFrame


def _column(cells: Array) -> Array:
    """Numbers as numbers again, in a table that holds texts as well."""
    if cells.dtype == object and not any(isinstance(cell, str) for cell in cells.tolist()):
        return cells.astype(np.float64)
    return cells


def _texts(rows: Array) -> Array:
    if rows.ndim != 2 or rows.shape[1] != 1:
        raise BadInput(f"The model takes one text a row, {shape_of(rows)} values came.")
    return rows[:, 0].astype(str).astype(object)


def _dense(result: Any) -> Array:
    if hasattr(result, "toarray"):
        result = result.toarray()
    if isinstance(result, list):  # One array for each output of a multi-output classifier.
        arrays = [np.asarray(one) for one in result]
        if len({one.shape for one in arrays}) == 1 and arrays[0].ndim == 2:
            return np.stack(arrays, axis=1)
        rows = np.empty(len(arrays[0]), dtype=object)
        rows[:] = [[one[at] for one in arrays] for at in range(len(arrays[0]))]
        return rows
    return np.asarray(result)
