"""Predictions as response bodies: JSON, CSV, JSON Lines, npy, by what the caller accepts.

Numbers keep their own precision: a float32 is written with the shortest text that reads back as the same float32. JSON has
no NaN, so a NaN or an infinity becomes ``null`` there; CSV and npy keep it.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from modelyard.frameworks.model import Array, Output

JSON, CSV, JSON_LINES, NPY = (
    "application/json",
    "text/csv",
    "application/jsonlines",
    "application/x-npy",
)
_encode_json = msgspec.json.Encoder().encode


class NotAcceptable(Exception):
    """None of the types that the caller accepts can be written (HTTP 406 of the container)."""


class WrongOutput(Exception):
    """The model did not answer one element a row: its fault, not the caller's."""


def choose(accept: str, content_type: str) -> str:
    """The answer's type: the first accepted that is known, or for ``*/*`` the request's own, or JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    own = _SAME.get(kind, JSON)
    if not accept:
        return own
    wanted = []
    for position, item in enumerate(accept.split(",")):
        name, _, parameters = item.partition(";")
        wanted.append((-_quality(parameters), position, name.strip().lower()))
    for quality, _, name in sorted(wanted):
        if quality == 0:
            continue
        if name in ("*/*", "application/*", "text/*", ""):
            return CSV if name == "text/*" else own
        if name in _SAME:
            return _SAME[name]
    raise NotAcceptable(f"Accept {accept!r} is not supported; use one of {', '.join(_ENCODERS)}.")


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 1.0


def split(output: Output, counts: Sequence[int]) -> list[Output]:
    """The rows of each member of a merged batch. Raises ``WrongOutput`` unless there is one element a row."""
    rows = sum(counts)
    check_rows(output, rows)
    if len(counts) == 1:
        return [output]
    ends = np.cumsum(counts)[:-1]
    if isinstance(output, dict):
        pieces = {name: np.split(array, ends) for name, array in output.items()}
        return [
            {name: parts[number] for name, parts in pieces.items()} for number in range(len(counts))
        ]
    return list(np.split(output, ends))


def check_rows(output: Output, rows: int) -> None:
    for array in output.values() if isinstance(output, dict) else (output,):
        if array.ndim == 0 or len(array) != rows:
            got = 0 if array.ndim == 0 else len(array)
            raise WrongOutput(f"The model answered {got} elements for {rows} rows.")


def encode(output: Output, content_type: str) -> bytes:
    """The body. ``content_type`` is one that ``choose`` gave."""
    return _ENCODERS[content_type](output)


def _to_json(output: Output) -> bytes:
    return _encode_json({"predictions": _elements(output)})


def _elements(output: Output) -> list[Any]:
    if isinstance(output, dict):
        columns = {name: _plain(array) for name, array in output.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _plain(output)


def _plain(array: Array) -> list[Any]:
    """Python values, float32 by their shortest text."""
    if array.dtype == np.float32:
        # repr of a float32 is its shortest text, and as a float64 it is written the same.
        flat = [float(str(value)) for value in array.ravel()]
        return np.array(flat, dtype=np.float64).reshape(array.shape).tolist()  # type: ignore[no-any-return]
    if array.dtype == object:
        return [_plain_value(value) for value in array]
    return array.tolist()  # type: ignore[no-any-return]


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(key): _plain_value(item) for key, item in value.items()}
    return value


def _to_csv(output: Output) -> bytes:
    if isinstance(output, dict):
        parts = [array.reshape(len(array), -1) for array in output.values()]
        rows = zip(*(_plain(part) for part in parts), strict=True)
        return _csv([cell for part in row for cell in part] for row in rows)
    plain = _plain(output.reshape(len(output), -1))
    if output.dtype.kind in "fiub":  # Nothing in it needs quoting.
        return "".join(",".join(map(_cell, row)) + "\n" for row in plain).encode()
    return _csv(plain)


def _cell(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _csv(rows: Any) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _to_json_lines(output: Output) -> bytes:
    return b"".join(_encode_json({"prediction": element}) + b"\n" for element in _elements(output))


def _to_npy(output: Output) -> bytes:
    if isinstance(output, dict):
        raise NotAcceptable(
            "Several named outputs do not fit into one npy array; accept application/json."
        )
    array = output.astype(str) if output.dtype == object else output
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


_ENCODERS: Mapping[str, Callable[[Output], bytes]] = {
    JSON: _to_json,
    CSV: _to_csv,
    JSON_LINES: _to_json_lines,
    NPY: _to_npy,
}
_SAME = {**{name: name for name in _ENCODERS}, "application/x-jsonlines": JSON_LINES}
