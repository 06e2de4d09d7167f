"""A backup that somebody has tampered with leaves nothing outside the home, and no home."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from modelyard.base.settings import Home
from modelyard.server.backup import FORMAT, BackupFailed, restore


def link() -> tarfile.TarInfo:
    about = tarfile.TarInfo("objects")
    about.type, about.linkname = tarfile.SYMTYPE, "/tmp"
    return about


@pytest.mark.parametrize("about", [tarfile.TarInfo("../outside"), link()], ids=["path", "link"])
def test_what_is_no_backups_is_refused(about: tarfile.TarInfo, tmp_path: Path) -> None:
    source = tmp_path / "saved.tar"
    with tarfile.open(source, "w") as archive:
        manifest = json.dumps({"format": FORMAT}).encode()
        first = tarfile.TarInfo("manifest.json")
        first.size = len(manifest)
        archive.addfile(first, io.BytesIO(manifest))
        archive.addfile(about)
    home = Home(tmp_path / "new" / "home")
    with pytest.raises(BackupFailed, match=about.name):
        restore(home, source)
    assert [path.name for path in (tmp_path / "new").iterdir()] == []
    assert not (tmp_path / "outside").exists()
