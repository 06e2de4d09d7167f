"""Small models of every format, made in a folder of the test's; and hostile artifacts.

The good ones are trained on scikit-learn's breast-cancer data (569 rows of 30 features, two classes), which comes with the
library: nothing is downloaded.
"""

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
WIDTH = 30


class Data(NamedTuple):
    """Rows, labels."""

    rows: Array
    labels: Array


def breast_cancer() -> Data:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return Data(bunch.data, bunch.target)


def classifier(*, trees: int = 10) -> Any:
    """Scaler and gradient-boosted trees, fitted; the same each time."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = breast_cancer()
    model = make_pipeline(
        StandardScaler(), GradientBoostingClassifier(n_estimators=trees, random_state=0)
    )
    return model.fit(data.rows, data.labels)


def onnx_model(folder: Path, *, estimator: Any = None, zipmap: bool = False) -> Path:
    """``model.onnx`` with the outputs ``label`` and ``probabilities``; ``zipmap`` makes the latter a list of maps."""
    from skl2onnx import to_onnx

    estimator = estimator if estimator is not None else classifier()
    example = breast_cancer().rows[:1].astype(np.float32)
    options = {"zipmap": zipmap} if hasattr(estimator, "predict_proba") else None
    graph = to_onnx(estimator, example, options=options)
    return _write(folder / "model.onnx", graph.SerializeToString())


def joblib_model(folder: Path, estimator: Any = None, *, compress: Any = 0) -> Path:
    """``model.joblib``."""
    import joblib

    path = folder / "model.joblib"
    joblib.dump(estimator if estimator is not None else classifier(), path, compress=compress)
    return path


def pickle_model(folder: Path, estimator: Any = None) -> Path:
    """``model.pkl``."""
    estimator = estimator if estimator is not None else classifier()
    return _write(folder / "model.pkl", pickle.dumps(estimator))


def skops_model(folder: Path, estimator: Any = None) -> Path:
    """``model.skops``."""
    import skops.io

    path = folder / "model.skops"
    skops.io.dump(estimator if estimator is not None else classifier(), path)
    return path


def xgboost_booster(**parameters: Any) -> Any:
    import xgboost

    data = breast_cancer()
    chosen = {"objective": "binary:logistic", "nthread": 1, **parameters}
    matrix = xgboost.DMatrix(data.rows, label=data.labels)
    return xgboost.train(chosen, matrix, num_boost_round=10)


def xgboost_model(folder: Path, *, name: str = "model.json", **parameters: Any) -> Path:
    """A booster as JSON, or as UBJSON for a name that ends so."""
    path = folder / name
    xgboost_booster(**parameters).save_model(path)
    return path


def lightgbm_booster() -> Any:
    import lightgbm

    data = breast_cancer()
    settings = {"objective": "binary", "num_threads": 1, "verbosity": -1, "seed": 0}
    return lightgbm.train(settings, lightgbm.Dataset(data.rows, data.labels), num_boost_round=10)


def lightgbm_model(folder: Path, *, name: str = "model.txt") -> Path:
    """A booster in LightGBM's text format."""
    path = folder / name
    lightgbm_booster().save_model(path)
    return path


def archive(
    path: Path, *, of: Iterable[Path] = (), files: Mapping[str, bytes] | None = None
) -> Path:
    """``model.tar.gz`` of files on disk, each at the top, and of further ones."""
    with tarfile.open(path, "w:gz") as tar:
        for one in of:
            tar.add(one, one.name)
        for name, content in (files or {}).items():
            add_file(tar, name, content)
    return path


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


class _RunsACommand:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def evil_pickle(folder: Path, *, command: str) -> Path:
    """``model.pkl`` that runs a command when it is unpickled."""
    return _write(folder / "model.pkl", pickle.dumps(_RunsACommand(command)))


def evil_joblib(folder: Path, *, command: str) -> Path:
    """``model.joblib`` that runs a command, hidden in an array of objects inside an honest-looking dict."""
    import joblib

    path = folder / "model.joblib"
    joblib.dump({"weights": np.array([_RunsACommand(command), 1], dtype=object)}, path)
    return path


def corrupt_onnx(folder: Path) -> Path:
    """``model.onnx`` with its middle overwritten."""
    path = onnx_model(folder)
    data = bytearray(path.read_bytes())
    data[100:2000] = b"\xff" * 1900
    return _write(path, bytes(data))


def hostile_archives(folder: Path) -> dict[str, Path]:
    """Archives that have to be refused, by what is wrong with them. The bomb unpacks to 1 GiB."""
    good = _tar(("model.onnx", tarfile.REGTYPE, b"not much of a model" * 500, ""))
    random = np.random.default_rng(0).bytes(100_000)
    whole = gzip.compress(_tar(("model.onnx", tarfile.REGTYPE, random, "")))
    contents = {
        "parent": _tar(("../escaped", tarfile.REGTYPE, b"x", "")),
        "inner parent": _tar(("a/../../escaped", tarfile.REGTYPE, b"x", "")),
        "absolute": _tar(("/tmp/escaped", tarfile.REGTYPE, b"x", "")),  # noqa: S108 - must be refused
        "symbolic link": _tar(("model.onnx", tarfile.SYMTYPE, b"", "/etc/passwd")),
        "relative link": _tar(("model.onnx", tarfile.SYMTYPE, b"", "../../../etc/passwd")),
        "link to the folder": _tar(("a", tarfile.SYMTYPE, b"", ".")),
        "hard link": _tar(("model.onnx", tarfile.LNKTYPE, b"", "/etc/passwd")),
        "write through a link": _tar(
            ("a", tarfile.SYMTYPE, b"", "/tmp"),  # noqa: S108 - must be refused
            ("a/escaped", tarfile.REGTYPE, b"x", ""),
        ),
        "device": _tar(("model.onnx", tarfile.CHRTYPE, b"", "")),
        "block device": _tar(("model.onnx", tarfile.BLKTYPE, b"", "")),
        "pipe": _tar(("model.onnx", tarfile.FIFOTYPE, b"", "")),
        "long name": _tar(("a/" * 600 + "b", tarfile.REGTYPE, b"x", "")),
        "long part": _tar(("n" * 300, tarfile.REGTYPE, b"x", "")),
        "deep": _tar(("a/" * 100 + "b", tarfile.REGTYPE, b"x", "")),
        "empty": _tar(),
        "cut tar": good[: len(good) // 3],
    }
    paths = {
        name: _write(folder / f"{name}.tar.gz", gzip.compress(data))
        for name, data in contents.items()
    }
    paths["cut"] = _write(folder / "cut.tar.gz", whole[: len(whole) // 2])
    paths["without its end"] = _write(folder / "end.tar.gz", whole[:-8])
    paths["wrong checksum"] = _write(
        folder / "checksum.tar.gz", whole[:-8] + b"\0\0\0\0" + whole[-4:]
    )
    paths["text"] = _write(folder / "text.tar.gz", b"this is no archive")
    paths["nothing"] = _write(folder / "nothing.tar.gz", b"")
    paths["bomb"] = bomb(folder / "bomb.tar.gz")
    return paths


def bomb(path: Path, *, megabytes: int = 1024) -> Path:
    """A megabyte that unpacks to a gigabyte."""
    header = tarfile.TarInfo("model.onnx")
    header.size = megabytes << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf())
        for _ in range(megabytes):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    return path


def _tar(*members: tuple[str, bytes, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content, link in members:
            header = tarfile.TarInfo(name)
            header.type, header.size, header.linkname = kind, len(content), link
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def doubling_model(path: Path) -> Path:
    """An ONNX model that answers twice the row's one number, so that an answer shows whose it is."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[2.0]], dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return _write(path, model.SerializeToString())
