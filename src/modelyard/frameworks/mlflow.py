"""MLflow model folders, by their ``python_function`` flavour: ``MLmodel`` and what it names.

The rows go in as a data frame, with the names of the model's signature where the request has none. What an MLflow model loads
and runs is its author's code (pickles, modules beside it), as a script is: isolated where the machine isolates.
Its ``requirements.txt`` is installed into an environment of its own where mlflow is not importable.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

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
)

MARK = "MLmodel"
_NUMBERS = {"integer": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}


def is_installed() -> bool:
    """Whether MLflow models can be loaded by this Python."""
    return all(importlib.util.find_spec(name) is not None for name in ("mlflow", "pandas"))


def load(path: Path, *, output: str, threads: int) -> Model:
    """Raises ``LoadError`` for a folder that MLflow refuses, or one without the flavour."""
    try:
        import mlflow.pyfunc
        import pandas
    except ImportError:
        raise FrameworkMissing("mlflow", "mlflow") from None
    if output:
        raise LoadError("MODELYARD_OUTPUT is not for MLflow models: they have one predict.")
    try:
        model = mlflow.pyfunc.load_model(str(path.parent))
    except MemoryError:
        raise
    except Exception as error:
        raise LoadError(f"MLflow cannot load the model: {type(error).__name__}: {error}") from error
    return MlflowModel(model, pandas)


class MlflowModel:
    """A ``PyFuncModel``."""

    row_wise = False
    """Anybody's function: nothing is known of what rows do to each other."""

    def __init__(self, model: Any, pandas: Any) -> None:
        self._model = model
        self._pandas = pandas
        schema = model.metadata.get_input_schema()
        self._tensor = None
        self._columns: list[tuple[str, Any]] = []
        if schema is not None and schema.is_tensor_spec():
            self._tensor = schema.numpy_types()[0]
        elif schema is not None and schema.has_input_names():
            kinds = [getattr(one, "name", "") for one in schema.input_types()]
            types = [_NUMBERS.get(kind) for kind in kinds]
            self._columns = list(zip(schema.input_names(), types, strict=True))

    def predict(self, batch: Batch) -> Output:
        names = [name for name, _ in self._columns]
        if self._tensor is not None:
            return _as_output(self._model.predict(self._numbers(table_of(batch, ()))))
        if batch.columns is not None and not names:
            return _as_output(self._model.predict(self._pandas.DataFrame(dict(batch.columns))))
        rows = table_of(batch, names)
        if names and (rows.ndim != 2 or rows.shape[1] != len(names)):
            raise BadInput(f"The model takes {len(names)} values a row, {shape_of(rows)} came.")
        return _as_output(self._model.predict(self._frame(rows)))

    def _numbers(self, rows: Array) -> Array:
        try:
            return rows.astype(self._tensor)
        except (TypeError, ValueError) as error:
            raise BadInput(f"The model takes {self._tensor}: {error}.") from error

    def _frame(self, rows: Array) -> Any:
        if not self._columns:
            return self._pandas.DataFrame(rows)
        columns = {}
        for at, (name, kind) in enumerate(self._columns):
            try:
                columns[name] = rows[:, at] if kind is None else rows[:, at].astype(kind)
            except (TypeError, ValueError) as error:
                raise BadInput(
                    f"The column {name} takes {np.dtype(kind).name}: {error}."
                ) from error
        return self._pandas.DataFrame(columns)


def _as_output(found: Any) -> Output:
    if hasattr(found, "columns"):  # A data frame.
        return {str(name): found[name].to_numpy() for name in found.columns}
    if isinstance(found, dict):
        return {str(name): np.asarray(values) for name, values in found.items()}
    return np.asarray(found)
