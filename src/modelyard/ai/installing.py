"""Installing packs: fetch by the registries' own clients, compare with the pins, build, put in place at once.

pip and npm are asked, not the registries, so that the user's own index, proxy and cache hold. What arrives is compared with
the pack's SHA-256 before anything looks into it; a re-upload by somebody else is refused.
"""

import fcntl
import hashlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import msgspec

from modelyard.ai.catalogue import (
    ABOUT,
    ARCHIVE,
    Installed,
    Pack,
    Package,
    builtin_folder,
    missing_libraries,
)
from modelyard.ai.engine import LIBRARIES

FETCH_SECONDS = 1_800.0
MEMBER_BYTES = 4 << 30
"""The largest file that is taken out of a package."""
_CHUNK = 1 << 20
_TAIL = 800
_OLD = "old"
"""In a workplace, the pack that is being replaced."""

Say = Callable[[str], None]


class InstallFailed(Exception):
    """The pack cannot be installed; the text says why, and what to do."""


def install(pack: Pack, root: Path, *, accept_licence: bool, say: Say) -> Installed:
    """Install or replace a pack. Raises ``InstallFailed``; then what was installed before is still there."""
    if pack.licence.accept and not accept_licence:
        raise InstallFailed(
            f"{pack.name} is under {pack.licence.weights} (its code: {pack.licence.code}). {pack.licence.note} If you accept "
            f"that: modelyard models install {pack.name} --accept-license"
        )
    lacking = missing_libraries(pack)
    if lacking:
        raise InstallFailed(f"{pack.name} needs what is not there yet. First: {'; '.join(lacking)}")
    with _workplace(root, pack.name) as work:
        sources, target = work / "sources", work / "model"
        sources.mkdir()
        target.mkdir()
        for package in pack.packages:
            say(f"fetching {package.name} {package.version}")
            _take(_fetch(package, work / "fetched"), package, sources)
        if pack.build:
            say("building")
            importlib.import_module(pack.build).build(sources, target)
        else:
            for path in sources.iterdir():
                path.rename(target / path.name)
        if pack.libraries:
            say("installing its libraries")
            _install_libraries(pack.libraries, target / LIBRARIES)
        return _put(pack, target, root, work, source="")


def add_folder(pack: Pack, folder: Path, root: Path) -> Installed:
    """Make a pack of the user's own folder. Raises ``InstallFailed``."""
    if not folder.is_dir():
        raise InstallFailed(f"{folder} is no folder.")
    with _workplace(root, pack.name) as work:
        return _put(pack, folder, root, work, source=str(folder.absolute()))


def remove(name: str, root: Path) -> bool:
    """Whether it was there. What serves it goes on until it is started again."""
    folder = root / name
    if not (folder / ABOUT).is_file():
        return False
    with _workplace(root, name) as work:
        folder.rename(work / "gone")
    return True


def verify(pack: Pack, root: Path) -> list[str]:
    """What is wrong with an installed pack, nothing if all is as it was pinned."""
    found = [f"missing: {command}" for command in missing_libraries(pack)]
    for module in pack.modules:
        spec = find_spec(module.name)
        place = Path(spec.origin).parent if spec and spec.origin else None
        for name, pin in module.files.items() if place else ():
            assert place is not None
            path = place / name
            if not path.is_file():
                found.append(f"{module.name}/{name} is gone")
            elif file_sha256(path) != pin:
                found.append(f"{module.name}/{name} is not the file that is pinned")
    about = root / pack.name / ABOUT
    if not about.is_file():
        return [*found, "not installed"] if pack.has_files else found
    one = msgspec.json.decode(about.read_bytes(), type=Installed)
    return found + _verify_archive(one, root / pack.name / ARCHIVE)


def _verify_archive(one: Installed, path: Path) -> list[str]:
    if not one.key:
        return []
    if not path.is_file():
        return [f"{ARCHIVE} is gone"]
    if not one.key.endswith(file_sha256(path)[:32]):
        return [f"{ARCHIVE} has changed since it was installed"]
    return []


@contextmanager
def _workplace(root: Path, name: str) -> Iterator[Path]:
    """A folder beside the packs, for one installer of a pack at a time; gone at the end."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = root / f".{name}.tmp"
    with (root / f".{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallFailed(f"{name} is being installed by another command.") from None
        _put_back(work / _OLD, root / name)  # Of a command that was killed between two steps.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _fetch(package: Package, folder: Path) -> Path:
    """The package's file, with the pinned content. Raises ``InstallFailed``."""
    folder.mkdir(exist_ok=True)
    wanted = f"{package.name}=={package.version}"
    if package.index == "npm":
        program = shutil.which("npm")
        if program is None:
            raise InstallFailed(f"npm is needed to fetch {package.name}; install Node.js first.")
        command = [program, "pack", f"{package.name}@{package.version}", "--silent"]
    else:
        form = "--no-binary" if package.form == "sdist" else "--only-binary"
        command = [*pip_command(), "download", "--no-deps", form, ":all:", wanted]
    _run(command, folder, f"{package.name} {package.version}")
    path = folder / package.file
    if not path.is_file():
        names = ", ".join(sorted(one.name for one in folder.iterdir()))
        raise InstallFailed(f"{wanted} gave {names or 'nothing'} and not {package.file}.")
    if file_sha256(path) != package.sha256:
        raise InstallFailed(
            f"{package.file} is not the file that {package.name} {package.version} was when the pack was made: "
            f"its SHA-256 is {file_sha256(path)}, not {package.sha256}. It is not installed."
        )
    return path


def pip_command() -> list[str]:
    """pip of the Python that runs this, so that its configuration holds."""
    return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


def _run(command: list[str], folder: Path, what: str) -> None:
    try:
        finished = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"{what} did not arrive within {FETCH_SECONDS:g} s.") from None
    if finished.returncode != 0:
        raise InstallFailed(
            f"{what} could not be fetched. {(finished.stderr or finished.stdout).strip()[-_TAIL:]}"
        )


def _take(path: Path, package: Package, sources: Path) -> None:
    """Copy the named files out of a package; nothing else of it is written anywhere."""
    for inside, name in package.take.items():
        target = sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if inside.endswith("/"):
            _take_folder(path, inside, target)
        else:
            target.write_bytes(_member(path, inside))


def _take_folder(path: Path, inside: str, target: Path) -> None:
    """All files below a folder of a package."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.startswith(inside) and not name.endswith("/"):
                    with archive.open(name) as file:
                        _place(target, name.removeprefix(inside), _limited(file, path.name))
        return
    with tarfile.open(path) as packed:
        for member in packed:
            if member.name.startswith(inside) and member.isfile():
                found = packed.extractfile(member)
                assert found is not None
                _place(target, member.name.removeprefix(inside), _limited(found, path.name))


def _place(target: Path, name: str, data: bytes) -> None:
    own = (target / name).resolve()
    if not own.is_relative_to(target.resolve()):
        raise InstallFailed(f"A package holds a file outside of itself: {name}")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(data)


def _member(path: Path, inside: str) -> bytes:
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive, archive.open(inside) as file:
                return _limited(file, path.name)
        with tarfile.open(path) as packed:
            found = packed.extractfile(inside)
            if found is None:
                raise KeyError(inside)
            with found:
                return _limited(found, path.name)
    except KeyError:
        raise InstallFailed(f"{path.name} has no file {inside}.") from None


def _limited(file: IO[bytes], name: str) -> bytes:
    data = file.read(MEMBER_BYTES + 1)
    if len(data) > MEMBER_BYTES:
        raise InstallFailed(f"A file of {name} is larger than {MEMBER_BYTES} bytes.")
    return data


def _install_libraries(requirements: str, folder: Path) -> None:
    with as_file(builtin_folder().joinpath(requirements)) as path:
        command = [
            *pip_command(), "install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile",
            "--no-warn-script-location", "--target", str(folder), "-r", str(path),
        ]  # fmt: skip
        _run(command, path.parent, requirements)


def _put(pack: Pack, folder: Path, root: Path, work: Path, *, source: str) -> Installed:
    """Archive a folder and move it to its place; the pack before it is there until the new one is."""
    ready = work / "ready"
    ready.mkdir()
    pins = {
        str(path.relative_to(folder)): file_sha256(path)
        for path in _files(folder)
        if path.relative_to(folder).parts[0] != LIBRARIES
    }
    key = ""
    if any(True for _ in _files(folder)):
        _archive(folder, ready / ARCHIVE)
        key = f"{pack.name}-{file_sha256(ready / ARCHIVE)[:32]}"
    one = Installed(pack=pack, key=key, files=pins, source=source)
    (ready / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(one), indent=2))
    place = root / pack.name
    old = work / _OLD
    if place.exists():
        place.rename(old)
    try:
        os.replace(ready, place)
    except BaseException:
        _put_back(old, place)
        raise
    return one


def _put_back(old: Path, place: Path) -> None:
    """What was installed, if whoever replaced it came to no end."""
    if old.exists() and not place.exists():
        old.rename(place)


def _archive(folder: Path, target: Path) -> None:
    """The same files give the same bytes."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in _files(folder):
            about = tarfile.TarInfo(str(path.relative_to(folder)))
            about.size = path.stat().st_size
            about.mode = 0o644
            with path.open("rb") as file:
                archive.addfile(about, file if about.size else io.BytesIO())


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path


def file_sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
