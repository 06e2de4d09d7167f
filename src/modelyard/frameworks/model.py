"""What a loaded model is to a worker, and what can go wrong with one."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from modelyard.frameworks.batch import Batch

Array = np.ndarray[Any, np.dtype[Any]]
Output = Array | dict[str, Array]
"""One row of the first axis for each row of the batch; several named ones for ``MODELYARD_OUTPUT=*``."""


class Model(Protocol):
    """A model that predicts batches of rows."""

    @property
    def row_wise(self) -> bool:
        """Whether a row's answer never depends on its neighbours, so that callers' rows may share a predict."""

    def predict(self, batch: Batch) -> Output:
        """Raises ``BadInput`` for what the caller did wrong; anything else is the model's fault."""


class LoadError(Exception):
    """The model cannot be loaded; the text is the endpoint's ``FailureReason``."""


class FrameworkMissing(LoadError):
    """The library is not installed: say the one command that mends it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This model needs {package}, which is not installed: pip install 'modelyard[{extra}]', "
            "then modelyard down and modelyard up."
        )


class BadInput(Exception):
    """The rows are not what the model takes (HTTP 400 of the container)."""


def unknown_output(name: str, known: Sequence[str]) -> LoadError:
    return LoadError(
        f"MODELYARD_OUTPUT={name!r} is not among the model's outputs: {', '.join(known)}."
    )


def table_of(batch: Batch, names: Sequence[str]) -> Array:
    """The rows as one table; named columns in the order of ``names``, or as they came. Raises ``BadInput``."""
    if batch.array is not None:
        return batch.array
    assert batch.columns is not None
    names = names or list(batch.columns)
    missing = [name for name in names if name not in batch.columns]
    if missing:
        raise BadInput(f"The records lack {', '.join(missing)}.")
    columns = [batch.columns[name] for name in names]
    if any(column.ndim != 1 for column in columns):
        raise BadInput("The members of the records have to be single values.")
    if any(column.dtype == object for column in columns):
        columns = [column.astype(object) for column in columns]
    return np.stack(columns, axis=1)


def numbers_of(batch: Batch, names: Sequence[str], width: int) -> Array:
    """As ``table_of``, for models that take ``width`` numbers a row. Raises ``BadInput``."""
    rows = table_of(batch, names)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise BadInput(f"The model takes {width} values a row, {shape_of(rows)} came.")
    if rows.dtype != object:
        return rows
    try:
        return rows.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"The model takes numbers: {error}.") from error


def shape_of(rows: Array) -> str:
    """What a caller sent, in words of a refusal: ``30``, or ``[4, 5]`` for rows that are tables themselves."""
    return str(rows.shape[1]) if rows.ndim == 2 else str(list(rows.shape[1:]))
