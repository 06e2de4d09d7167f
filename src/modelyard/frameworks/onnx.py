"""ONNX models in onnxruntime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    table_of,
    unknown_output,
)

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32,
    "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def load(path: Path, *, output: str, threads: int) -> Model:
    """Open a session. Raises ``LoadError`` for a file that onnxruntime refuses."""
    try:
        import onnxruntime
    except ImportError:
        raise FrameworkMissing("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    # Replicas and batches use the cores; threads of one predict would fight with them.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise LoadError(f"{path.name} is not a model that onnxruntime reads: {error}") from error
    invalid = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument
    return OnnxModel(session, output, invalid)


@dataclass(frozen=True, slots=True)
class _Input:
    """One input of the graph; ``shape`` holds a number where an axis is fixed, else a name or None."""

    name: str
    type: str
    shape: tuple[Any, ...]
    dtype: Any

    def fit(self, array: Array) -> Array:
        """The array in this input's type and shape. Raises ``BadInput``."""
        if (
            array.shape[1:] != self.shape[1:]
        ):  # Equal where every axis is fixed, as for most tables.
            if len(self.shape) == array.ndim + 1 and self.shape[-1] == 1:
                array = array[..., np.newaxis]
            if self.shape and not self._takes(array.shape):
                raise BadInput(
                    f"The model takes {_words(self.shape)} for {self.name}, {_words(array.shape)} came."
                )
        if self.dtype is np.object_:
            return array.astype(str).astype(object)
        try:
            if self.dtype in (np.float32, np.float64):
                return np.ascontiguousarray(array, dtype=self.dtype)
            return self._fit_narrow(array)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"The model takes a {self.type} for {self.name}: {error}.") from error

    def _fit_narrow(self, array: Array) -> Array:
        """For types that do not hold every number: a value may lose digits, but never become another."""
        with np.errstate(invalid="ignore", over="ignore"):  # Compared below.
            fitted = np.ascontiguousarray(array, dtype=self.dtype)
        if fitted.dtype.kind in "iu" and array.dtype.kind != "b" and not (fitted == array).all():
            raise BadInput(f"The model takes whole numbers of {fitted.dtype} for {self.name}.")
        return fitted

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            not isinstance(wanted, int) or wanted == got
            for wanted, got in zip(self.shape[1:], shape[1:], strict=True)
        )


class OnnxModel:
    """Answers the first output, the one that ``MODELYARD_OUTPUT`` names, or with ``*`` all."""

    def __init__(self, session: Any, output: str, invalid: type[Exception]) -> None:
        self._session = session
        self._invalid = invalid
        self._inputs = {one.name: _input(one) for one in session.get_inputs()}
        if not self._inputs:
            raise LoadError("The model has no inputs.")
        outputs = {one.name: one for one in session.get_outputs()}
        if output and output != "*" and output not in outputs:
            raise unknown_output(output, list(outputs))
        self._all = output == "*"
        self._outputs = list(outputs) if self._all else [output or next(iter(outputs))]
        self._rows_at_a_time = _rows_at_a_time(list(self._inputs.values()))
        self._row_wise = _is_row_wise(
            [one.shape for one in self._inputs.values()],
            [tuple(outputs[name].shape or ()) for name in self._outputs],
        )

    @property
    def row_wise(self) -> bool:
        """By the shapes of the graph: one and the same open first axis in and out, or models of one row."""
        return self._row_wise

    @property
    def is_single_precision(self) -> bool:
        """Whether every input is float32, so that rows may come as such."""
        return all(one.dtype is np.float32 for one in self._inputs.values())

    def predict(self, batch: Batch) -> Output:
        feeds = self._feeds(batch)
        size = self._rows_at_a_time
        try:
            if size is None or size == batch.rows:
                results = [_as_array(one) for one in self._session.run(self._outputs, feeds)]
            else:
                results = self._in_pieces(feeds, batch.rows, size)
        except self._invalid as error:  # Shapes that the graph itself does not tell.
            raise BadInput(f"The model does not take these rows: {error}") from error
        return dict(zip(self._outputs, results, strict=True)) if self._all else results[0]

    def _in_pieces(self, feeds: dict[str, Array], rows: int, size: int) -> list[Array]:
        """For a model whose first axis is fixed."""
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
        inputs, array = self._inputs, batch.array
        if array is None:
            assert batch.columns is not None
            missing = [name for name in inputs if name not in batch.columns]
            if not missing:
                return {name: one.fit(batch.columns[name]) for name, one in inputs.items()}
            if len(inputs) > 1:
                raise BadInput(
                    f"The model's inputs are {', '.join(inputs)}; {', '.join(missing)} did not come."
                )
            # Records for a model of one wide input: their members in the order in which they came.
            array = table_of(batch, ())
        if len(inputs) == 1:
            ((name, only),) = inputs.items()
            return {name: only.fit(array)}
        if array.ndim == 2 and array.shape[1] == len(inputs):
            return {
                name: one.fit(array[:, at : at + 1])
                for at, (name, one) in enumerate(inputs.items())
            }
        raise BadInput(f"The model has the inputs {', '.join(inputs)}; send them by name in JSON.")


def _input(one: Any) -> _Input:
    dtype = _NUMPY_TYPES.get(one.type)
    if dtype is None:
        raise LoadError(
            f"The model's input {one.name} is a {one.type}, which requests cannot carry."
        )
    return _Input(one.name, one.type, tuple(one.shape or ()), dtype)


def _rows_at_a_time(inputs: Sequence[_Input]) -> int | None:
    """How many rows a model takes whose first axis is fixed; None where it is open."""
    sizes = {one.shape[0] for one in inputs if one.shape and isinstance(one.shape[0], int)}
    return sizes.pop() if len(sizes) == 1 else None


def _is_row_wise(inputs: Sequence[tuple[Any, ...]], outputs: Sequence[tuple[Any, ...]]) -> bool:
    """An output without a shape (ZipMap's list) may be anything, and is checked when it comes."""
    first = {shape[0] if shape else 0 for shape in inputs}
    if first == {1}:
        return True
    is_open = len(first) == 1 and not any(isinstance(size, int) for size in first)
    return is_open and not any(shape and isinstance(shape[0], int) for shape in outputs)


def _words(shape: tuple[Any, ...]) -> str:
    sizes = ["rows", *(str(size) if isinstance(size, int) else "any" for size in shape[1:])]
    return f"[{', '.join(sizes)}]"


def _as_array(result: Any) -> Array:
    if isinstance(result, np.ndarray):
        return result
    array = np.empty(len(result), dtype=object)
    # ZipMap gives a list of dicts, of floats that were float32: they are written as such.
    array[:] = [
        {
            key: np.float32(value) if isinstance(value, float) else value
            for key, value in one.items()
        }
        if isinstance(one, Mapping)
        else one
        for one in result
    ]
    return array
