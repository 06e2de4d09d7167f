"""Rows on their way into a model, and how those of several callers become one array."""

import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_CELL_BYTES = 8


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Rows to predict. Exactly one of ``array`` and ``columns`` is there.

    Rows of numbers may be ``cells``, float64 one after the other: small bodies become an array together with others.
    """

    given: Array | None
    columns: Mapping[str, Array] | None = None
    cells: bytes = b""
    width: int = 0
    """Of a row of ``cells``."""

    @property
    def array(self) -> Array | None:
        return _array_of([self]) if self.cells else self.given

    @property
    def rows(self) -> int:
        if self.cells:
            return len(self.cells) // (self.width * _CELL_BYTES)
        if self.array is not None:
            return int(self.array.shape[0])
        assert self.columns is not None
        return len(next(iter(self.columns.values())))

    @property
    def form(self) -> tuple[object, ...]:
        """Batches of equal form may be merged."""
        if self.cells:
            return _form_of(self.width)
        if self.array is not None:
            return (self.array.dtype, self.array.shape[1:])
        assert self.columns is not None
        return tuple(
            (name, column.dtype, column.shape[1:]) for name, column in self.columns.items()
        )


def merge(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows, in order; all must be of one form."""
    first = batches[0]
    if all(batch.cells for batch in batches):
        return Batch(_array_of(batches))
    if len(batches) == 1:
        return first
    if first.columns is None:
        return Batch(np.concatenate([batch.array for batch in batches if batch.array is not None]))
    tables = [batch.columns for batch in batches if batch.columns is not None]
    return Batch(
        None, {name: np.concatenate([table[name] for table in tables]) for name in first.columns}
    )


def _array_of(batches: Sequence[Batch]) -> Array:
    """All rows of batches that are cells; a bytearray, so that a model may write into it as into any array."""
    cells = bytearray().join([batch.cells for batch in batches])
    return np.frombuffer(cells, np.float64).reshape(-1, batches[0].width)


@functools.lru_cache(maxsize=64)
def _form_of(width: int) -> tuple[object, ...]:
    return (np.dtype(np.float64), (width,))


@functools.lru_cache(maxsize=64)
def packer(width: int) -> Callable[..., bytes]:
    """Numbers as the cells of one row; raises ``struct.error`` or ``OverflowError`` for what is not so many numbers."""
    return struct.Struct(f"={width}d").pack
