"""Which loader a folder of files needs: one readable table from what the files are called."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.frameworks import lightgbm, onnx, sklearn, xgboost
from modelyard.frameworks.model import LoadError, Model

OUTPUT = "MODELYARD_OUTPUT"
FILE = "MODELYARD_MODEL_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What a loader gets. ``trusted`` are imports that the platform's owner allows beyond the list."""

    path: Path
    environment: Mapping[str, str]
    trusted: Collection[str] = ()

    @property
    def output(self) -> str:
        return self.environment.get(OUTPUT, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A model format: its loader and the runtimes (``domain.images``) that read it."""

    name: str
    load: Callable[[LoadRequest], Model]
    runtimes: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def matches(self, path: Path) -> bool:
        return path.name in self.names or path.suffix.lower() in self.suffixes


FORMATS = (
    Format(name="ONNX", load=lambda r: onnx.load(r.path, output=r.output, environment=r.environment),
           runtimes=("auto", "onnx"), suffixes=(".onnx",)),
    Format(name="skops", load=lambda r: sklearn.load_skops(r.path, output=r.output, trusted=r.trusted),
           runtimes=("auto", "sklearn"), suffixes=(".skops",)),
    Format(name="XGBoost", load=lambda r: xgboost.load(r.path, trusted=r.trusted, output=r.output),
           runtimes=("auto", "xgboost"), suffixes=(".ubj", ".xgb", ".bst"),
           names=("xgboost-model", "model.json", "xgboost.json")),
    Format(name="LightGBM", load=lambda r: lightgbm.load(r.path), runtimes=("auto", "lightgbm"),
           suffixes=(".txt", ".lgb"), names=("lightgbm-model",)),
    Format(name="joblib or pickle",
           load=lambda r: sklearn.load_pickled(r.path, output=r.output, trusted=r.trusted),
           runtimes=("auto", "sklearn", "xgboost", "lightgbm"), suffixes=(".joblib", ".pkl", ".pickle")),
)  # fmt: skip


def load(
    folder: Path, *, runtime: str, environment: Mapping[str, str], trusted: Collection[str] = ()
) -> Model:
    """Find and load the model of a folder. Raises ``LoadError`` with what to do."""
    formats = [one for one in FORMATS if runtime in one.runtimes]
    if not formats:
        raise LoadError(f"Modelyard does not run {runtime} models yet; export the model as ONNX.")
    path, chosen = _find(folder, formats, environment.get(FILE, ""), runtime)
    return chosen.load(LoadRequest(path=path, environment=environment, trusted=trusted))


def _find(folder: Path, formats: list[Format], named: str, runtime: str) -> tuple[Path, Format]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if named:
        files = [path for path in files if str(path.relative_to(folder)) == named]
    found = [(path, one) for path in files for one in formats if one.matches(path)]
    if not found:
        listing = ", ".join(str(path.relative_to(folder)) for path in files[:10]) or "nothing"
        raise LoadError(
            f"No model file was found for the runtime {runtime}: the artifact holds {listing}. "
            f"Known are {', '.join(_known(formats))}; name another with the variable {FILE}."
        )
    # The files of the topmost folder win: what lies deeper belongs to code or assets.
    depth = min(len(path.relative_to(folder).parts) for path, _ in found)
    top = [(path, one) for path, one in found if len(path.relative_to(folder).parts) == depth]
    if len(top) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path, _ in top)
        raise LoadError(
            f"Several files may be the model: {names}. Choose one with the variable {FILE}."
        )
    return top[0]


def _known(formats: list[Format]) -> list[str]:
    return [
        name for one in formats for name in (*(f"*{suffix}" for suffix in one.suffixes), *one.names)
    ]
