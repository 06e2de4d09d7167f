"""The artifact firewall: a pickle may name only what a model is made of.

Unpickling calls whatever the file names, so a pickle is a program. Here every name is checked *before* it is imported, by
an unpickler whose ``find_class`` knows an allow-list that lives in this module and that no model can extend. A prefix admits
classes only, never functions of the same package. Numeric code has legitimate reconstruction functions; they are listed by name.
A refusal names the import. skops files are checked by the same list through skops' own audit.
"""

import importlib
import io
import pickle
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from modelyard.frameworks.model import LoadError

CLASS_PREFIXES = (
    "sklearn.",
    "xgboost.sklearn.",
    "xgboost.core.",
    "lightgbm.sklearn.",
    "lightgbm.basic.",
)
"""Packages whose *classes* may be built. Estimators and their parts, nothing that acts when it is made."""

NAMES = frozenset(
    {
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.core.numeric._frombuffer",
        "numpy._core.numeric._frombuffer",
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._mt19937.MT19937",
        "numpy.random._pcg64.PCG64",
        "numpy.ma.core.MaskedArray",
        "numpy.ma.core._mareconstruct",
        "joblib.numpy_pickle.NumpyArrayWrapper",
        "scipy.sparse._csr.csr_matrix",
        "scipy.sparse._csr.csr_array",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse._csc.csc_array",
        "scipy.interpolate._interpolate.interp1d",
        "sklearn.tree._tree.Tree",
        "sklearn.neighbors._kd_tree.newObj",
        "sklearn.neighbors._ball_tree.newObj",
        "sklearn._loss._loss.__pyx_unpickle_CyHalfBinomialLoss",
        "sklearn.linear_model._sgd_fast.__pyx_unpickle_Log",
        "collections.OrderedDict",
        "collections.defaultdict",
        "copyreg._reconstructor",
        "builtins.object",
        "builtins.set",
        "builtins.frozenset",
        "builtins.slice",
        "builtins.range",
        "builtins.complex",
        "builtins.bytearray",
        "builtins.list",
        "builtins.dict",
        "builtins.tuple",
        "builtins.int",
        "builtins.float",
        "builtins.str",
        "builtins.bool",
    }
)
_NUMPY_SCALARS = (
    "numpy.float",
    "numpy.int",
    "numpy.uint",
    "numpy.bool",
    "numpy.str_",
    "numpy.dtypes.",
)


class Refused(LoadError):
    """The pickle names something that no model needs."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model's pickle imports {name}, which is not on the platform's allow-list. "
            "Save the model with skops.io.dump, or as ONNX."
        )


def allowed(module: str, name: str, extra: Collection[str]) -> Any:
    """The object that ``module.name`` stands for. Raises ``Refused`` before anything is imported that may not be."""
    full = f"{module}.{name}"
    if full in NAMES or full in extra or full.startswith(_NUMPY_SCALARS):
        return _import(module, name)
    if full.startswith(CLASS_PREFIXES) and "." not in name:
        found = _import(module, name)
        # A class of that package itself, not one that it happens to have imported.
        if isinstance(found, type) and found.__module__.startswith(CLASS_PREFIXES):
            return found
        # Cython's unpickling functions rebuild classes of their own module.
        if name.startswith("__pyx_unpickle_"):
            return found
    raise Refused(full)


def _import(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise LoadError(
            f"The model needs {module}.{name}, which is not installed: {error}"
        ) from error


def load_pickle(path: Path, *, extra: Collection[str]) -> Any:
    """Load a pickle or joblib file through the firewall. Raises ``LoadError``."""
    try:
        import joblib.numpy_pickle as joblib_pickle
        from joblib.numpy_pickle_utils import (
            _validate_fileobject_and_memmap,
        )
    except ImportError:
        return _load_plain(path, extra)

    class Guarded(joblib_pickle.NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            return allowed(module, name, extra)

    with (
        path.open("rb") as file,
        _validate_fileobject_and_memmap(file, str(path), None) as (opened, _),
    ):
        return _guard(lambda: Guarded(str(path), opened, ensure_native_byte_order=True).load())


def _load_plain(path: Path, extra: Collection[str]) -> Any:
    class Guarded(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return allowed(module, name, extra)

    return _guard(lambda: Guarded(io.BytesIO(path.read_bytes())).load())


def _guard(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(
            f"The model raised while it was loaded: {type(error).__name__}: {error}"
        ) from error
