"""What an object store knows of and has not got: nobody looks for it for ever."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from modelyard.base.settings import Home, Limits
from modelyard.control.fleets import CannotPlan, Fleets
from modelyard.domain.fleet import Container, ModelData

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Stored:
    etag: str
    size: int
    path: Path


class Lost:
    """The file of every object is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looks = 0

    def head(self, bucket: str, key: str) -> Stored | None:
        self.looks += 1
        assert self.looks < 1_000, "it is looked for again and again"
        return Stored("etag", 1, self.folder / "gone")


async def test_a_lost_file_is_a_model_that_could_not_be_found(tmp_path: Path) -> None:
    objects, home = Lost(tmp_path), Home(tmp_path / "home")
    home.create()
    fleets = Fleets(objects=objects, home=home, limits=Limits(), address_of=lambda name: name)
    container = {"Image": "sagemaker-scikit-learn", "ModelDataUrl": "s3://b/model.tar.gz"}
    with pytest.raises(CannotPlan, match="could not find model data at s3:"):
        await fleets.plan(
            owner="o",
            generation=1,
            now=0.0,
            config_name="c",
            variants=[{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}],
            models={"m": {"PrimaryContainer": container}},
        )
    data = ModelData(uri="s3://b/models/", path=str(tmp_path / "shelf"), key="shelf")
    shelved = Container(name="c", image="", runtime="", environment={}, data=data)
    assert not fleets.shelve(shelved, "m.tar.gz")
