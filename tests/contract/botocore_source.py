"""botocore's own test cases, taken from its source distribution on PyPI: read where they are, never copied in."""

import contextlib
import fcntl
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore

CACHE = Path(__file__).parents[2] / ".cache" / "botocore-sdist"


def folder() -> Path:
    """The unpacked ``tests/unit`` of the installed botocore; fetched once a version."""
    target = CACHE / botocore.__version__
    if not target.exists():
        _unpack(_archive(), target)
    return target


def unit_test_source(name: str) -> str:
    """The source of one of botocore's own unit tests."""
    with tarfile.open(_archive()) as source:
        file = source.extractfile(f"botocore-{botocore.__version__}/tests/unit/{name}.py")
        assert file is not None
        return file.read().decode()


def _archive() -> Path:
    archive = CACHE / f"botocore-{botocore.__version__}.tar.gz"
    with _alone():
        if not archive.exists():
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "botocore",
                 f"botocore=={botocore.__version__}", "--dest", str(CACHE)],
                check=True,
            )  # fmt: skip
    return archive


def _unpack(archive: Path, target: Path) -> None:
    prefix = f"botocore-{botocore.__version__}/tests/unit/"
    temporary = CACHE / f".{botocore.__version__}"
    with _alone(), tarfile.open(archive) as source:
        if target.exists():
            return
        for member in source:
            if member.isreg() and member.name.startswith((prefix + "protocols", prefix + "auth")):
                place = temporary / member.name.removeprefix(prefix)
                place.parent.mkdir(parents=True, exist_ok=True)
                found = source.extractfile(member)
                assert found is not None
                place.write_bytes(found.read())
        temporary.rename(target)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Among the processes that run tests side by side: one fetches, the others find it there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def protocol_cases(direction: str, protocol: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of suite and case; ``direction`` is ``input`` or ``output``."""
    path = folder() / "protocols" / direction / f"{protocol}.json"
    suites = json.loads(path.read_text())
    return [(suite, case) for suite in suites for case in suite["cases"]]
