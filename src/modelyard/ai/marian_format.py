"""Marian's binary files, read with distrust: models (``model.*.bin``) and lexical shortlists (``lex.*.bin``).

All numbers are little-endian. A model: the version, how many tensors; of each the lengths of its name, type, shape and data; then
all names, all shapes, a gap, all data. A tensor of eight-bit integers has, after them, the multiplier that made them of floats.
The tensor ``special:model.yml`` is the configuration it was trained with. A shortlist: for each word of the source where its
candidates begin, then all candidates.

Whoever computes with such a file in native code trusts what it says of itself; here every length is compared with what is there.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

FLOAT32, INT8 = 0x404, 0x4101
"""Of the kinds of tensors those that a network of Firefox's is made of."""
TENSORS_MAX = 10_000
NAME_BYTES_MAX = 1_000
DIMENSIONS_MAX = 8
VERSION = 1
SHORTLIST_MAGIC = 0xF11A48D5013417F5
CONFIGURATION = "special:model.yml"
_WORD, _HEADER, _SHORTLIST = struct.Struct("<Q"), struct.Struct("<4Q"), struct.Struct("<6Q")
_SETTING = re.compile(r"^([a-z0-9][a-z0-9-]*):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


class FormatError(ValueError):
    """The file is not what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """``data`` is a view into the file."""

    kind: int
    shape: tuple[int, ...]
    data: memoryview

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def multiplier(self) -> float:
        """By which floats became eight-bit integers."""
        (found,) = struct.unpack_from("<f", self.data, self.size)
        return float(found)

    def floats(self) -> Array:
        """Of a tensor of floats."""
        return np.frombuffer(self.data, dtype="<f4", count=self.size)


@dataclass(frozen=True, slots=True)
class Shortlist:
    """``first``: how many of the most frequent words of the target are candidates always."""

    first: int
    begins: Array
    candidates: Array


class _Reader:
    """Takes what is there, or raises ``FormatError``."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._place = 0

    def take(self, count: int, what: str) -> memoryview:
        if count > len(self._data) - self._place:
            raise FormatError(
                f"it ends within {what}: at byte {self._place} it has {len(self._data) - self._place} more, not {count}"
            )
        found = self._data[self._place : self._place + count]
        self._place += count
        return found

    def word(self, what: str) -> int:
        return int(_WORD.unpack(self.take(_WORD.size, what))[0])


def read_model(data: bytes) -> dict[str, Tensor]:
    """The tensors by name. Raises ``FormatError``."""
    reader = _Reader(data)
    version = reader.word("its head")
    if version != VERSION:
        raise FormatError(
            f"its first word says version {version}, and Marian's models are of {VERSION}"
        )
    count = reader.word("its head")
    if count > TENSORS_MAX:
        raise FormatError(
            f"it says that it has {count} tensors, and at most {TENSORS_MAX} are read"
        )
    headers = list(
        _HEADER.iter_unpack(reader.take(count * _HEADER.size, "the heads of its tensors"))
    )
    names = [_name(reader, length) for length, _, _, _ in headers]
    shapes = [
        _shape(reader, name, length) for name, (_, _, length, _) in zip(names, headers, strict=True)
    ]
    reader.take(reader.word("the gap before its data"), "the gap before its data")
    found: dict[str, Tensor] = {}
    for name, shape, (_, kind, _, length) in zip(names, shapes, headers, strict=True):
        tensor = Tensor(kind, shape, reader.take(length, f"the tensor {name}"))
        needed = {FLOAT32: tensor.size * 4, INT8: tensor.size + 4}.get(kind, 0)
        if length < needed:
            raise FormatError(
                f"the tensor {name} has {length} bytes, and its shape {shape} needs {needed}"
            )
        if found.setdefault(name, tensor) is not tensor:
            raise FormatError(f"it has two tensors {name}")
    return found


def _name(reader: _Reader, length: int) -> str:
    if length > NAME_BYTES_MAX:
        raise FormatError(f"a name of {length} bytes is none")
    raw = bytes(reader.take(length, "the names of its tensors"))
    try:
        return raw.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise FormatError(f"a name is no UTF-8: {raw!r}") from None


def _shape(reader: _Reader, name: str, length: int) -> tuple[int, ...]:
    if length > DIMENSIONS_MAX:
        raise FormatError(
            f"the tensor {name} has {length} dimensions, and at most {DIMENSIONS_MAX} are read"
        )
    shape = struct.unpack(f"<{length}i", reader.take(4 * length, "the shapes of its tensors"))
    if any(one < 1 for one in shape):
        raise FormatError(f"the tensor {name} has the shape {shape}")
    return shape


def configuration(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The settings that are one line of text, as they stand there, without quotes. Raises ``FormatError``."""
    found = tensors.get(CONFIGURATION)
    if found is None:
        raise FormatError(f"it has no {CONFIGURATION}, so nobody knows what network it is")
    text = bytes(found.data).split(b"\0", 1)[0].decode(errors="replace")
    return {name: value.strip("\"'") for name, value in _SETTING.findall(text)}


def read_shortlist(data: bytes) -> Shortlist:
    """Raises ``FormatError``."""
    reader = _Reader(data)
    magic, _, first, _, words, count = _SHORTLIST.unpack(reader.take(_SHORTLIST.size, "its head"))
    if magic != SHORTLIST_MAGIC:
        raise FormatError("its first word is not that of a shortlist in Marian's binary form")
    begins = np.frombuffer(reader.take(8 * words, "its table of words"), dtype="<u8")
    candidates = np.frombuffer(reader.take(4 * count, "its candidates"), dtype="<u4")
    if words == 0 or begins[-1] != count or (begins[:-1] > begins[1:]).any():
        raise FormatError("its table of words does not lead into its candidates")
    return Shortlist(first, begins, candidates)
