"""Reading pickle and joblib files through the firewall.

joblib writes a pickle with the bytes of arrays between its opcodes, each behind a ``NumpyArrayWrapper``. Reading that is done
here and not by joblib, for two reasons: older versions of joblib read an array of objects as a nested pickle *without* asking
``find_class``, and its reader is private and changes. This one has no way to an import but ``scan.allowed``.
"""

import bz2
import gzip
import importlib
import io
import lzma
import pickle
import types
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import numpy as np

from modelyard.frameworks import scan
from modelyard.frameworks.model import LoadError

PIECE = 16 << 20
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_OLD_WRAPPERS = ("joblib.numpy_pickle_compat", "sklearn.externals.joblib")
_UNPICKLER: Any = pickle._Unpickler
"""The unpickler that is written in Python: the one in C reads ahead, past where an array begins."""

_SHARED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc)
"""A state for one of these would change it for the whole process."""


class _Array:
    """Stands for joblib's ``NumpyArrayWrapper``: its attributes come from the pickle, none is believed."""

    subclass: Any = None
    shape: Any = ()
    order: Any = "C"
    dtype: Any = None
    allow_mmap: Any = False
    numpy_array_alignment_bytes: Any = None

    def read(self, file: IO[bytes], extra: Collection[str]) -> Any:
        if not isinstance(self.dtype, np.dtype):
            raise LoadError("The file is damaged: an array without a type.")
        if self.dtype.hasobject:
            return _Guarded(file, extra).load()
        if self.numpy_array_alignment_bytes is not None:
            padding = file.read(1)
            file.read(padding[0] if padding else 0)
        shape = tuple(int(size) for size in self.shape)
        if any(size < 0 for size in shape):
            raise LoadError("The file is damaged: an array of negative size.")
        count = 1
        for size in shape:
            count *= size
        data = _read_exactly(file, count * self.dtype.itemsize)
        array = np.frombuffer(data, dtype=self.dtype, count=count)
        array = array.reshape(shape[::-1]).T if self.order == "F" else array.reshape(shape)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read_exactly(file: IO[bytes], size: int) -> bytearray:
    """As much memory as really comes, whatever a header claims."""
    data = bytearray()
    while len(data) < size:
        piece = file.read(min(PIECE, size - len(data)))
        if not piece:
            raise EOFError("the file ends within an array")
        data += piece
    return data


class _Guarded(_UNPICKLER):  # type: ignore[misc]
    """An unpickler that imports only what ``scan`` allows, and reads joblib's arrays."""

    dispatch: ClassVar[dict[int, Any]] = dict(_UNPICKLER.dispatch)

    def __init__(self, file: IO[bytes], extra: Collection[str]) -> None:
        super().__init__(file)
        self._file = file
        self._extra = extra

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _WRAPPER:
            return _Array
        if module.startswith(_OLD_WRAPPERS):
            raise LoadError("The file was written by joblib before 0.10; save the model again.")
        return scan.allowed(module, name, self._extra)

    def load_build(self) -> None:
        if isinstance(self.stack[-2], _SHARED):
            raise LoadError(
                "The model's pickle changes a class or a function, which no model needs."
            )
        super().load_build()
        if isinstance(self.stack[-1], _Array):
            self.stack.append(self.stack.pop().read(self._file, self._extra))

    def load_reduce(self) -> None:
        _refuse_call(self.stack[-2])
        super().load_reduce()

    def _instantiate(self, klass: Any, args: Any) -> None:
        _refuse_call(klass)
        super()._instantiate(klass, args)

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.REDUCE[0]] = load_reduce


def _refuse_call(called: Any) -> None:
    """Boosters are made bare and given their state; called with arguments, one reads any file of the machine."""
    if isinstance(called, type) and called.__module__ in ("xgboost.core", "lightgbm.basic"):
        raise LoadError(f"The model's pickle calls {called.__name__}, which no model needs.")


def load_pickle(path: Path, *, extra: Collection[str]) -> Any:
    """The object in a pickle or joblib file, compressed or not. Raises ``LoadError``."""
    try:
        with open_stream(path) as stream:
            return _Guarded(stream, extra).load()
    except scan.Refused as refusal:
        with open_stream(path) as stream:
            others = scan.refused_imports(stream, extra) - {refusal.name}
        raise scan.Refused(refusal.name, others) from None
    except LoadError:
        raise
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise LoadError(f"{path.name} is damaged or was cut off: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # A class's own __setstate__ may raise anything.
        raise LoadError(
            f"{path.name} cannot be loaded: {type(error).__name__}: {error}. "
            "Was it saved with another version of its library?"
        ) from error


def open_stream(path: Path) -> IO[bytes]:
    """The pickle's bytes, decompressed as joblib's ``compress`` wrote them. Raises ``LoadError``."""
    with path.open("rb") as file:
        head = file.read(8)
    for magic, opener in _COMPRESSIONS:
        if head.startswith(magic):
            return opener(path)
    return path.open("rb")


def _open_zlib(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_ZlibReader(path.open("rb")), 1 << 16))


class _ZlibReader(io.RawIOBase):
    """A zlib stream as a file, decompressed as it is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decompressor = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._decompressor.eof:
            pending = self._decompressor.unconsumed_tail or self._source.read(1 << 16)
            if not pending:
                raise EOFError("the compressed stream ends too early")
            data = self._decompressor.decompress(pending, len(view))
            if data:
                view[: len(data)] = data
                return len(data)
        return 0

    def close(self) -> None:
        self._source.close()
        super().close()


def _open_lz4(path: Path) -> IO[bytes]:
    try:
        frame = importlib.import_module("lz4.frame")
    except ImportError:
        raise LoadError(
            f"{path.name} is compressed with LZ4, which needs pip install lz4; "
            "or save it with joblib.dump(model, path, compress=('zlib', 3))."
        ) from None
    return cast("IO[bytes]", frame.open(path, "rb"))


def _open(opener: Callable[..., Any]) -> Callable[[Path], IO[bytes]]:
    return lambda path: cast("IO[bytes]", opener(path, "rb"))


_COMPRESSIONS: tuple[tuple[bytes, Callable[[Path], IO[bytes]]], ...] = (
    (b"\x1f\x8b", _open(gzip.open)),
    (b"BZh", _open(bz2.open)),
    (b"\xfd7zXZ", _open(lzma.open)),
    (b"]\x00", _open(lzma.open)),
    (b"\x04\x22\x4d\x18", _open_lz4),
    (b"\x78\x01", _open_zlib),
    (b"\x78\x5e", _open_zlib),
    (b"\x78\x9c", _open_zlib),
    (b"\x78\xda", _open_zlib),
)
"""Magic bytes and how to read what follows. A pickle itself begins with 0x80, or as protocol 0 with a letter."""
