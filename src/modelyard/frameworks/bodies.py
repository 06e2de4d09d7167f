"""Request bodies as batches of rows: CSV, JSON, JSON Lines, npy, RecordIO protobuf, Parquet.

A ``Batch`` is one array whose first axis counts rows, or named columns where a request names them. Whatever is wrong
with a body is a ``BodyError`` that says where, with the container's HTTP status: 400, or 415 for an unknown type; nothing
else is ever raised, whatever the bytes.

What stands for one row:

- JSON ``[[1, 2], [3, 4]]`` is two rows, bare or under ``instances`` or ``inputs``; a flat list of values is one row, but a
  flat list of texts under ``instances``, where each element is an instance, is one text a row;
- a list of objects is a row an object, with named columns; an object of lists under ``inputs`` holds named columns;
- ``dataframe_split`` and ``dataframe_records`` are MLflow's forms;
- JSON Lines and CSV hold one row a line; a CSV has no header.

Numbers become float64, ``null`` and empty CSV cells among numbers NaN. Whole numbers that float64 cannot hold exactly stay
int64 if all values of the array are whole.
"""

import ast
import codecs
import csv
import functools
import io
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from modelyard.frameworks.batch import Array, Batch, packer
from modelyard.native import part

_decode_json = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder().decode_lines
_decode_floats = msgspec.json.Decoder(list[float]).decode
_TYPES = (
    "text/csv, application/json, application/jsonlines, application/x-npy, application/x-recordio-protobuf, "
    "application/x-parquet"
)
_quick_rows = part("rows")
_NPY_HEADER_LIMIT = 10_000
_NPY_TYPES = re.compile(r"[<>|=]?[fiu][0-9]{1,2}|[|]?b1|[<>|=]?[US][0-9]{1,8}")
_UNICODE_MAX = 0x10FFFF
_EXACT = 2.0**53
"""Whole numbers up to here are exact in float64."""


class BodyError(Exception):
    """The body is not what its content type says, or not of a known type."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def decode(body: bytes, content_type: str) -> Batch:
    """The rows of a body. Raises ``BodyError``."""
    decoder, codec = _decoder_of(content_type)
    if codec is not None:
        body = _transcode(body, codec)
    if not body or body.isspace():
        raise BodyError("The body is empty.")
    try:
        batch = decoder(body)
    except RecursionError:
        raise BodyError("The body is nested too deeply.") from None
    except MemoryError:
        raise BodyError("The body does not fit into the instance's memory.") from None
    if batch.given is not None and not batch.given.size:
        raise BodyError("The rows of the body hold no values.")
    return batch


def decode_together(bodies: list[bytes], content_type: str) -> tuple[Batch, list[int]] | None:
    """The rows of several bodies as one batch, and how many are whose.

    None where one is anything but plain numbers, or not as wide as the others: then ``decode`` says what each of them is.
    Raises ``BodyError`` for an unknown type.
    """
    decoder, codec = _decoder_of(content_type)
    if _quick_rows is None or codec is not None or decoder not in _PLAIN:
        return None
    found = _quick_rows(bodies, decoder is _decode_csv)
    if found is None:
        return None
    cells, width, counts = found
    return Batch(np.frombuffer(cells, np.float64).reshape(-1, width)), counts


@functools.lru_cache(maxsize=256)
def _decoder_of(content_type: str) -> tuple[Callable[[bytes], Batch], str | None]:
    """How to read a content type, and the charset that has to be turned into UTF-8 before."""
    kind, *parameters = content_type.split(";")
    kind = kind.strip().lower()
    decoder = _DECODERS.get(kind or "text/csv")
    if decoder is None:
        raise BodyError(
            f"Content type {kind[:100]!r} is not supported; use one of {_TYPES}.", status=415
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and decoder not in _BINARY:
            return decoder, _codec(value.strip().strip('"'))
    return decoder, None


def _codec(charset: str) -> str | None:
    try:
        b"  ".decode(charset)  # Also refuses codecs that are no charsets, such as zip or base64.
        name = codecs.lookup(charset).name
    except (LookupError, ValueError) as error:
        raise BodyError(
            f"Charset {charset[:100]!r} is not known; use utf-8.", status=415
        ) from error
    return None if name in ("utf-8", "ascii") else name


def _transcode(body: bytes, codec: str) -> bytes:
    try:
        return body.decode(codec).encode()
    except (UnicodeError, ValueError) as error:
        raise BodyError(f"The body is not {codec}: {error}") from error


def _decode_csv(body: bytes) -> Batch:
    fast = _numbers(body)
    if fast is not None:
        return fast
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyError(f"The CSV is not UTF-8: {error}") from error
    rows = _cells(text)
    return Batch(_typed(rows))


def _numbers(body: bytes) -> Batch | None:
    """The common case, plain numbers only, at the speed of a JSON parser; None where it is not that.

    What JSON takes for a list of numbers is what CSV means by it; lines are counted, and each has to have as many commas.
    """
    text = body.rstrip(b"\r\n").replace(b"\r\n", b"\n")
    if b"\r" in text:
        return None
    try:
        flat = _decode_floats(b"[%b]" % text.replace(b"\n", b","))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    lines = text.count(b"\n") + 1
    width, rest = divmod(len(flat), lines)
    if rest or not width:
        return None
    if lines == 1:
        if max(flat) >= _EXACT or min(flat) <= -_EXACT:
            return None
        return Batch(None, None, packer(width)(*flat), width)
    if any(line.count(b",") != width - 1 for line in text.split(b"\n")):
        return None  # The careful reader names the line.
    array = np.array(flat, dtype=np.float64).reshape(lines, width)
    large = array.max() >= _EXACT or array.min() <= -_EXACT
    return None if large else Batch(array)


def _cells(text: str) -> list[list[str]]:
    """Every cell as text, rows of one width. Raises ``BodyError`` with the number of the line that is not."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    blank = 0
    try:
        for row in reader:
            if not row:
                blank = blank or reader.line_num
                continue
            if blank:
                raise BodyError(f"Line {blank} of the CSV is empty.")
            if rows and len(row) != len(rows[0]):
                raise BodyError(
                    f"Line {reader.line_num} of the CSV has {len(row)} values, the first has {len(rows[0])}."
                )
            rows.append(row)
    except csv.Error as error:
        raise BodyError(f"Line {reader.line_num} is not CSV: {error}") from error
    if not rows:
        raise BodyError("The body is empty.")
    return rows


def _typed(rows: list[list[str]]) -> Array:
    """Numbers if every column holds numbers, else objects: floats in columns of numbers, text in the others."""
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    kinds = {column.dtype.kind for column in columns}
    if "O" in kinds:
        columns = [column.astype(object) for column in columns]
    elif "i" in kinds:  # Whole numbers that float64 does not hold.
        whole = all((column == np.floor(column)).all() for column in columns)
        columns = [column.astype(np.int64 if whole else np.float64) for column in columns]
    return np.stack(columns, axis=1)


def _column(cells: Sequence[str]) -> Array:
    try:
        column = np.array([_number(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells, dtype=object)
    if (np.abs(column) >= _EXACT).any():
        try:
            return np.array([int(cell) for cell in cells], dtype=np.int64)
        except (ValueError, OverflowError):
            return column
    return column


def _number(cell: str) -> float:
    if "_" in cell:  # Python's own way to write numbers, nobody else's.
        raise ValueError(cell)
    return float(cell) if cell and not cell.isspace() else np.nan


def _decode_json_body(body: bytes) -> Batch:
    try:
        document = _decode_json(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyError(f"The body is not JSON: {error}") from error
    if type(document) is dict:
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
    try:
        values = _decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BodyError(_bad_line(body)) from None
    rows = [_row(value) for value in values]
    if not isinstance(rows[0], list | dict):
        rows = [[row] for row in rows]
    return _rows(rows, "the body")


def _bad_line(body: bytes) -> str:
    for number, line in enumerate(body.split(b"\n"), 1):
        try:
            if line.strip():
                _decode_json(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return f"Line {number} is not JSON: {error}"
    return "The body is not JSON Lines."


def _row(value: Any) -> Any:
    """One line's row, bare or in an object such as ``{"features": [...]}``."""
    if isinstance(value, dict) and len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, list):
            return inner
    return value


def _split_frame(frame: Any) -> Batch:
    data = frame.get("data") if isinstance(frame, dict) else None
    if not isinstance(data, list):
        raise BodyError('"dataframe_split" needs "data", a list of rows.')
    names = frame.get("columns")
    if names is None:
        return _rows(data, "dataframe_split")
    if not isinstance(names, list) or len(set(map(str, names))) != len(names):
        raise BodyError('The "columns" of "dataframe_split" have to be a list of different names.')
    for number, row in enumerate(data, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise BodyError(
                f"Row {number} of dataframe_split is not a list of {len(names)} values."
            )
    return _columns(zip(map(str, names), zip(*data, strict=True), strict=True) if data else ())


def _rows(value: Any, name: str) -> Batch:
    if isinstance(value, dict):
        return _named(value)
    if not isinstance(value, list):
        raise BodyError(f"{name} has to be a list of rows, not {_json_type(value)}.")
    if not value:
        raise BodyError("The body has no rows.")
    if isinstance(value[0], dict):
        return _records(value)
    packed = _packed(value)
    if packed is not None:
        return packed
    array = _array(value, name)
    if array.ndim > 1:
        return Batch(array)
    texts = name == "instances" and isinstance(value[0], str)
    return Batch(array.reshape(-1, 1) if texts else array.reshape(1, -1))


def _packed(rows: Sequence[Any]) -> Batch | None:
    """The common case, lists of equally many numbers, in half of numpy's time; None where it is not that.

    One number that is not whole makes all of an array float64.
    """
    first = rows[0]
    if type(first) is not list or float not in map(type, first):
        return None
    width = len(first)
    pack = packer(width)
    try:
        return Batch(None, None, b"".join([pack(*row) for row in rows]), width)
    except (struct.error, TypeError, OverflowError):
        return None


def _array(value: Sequence[Any], name: str) -> Array:
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise BodyError(_ragged(value, name)) from error
    kind = array.dtype.kind
    if kind == "f":
        return array
    if kind in "iu":
        whole = array.size and (array.max() >= _EXACT or array.min() <= -_EXACT)
        return array if whole and kind == "i" else array.astype(np.float64)
    if kind == "b":
        return array.astype(np.float64)
    return _objects(value, array, name)


def _objects(value: Sequence[Any], array: Array, name: str) -> Array:
    """Numbers with nulls among them, or texts, each value as it came."""
    if array.dtype != object:
        array = np.array(value, dtype=object)
    cells = array.ravel().tolist()
    if any(isinstance(cell, dict | list) for cell in cells):
        raise BodyError(f"{name} holds an object where a value was expected.")
    if any(isinstance(cell, str) for cell in cells):
        return array
    return array.astype(np.float64)  # Of null, numpy makes NaN.


def _ragged(value: Sequence[Any], name: str) -> str:
    for number, row in enumerate(value, 1):
        if not isinstance(row, list) or not isinstance(value[0], list):
            return f"Row {number} of {name} is not a list of values like the others."
        if len(row) != len(value[0]):
            return f"Row {number} of {name} has {len(row)} values, row 1 has {len(value[0])}."
    return f"The rows of {name} are not of one shape."


def _records(records: list[Any]) -> Batch:
    names = list(records[0])
    if not names:
        raise BodyError("Record 1 has no members.")
    members = records[0].keys()
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or record.keys() != members:
            raise BodyError(
                f"Record {number} does not have the members of record 1: {', '.join(names)}."
            )
    return _columns((name, [record[name] for record in records]) for name in names)


def _named(columns: dict[str, Any]) -> Batch:
    for name, column in columns.items():
        if not isinstance(column, list):
            raise BodyError(
                f"The named input {name!r} has to be a list of rows, not {_json_type(column)}."
            )
    return _columns(columns.items())


def _columns(columns: Iterable[tuple[str, Sequence[Any]]]) -> Batch:
    arrays = {name: _array(column, name) for name, column in columns}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) > 1:
        raise BodyError("The named inputs have different numbers of rows.")
    if not lengths or 0 in lengths:
        raise BodyError("The body has no rows.")
    return Batch(None, arrays)


def _json_type(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", dict: "an object"}
    return names.get(type(value), "a number")


def _decode_npy(body: bytes) -> Batch:
    """The array, if the body really holds as many bytes as its header claims."""
    dtype, shape, order, begin = _npy_header(body)
    count = math.prod(shape)
    if len(body) - begin != count * dtype.itemsize:
        raise BodyError(
            f"The array's header tells of {count * dtype.itemsize} bytes, {len(body) - begin} came."
        )
    if not count or not dtype.itemsize:
        raise BodyError("The body has no rows.")
    array: Array = np.frombuffer(body, dtype=dtype, count=count, offset=begin)
    try:
        array = _plain_type(array.reshape(shape, order=order))
    except ValueError as error:  # Too many axes, or bytes that are no text.
        raise BodyError(f"The body is no .npy array of rows: {error}") from error
    return Batch(array.reshape(1, -1) if array.ndim <= 1 else array)


def _npy_header(body: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Literal["C", "F"], int]:
    """Type, shape, order, and where the data begins. numpy's own reader warns, guesses and raises anything."""
    if body.startswith(b"PK"):
        raise BodyError("The body is an .npz archive; send one .npy array.")
    width = 2 if body[6:7] == b"\1" else 4
    begin = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    if not body.startswith(b"\x93NUMPY") or begin > min(len(body), _NPY_HEADER_LIMIT):
        raise BodyError("The body is no .npy array.")
    try:
        header = ast.literal_eval(body[8 + width : begin].decode("latin-1").strip())
        descr, shape, fortran = header["descr"], header["shape"], header["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError) as error:
        raise BodyError(f"The body is no .npy array: {error}") from error
    if not isinstance(descr, str) or not _NPY_TYPES.fullmatch(descr):
        raise BodyError(f"The array's type {str(descr)[:100]} holds neither numbers nor text.")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise BodyError(f"The array's shape {str(shape)[:100]} is none.")
    try:
        return np.dtype(descr), shape, "F" if fortran else "C", begin
    except (TypeError, ValueError) as error:
        raise BodyError(f"The array's type {descr} is not known.") from error


def _plain_type(array: Array) -> Array:
    """A writable copy in a type that models know."""
    if array.dtype.kind == "S":
        return np.char.decode(array, "latin-1").astype(object)
    if array.dtype.kind == "U":
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        points = native.reshape(-1).view(np.uint32)
        if ((points > _UNICODE_MAX) | ((points >= 0xD800) & (points < 0xE000))).any():
            raise ValueError(
                "its text is not Unicode"
            )  # numpy would read it all the same, or crash.
        return native.astype(object)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="))


def _decode_recordio(body: bytes) -> Batch:
    from modelyard.frameworks import recordio  # It speaks of batches, which are defined here.

    return recordio.decode(body)


def _decode_parquet(body: bytes) -> Batch:
    from modelyard.frameworks import parquet  # As above.

    return parquet.decode(body)


_PLAIN = (_decode_csv, _decode_json_body)
_BINARY = (_decode_npy, _decode_recordio, _decode_parquet)
_DECODERS: Mapping[str, Callable[[bytes], Batch]] = {
    "text/csv": _decode_csv,
    "application/json": _decode_json_body,
    "application/jsonlines": _decode_json_lines,
    "application/x-jsonlines": _decode_json_lines,
    "application/x-ndjson": _decode_json_lines,
    "application/x-npy": _decode_npy,
    "application/x-recordio-protobuf": _decode_recordio,
    "application/x-parquet": _decode_parquet,
    "application/parquet": _decode_parquet,
    "application/vnd.apache.parquet": _decode_parquet,
}
