"""One real platform for all tests of this folder, and small models trained on real data."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.cli.platform import Platform
from modelyard.testing.platform import running_platform

CLIENTS = Path(__file__).parents[2] / ".cache" / "venvs"


@dataclass(frozen=True)
class Trained:
    """A model's archive, rows to score (also as a CSV file), and the answers of the model in this process."""

    archive: Path
    rows: np.ndarray[Any, np.dtype[np.float64]]
    csv: Path
    expected: np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform") / "home") as platform:
        yield platform


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
    archive = pack(folder / "model.tar.gz", {"model.json": (folder / "model.json").read_bytes()})
    expected = model.predict(xgboost.DMatrix(rows))
    return Trained(archive, rows, folder / "rows.csv", expected.astype(np.float64))


def pack(target: Path, files: dict[str, bytes]) -> Path:
    """Write a ``model.tar.gz``."""
    with tarfile.open(target, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


@pytest.fixture(scope="session")
def clients_folder() -> Path:
    """Environments of other people's clients; ``make clients`` makes them."""
    if not CLIENTS.exists():
        pytest.fail("The clients are not installed: make clients")
    return CLIENTS
