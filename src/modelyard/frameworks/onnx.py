"""ONNX models in onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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

THREADS = "MODELYARD_THREADS"
_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def load(path: Path, *, output: str, environment: Mapping[str, str]) -> Model:
    """Open a session. Raises ``LoadError`` for a file that onnxruntime refuses."""
    try:
        import onnxruntime
    except ImportError:
        raise framework_missing("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    # Replicas and batches use the cores; threads of one predict would fight with them.
    options.intra_op_num_threads = int(environment.get(THREADS, "1"))
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise LoadError(f"{path.name} is not a model that onnxruntime reads: {error}") from error
    return OnnxModel(session, output)


class OnnxModel:
    """Answers the first output, the one that ``MODELYARD_OUTPUT`` names, or with ``*`` all."""

    def __init__(self, session: Any, output: str) -> None:
        self._session = session
        self._inputs = {one.name: one for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        if output and output != "*" and output not in names:
            raise one_output(output, names)
        self._all = output == "*"
        self._outputs = names if self._all else [output or names[0]]
        first = next(iter(self._inputs.values()))
        batch = first.shape[0] if first.shape else None
        # A model whose first axis is fixed takes exactly so many rows at a time.
        self._fixed_rows = batch if isinstance(batch, int) else None

    @property
    def row_wise(self) -> bool:
        return True

    def predict(self, batch: Batch) -> Output:
        feeds = self._feeds(batch)
        if self._fixed_rows is None:
            results = self._session.run(self._outputs, feeds)
        else:
            results = self._in_pieces(feeds, batch.rows, self._fixed_rows)
        arrays = [_as_array(result) for result in results]
        return dict(zip(self._outputs, arrays, strict=True)) if self._all else arrays[0]

    def _in_pieces(self, feeds: dict[str, Array], rows: int, size: int) -> list[Array]:
        if rows % size:
            raise BadInput(f"The model takes {size} rows at a time, {rows} came.")
        pieces = [
            self._session.run(
                self._outputs, {name: feed[at : at + size] for name, feed in feeds.items()}
            )
            for at in range(0, rows, size)
        ]
        return [
            np.concatenate([_as_array(part) for part in parts])
            for parts in zip(*pieces, strict=True)
        ]

    def _feeds(self, batch: Batch) -> dict[str, Array]:
        if batch.array is not None:
            return self._feeds_of_array(batch.array)
        assert batch.columns is not None
        missing = self._inputs.keys() - batch.columns.keys()
        if missing == self._inputs.keys() and len(self._inputs) == 1:
            # Records for a model of one wide input: their columns in the order in which they came.
            return self._feeds_of_array(_side_by_side(batch.columns))
        if missing:
            raise BadInput(
                f"The model's inputs are {', '.join(self._inputs)}; {', '.join(sorted(missing))} did not come."
            )
        return {name: self._fit(name, batch.columns[name]) for name in self._inputs}

    def _feeds_of_array(self, array: Array) -> dict[str, Array]:
        if len(self._inputs) == 1:
            (name,) = self._inputs
            return {name: self._fit(name, array)}
        if array.ndim == 2 and array.shape[1] == len(self._inputs):
            return {
                name: self._fit(name, array[:, at : at + 1]) for at, name in enumerate(self._inputs)
            }
        raise BadInput(
            f"The model has the inputs {', '.join(self._inputs)}; send them by name in JSON."
        )

    def _fit(self, name: str, array: Array) -> Array:
        wanted = self._inputs[name]
        kind = _NUMPY_TYPES.get(wanted.type)
        if kind is None:
            raise BadInput(f"Input {name} is a {wanted.type}, which requests cannot carry.")
        shape = wanted.shape
        if len(shape) == array.ndim + 1 and shape[-1] == 1:
            array = array[..., np.newaxis]
        for axis, size in enumerate(shape[1:], 1):
            got = array.shape[axis] if axis < array.ndim else None
            if isinstance(size, int) and got != size:
                raise BadInput(
                    f"The model takes {_shape(shape)} for {name}, {_shape(array.shape)} came."
                )
        try:
            return np.ascontiguousarray(array, dtype=kind)
        except (TypeError, ValueError) as error:
            raise BadInput(f"Input {name} takes {wanted.type}: {error}") from error


def _shape(shape: Any) -> str:
    return (
        "[" + ", ".join("rows" if not isinstance(size, int) else str(size) for size in shape) + "]"
    )


def _side_by_side(columns: Mapping[str, Array]) -> Array:
    try:
        return np.stack([column.astype(np.float64) for column in columns.values()], axis=1)
    except (TypeError, ValueError) as error:
        raise BadInput(f"The records hold more than numbers: {error}") from error


def _as_array(result: Any) -> Array:
    if isinstance(result, np.ndarray):
        return result
    array = np.empty(len(result), dtype=object)  # ZipMap gives a list of dicts.
    array[:] = result
    return array
