"""Killed at each boundary of a write, the object store shows the old object or the new one, whole, and loses no room."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.store.objects import ObjectStore

PUT = """
import sys
from pathlib import Path
from modelyard.store.objects import ObjectStore, StorageFull

store = ObjectStore(Path(sys.argv[1]))
try:
    with store.writer("b", "k") as writer:
        for _ in range(3):
            writer.write(b"new")
        writer.commit()
    print("done", flush=True)
except StorageFull:
    print("full", flush=True)
"""
UPLOAD = """
import sys
from pathlib import Path
from modelyard.store.object_info import Attributes
from modelyard.store.object_uploads import Options, Uploads
from modelyard.store.objects import ObjectStore, StorageFull

store = ObjectStore(Path(sys.argv[1]))
uploads = Uploads(store)
try:
    upload = uploads.create("b", "k", Options(attributes=Attributes()))
    parts = []
    for number in (1, 2, 3):
        with uploads.part_writer(upload, number) as writer:
            writer.write(b"new")
            parts.append(writer.commit({}))
    assembly = uploads.assemble(upload, parts)
    try:
        assembly.commit(Attributes(parts=3), etag="e-3")
    finally:
        assembly.abort()
    print("done", flush=True)
except StorageFull:
    print("full", flush=True)
"""
DELETE = """
import sys
from pathlib import Path
from modelyard.store.objects import ObjectStore

ObjectStore(Path(sys.argv[1])).delete_object("b", "k")
print("done", flush=True)
"""
BOUNDARIES = (
    "objects.write", "objects.before-sync", "objects.before-rename", "objects.after-rename",
    "objects.before-commit", "objects.after-commit",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "objects"
    store = ObjectStore(root)
    store.create_bucket("b", account="1", region="r")
    with store.writer("b", "k") as writer:
        writer.write(b"old")
        writer.commit()
    store.close()
    return root


def run(script: str, root: Path, failpoints: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(root)],
        env={**os.environ, "MODELYARD_FAILPOINTS": failpoints},
        capture_output=True,
        text=True,
        timeout=60,
    )


def after_restart(root: Path) -> tuple[bytes | None, int]:
    """What is visible, and how many files there are that an object or a part has."""
    store = ObjectStore(root)
    store.sweep()
    info = store.head("b", "k")
    data = info.path.read_bytes() if info else None
    files = {str(path.relative_to(root)) for path in root.glob("[dt]*/**/*") if path.is_file()}
    assert files == store.index.data_files()
    store.close()
    return data, len(files)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_killed_put_is_all_or_nothing(root: Path, boundary: str) -> None:
    done = run(PUT, root, f"{boundary}=1")
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected = b"newnewnew" if boundary == "objects.after-commit" else b"old"
    assert after_restart(root) == (expected, 1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("visit", [1, 2, 4, 5, 6])
def test_a_killed_upload_is_all_or_nothing(root: Path, boundary: str, visit: int) -> None:
    done = run(UPLOAD, root, f"{boundary}={visit}")
    data, _ = after_restart(root)
    if done.stdout == "done\n":
        assert data == b"newnewnew"
    else:
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert data == (b"newnewnew" if boundary == "objects.after-commit" else b"old")


@pytest.mark.parametrize("boundary", ["objects.before-commit", "objects.after-commit"])
def test_a_killed_delete_is_all_or_nothing(root: Path, boundary: str) -> None:
    done = run(DELETE, root, f"{boundary}=1")
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected = (None, 0) if boundary == "objects.after-commit" else (b"old", 1)
    assert after_restart(root) == expected


@pytest.mark.parametrize("script", [PUT, UPLOAD])
@pytest.mark.parametrize("boundary", BOUNDARIES[:-2])
def test_a_full_disk_leaves_the_old_object_and_no_file(
    root: Path, boundary: str, script: str
) -> None:
    done = run(script, root, f"{boundary}=error:1")
    assert done.stdout == "full\n", done.stderr
    assert list((root / "tmp").iterdir()) == []
    assert after_restart(root) == (b"old", 1)
