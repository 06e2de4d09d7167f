"""The archive of a model that a job has learned: it lies in its place whole or not at all, and stays."""

import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def put_archive(target: Path, learn: Callable[[Path], Result]) -> Result:
    """Have ``learn`` write the model's files into a folder, and pack them."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        files, packed = Path(work, "files"), Path(work, "model.tar")
        files.mkdir()
        result = learn(files)
        with packed.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                for path in sorted(files.iterdir()):
                    archive.add(path, path.name)
            file.flush()
            os.fsync(file.fileno())
        os.replace(packed, target)
    return result
