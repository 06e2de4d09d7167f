"""Which loader a folder of files needs: one readable table, by what files are called and by how they begin.

Names lie and differ, so a name alone decides only where no other file is called so: ``*.json``, ``*.txt`` and files without a
known suffix are models only if they begin like one. The container's environment says the rest:

- ``MODELYARD_MODEL_FILE``: the model's path within the artifact, where several files could be it;
- ``MODELYARD_OUTPUT``: which output or method answers; each loader documents its own;
- ``MODELYARD_THREADS``: threads of one predict, 1 unless given;
- ``MODELYARD_MERGE=false``: never predict rows of different requests together.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.frameworks import (
    catboost,
    huggingface,
    lightgbm,
    mlflow,
    onnx,
    pickles,
    sklearn,
    torch,
    xgboost,
)
from modelyard.frameworks.batch import Batch
from modelyard.frameworks.model import LoadError, Model, Output
from modelyard.frameworks.service import Service

FILE = "MODELYARD_MODEL_FILE"
OUTPUT = "MODELYARD_OUTPUT"
THREADS = "MODELYARD_THREADS"
MERGE = "MODELYARD_MERGE"
_HEAD_BYTES = 4096
_SWITCH = {"": True, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What a loader gets. ``trusted`` are imports that the platform's owner allows beyond the list."""

    path: Path
    output: str = ""
    threads: int = 1
    trusted: Collection[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A model format: its loader, the runtimes (``domain.images``) that read it, and how to know a file of it.

    ``suffixes`` and ``names`` belong to this format alone; files of ``shared`` suffixes have to begin like it.
    """

    name: str
    load: Callable[[LoadRequest], Model | Service]
    runtimes: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    begins: Callable[[bytes], bool] = lambda head: False
    marks: Callable[[Path], bool] | None = None
    """Whether the file of one of ``names`` makes its folder a model; whatever else lies there is part of it."""

    def matches(self, path: Path) -> bool:
        if self.marks is not None:
            return path.name in self.names and self.marks(path)
        suffix = path.suffix.lower()
        if path.name in self.names or suffix in self.suffixes:
            return True
        return suffix in self.shared and self.begins(_head(path))


def _is_xgboost(head: bytes) -> bool:
    return head.lstrip()[:1] == b"{" and b"learner" in head


def _is_lightgbm(head: bytes) -> bool:
    return head.lstrip().startswith(b"tree") and b"version=" in head


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _is_zip(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def _load_xgboost(request: LoadRequest) -> Model:
    """SageMaker's older containers pickled what they called ``xgboost-model``."""
    if _is_pickle(_head(request.path)):
        return _load_pickle(request)
    return xgboost.load(request.path, output=request.output, threads=request.threads)


def _load_pickle(request: LoadRequest) -> Model:
    """A pickle may hold an estimator of any library, or a bare booster."""
    loaded = pickles.load_pickle(request.path, extra=request.trusted)
    output, threads = request.output, request.threads
    match type(loaded).__module__, type(loaded).__name__:
        case "xgboost.core", "Booster":
            return xgboost.booster_model(loaded, output=output, threads=threads)
        case "lightgbm.basic", "Booster":
            return lightgbm.booster_model(loaded, output=output, threads=threads)
    return sklearn.estimator_model(loaded, request.path.name, output=output, threads=threads)


def _load_skops(request: LoadRequest) -> Model:
    return sklearn.load_skops(
        request.path, output=request.output, threads=request.threads, trusted=request.trusted
    )


def _plain(of: Callable[..., Model]) -> Callable[[LoadRequest], Model]:
    return lambda request: of(request.path, output=request.output, threads=request.threads)


def _load_huggingface(request: LoadRequest) -> Service:
    return huggingface.load(request.path, environment=request.environment, threads=request.threads)


FORMATS = (
    Format(name="ONNX", load=_plain(onnx.load), runtimes=("auto", "onnx"), suffixes=(".onnx",)),
    Format(name="skops", load=_load_skops, runtimes=("auto", "sklearn"),
           suffixes=(".skops",), begins=_is_zip),
    Format(name="XGBoost", load=_load_xgboost, runtimes=("auto", "xgboost"),
           suffixes=(".ubj", ".xgb", ".bst"), names=("xgboost-model",),
           shared=(".json", ".model", ".bin", ""), begins=_is_xgboost),
    Format(name="LightGBM", load=_plain(lightgbm.load), runtimes=("auto", "lightgbm"),
           suffixes=(".lgb",), names=("lightgbm-model",),
           shared=(".txt", ".model", ".bin", ""), begins=_is_lightgbm),
    Format(name="joblib or pickle", load=_load_pickle,
           runtimes=("auto", "sklearn", "xgboost", "lightgbm"), suffixes=(".joblib", ".pkl", ".pickle"),
           shared=(".model", ".bin", ".sav", ""), begins=_is_pickle),
    Format(name="MLflow", load=_plain(mlflow.load), runtimes=("auto", "mlflow"),
           names=(mlflow.MARK,), marks=lambda path: True),
    Format(name="Hugging Face", load=_load_huggingface, runtimes=("auto", "huggingface", "pytorch"),
           names=(huggingface.MARK,), marks=huggingface.is_folder),
    Format(name="PyTorch", load=_plain(torch.load), runtimes=("auto", "pytorch"),
           suffixes=(".pt", ".pth", ".pt2")),
    Format(name="CatBoost", load=_plain(catboost.load), runtimes=("auto", "catboost"), suffixes=(".cbm",)),
)  # fmt: skip


def load(
    folder: Path, *, runtime: str, environment: Mapping[str, str], trusted: Collection[str] = ()
) -> Model | Service:
    """Find and load the model of a folder. Raises ``LoadError`` with what to do."""
    formats = [one for one in FORMATS if runtime in one.runtimes]
    if not formats:
        raise LoadError(
            f"Modelyard does not run {runtime} models yet; export the model as ONNX and use the image modelyard/onnx."
        )
    merge = _SWITCH.get(environment.get(MERGE, "").lower())
    if merge is None:
        raise LoadError(f"{MERGE}={environment[MERGE]!r} is neither true nor false.")
    path, chosen = _find(folder, formats, environment.get(FILE, ""), runtime)
    model = chosen.load(
        LoadRequest(
            path=path,
            output=environment.get(OUTPUT, ""),
            threads=_threads(environment.get(THREADS, "1")),
            trusted=trusted,
            environment=environment,
        )
    )
    if isinstance(model, Service):
        return model
    return model if merge else Unmerged(model)


class Unmerged:
    """A model whose owner says that rows of one request have to be predicted by themselves."""

    row_wise = False

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, batch: Batch) -> Output:
        return self._model.predict(batch)


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise LoadError(f"{THREADS}={text!r} is not a number of threads.")
    return int(text)


def _find(folder: Path, formats: list[Format], named: str, runtime: str) -> tuple[Path, Format]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if named:
        return _named(folder, files, formats, named)
    found = [(path, one) for path in files for one in formats if one.matches(path)]
    if not found:
        raise LoadError(
            f"No model file was found for the runtime {runtime}: the artifact holds {_listing(folder, files)}. "
            f"Known are {', '.join(_known(formats))}; name another with the variable {FILE}."
        )
    # Within a folder that is a model as a whole, its parts are none.
    whole = [(path, one) for path, one in found if one.marks is not None]
    found = [
        (path, one)
        for path, one in found
        if not any(path != mark and path.is_relative_to(mark.parent) for mark, _ in whole)
    ]
    # The files of the topmost folder win: what lies deeper belongs to code or assets.
    depth = min(len(path.relative_to(folder).parts) for path, _ in found)
    top = [(path, one) for path, one in found if len(path.relative_to(folder).parts) == depth]
    if len({path for path, _ in top}) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path, _ in top)
        raise LoadError(
            f"Several files may be the model: {names}. Choose one with the variable {FILE}."
        )
    return top[0]


def _named(
    folder: Path, files: list[Path], formats: list[Format], named: str
) -> tuple[Path, Format]:
    """The file that the environment names, whatever its suffix: then its first bytes say what it is."""
    for path in files:
        if path.relative_to(folder).as_posix() == named:
            head = _head(path)
            for one in formats:
                if one.matches(path) or one.begins(head):
                    return path, one
            if len({one.name for one in formats}) == 1:
                return path, formats[0]
            raise LoadError(
                f"{named} is of no known format: {', '.join(_known(formats))}. Rename the file to say which."
            )
    raise LoadError(f"{FILE}={named!r}: the artifact holds {_listing(folder, files)}.")


def _listing(folder: Path, files: list[Path]) -> str:
    names = [path.relative_to(folder).as_posix() for path in files[:10]]
    more = f" and {len(files) - 10} more" if len(files) > 10 else ""
    return (", ".join(names) or "nothing") + more


def _known(formats: list[Format]) -> list[str]:
    names = [
        name
        for one in formats
        for name in (
            *(f"*{suffix}" for suffix in (*one.suffixes, *filter(None, one.shared))),
            *one.names,
        )
    ]
    return list(dict.fromkeys(names))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
