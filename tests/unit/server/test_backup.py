"""A backup that was tampered with leaves nothing outside the home, and no home; one that was killed leaves nothing for ever."""

import fcntl
import io
import json
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from modelyard.base.settings import Home
from modelyard.server.backup import FORMAT, BackupFailed, backup, restore


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


def test_what_a_killed_backup_has_linked_goes_with_the_next_and_what_another_collects_stays(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with closing(sqlite3.connect(home.state)) as state:
        state.execute("CREATE TABLE resources (name TEXT)")
    left, others, users = (home.root / name for name in (".backup-1", ".backup-2", "backup-3"))
    for folder in (left, others, users):
        (folder / "objects").mkdir(parents=True)
        (folder / "objects" / "data").write_bytes(b"of an object that was deleted since")
    descriptor = os.open(others, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    backup(home, tmp_path / "saved.tar")
    os.close(descriptor)
    assert sorted(home.root.glob("*backup*")) == [others, users]
