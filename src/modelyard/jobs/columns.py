"""Requests as arrays: rows of numbers are decoded here, many at a time, and only predicted by the worker.

The job's process and the worker so share the work. Arrays change how bytes travel, never which bytes are written: what is not
plainly a table of numbers that ``frameworks.bodies`` would read to the very same values, record by record or all at once, is
left to the worker as text (``Columns.encode`` gives None). Answers are written by ``frameworks.answers``, as the worker does.
"""

import functools
import io
import itertools
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from modelyard.domain.transform import TransformOptions
from modelyard.frameworks import answers
from modelyard.frameworks.model import Array

CONTENT_TYPE = answers.NPY
ROWS_BYTES = 4 << 20
"""Text of one array where the request's own limit does not matter, because records are predicted one by one."""
ARRAY_BYTES_MAX = 64 << 20
_BLOCK_BYTES = 256 << 10
"""Text that is parsed at a time: with what becomes of it, it stays in a core's own cache."""
_BLOCK_LINES = 8
"""A block has room for so many lines like the first one, however long they are."""
_TABLE_BYTES = 2 << 20
"""Text whose columns are held before they become rows."""
_FEW = 1_000
"""Rows of one request that are worth to be looked up."""
_EXACT = 2.0**53
_WHOLE_MINUS_ZERO = re.compile(rb"-0+(?![0-9.])")
_BARE_RETURN = re.compile(rb"\r(?!\n)")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_CSV = "text/csv"
_JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson")
_encode_json = msgspec.json.Encoder().encode
_lists = msgspec.json.Decoder(list[float]).decode_lines
_objects = msgspec.json.Decoder(dict[str, list[float]]).decode_lines


class Table:
    """Rows of numbers, and the npy file that they are: ``data`` is filled through ``rows``, so nothing is copied."""

    def __init__(self, rows: int, width: int, array_type: str) -> None:
        kind = np.dtype(array_type)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": kind.str, "fortran_order": False, "shape": (rows, width)}
        )
        begin = header.tell()
        self.data = bytearray(begin + rows * width * kind.itemsize)
        self.data[:begin] = header.getvalue()
        self.rows: Array = np.frombuffer(self.data, kind, offset=begin).reshape(rows, width)


Decode = Callable[[bytes, int], Table | None]
"""A request's text and how many records it has; None for what is no plain table of so many rows."""


class Columns:
    """How requests of one job become arrays and back. ``is_on`` until the model is seen not to give numbers."""

    def __init__(self, decode: Decode, accept: str, *, singly: bool) -> None:
        self._decode = decode
        self.accept = accept
        self._singly = singly
        self.is_on = True

    def encode(self, body: bytes, records: int) -> bytearray | None:
        """The npy array of these rows; None for what has to go as text."""
        if not self.is_on:
            return None
        with np.errstate(over="ignore"):  # As where the model's own input is filled.
            table = self._decode(body, records)
        if table is None:
            return None
        array = table.rows
        # NaN compares false with everything, and must not hide a number that is too large for float64.
        if (
            np.fmax.reduce(array, axis=None) >= _EXACT
            or np.fmin.reduce(array, axis=None) <= -_EXACT
        ):
            return None
        if _has_whole_minus_zero(body, array):
            return None  # JSON's -0 is a whole number, and these have but one zero.
        return table.data

    def decode(self, body: bytes, records: int) -> bytes | None:
        """The answer's text; None for answers that are not plain numbers, one row each."""
        array: Array = np.load(io.BytesIO(body), allow_pickle=False)
        if array.dtype.kind not in "fiub" or not array.ndim or len(array) != records:
            return None
        if self._singly and array.dtype.kind == "f" and not np.isfinite(array).all():
            # CSV writes a table with such numbers in another way than one without.
            rows = (answers.encode(array[at : at + 1], self.accept) for at in range(records))
            return b"".join(rows)
        if self.accept == answers.CSV and array.size == records and array.dtype == np.float32:
            return _one_column(array.reshape(-1)) or answers.encode(array, self.accept)
        return answers.encode(array, self.accept)


def _has_whole_minus_zero(body: bytes, array: Array) -> bool:
    """Whether a zero with a sign is written without a decimal point; looked for in the rows that have one only."""
    zeros = np.flatnonzero(array == 0)
    zeros = zeros[np.signbit(array.reshape(-1)[zeros])]
    if not len(zeros):
        return False
    rows = np.unique(zeros // array.shape[1]).tolist()
    ends = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("\n"))
    if len(rows) > _FEW or len(ends) + (not body.endswith(b"\n")) != len(array):
        return _WHOLE_MINUS_ZERO.search(body) is not None
    for row in rows:
        begin = ends[row - 1] + 1 if row else 0
        end = ends[row] + 1 if row < len(ends) else len(body)
        if _WHOLE_MINUS_ZERO.search(body, begin, end):
            return True
    return False


def _one_column(array: Array) -> bytes | None:
    """The commonest answers, one float32 a row, without a list for each; None where ``answers`` has to look closer."""
    if not np.isfinite(array).all():
        return None
    return _encode_json(answers.shortest(array).tolist())[1:-1].replace(b",", b"\n") + b"\n"


def columns_for(options: TransformOptions, array_type: str) -> Columns | None:
    """``array_type`` as the workers told it; None for jobs whose requests or answers are no rows of text."""
    if array_type not in ("<f4", "<f8"):
        return None
    kind, _, parameters = options.content_type.partition(";")
    if not options.columns or options.split != "Line" or parameters:
        return None
    decode = _decoder(kind.strip().lower(), array_type)
    if decode is None:
        return None
    try:
        accept = answers.choose(options.accept, options.content_type)
    except answers.NotAcceptable:
        return None
    if accept not in (answers.CSV, answers.JSON_LINES):
        return None
    return Columns(decode, accept, singly=options.is_single)


def _decoder(kind: str, array_type: str) -> Decode | None:
    if kind in _JSON_LINES:
        return functools.partial(_from_json_lines, array_type=array_type)
    if kind != _CSV:
        return None
    pyarrow = _import_pyarrow()
    return None if pyarrow is None else _CsvReader(pyarrow, array_type)


def prepare(content_type: str) -> None:
    """What requests of this type may need, and takes long to import."""
    if content_type.partition(";")[0].strip().lower() == _CSV:
        _import_pyarrow()


def _import_pyarrow() -> Any:
    """None where the extra ``columns`` is not installed: the worker reads the text."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # it has no annotations
        import pyarrow.csv  # type: ignore[import-untyped]
    except ImportError:
        return None
    return pyarrow


class _CsvReader:
    """CSV by pyarrow. It reads numbers as Python does, to the last bit, but for what is looked for here."""

    def __init__(self, pyarrow: Any, array_type: str) -> None:
        self._array_type = array_type
        self._pyarrow = pyarrow
        self._csv = pyarrow.csv
        self._width = 0
        self._convert: Any = None

    def __call__(self, body: bytes, records: int) -> Table | None:
        if b'"' in body or b"(" in body:
            return None
        if b"\r" in body and _BARE_RETURN.search(body):
            return None
        first = body[: body.find(b"\n")]
        self._set_width(first.count(b",") + 1)
        if records * self._width * np.dtype(self._array_type).itemsize > ARRAY_BYTES_MAX:
            return None
        table = Table(records, self._width, self._array_type)
        block = max(_BLOCK_BYTES, _BLOCK_LINES * len(first))
        text = self._pyarrow.py_buffer(body)
        begin = filled = 0
        while begin < len(body):
            end = _line_end(body, begin + _TABLE_BYTES)
            if body[begin] in b"\n\r":
                return None
            columns = self._read(text.slice(begin, end - begin), block)
            if columns is None or filled + columns.num_rows > records:
                return None
            filled = _fill(table.rows, filled, columns)
            begin = end
        if filled != records:
            return None
        if np.isnan(table.rows[:, 0]).any() and _BLANK_LINE.search(body):
            return None  # An empty line was read as a row of empty cells.
        return table

    def _read(self, text: Any, block: int) -> Any:
        """pyarrow's table; None for what is none."""
        try:
            return self._csv.read_csv(
                text,
                read_options=self._csv.ReadOptions(
                    column_names=self._names, block_size=block, use_threads=False
                ),
                parse_options=self._csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
                convert_options=self._convert,
            )
        except self._pyarrow.ArrowInvalid:
            return None

    def _set_width(self, width: int) -> None:
        if width != self._width:
            self._width = width
            self._names = [str(at) for at in range(width)]
            self._convert = self._csv.ConvertOptions(
                column_types=dict.fromkeys(self._names, self._pyarrow.float64()),
                null_values=[""],
                check_utf8=False,
            )


def _line_end(body: bytes, at: int) -> int:
    """Behind the last line that ends before ``at``, or that holds it where it is a long one."""
    if at >= len(body):
        return len(body)
    end = body.rfind(b"\n", at - _TABLE_BYTES, at) + 1 or body.find(b"\n", at) + 1
    return end or len(body)


def _fill(rows: Array, begin: int, columns: Any) -> int:
    """Columns into rows, a block at a time; the place behind the last."""
    for block in columns.to_batches():
        end = begin + block.num_rows
        for at, column in enumerate(block.columns):
            rows[begin:end, at] = _numbers(column)
        begin = end
    return begin


def _numbers(column: Any) -> Array:
    """What pyarrow read, where it lies; an empty cell is no number.

    Its own ``to_numpy`` imports pandas where that is installed: 0.4 s, a tenth of what a million rows take.
    """
    if column.null_count:
        column = column.fill_null(float("nan"))
    return np.frombuffer(column.buffers()[1], np.float64, len(column), column.offset * 8)


def _from_json_lines(body: bytes, records: int, *, array_type: str) -> Table | None:
    """A list of numbers a line, bare or as the only member of an object."""
    try:
        if body.lstrip()[:1] == b"{":
            objects = _objects(body)
            if any(len(one) != 1 for one in objects):
                return None
            rows = [next(iter(one.values())) for one in objects]
        else:
            rows = _lists(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    width = len(rows[0]) if rows else 0
    if not width or len(rows) != records or any(len(row) != width for row in rows):
        return None
    if records * width * np.dtype(array_type).itemsize > ARRAY_BYTES_MAX:
        return None
    table = Table(records, width, array_type)
    flat = itertools.chain.from_iterable(rows)
    table.rows[:] = np.fromiter(flat, array_type, width * records).reshape(records, width)
    return table
