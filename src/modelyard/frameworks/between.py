"""Predictions as the next container of a pipeline reads them: the table that CSV would be read as, without the text.

Source of the promise: a pipeline answers the same whether its numbers travel as an array or as text. So every float32
becomes the float64 that its shortest text reads as, and what CSV would not be read back as numbers from goes as CSV.
"""

import numpy as np

from modelyard.frameworks import answers
from modelyard.frameworks.model import Array, Output

_EXACT = 1 << 53
"""Whole numbers below it are float64s; text keeps larger ones whole."""
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def encode(output: Output) -> tuple[str, bytes]:
    """Content type and body: float64 rows as npy, or CSV. Raises ``NotAcceptable``."""
    parts = list(output.values()) if isinstance(output, dict) else [output]
    if all(_reads_as_doubles(part) for part in parts):
        tables = [_doubles(part).reshape(len(part), -1) for part in parts]
        return answers.NPY, answers.encode(np.concatenate(tables, axis=1), answers.NPY)
    return answers.CSV, answers.encode(output, answers.CSV)


def _reads_as_doubles(array: Array) -> bool:
    if array.dtype.kind in "iu":
        return bool(array.size) and array.min() > -_EXACT and array.max() < _EXACT
    return array.dtype in _FLOATS


def _doubles(array: Array) -> Array:
    if array.dtype == np.float32:
        return answers.shortest(array)
    return array.astype(np.float64, copy=False)
