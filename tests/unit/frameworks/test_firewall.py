"""The artifact firewall: what a pickle may name, and that nothing else is even imported."""

import pickle
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelyard.frameworks.model import LoadError
from modelyard.frameworks.pickles import load_pickle
from modelyard.frameworks.scan import Refused
from modelyard.testing import models, rogue

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(5),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=5),
    "gradient": models.classifier,
    "neighbours": lambda: KNeighborsClassifier(algorithm="ball_tree"),
    "kd tree": lambda: KNeighborsClassifier(algorithm="kd_tree"),
    "svm": SVC,
    "sgd": SGDClassifier,
    "perceptron": lambda: make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=200, solver="lbfgs")),
    "bayes": GaussianNB,
    "tree": DecisionTreeClassifier,
    "gaussian process": lambda: make_pipeline(StandardScaler(), GaussianProcessClassifier()),
    "best": lambda: make_pipeline(SelectKBest(k=3), LogisticRegression(max_iter=5000)),
    "search": lambda: GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, scoring="f1"),
    "logarithm": lambda: make_pipeline(FunctionTransformer(np.log1p), GaussianNB()),
    "columns": lambda: make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 1])]), GaussianNB()),
    "clusters": lambda: KMeans(2, n_init=1),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("save", [models.pickle_model, models.joblib_model])
def test_an_honest_estimator_loads_and_predicts_the_same(
    tmp_path: Path, name: str, save: Callable[[Path, Any], Path]
) -> None:
    data = models.breast_cancer()
    rows, labels = data.rows[::10], data.labels[::10]
    estimator = ESTIMATORS[name]().fit(rows, labels)
    loaded = load_pickle(save(tmp_path, estimator), extra=())
    assert (loaded.predict(rows) == estimator.predict(rows)).all()


@pytest.mark.parametrize(
    "compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)]
)
def test_compressed_joblib_files_load(tmp_path: Path, compress: Any) -> None:
    big = np.arange(300_000, dtype=np.float64).reshape(-1, 3)
    value = {
        "big": big,
        "fortran": np.asfortranarray(big),
        "texts": np.array(["a", None], dtype=object),
    }
    loaded = load_pickle(models.joblib_model(tmp_path, value, compress=compress), extra=())
    assert (loaded["big"] == big).all()
    assert (loaded["fortran"] == big).all()
    assert loaded["texts"].tolist() == ["a", None]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol_load(tmp_path: Path, protocol: int) -> None:
    value = {
        "array": np.array([1.5, 2.5]),
        "swapped": np.array([1, 2], dtype=">i4"),
        "scalar": np.float32(0.5),
        "type": np.int64,
        "sparse": scipy.sparse.csr_matrix([[0, 1]]),
        "ordered": OrderedDict(a=1),
        "default": defaultdict(list, a=[1]),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "slice": slice(1, 2),
    }
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    loaded = load_pickle(path, extra=())
    assert loaded["array"].tolist() == [1.5, 2.5]
    assert loaded["swapped"].tolist() == [1, 2]
    assert (loaded["scalar"], loaded["type"]) == (np.float32(0.5), np.int64)
    assert loaded["sparse"].toarray().tolist() == [[0, 1]]
    assert (loaded["ordered"], loaded["default"], loaded["set"]) == ({"a": 1}, {"a": [1]}, {1, 2})
    assert (loaded["bytes"], loaded["slice"]) == (b"\x00\xff", slice(1, 2))


def test_an_isotonic_regression_loads(tmp_path: Path) -> None:
    model = IsotonicRegression().fit([1, 2, 3], [1, 2, 4])
    assert load_pickle(models.joblib_model(tmp_path, model), extra=()).predict([2.5]) == [3.0]


@pytest.mark.parametrize("make", [models.evil_pickle, models.evil_joblib])
def test_a_command_in_a_model_is_named_and_never_run(tmp_path: Path, make: Any) -> None:
    mark = tmp_path / "ran"
    path = make(tmp_path, command=f"touch {mark}")
    with pytest.raises(Refused, match=r"posix\.system.*skops"):
        load_pickle(path, extra=())
    assert not mark.exists()


@pytest.mark.parametrize("compress", [("zlib", 3), ("lzma", 3)])
def test_compression_hides_nothing(tmp_path: Path, compress: Any) -> None:
    mark = tmp_path / "ran"
    evil = models._RunsACommand(f"touch {mark}")
    path = models.joblib_model(tmp_path, {"a": np.array([evil], dtype=object)}, compress=compress)
    with pytest.raises(Refused, match=r"posix\.system"):
        load_pickle(path, extra=())
    assert not mark.exists()


def test_all_refused_imports_of_a_pickle_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"(cos\nsystem\ncsubprocess\nPopen\nt.")
    with pytest.raises(Refused, match=r"os\.system \(and subprocess\.Popen\)"):
        load_pickle(path, extra=())


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("__builtin__", "eval"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("importlib", "import_module"),
        ("types", "FunctionType"),
        ("cloudpickle.cloudpickle", "_make_function"),
        ("joblib", "load"),
        ("joblib.memory", "Memory"),
        ("joblib.numpy_pickle_compat", "NDArrayWrapper"),
        ("numpy", "memmap"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "DataSource"),
        ("numpy.ctypeslib", "load_library"),
        ("numpy.testing", "runstring"),
        ("sklearn.datasets", "fetch_openml"),
        ("sklearn.datasets._base", "load_files"),
        ("sklearn.utils._testing", "os"),
        ("sklearn.utils.parallel", "Parallel"),
        ("sklearn.utils.parallel", "_FuncWrapper"),
        ("sklearn.base", "clone"),
        ("sklearn.pipeline", "Bunch.fromkeys"),
        ("sklearn.preprocessing._data", "warnings"),
        ("xgboost.core", "DMatrix"),
        ("lightgbm.basic", "Dataset"),
        ("lightgbm.sklearn", "np"),
        ("modelyard.testing.rogue", "WellBehaved"),
    ],
)
def test_what_no_model_needs_is_refused(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(_global(module, name) + b".")
    with pytest.raises(LoadError):
        load_pickle(path, extra=())


def test_a_refused_module_is_not_even_imported(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(_global("antigravity", "fly") + b".")
    with pytest.raises(Refused):
        load_pickle(path, extra=())
    assert "antigravity" not in sys.modules


def test_a_dotted_name_reaches_no_method(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(Refused, match=r"ndarray\.tofile"):
        load_pickle(path, extra=())


def test_a_pickle_cannot_change_a_class(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    target = _global("sklearn.linear_model._base", "LinearRegression")
    path.write_bytes(b"\x80\x02" + target + b"N}S'predict'\nI1\ns\x86b.")
    with pytest.raises(LoadError, match="changes a class"):
        load_pickle(path, extra=())


@pytest.mark.parametrize(
    "call",
    [
        b"cxgboost.core\nBooster\n(NNS'/etc/passwd'\ntR.",
        b"(cxgboost.core\nBooster\nNNS'/etc/passwd'\no.",
        b"(NNS'/etc/passwd'\nixgboost.core\nBooster\n.",
    ],
)
def test_a_booster_is_not_made_to_read_a_file_of_the_machine(tmp_path: Path, call: bytes) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(call)
    with pytest.raises(LoadError, match="calls Booster"):
        load_pickle(path, extra=())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x80",
        b"\x80\x04",
        b"\x80\x09.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02\x82\x01.",
        b"Pid\n.",
        b"(" * 10_000 + b".",
        b"\x1f\x8b" + b"\0" * 30,
        b"\x78\x9c" + b"\0" * 30,
        b"BZh9garbage",
        b"\xfd7zXZgarbage",
    ],
)
def test_garbage_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(data)
    with pytest.raises(LoadError, match=r"m\.pkl"):
        load_pickle(path, extra=())


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("xz", 3)])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, compress: Any) -> None:
    path = models.joblib_model(
        tmp_path, {"a": np.random.default_rng(0).random(5000)}, compress=compress
    )
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(LoadError, match="cut off"):
        load_pickle(path, extra=())


def test_an_array_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    path = models.joblib_model(tmp_path, np.zeros(7))
    # The shape (7,) becomes (2^31 - 1,): 16 GiB that do not come.
    path.write_bytes(path.read_bytes().replace(b"K\x07\x85", b"J\xff\xff\xff\x7f\x85"))
    with pytest.raises(LoadError):
        load_pickle(path, extra=())


def test_the_platforms_owner_may_trust_more_by_name(tmp_path: Path) -> None:
    path = models.joblib_model(tmp_path, rogue.RaisesOn(value=7))
    loaded = load_pickle(path, extra={"modelyard.testing.rogue.RaisesOn"})
    assert loaded.value == 7


def test_a_model_that_raises_while_it_loads_is_an_error_with_its_text(tmp_path: Path) -> None:
    path = models.joblib_model(tmp_path, rogue.RaisesOnLoad())
    with pytest.raises(LoadError, match="RuntimeError: this model cannot be loaded"):
        load_pickle(path, extra=rogue.ROGUES)


def test_files_are_written_by_joblib_and_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.joblib_model(tmp_path, {"a": np.arange(3)})
    monkeypatch.setattr(joblib.numpy_pickle.NumpyArrayWrapper, "read", None)
    assert load_pickle(path, extra=())["a"].tolist() == [0, 1, 2]
