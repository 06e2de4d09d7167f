"""Predictions as response bodies: JSON, CSV, JSON Lines, npy, RecordIO protobuf, by what the caller accepts.

Numbers keep their own precision: a float32 is written with the shortest text that reads back as the same float32, so
0.1 is ``0.1`` and not ``0.10000000149011612``. JSON has no NaN, so a NaN or an infinity becomes ``null`` there; CSV and npy
keep it.
"""

import csv
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from modelyard.frameworks import recordio
from modelyard.frameworks.model import Array, Output
from modelyard.native import part

JSON, CSV, JSON_LINES, NPY, RECORDIO = (
    "application/json",
    "text/csv",
    "application/jsonlines",
    "application/x-npy",
    recordio.CONTENT_TYPE,
)
_SMALL = 16
"""Up to so many numbers, one by one is faster than numpy's passes over all."""
_MEDIUM = 1024
"""Up to so many, fewer passes over larger arrays are faster than more over smaller ones."""
_LEAST, _MOST = 1e-9, 1e6
"""Between them the power of ten that makes a whole number of nine digits is neither below 0 nor above 22."""
_PLACES = np.array([[5], [6], [7], [8]])
"""Of the last digit behind the first, for 6 to 9 digits."""
_TENS = np.array([float(10**power) for power in range(23)])
"""Each of them exact."""
_encode_json = msgspec.json.Encoder().encode
_quick_predictions, _deal = part("predictions"), part("deal")


class NotAcceptable(Exception):
    """None of the types that the caller accepts can be written (HTTP 406 of the container)."""


class WrongOutput(Exception):
    """The model did not answer one element a row: its fault, not the caller's."""


@functools.lru_cache(maxsize=1024)
def choose(accept: str, content_type: str) -> str:
    """The answer's type: the most wanted that can be written; where any will do, the request's own, or JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    own = _NAMES.get(kind, JSON)
    if not accept.strip():
        return own
    ranges = sorted(_ranges(accept), key=lambda one: -one[1])  # Stable: the first of equals wins.
    refused = {_NAMES.get(name, name) for name, quality in ranges if quality <= 0}
    for name, quality in ranges:
        if quality > 0:
            for offered in (own, *_ENCODERS):
                if _matches(name, offered) and offered not in refused:
                    return offered
    raise NotAcceptable(
        f"Accept {accept[:200]!r} is not supported; use one of {', '.join(_ENCODERS)}."
    )


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.split(","):
        name, *parameters = item.split(";")
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = _quality(value)
        if name.strip():
            yield name.strip().lower(), quality


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if 0 <= value <= 1 else 1.0


def _matches(wanted: str, offered: str) -> bool:
    if wanted == "*/*":
        return True
    if wanted.endswith("/*"):
        return offered.startswith(wanted[:-1])
    return _NAMES.get(wanted) == offered


def split(output: Output, counts: Sequence[int]) -> list[Output]:
    """The rows of each member of a merged batch. Raises ``WrongOutput`` unless there is one element a row."""
    check_rows(output, sum(counts))
    if len(counts) == 1:
        return [output]
    pieces: list[Output] = []
    begin = 0
    for count in counts:
        end = begin + count
        if isinstance(output, dict):
            pieces.append({name: array[begin:end] for name, array in output.items()})
        else:
            pieces.append(output[begin:end])
        begin = end
    return pieces


def check_rows(output: Output, rows: int) -> None:
    """Raises ``WrongOutput`` naming both numbers unless there is one element a row."""
    for array in output.values() if isinstance(output, dict) else (output,):
        got = len(array) if array.ndim else 0
        if got != rows:
            raise WrongOutput(f"The model answered {got} elements for {rows} rows.")


def encode(output: Output, content_type: str) -> bytes:
    """The body. ``content_type`` is one that ``choose`` gave. Raises ``NotAcceptable`` for what a type cannot hold."""
    return _ENCODERS[content_type](output)


def encode_together(
    output: Output, counts: Sequence[int], content_types: Sequence[str]
) -> list[bytes] | None:
    """The bodies of all members of a merged batch, where their numbers can become text in one pass; else None."""
    if content_types.count(JSON) != len(counts):
        return None
    return predictions(output, list(counts))


def predictions(output: Output, counts: list[int]) -> list[bytes] | None:
    """A body in JSON for each count of rows; None for what is not one array of numbers. Raises ``WrongOutput``."""
    if _quick_predictions is not None:
        quick: list[bytes] | None = _quick_predictions(output, counts, _rare)
        if quick is not None:
            return quick
    if isinstance(output, dict) or output.dtype.kind not in "fiu":
        return None
    check_rows(output, sum(counts))
    rows = _plain(output)
    if _deal is not None:
        return _deal(_encode_json(rows), counts)  # type: ignore[no-any-return]
    bodies = []
    begin = 0
    for count in counts:
        end = begin + count
        bodies.append(_encode_json({"predictions": rows[begin:end]}))
        begin = end
    return bodies


def lines(output: Output, counts: list[int]) -> list[bytes] | None:
    """The same in CSV, of float32 only: None for all else."""
    if _quick_predictions is None:
        return None
    return _quick_predictions(output, counts, _rare, True)  # type: ignore[no-any-return]


def _rare(value: float) -> bytes:
    """A float32 that is tiny, huge or no number."""
    return _encode_json(float(str(np.float32(value))))


def _to_json(output: Output) -> bytes:
    return _encode_json({"predictions": _elements(output)})


def _elements(output: Output) -> list[Any]:
    if isinstance(output, dict):
        columns = {name: _plain(array) for name, array in output.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _plain(output)


def _plain(array: Array) -> list[Any]:
    """Python values; short floats by their shortest text."""
    if array.dtype == np.float32:
        if array.ndim == 2 and array.shape[1] == 1 and array.size <= _SMALL:
            return [[float(str(value))] for value in array.ravel()]
        return shortest(array).tolist()  # type: ignore[no-any-return]
    if array.dtype == np.float16:
        return _one_by_one(array).tolist()  # type: ignore[no-any-return]
    if array.dtype.kind in "OmMSV":
        return [_plain_value(value) for value in array.tolist()]
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64).tolist()  # type: ignore[no-any-return]
    return array.tolist()  # type: ignore[no-any-return]


def shortest(array: Array) -> Array:
    """The float64 that each float32's shortest text reads as."""
    if array.size <= _SMALL:
        return _one_by_one(array)
    if array.size <= _MEDIUM:
        found = _all_usual(array.ravel())
        if found is not None:
            return found.reshape(array.shape)
    exact = array.astype(np.float64)
    result = exact.copy()
    # A float32 has 6 to 9 significant digits. Both factors below are exact powers of ten as long as they are up
    # to 10^22, so the quotient is the float64 nearest to the decimal: what parsing its text would give.
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log10(np.abs(exact)))
        usual = np.isfinite(exact) & (np.abs(exponent) <= 12)
        open_ = usual.copy()
        tens = np.where(usual, exponent, 0).astype(np.intp)
        for digits in (6, 7, 8, 9):
            power = digits - 1 - tens
            up, down = _TENS[np.maximum(power, 0)], _TENS[np.maximum(-power, 0)]
            candidate = np.rint(exact * up / down) / up * down
            fits = open_ & (candidate.astype(np.float32) == array)
            result[fits] = candidate[fits]
            open_ &= ~fits
    rare = (open_ | ~usual) & np.isfinite(exact) & (exact != 0)
    result[rare] = _one_by_one(array[rare])
    return result


def _all_usual(array: Array) -> Array | None:
    """``shortest`` as below, all numbers of digits at once, where no value is large or tiny; else None."""
    exact = array.astype(np.float64)
    size = np.abs(exact)
    if not size.max() < _MOST:  # Nor where it is no number.
        return None
    exponent = np.floor(np.log10(np.maximum(size, _LEAST))).astype(np.intp)
    up = _TENS[_PLACES - exponent]
    candidates = np.rint(exact * up) / up
    fits = candidates.astype(np.float32) == array
    if not fits[-1].all():
        return None
    six, seven, eight, nine = candidates
    found: Array = np.where(fits[2], eight, nine)
    found = np.where(fits[1], seven, found)
    return np.where(fits[0], six, found)


def _one_by_one(array: Array) -> Array:
    flat = [float(str(value)) for value in array.ravel()]
    return np.array(flat, dtype=np.float64).reshape(array.shape)


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value)
    if isinstance(value, np.float32 | np.float16):
        return float(str(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _to_csv(output: Output) -> bytes:
    if isinstance(output, dict):
        parts = [_plain(array.reshape(len(array), -1)) for array in output.values()]
        return _csv([cell for part in row for cell in part] for row in zip(*parts, strict=True))
    table = output.reshape(len(output), -1)
    plain = _plain(table)
    if table.dtype.kind in "iu" or (table.dtype.kind == "f" and bool(np.isfinite(table).all())):
        # Numbers only: JSON's text with other brackets, an order of magnitude faster than cell by cell.
        return _encode_json(plain)[2:-2].replace(b"],[", b"\n") + b"\n"
    return _csv(plain)


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue().encode()


def _cell(cell: Any) -> Any:
    return _encode_json(cell).decode() if isinstance(cell, dict | list) else cell


def _to_json_lines(output: Output) -> bytes:
    return b"".join(_encode_json({"prediction": element}) + b"\n" for element in _elements(output))


def _to_npy(output: Output) -> bytes:
    if isinstance(output, dict):
        raise NotAcceptable(
            "Several named outputs do not fit into one npy array; accept application/json."
        )
    array = output
    if array.dtype == object:
        if not all(isinstance(value, str) for value in array.ravel().tolist()):
            raise NotAcceptable(
                "The model's answers do not fit into an npy array; accept application/json."
            )
        array = array.astype(str)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _to_recordio(output: Output) -> bytes:
    try:
        return recordio.encode(output)
    except ValueError as error:
        raise NotAcceptable(f"The model's answers do not fit: {error}.") from error


_ENCODERS: Mapping[str, Callable[[Output], bytes]] = {
    JSON: _to_json,
    CSV: _to_csv,
    JSON_LINES: _to_json_lines,
    NPY: _to_npy,
    RECORDIO: _to_recordio,
}
_NAMES = {
    **{name: name for name in _ENCODERS},
    "application/x-jsonlines": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
}
"""Every name that a type goes by."""
