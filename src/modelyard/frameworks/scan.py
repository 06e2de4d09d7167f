"""The artifact firewall: a pickle may name only what a model is made of.

Unpickling calls whatever the file names, so a pickle is a program. Every name that it imports is checked against lists that
live in this module; the platform's owner may extend them (``extra``), a model cannot. A package's prefix admits *classes* that
the package itself defines, never its functions, and never from the parts of it that test, download or run things. Functions
that rebuild numeric data are listed one by one. ``pickles`` enforces this while it reads; skops files are checked by the same
lists through skops' own audit.

The lists keep a model from running code of its choice. They do not make a hostile one harmless: numbers made up to crash a
native library can still end the worker, which is why it is a process of its own.
"""

import importlib
import importlib.util
import pickletools
from collections.abc import Collection, Iterator
from typing import IO, Any

import numpy as np

from modelyard.frameworks.model import FrameworkMissing, LoadError

_CLASS_PREFIXES = ("sklearn.", "xgboost.sklearn.", "lightgbm.sklearn.")
"""Packages whose *classes* may be built: estimators and their parts."""

_EXTRAS = {"sklearn": "sklearn", "scipy": "sklearn", "xgboost": "xgboost", "lightgbm": "lightgbm"}
"""Which of our extras installs a package."""

_EXCLUDED_PARTS = frozenset(
    {"tests", "conftest", "datasets", "externals", "_testing", "parallel", "_build_utils", "_show_versions"}
)  # fmt: skip
"""Parts of these packages that hold no model."""

_NAMES = frozenset(
    {
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.matrix",
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
        "numpy.random.bit_generator.SeedSequence",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "numpy.ma.MaskedArray",
        "numpy.ma.core.MaskedConstant",
        "numpy.ma.core.MaskedArray",
        "numpy.ma.core._mareconstruct",
        "scipy.sparse._csr.csr_matrix",
        "scipy.sparse._csr.csr_array",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse._csc.csc_array",
        "scipy.sparse.csr.csr_matrix",
        "scipy.sparse.csc.csc_matrix",
        "scipy.interpolate._interpolate.interp1d",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.neighbors._kd_tree.newObj",
        "sklearn.neighbors._ball_tree.newObj",
        "sklearn.metrics._dist_metrics.newObj",
        "sklearn.gaussian_process.kernels.newObj",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "numpy.mean",
        "numpy.median",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "xgboost.core.Booster",
        "lightgbm.basic.Booster",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.Counter",
        "copyreg._reconstructor",
        "_codecs.encode",
        "datetime.datetime",
        "datetime.date",
        "datetime.timedelta",
        "builtins.object",
        "builtins.set",
        "builtins.frozenset",
        "builtins.slice",
        "builtins.range",
        "builtins.complex",
        "builtins.bytearray",
        "builtins.bytes",
        "builtins.list",
        "builtins.dict",
        "builtins.tuple",
        "builtins.int",
        "builtins.float",
        "builtins.str",
        "builtins.bool",
    }
)
_SCORES = (
    "sklearn.metrics._classification",
    "sklearn.metrics._regression",
    "sklearn.metrics._ranking",
)
"""Modules of nothing but arithmetic on labels, which searches and threshold tuners keep a function of."""

_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""What Python 2 called them; protocols 0 to 2 still write the old names."""


class Refused(LoadError):
    """The model names something that no model needs."""

    def __init__(self, name: str, others: Collection[str] = ()) -> None:
        self.name = name
        more = f" (and {', '.join(sorted(others)[:5])})" if others else ""
        super().__init__(
            f"The model imports {name}{more}, which is not on the platform's allow-list, so nothing of it was loaded. "
            "Save a model of plain scikit-learn, XGBoost or LightGBM parts, if possible with skops.io.dump, or as ONNX."
        )


def allowed(module: str, name: str, extra: Collection[str]) -> Any:
    """The object that ``module.name`` stands for. Raises ``Refused`` before anything else is imported."""
    module = _OLD_MODULES.get(module, module)
    full = f"{module}.{name}"
    if full in _NAMES or full in extra:
        return _import(module, name)
    if not _may_hold_classes(module) or "." in name:
        raise Refused(full)
    found = _import(module, name)
    if _is_number(module, found) or _is_part(module, name, found):
        return found
    raise Refused(full)


def _may_hold_classes(module: str) -> bool:
    """Whether to look into a module at all: looking imports it."""
    return module in ("numpy", "numpy.dtypes") or _is_inside(module)


def _is_inside(module: str) -> bool:
    """Whether a module belongs to a package of estimators."""
    inside = f"{module}.".startswith(_CLASS_PREFIXES)
    return inside and _EXCLUDED_PARTS.isdisjoint(module.split("."))


def _is_number(module: str, found: Any) -> bool:
    """numpy's scalar types, dtypes and element-wise functions (what a ``FunctionTransformer`` holds)."""
    if isinstance(found, type):
        return issubclass(found, np.generic | np.dtype)
    return module == "numpy" and isinstance(found, np.ufunc)


def _is_part(module: str, name: str, found: Any) -> bool:
    """A class that its package itself defines, or the function that rebuilds a Cython class of the same module."""
    if isinstance(found, type):
        return _is_inside(found.__module__)
    if name.startswith("__pyx_unpickle_"):
        return _is_inside(module)
    return module in _SCORES and getattr(found, "__module__", "") == module


def _import(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        package = module.partition(".")[0]
        if package in _EXTRAS and importlib.util.find_spec(package) is None:
            raise FrameworkMissing(package, _EXTRAS[package]) from None
        raise LoadError(
            f"The model needs {module}.{name}, which is not installed here: {error}. "
            "Install the version of the library that the model was saved with."
        ) from error


def refused_imports(stream: IO[bytes], extra: Collection[str]) -> set[str]:
    """What else a pickle names that would be refused, read without executing it; for the message only.

    Stops where the stream is no plain pickle any more (joblib writes arrays between the opcodes), and follows the stack only as
    far as picklers write it. Enforcement is ``allowed``, at the moment of each import.
    """
    names: set[str] = set()
    try:
        for written, name in _named(stream):
            module = _OLD_MODULES.get(written, written)
            full = f"{module}.{name}"
            if full not in _NAMES and full not in extra and not _may_hold_classes(module):
                names.add(full)
    except (ValueError, IndexError, UnicodeError, OverflowError, EOFError):
        pass  # What was found so far is worth saying.
    return names - {"joblib.numpy_pickle.NumpyArrayWrapper"}


def _named(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Pairs of module and name that the opcodes import."""
    strings = ["", ""]
    top = ""  # The value that the last opcode pushed, if it is a string.
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "MEMOIZE":
            memo[len(memo)] = top
            continue
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument or 0)] = top
            continue
        top = ""
        if opcode.name == "PROTO":
            memo = {}  # joblib nests a stream of its own for an array of objects.
        elif opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            yield module, name
        elif opcode.name == "STACK_GLOBAL":
            yield strings[-2], strings[-1]
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            top = memo.get(int(argument or 0), "")
        elif isinstance(argument, str):
            top = argument
        if top:
            strings = [strings[-1], top]
