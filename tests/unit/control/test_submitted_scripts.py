"""A script in an archive of its own: pinned with the model, and told to the worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.base.settings import Home, Limits
from modelyard.control.fleets import CannotPlan, Fleets, pin_folder
from modelyard.domain.fleet import Fleet, placements
from modelyard.runtimes.runtime import LogStream

pytestmark = pytest.mark.anyio
LOG = LogStream(account="1", region="r", group="g", stream="s")


@dataclass(frozen=True)
class Stored:
    etag: str
    size: int
    path: Path


class Objects:
    """What lies in the bucket ``b``, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def head(self, bucket: str, key: str) -> Stored | None:
        path = self.folder / key
        return Stored(f"etag-of-{key}", path.stat().st_size, path) if path.exists() else None


@pytest.fixture
def fleets(tmp_path: Path) -> Fleets:
    home = Home(tmp_path / "home")
    home.create()
    for name in ("model.tar.gz", "sourcedir.tar.gz"):
        (tmp_path / name).write_text(name)
    return Fleets(
        objects=Objects(tmp_path),
        home=home,
        limits=Limits(),
        address_of=lambda name: f"unix:/{name}",
    )


async def planned(fleets: Fleets, **environment: str) -> Fleet:
    container = {
        "Image": "sagemaker-scikit-learn",
        "ModelDataUrl": "s3://b/model.tar.gz",
        "Environment": environment,
    }
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}
    return await fleets.plan(
        owner="o", generation=1, now=0.0, config_name="c", variants=[variant],
        models={"m": {"PrimaryContainer": container}},
    )  # fmt: skip


async def test_the_archive_is_pinned_and_told_to_the_worker(fleets: Fleets, tmp_path: Path) -> None:
    fleet = await planned(
        fleets, SAGEMAKER_PROGRAM="serve.py", SAGEMAKER_SUBMIT_DIRECTORY="s3://b/sourcedir.tar.gz"
    )
    (tmp_path / "sourcedir.tar.gz").unlink()
    code = fleet.variants[0].containers[0].code
    assert Path(code.path).read_text() == "sourcedir.tar.gz"
    assert Path(code.path).is_relative_to(pin_folder(Home(tmp_path / "home"), code.key))
    (placement,) = placements(fleet, {})
    told: dict[str, Any] = fleets.worker(placement, arn="a", log=LOG).payload
    assert told["code"] == {"path": code.path, "key": code.key, "name": "sourcedir.tar.gz"}
    assert told["model"]["name"] == "model.tar.gz"


async def test_a_model_says_itself_how_long_it_takes_to_start(fleets: Fleets) -> None:
    assert (await planned(fleets)).variants[0].startup_seconds == 0
    asked = await planned(fleets, SAGEMAKER_STARTUP_TIMEOUT="600")
    assert asked.variants[0].startup_seconds == 600
    for wrong in ("soon", "0", "3601"):
        with pytest.raises(CannotPlan, match="not a number of seconds from 1 to 3600"):
            await planned(fleets, SAGEMAKER_STARTUP_TIMEOUT=wrong)


async def test_an_archive_that_is_not_there_is_named(fleets: Fleets) -> None:
    with pytest.raises(
        CannotPlan, match=r"archive of SAGEMAKER_SUBMIT_DIRECTORY at s3://b/none\.tar\.gz"
    ):
        await planned(fleets, SAGEMAKER_SUBMIT_DIRECTORY="s3://b/none.tar.gz")


@pytest.mark.parametrize("place", ["", "/opt/ml/model/code", "file:///home/me/src"])
async def test_a_place_within_the_artifact_is_no_archive(fleets: Fleets, place: str) -> None:
    fleet = await planned(fleets, SAGEMAKER_SUBMIT_DIRECTORY=place)
    assert fleet.variants[0].containers[0].code.path == ""
