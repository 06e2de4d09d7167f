"""What is installed for a model may write one folder, and takes no longer than it is given."""

import os
import time
from pathlib import Path

import pytest

from modelyard.runtimes.enclosure import run_enclosed
from modelyard.runtimes.isolation import NO_ISOLATION, Isolation, open_isolation


@pytest.fixture(params=["isolated", "not isolated"])
def isolation(request: pytest.FixtureRequest, tmp_path: Path) -> Isolation:
    if request.param == "not isolated":
        return NO_ISOLATION
    found = open_isolation(tmp_path / "home", tmp_path / "home" / "sandbox", "auto")
    if found.reason:
        pytest.skip(f"this machine does not allow it: {found.reason}")
    return found


def test_it_writes_its_folder_and_its_status_is_told(isolation: Isolation, tmp_path: Path) -> None:
    folder, source = tmp_path / "made", tmp_path / "source"
    folder.mkdir()
    source.mkdir()
    (source / "names").write_text("numpy")

    def install() -> int:
        (folder / "installed").write_text((source / "names").read_text())
        return 3

    status = run_enclosed(isolation, install, writable=folder, readable=[source], seconds=30)
    assert status == 3
    assert (folder / "installed").read_text() == "numpy"


def test_it_writes_nothing_else(tmp_path: Path) -> None:
    found = open_isolation(tmp_path / "home", tmp_path / "home" / "sandbox", "auto")
    if found.reason:
        pytest.skip(f"this machine does not allow it: {found.reason}")
    folder, other = tmp_path / "made", tmp_path / "other"
    folder.mkdir()
    other.mkdir()

    def install() -> int:
        try:
            (other / "file").write_text("x")
        except OSError:
            return 0
        return 1

    assert run_enclosed(found, install, writable=folder, readable=[other], seconds=30) == 0
    assert list(other.iterdir()) == []


def test_it_is_killed_when_its_time_is_over(isolation: Isolation, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()

    def hang() -> int:
        (folder / "begun").touch()
        if os.fork() == 0:
            time.sleep(600)
        time.sleep(600)
        return 0

    with pytest.raises(TimeoutError):
        run_enclosed(isolation, hang, writable=folder, seconds=1)
    assert (folder / "begun").exists()


def test_what_raises_has_a_status(isolation: Isolation, tmp_path: Path) -> None:
    def fail() -> int:
        raise ValueError("no")

    assert run_enclosed(isolation, fail, writable=tmp_path, seconds=30) == 70
