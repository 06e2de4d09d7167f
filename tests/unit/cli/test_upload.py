"""A folder on its way to S3."""

import os
import tarfile
from pathlib import Path

from modelyard.cli.upload import pack


def _folder(root: Path, *, mtime: int) -> Path:
    (root / "code").mkdir(parents=True)
    for name, text in (("model.json", "{}"), ("code/inference.py", "pass")):
        (root / name).write_text(text)
        os.utime(root / name, (mtime, mtime))
    return root


def test_the_same_files_are_the_same_archive_whenever_they_were_written(tmp_path: Path) -> None:
    archives = []
    for mtime in (1_000_000, 2_000_000):
        archive = tmp_path / f"{mtime}.tar.gz"
        pack(_folder(tmp_path / str(mtime), mtime=mtime), archive)
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]


def test_an_archive_holds_the_folder_without_its_name(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    pack(_folder(tmp_path / "churn", mtime=1_000_000), archive)
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["code", "code/inference.py", "model.json"]
        script = packed.extractfile("code/inference.py")
        assert script is not None
        assert script.read() == b"pass"
