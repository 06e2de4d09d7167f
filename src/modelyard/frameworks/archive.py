"""Model artifacts on their way to a folder: anybody's archive, unpacked without trusting a byte of it.

An archive is read as a stream with limits on what it unpacks to, so that a bomb stops early; sizes are counted, never
believed. It has to be whole: the gzip checksum and the tar's end mark are verified before a file of it is used. Members
that would leave the folder, devices and pipes are refused by name.

Links: no symbolic link is ever made. A link to a file that the archive itself holds becomes a second name of that file
(archives of model hubs and of ``tar`` contain such); any other link is refused.

A folder is made once per content, beside its place, and renamed into it, under a lock between processes: a worker that
dies half-way leaves nothing that another could mistake for a model.
"""

import errno
import fcntl
import gzip
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from modelyard.base.failpoint import failpoint

PIECE = 1 << 20
NAME_LIMIT = 1024
"""Bytes of a member's whole path."""
PART_LIMIT = 255
"""Bytes of one part of a path, as file systems have it."""
DEPTH_LIMIT = 32
"""Folders in folders; else a few names would make millions of folders."""
HEADER_LIMIT = 1 << 20
"""Bytes of one extended header, which tarfile reads into memory whole."""
PADDING_LIMIT = 64 << 20
"""Bytes after the last member, headers and padding of all members included, beyond the content itself."""
_GZIP_MAGIC = b"\x1f\x8b"
_TAR_MAGIC_AT = 257
_BLOCK = 512
_LOCKS = 64
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


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

    ``source`` is the stored object or a folder of such, ``name`` the file name that it was uploaded under, ``key``
    identifies its content and becomes the folder's name.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a folder name: {key!r}")
    target = artifacts / key
    if target.is_dir():
        return target
    artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _lock_path(artifacts, key).open("w") as lock:
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
        os.replace(temporary, target)
        target.chmod(0o500)  # After the rename, which has to write the folder's "..".
    return target


def _lock_path(artifacts: Path, key: str) -> Path:
    """One of a few files, which stay: removing a lock file is a race."""
    return artifacts / f".lock-{zlib.crc32(key.encode()) % _LOCKS}"


def _fill(source: Path, name: str, folder: Path, limits: ArtifactLimits) -> None:
    try:
        if source.is_dir():
            _copy_folder(source, folder, limits)
            return
        with source.open("rb") as file:
            kind = _kind(file)
            if kind == "gz":
                # Not tarfile's own gzip mode, which does not verify the checksum.
                with gzip.GzipFile(fileobj=file) as stream:
                    _unpack(cast("IO[bytes]", stream), folder, limits)
            elif kind == "tar":
                _unpack(file, folder, limits)
            else:
                _refuse_other_archives(name)
                _copy_bare(file, folder / _safe_name(name), limits)
    except FileNotFoundError as error:
        raise ArtifactError(f"The artifact {name} is gone.") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArtifactError(
            f"{name} is damaged or was cut off: {error}. Upload it again."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtifactError(f"No space is left on the disk to unpack {name}.") from error
        raise ArtifactError(f"{name} cannot be unpacked: {error.strerror or error}.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        # What tarfile lets through when headers hold nonsense.
        raise ArtifactError(f"{name} is not an archive that can be read: {error}.") from error


def _kind(file: IO[bytes]) -> str | None:
    """``gz``, ``tar`` or None for a file that is no archive; by content, since names lie."""
    head = file.read(_BLOCK)
    file.seek(0)
    if not head:
        raise ArtifactError("The artifact is an empty file.")
    if head.startswith(_GZIP_MAGIC):
        return "gz"
    return "tar" if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar" else None


def _refuse_other_archives(name: str) -> None:
    """A bare model never has an archive's name: what has one is damaged or of another format."""
    if name.endswith((".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise ArtifactError(
            f"{name} is not a gzip-compressed tar archive (tar czf model.tar.gz …)."
        )


def _safe_name(name: str) -> str:
    last = PurePosixPath(name).name
    if not last or last in (".", "..") or "\0" in last:
        raise ArtifactError(f"{name!r} is no name for a file.")
    return last


def _copy_bare(file: IO[bytes], target: Path, limits: ArtifactLimits) -> None:
    _Budget(limits).copy(file, target)


def _copy_folder(source: Path, folder: Path, limits: ArtifactLimits) -> None:
    budget = _Budget(limits)
    for parent, _, names in os.walk(source):
        for name in names:
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                raise ArtifactError(f"{path.relative_to(source)} is not a regular file.")
            budget.count()
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as file:
                budget.copy(file, target)


class _Budget:
    """What is left of the limits while one artifact is unpacked."""

    def __init__(self, limits: ArtifactLimits) -> None:
        self._limits = limits
        self._bytes = limits.total_bytes
        self._files = limits.files

    def count(self) -> None:
        """One more file or folder."""
        self._files -= 1
        if self._files < 0:
            raise ArtifactError(f"The artifact holds more than {self._limits.files} files.")

    def copy(self, content: IO[bytes], target: Path) -> None:
        """Write one file, counting what really comes and not what its header says."""
        with target.open("wb") as output:
            while piece := content.read(PIECE):
                self._bytes -= len(piece)
                if self._bytes < 0:
                    raise ArtifactError(
                        f"The artifact unpacks to more than {self._limits.total_bytes} bytes."
                    )
                output.write(piece)


class _Header(tarfile.TarInfo):
    """A member's header, checked before tarfile acts on it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise ArtifactError(f"The archive's member {header.name!r} has a negative size.")
        if header.type in _EXTENDED and header.size > HEADER_LIMIT:
            raise ArtifactError(f"The archive has a header of {header.size} bytes.")
        return header


class _Stream:
    """A tar's bytes: how many came, and whether they ended with the zeros that end an archive."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self._source = source
        self._left = limit
        self._tail = b""

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ArtifactError("The archive is longer than its files: more than padding follows.")
        if data:
            self._tail = (self._tail + data)[-_BLOCK:]
        return data

    def finish(self) -> None:
        """Read to the end, which also verifies a gzip checksum. Raises ``ArtifactError`` for half an archive."""
        while self.read(PIECE):
            pass
        if self._tail.strip(b"\0") or len(self._tail) < _BLOCK:
            raise ArtifactError(
                "The archive was cut off: its end mark is missing. Upload it again."
            )


def _unpack(source: IO[bytes], folder: Path, limits: ArtifactLimits) -> None:
    stream = _Stream(source, limits.total_bytes + PADDING_LIMIT + 4 * _BLOCK * limits.files)
    budget = _Budget(limits)
    links: list[tuple[Path, Path, str]] = []
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", tarinfo=_Header) as archive:
        empty = True
        for member in archive:
            target = _target(folder, member)
            if target is None:
                continue
            empty = False
            budget.count()
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.issym() or member.islnk():
                links.append((target, _link_target(folder, target, member), member.name))
                continue
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            budget.copy(content, target)
        stream.finish()
    if empty:
        raise ArtifactError("The archive is empty.")
    _make_links(links)


def _target(folder: Path, member: tarfile.TarInfo) -> Path | None:
    """Where a member goes, None to skip it. Raises ``ArtifactError`` for one that no model needs."""
    path = PurePosixPath(member.name)
    if not path.parts or path.name.startswith("._"):  # The folder itself; Finder's companions.
        return None
    raw = member.name.encode("utf-8", "surrogateescape")
    if len(raw) > NAME_LIMIT or any(
        len(part.encode("utf-8", "surrogateescape")) > PART_LIMIT for part in path.parts
    ):
        raise ArtifactError(
            f"The archive has a name of more than {NAME_LIMIT} bytes, or {PART_LIMIT} in one part."
        )
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ArtifactError(f"The archive's member {member.name!r} would leave the model's folder.")
    if len(path.parts) > DEPTH_LIMIT:
        raise ArtifactError(f"The archive's member {member.name!r} lies too deep.")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise ArtifactError(f"The archive's member {member.name!r} is a device or a pipe.")
    return folder.joinpath(*path.parts)


def _link_target(folder: Path, target: Path, member: tarfile.TarInfo) -> Path:
    """What a link means, by its text alone: a symbolic link is relative to its place, a hard one to the root."""
    name = member.linkname
    begin = target.parent if member.issym() else folder
    resolved = Path(os.path.normpath(begin / name))
    inside = resolved.is_relative_to(folder) and resolved != folder
    if name.startswith("/") or "\0" in name or not inside:
        raise ArtifactError(
            f"The archive's member {member.name!r} is a link that leaves the model's folder."
        )
    return resolved


def _make_links(links: list[tuple[Path, Path, str]]) -> None:
    """Second names for files; as long as it helps, since a link may mean another link."""
    while links:
        waiting = [link for link in links if not _make_link(link)]
        if len(waiting) == len(links):
            raise ArtifactError(
                f"The archive's member {links[0][2]!r} is a link to nothing or to a folder; "
                "pack the files themselves (tar --dereference)."
            )
        links = waiting


def _make_link(link: tuple[Path, Path, str]) -> bool:
    target, meant, name = link
    if not meant.is_file():
        return False
    if target.exists():
        if target.is_dir() or not target.samefile(meant):
            raise ArtifactError(f"The archive holds {name!r} twice.")
        return True
    target.hardlink_to(meant)
    return True


def _make_read_only(folder: Path) -> None:
    for path in _walk(folder):
        path.chmod(0o500 if path.is_dir() else 0o400)


def _remove(folder: Path) -> None:
    for path in (folder, *_walk(folder)):
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)


def _walk(folder: Path) -> Iterator[Path]:
    """Everything inside; it holds no symbolic link."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))
