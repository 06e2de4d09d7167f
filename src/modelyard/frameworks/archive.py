"""Model artifacts on their way to a folder: anybody's archive, unpacked without trusting a byte of it.

An archive is read as a stream with limits on what it unpacks to, so that a bomb stops early. Members that would leave the
folder, links, devices and pipes are refused by name. A folder is made once per content, beside its place, and renamed into
it, under a lock between processes: a worker that dies half-way leaves nothing that another could mistake for a model.
"""

import fcntl
import os
import shutil
import stat
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from modelyard.base.failpoint import failpoint

PIECE = 1 << 20
NAME_LIMIT = 1024
_GZIP_MAGIC = b"\x1f\x8b"
_TAR_MAGIC_AT = 257


class ArtifactError(Exception):
    """The artifact cannot be used; the text says why, for the endpoint's ``FailureReason``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLimits:
    """What an archive may unpack to."""

    total_bytes: int
    files: int


def unpack_once(
    source: Path, *, name: str, key: str, artifacts: Path, limits: ArtifactLimits
) -> Path:
    """The folder of an artifact's files, made now unless another worker has. Raises ``ArtifactError``.

    ``source`` is the stored object, ``name`` the file name that it was uploaded under, ``key`` identifies its content.
    """
    target = artifacts / key
    if target.is_dir():
        return target
    artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (artifacts / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        temporary = artifacts / f".{key}.tmp"
        if temporary.exists():  # A worker was killed while it unpacked.
            _remove(temporary)
        temporary.mkdir(mode=0o700)
        try:
            _fill(source, name, temporary, limits)
        except BaseException:
            _remove(temporary)
            raise
        _make_read_only(temporary)
        failpoint("artifact.before-rename")
        temporary.chmod(0o700)  # Renaming a folder needs to write its "..".
        os.replace(temporary, target)
        target.chmod(0o500)
    return target


def _fill(source: Path, name: str, folder: Path, limits: ArtifactLimits) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
            return
        with source.open("rb") as file:
            kind = _kind(file)
            if kind is None:
                _copy_bare(file, folder / _safe_name(name), limits)
            else:
                _unpack(file, kind, folder, limits)
    except FileNotFoundError as error:
        raise ArtifactError(f"The artifact {name} is gone.") from error
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ArtifactError(f"{name} cannot be unpacked: {error}. Is the upload whole?") from error


def _kind(file: IO[bytes]) -> str | None:
    """``gz``, ``tar`` or None for a file that is no archive; by content, since names lie."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(_GZIP_MAGIC):
        return "gz"
    return "tar" if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar" else None


def _safe_name(name: str) -> str:
    last = PurePosixPath(name).name
    if not last or last in (".", "..") or "\0" in last:
        raise ArtifactError(f"{name!r} is no name for a file.")
    return last


def _copy_bare(file: IO[bytes], target: Path, limits: ArtifactLimits) -> None:
    size = os.fstat(file.fileno()).st_size
    if size > limits.total_bytes:
        raise ArtifactError(f"The artifact has {size} bytes, the limit is {limits.total_bytes}.")
    with target.open("wb") as output:
        shutil.copyfileobj(file, output, PIECE)


def _unpack(file: IO[bytes], kind: str, folder: Path, limits: ArtifactLimits) -> None:
    mode = "r|gz" if kind == "gz" else "r|"
    total = files = 0
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for member in archive:
            target = _target(folder, member)
            if target is None:
                continue
            files += 1
            if files > limits.files:
                raise ArtifactError(f"The archive holds more than {limits.files} files.")
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            target.parent.mkdir(parents=True, exist_ok=True)
            total += _write(content, target, limits.total_bytes - total, limits.total_bytes)
    if files == 0:
        raise ArtifactError("The archive is empty.")


def _target(folder: Path, member: tarfile.TarInfo) -> Path | None:
    """Where a member goes, None to skip it. Raises ``ArtifactError`` for one that no model needs."""
    path = PurePosixPath(member.name)
    if member.name in (".", "./") or path.name.startswith(
        "._"
    ):  # Finder's companions of every file.
        return None
    if len(member.name.encode("utf-8", "surrogateescape")) > NAME_LIMIT:
        raise ArtifactError(f"The archive has a name of more than {NAME_LIMIT} bytes.")
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ArtifactError(f"The archive's member {member.name!r} would leave the model's folder.")
    if member.issym() or member.islnk():
        raise ArtifactError(
            f"The archive's member {member.name!r} is a link; pack the file itself (tar --dereference)."
        )
    if not (member.isreg() or member.isdir()):
        raise ArtifactError(f"The archive's member {member.name!r} is a device or a pipe.")
    return folder.joinpath(*path.parts)


def _write(content: IO[bytes], target: Path, left: int, limit: int) -> int:
    """Copy one member, counting what really comes and not what its header says."""
    written = 0
    with target.open("wb") as output:
        while piece := content.read(PIECE):
            written += len(piece)
            if written > left:
                raise ArtifactError(f"The archive unpacks to more than {limit} bytes.")
            output.write(piece)
    return written


def _make_read_only(folder: Path) -> None:
    for path in folder.rglob("*"):
        path.chmod(0o500 if path.is_dir() else stat.S_IRUSR)


def _remove(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)
