"""Parquet files as request bodies: named columns, read by pyarrow (the extra ``columns``)."""

from typing import Any

import numpy as np

from modelyard.frameworks.batch import Array, Batch
from modelyard.frameworks.bodies import BodyError

CONTENT_TYPES = ("application/x-parquet", "application/parquet", "application/vnd.apache.parquet")
BYTES_LIMIT = 1 << 30
"""What a file may unpack to: a few bytes can claim a million times as many."""
CELLS_LIMIT = 1 << 27


def decode(body: bytes) -> Batch:
    """The columns of a file: numbers as float64, with null as NaN; texts as objects. Raises ``BodyError``."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # it has no annotations
        import pyarrow.parquet  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        raise BodyError(
            "Parquet needs pyarrow, which is not installed: pip install 'modelyard[columns]'.",
            status=415,
        ) from None
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(body))
        _check_size(file.metadata)
        table = file.read(use_threads=False)
        columns = {str(name): _column(name, table.column(name)) for name in table.column_names}
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise BodyError(f"The body is no Parquet file that can be read: {error}") from error
    if not columns or not table.num_rows:
        raise BodyError("The body has no rows.")
    return Batch(None, columns)


def _check_size(metadata: Any) -> None:
    size = sum(
        metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
    )
    if size > BYTES_LIMIT or metadata.num_rows * metadata.num_columns > CELLS_LIMIT:
        raise BodyError(
            f"The file unpacks to {size} bytes in {metadata.num_rows} rows; the limits are {BYTES_LIMIT} bytes and "
            f"{CELLS_LIMIT} values."
        )


def _column(name: str, column: Any) -> Array:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    types = pyarrow.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        if types.is_boolean(kind):
            column = column.cast(pyarrow.uint8())
        array = np.asarray(column.to_numpy(), dtype=np.float64)
        return array.copy()
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=object)
    if types.is_decimal(kind):
        return np.array(
            [np.nan if one is None else float(one) for one in column.to_pylist()], dtype=np.float64
        )
    raise BodyError(f"The column {name!r} is of type {kind}; numbers and texts can be read.")
