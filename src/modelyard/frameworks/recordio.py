"""``application/x-recordio-protobuf``: the binary form of SageMaker's own algorithms, read and written without protobuf.

A body is frames: u32 magic, u32 length, that many bytes, padding to a multiple of four. Each holds one record, one row::

    Record { map<string, Value> features = 1; map<string, Value> label = 2; … }
    Value  { Float32Tensor = 2 | Float64Tensor = 3 | Int32Tensor = 7 | Bytes = 9 }
    …Tensor { repeated values = 1; repeated uint64 keys = 2; repeated uint64 shape = 3; }

A tensor with keys is sparse: the values at these places of a row of ``shape`` numbers. Rows are the feature ``values``, or the
only one there is; labels are not read. Answers are written as SageMaker's algorithms write them: ``label`` with the key
``score``, or one key for each named output.
Source: AWS's documentation of the format ("Common data formats for inference") and the SageMaker SDK's ``record.proto``.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modelyard.frameworks.batch import Array, Batch
from modelyard.frameworks.bodies import BodyError

CONTENT_TYPE = "application/x-recordio-protobuf"
CELLS_LIMIT = 1 << 25
"""Numbers of one body; sparse rows could claim any width."""
_MAGIC = 0xCED7230A
_HEAD = struct.Struct("<II")
_FEATURES, _LABEL = 1, 2
_VALUES, _KEYS, _SHAPE = 1, 2, 3
_TYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<f4"), 3: np.dtype("<f8"), 7: np.dtype("<i4")}
_FIELDS = {dtype: field for field, dtype in _TYPES.items()}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_LIMIT = 10


def decode(body: bytes) -> Batch:
    """The rows of a body, all of one width. Raises ``BodyError`` saying which record is wrong."""
    rows: list[Array] = []
    cells = 0
    for number, record in enumerate(_records(body), 1):
        try:
            row = _row(record)
        except (ValueError, IndexError, struct.error, OverflowError) as error:
            raise BodyError(f"Record {number} of the body cannot be read: {error}") from error
        cells += row.size
        if cells > CELLS_LIMIT:
            raise BodyError(f"The body holds more than {CELLS_LIMIT} numbers.")
        if rows and row.shape != rows[0].shape:
            raise BodyError(
                f"Record {number} of the body has the shape {list(row.shape)}, the first {list(rows[0].shape)}."
            )
        rows.append(row)
    if not rows:
        raise BodyError("The body has no records.")
    return Batch(np.stack(rows))


def _records(body: bytes) -> Iterator[memoryview]:
    view, at = memoryview(body), 0
    while at < len(view):
        if len(view) - at < _HEAD.size:
            raise BodyError("The body is cut off within a record's head.")
        magic, length = _HEAD.unpack_from(view, at)
        if magic != _MAGIC:
            raise BodyError(f"The body is no RecordIO: at byte {at} there is no record's head.")
        begin = at + _HEAD.size
        if len(view) - begin < length:
            raise BodyError("The body is cut off within a record.")
        yield view[begin : begin + length]
        at = begin + (length + 3) // 4 * 4


def _row(record: memoryview) -> Array:
    features: dict[str, Array] = {}
    for field, _, value in _fields(record):
        if field == _FEATURES:
            key, tensor = _entry(_as_bytes(value))
            features[key] = tensor
    if "values" in features:
        return features["values"]
    if len(features) != 1:
        named = ", ".join(features) or "none"
        raise ValueError(f"it needs a feature called values, it has {named}")
    return next(iter(features.values()))


def _entry(entry: memoryview) -> tuple[str, Array]:
    key, tensor = "", None
    for field, _, value in _fields(entry):
        if field == 1:
            key = bytes(_as_bytes(value)).decode()
        elif field == 2:
            tensor = _value(_as_bytes(value))
    if tensor is None:
        raise ValueError(f"the feature {key!r} has no value")
    return key, tensor


def _value(value: memoryview) -> Array:
    for field, _, inner in _fields(value):
        if field in _TYPES:
            return _tensor(_as_bytes(inner), _TYPES[field])
    raise ValueError("a feature is neither a float nor an int tensor")


def _tensor(tensor: memoryview, dtype: np.dtype[Any]) -> Array:
    values: list[Array] = []
    keys: list[int] = []
    shape: list[int] = []
    for field, wire, content in _fields(tensor):
        if field == _VALUES:
            values.append(_numbers(wire, content, dtype))
        elif field in (_KEYS, _SHAPE):
            (keys if field == _KEYS else shape).extend(_whole(content))
    flat = np.concatenate(values) if values else np.empty(0, dtype)
    flat = flat.astype(np.float64 if dtype.kind == "i" else dtype.newbyteorder("="))
    if keys or (shape and len(flat) != _product(shape)):
        return _sparse(flat, keys, shape)
    return flat.reshape(shape) if shape else flat


def _sparse(values: Array, keys: Sequence[int], shape: Sequence[int]) -> Array:
    if len(shape) != 1 or len(keys) != len(values):
        raise ValueError("a sparse tensor needs one key for each value and a shape of one number")
    if shape[0] > CELLS_LIMIT:
        raise ValueError(f"a row of {shape[0]} numbers is longer than {CELLS_LIMIT}")
    if keys and max(keys) >= shape[0]:
        raise ValueError(f"the key {max(keys)} lies outside of {shape[0]} numbers")
    row = np.zeros(shape[0], values.dtype)
    row[list(keys)] = values
    return row


def _product(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _numbers(wire: int, content: memoryview | int, dtype: np.dtype[Any]) -> Array:
    """Packed or one by one."""
    if dtype.kind == "i":
        whole = [_signed(one) for one in _whole(content)]
        return np.array(whole, dtype=np.int64).astype(dtype)
    data = _as_bytes(content)
    if wire != _BYTES and len(data) != dtype.itemsize:
        raise ValueError("a number is of the wrong size")
    if len(data) % dtype.itemsize:
        raise ValueError("its numbers are cut off")
    return np.frombuffer(data, dtype)


def _signed(value: int) -> int:
    signed = value - (1 << 64) if value >> 63 else value
    if not -(1 << 31) <= signed < 1 << 31:
        raise ValueError(f"{signed} is no int32")
    return signed


def _whole(content: memoryview | int) -> Iterator[int]:
    if isinstance(content, int):
        yield content
        return
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value


def _as_bytes(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message was expected")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Number, wire type and content of each field of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, wire, number
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"there is no wire type {wire}")
        if len(message) - at < length:
            raise ValueError("a field is cut off")
        yield tag >> 3, wire, message[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_LIMIT):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise ValueError("a number is longer than 64 bits")


# ---- answers


def encode(output: Array | dict[str, Array]) -> bytes:
    """Predictions: a record for each row, with ``label`` ``score`` or the names of the outputs. Raises ``ValueError``."""
    columns = output if isinstance(output, dict) else {"score": output}
    return _write(columns, _LABEL)


def encode_features(rows: Array) -> bytes:
    """Rows as a request has them."""
    return _write({"values": rows}, _FEATURES)


def _write(columns: dict[str, Array], field: int) -> bytes:
    ready = {name: _writable(array) for name, array in columns.items()}
    pieces = []
    for row in zip(*ready.values(), strict=True):
        record = b"".join(
            _message(field, _message(1, name.encode()) + _message(2, _written(values)))
            for name, values in zip(ready, row, strict=True)
        )
        padding = bytes(-len(record) % 4)
        pieces.append(_HEAD.pack(_MAGIC, len(record)) + record + padding)
    return b"".join(pieces)


def _writable(array: Array) -> Array:
    """In a type that the format has: whole numbers as int32 where they fit."""
    if array.dtype.kind not in "fiub":
        raise ValueError(
            "only numbers can be written as RecordIO protobuf; accept application/json"
        )
    if array.dtype.kind in "iub":
        fits = not array.size or (array.min() >= -(1 << 31) and array.max() < 1 << 31)
        return array.astype("<i4" if fits else "<f8")
    return array.astype("<f4" if array.dtype.itemsize <= 4 else "<f8")


def _written(values: Any) -> bytes:
    array = np.asarray(values)
    dtype = array.dtype.newbyteorder("<")
    flat = np.ascontiguousarray(array.reshape(-1))
    if array.dtype.kind == "i":
        content = b"".join(_as_varint(int(one) & 0xFFFF_FFFF_FFFF_FFFF) for one in flat)
    else:
        content = flat.astype(dtype).tobytes()
    shape = b"".join(_as_varint(size) for size in array.shape) if array.ndim > 1 else b""
    tensor = _message(_VALUES, content) + (_message(_SHAPE, shape) if shape else b"")
    return _message(_FIELDS[np.dtype(dtype)], tensor)


def _message(field: int, content: bytes) -> bytes:
    return _as_varint(field << 3 | _BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
