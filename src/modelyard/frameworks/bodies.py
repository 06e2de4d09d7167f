"""Request bodies as batches of rows: CSV, JSON, JSON Lines, npy.

A ``Batch`` is one array whose first axis counts rows, or named columns where a request names them. Whatever is wrong
with a body is a ``BodyError`` that says where, with the container's HTTP status: 400, or 415 for an unknown type.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_decode_json = msgspec.json.Decoder().decode
_TYPES = "text/csv, application/json, application/jsonlines, application/x-npy"


class BodyError(Exception):
    """The body is not what its content type says, or not of a known type."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to predict. Exactly one of ``array`` and ``columns`` is given."""

    array: Array | None
    columns: Mapping[str, Array] | None = None

    @property
    def rows(self) -> int:
        if self.array is not None:
            return int(self.array.shape[0])
        assert self.columns is not None
        return len(next(iter(self.columns.values())))

    @property
    def form(self) -> tuple[object, ...]:
        """Batches of equal form may be merged."""
        if self.array is not None:
            return (self.array.dtype.str, self.array.shape[1:])
        assert self.columns is not None
        return tuple(
            (name, column.dtype.str, column.shape[1:]) for name, column in self.columns.items()
        )


def merge(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows, in order; all must be of one form."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    if first.columns is None:
        return Batch(np.concatenate([batch.array for batch in batches if batch.array is not None]))
    return Batch(
        None,
        {
            name: np.concatenate(
                [batch.columns[name] for batch in batches if batch.columns is not None]
            )
            for name in first.columns
        },
    )


def decode(body: bytes, content_type: str) -> Batch:
    """The rows of a body. Raises ``BodyError``."""
    kind = content_type.partition(";")[0].strip().lower()
    decoder = _DECODERS.get(kind or "text/csv")
    if decoder is None:
        raise BodyError(f"Content type {kind!r} is not supported; use one of {_TYPES}.", status=415)
    if not body.strip():
        raise BodyError("The body is empty.")
    batch = decoder(body)
    if batch.rows == 0:
        raise BodyError("The body has no rows.")
    return batch


def _decode_csv(body: bytes) -> Batch:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyError(f"The CSV is not UTF-8: {error}") from error
    if '"' not in text:
        fast = _numbers(text)
        if fast is not None:
            return Batch(fast)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise BodyError(f"The body is not CSV: {error}") from error
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise BodyError(
                f"Row {number} of the CSV has {len(row)} values, row 1 has {len(rows[0])}."
            )
    return Batch(_typed(rows))


def _numbers(text: str) -> Array | None:
    """The common case, numbers only, without a Python object for each cell; None where it is not that."""
    lines = text.split("\n")
    rows = [line for line in lines if line and line != "\r"]
    if not rows:
        return None
    width = rows[0].count(",") + 1
    cells = ",".join(rows).split(",")
    if len(cells) != width * len(rows) or any(row.count(",") + 1 != width for row in rows):
        return None  # The careful reader names the row.
    try:
        return np.array(cells, dtype=np.float64).reshape(len(rows), width)
    except ValueError:
        return None


def _typed(rows: list[list[str]]) -> Array:
    try:
        return np.array(
            [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows],
            dtype=np.float64,
        )
    except ValueError:
        return np.array(rows, dtype=object)


def _decode_json_body(body: bytes) -> Batch:
    try:
        document = _decode_json(body)
    except msgspec.DecodeError as error:
        raise BodyError(f"The body is not JSON: {error}") from error
    if isinstance(document, dict):
        for name in ("instances", "inputs", "dataframe_records"):
            if name in document:
                return _rows(document[name], name)
        if "dataframe_split" in document:
            return _split_frame(document["dataframe_split"])
        raise BodyError(
            'The JSON object has none of "instances", "inputs", "dataframe_split", "dataframe_records".'
        )
    return _rows(document, "the body")


def _decode_json_lines(body: bytes) -> Batch:
    rows = []
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(_decode_json(line)))
        except msgspec.DecodeError as error:
            raise BodyError(f"Line {number} is not JSON: {error}") from error
    return _rows(rows, "the body")


def _row(value: Any) -> Any:
    """One line's row, bare or in an object such as ``{"features": [...]}``."""
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list):
            return inner
    return value


def _split_frame(frame: Any) -> Batch:
    if not isinstance(frame, dict) or not isinstance(frame.get("data"), list):
        raise BodyError('"dataframe_split" needs "data", a list of rows.')
    names = frame.get("columns")
    if not isinstance(names, list):
        return _rows(frame["data"], "dataframe_split")
    return _records([dict(zip(names, row, strict=False)) for row in frame["data"]])


def _rows(value: Any, name: str) -> Batch:
    if isinstance(value, dict):
        return _named(value)
    if not isinstance(value, list):
        raise BodyError(f"{name} has to be a list of rows, not {type(value).__name__}.")
    if not value:
        raise BodyError("The body has no rows.")
    if isinstance(value[0], dict):
        return _records(value)
    array = _array(value, name)
    return Batch(array.reshape(1, -1) if array.ndim == 1 else array)


def _array(value: list[Any], name: str) -> Array:
    try:
        array = np.array(value)
    except ValueError as error:
        raise BodyError(_ragged(value, name)) from error
    if array.dtype.kind in "iub":
        return array.astype(np.float64)
    if array.dtype.kind in "US":
        return array.astype(object)
    if array.dtype == object:  # null stands for a missing number
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError):
            return array
    return array


def _ragged(value: list[Any], name: str) -> str:
    for number, row in enumerate(value, 1):
        if not isinstance(row, list) or not isinstance(value[0], list):
            return f"Row {number} of {name} is not a list of values like the others."
        if len(row) != len(value[0]):
            return f"Row {number} of {name} has {len(row)} values, row 1 has {len(value[0])}."
    return f"The rows of {name} are not of one shape."


def _records(records: list[Any]) -> Batch:
    names = list(records[0])
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or set(record) != set(names):
            raise BodyError(
                f"Record {number} does not have the members of record 1: {', '.join(map(str, names))}."
            )
    return Batch(None, {name: _array([record[name] for record in records], name) for name in names})


def _named(columns: dict[str, Any]) -> Batch:
    if not columns or not all(isinstance(column, list) for column in columns.values()):
        raise BodyError("Named inputs have to be lists of rows.")
    arrays = {name: _array(column, name) for name, column in columns.items()}
    if len({len(array) for array in arrays.values()}) != 1:
        raise BodyError("The named inputs have different numbers of rows.")
    return Batch(None, arrays)


def _decode_npy(body: bytes) -> Batch:
    try:
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BodyError(f"The body is no .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise BodyError("The body is an .npz archive; send one .npy array.")
    return Batch(array.reshape(1, -1) if array.ndim <= 1 else array)


_DECODERS: Mapping[str, Callable[[bytes], Batch]] = {
    "text/csv": _decode_csv,
    "application/json": _decode_json_body,
    "application/jsonlines": _decode_json_lines,
    "application/x-jsonlines": _decode_json_lines,
    "application/x-npy": _decode_npy,
}
