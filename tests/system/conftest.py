"""One real platform for all tests of this folder, emptied for each module, one that has torch, and small models of real data."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.base.settings import Home
from modelyard.cli.platform import Platform, connect
from modelyard.testing import models
from modelyard.testing.archives import unpack
from modelyard.testing.platform import running_platform

CLIENTS = Path(__file__).parents[2] / ".cache" / "venvs"
FRAMEWORKS = CLIENTS / "frameworks" / "bin" / "python"
PROJECTS = Path(__file__).parent / "projects"


@dataclass(frozen=True)
class Trained:
    """A model's archive, rows to score (also as a CSV file), and the answers of the model in this process."""

    archive: Path
    rows: np.ndarray[Any, np.dtype[np.float64]]
    csv: Path
    expected: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ScriptProject:
    """What somebody trained and wrote: a model's files, the sources that serve it, a body to score, and what its answer says."""

    name: str
    model: dict[str, bytes]
    body: bytes
    expected: Any

    @property
    def sources(self) -> Path:
        return PROJECTS / self.name

    def archive(self) -> dict[str, bytes]:
        """The files of a ``model.tar.gz`` that brings its code along."""
        paths = [path for path in self.sources.rglob("*") if path.is_file()]
        code = {f"code/{one.relative_to(self.sources)}": one.read_bytes() for one in paths}
        return {**self.model, **code}

    def write(self, folder: Path) -> None:
        """``model.tar.gz`` without code, the ``body`` and ``expected.json``, for a script of somebody else's client."""
        folder.mkdir()
        models.archive(folder / "model.tar.gz", files=self.model)
        (folder / "body").write_bytes(self.body)
        (folder / "expected.json").write_text(json.dumps(self.expected))


@pytest.fixture(scope="session")
def one_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform") / "home") as platform:
        yield platform


@pytest.fixture(scope="module")
def platform(one_platform: Platform) -> Platform:
    """Empty: which modules came before in this process is anybody's guess."""
    one_platform.own_call("POST", "/_modelyard/reset")
    return one_platform


@pytest.fixture(scope="session")
def booster(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Gradient boosting on scikit-learn's diabetes data, in XGBoost's own format."""
    import xgboost
    from sklearn.datasets import load_diabetes

    folder = tmp_path_factory.mktemp("booster")
    data = load_diabetes()
    model = xgboost.train(
        {"max_depth": 3, "nthread": 1}, xgboost.DMatrix(data.data, label=data.target), 20
    )
    model.save_model(folder / "model.json")
    rows = np.round(data.data[:40], 6)
    np.savetxt(folder / "rows.csv", rows, delimiter=",", fmt="%.6f")
    archive = models.archive(folder / "model.tar.gz", of=[folder / "model.json"])
    expected = model.predict(xgboost.DMatrix(rows))
    return Trained(archive, rows, folder / "rows.csv", expected.astype(np.float64))


@pytest.fixture(scope="session")
def torch_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs on the Python of the heavy frameworks; it has the light ones too."""
    _need_frameworks()
    home = tmp_path_factory.mktemp("torch") / "home"
    environment = {**os.environ, "MODELYARD_HOME": str(home), "NO_COLOR": "1"}

    def command(*arguments: str) -> None:
        finished = subprocess.run(
            [str(FRAMEWORKS), "-m", "modelyard.cli.main", *arguments],
            env=environment, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr

    command("up", "--detach", "--port", "0")
    try:
        yield connect(Home(home).root)
    finally:
        command("down")


def _need_frameworks() -> None:
    if not FRAMEWORKS.exists():
        pytest.skip("torch is not installed: make clients")


@pytest.fixture(scope="session")
def booster_project(booster: Trained, tmp_path_factory: pytest.TempPathFactory) -> ScriptProject:
    import xgboost

    path = unpack(booster.archive, tmp_path_factory.mktemp("booster-project")) / "model.json"
    model = xgboost.Booster(model_file=str(path))
    expected = model.predict(xgboost.DMatrix(booster.rows)).tolist()
    body = booster.csv.read_bytes().strip()
    return ScriptProject("booster", {path.name: path.read_bytes()}, body, expected)


@pytest.fixture(scope="session")
def text_project(tmp_path_factory: pytest.TempPathFactory) -> ScriptProject:
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good great fine", "great plot", "bad dull", "dull dull plot", "fine good", "bad"]
    labels = ["up", "up", "down", "down", "up", "down"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    path = tmp_path_factory.mktemp("text-project") / "model.joblib"
    joblib.dump(model, path)
    return ScriptProject(
        "text", {path.name: path.read_bytes()}, b"GREAT!\nso dull\n", ["up", "down"]
    )


@pytest.fixture(scope="session")
def image_project() -> ScriptProject:
    """Its body is one light picture."""
    body = b"P5 2 2 255\n" + bytes([200] * 4)
    return ScriptProject("image", {"threshold.json": b'{"threshold": 100}'}, body, {"bright": True})


@pytest.fixture(scope="session")
def deep_project(tmp_path_factory: pytest.TempPathFactory) -> ScriptProject:
    _need_frameworks()
    weights = tmp_path_factory.mktemp("deep-project") / "weights.pth"
    rows = [[0.1, 0.2, 0.3, 0.4], [1.0, -1.0, 0.5, 0.0]]
    training = (
        "import json, sys, torch\nfrom inference import Net\ntorch.manual_seed(1)\nnet = Net().eval()\n"
        "torch.save(net.state_dict(), sys.argv[1])\n"
        "print(json.dumps(net(torch.tensor(json.loads(sys.argv[2]))).tolist()))\n"
    )
    finished = subprocess.run(
        [str(FRAMEWORKS), "-c", training, str(weights), json.dumps(rows)],
        cwd=PROJECTS / "deep", env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    body = "\n".join(",".join(map(str, row)) for row in rows).encode()
    files = {weights.name: weights.read_bytes()}
    return ScriptProject("deep", files, body, json.loads(finished.stdout))


@pytest.fixture(scope="session")
def projects(
    booster_project: ScriptProject,
    text_project: ScriptProject,
    image_project: ScriptProject,
    deep_project: ScriptProject,
) -> list[ScriptProject]:
    return [booster_project, text_project, image_project, deep_project]


@pytest.fixture(scope="session")
def clients_folder() -> Path:
    """Environments of other people's clients; ``make clients`` makes them."""
    if not CLIENTS.exists():
        pytest.fail("The clients are not installed: make clients")
    return CLIENTS
