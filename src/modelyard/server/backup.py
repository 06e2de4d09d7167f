"""One file with everything that lasts: resources, objects, credentials.

A backup of a running platform is consistent: databases are copied by SQLite's own online backup, and the object
index is copied *before* the data files that it names are linked; when one has been deleted in between, the index is
copied again. Data files never change once they are named, so a link is as good as a copy.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import modelyard
from modelyard.base.settings import Home
from modelyard.store.lex_sessions import fold_into, held
from modelyard.store.objects_index import data_files
from modelyard.store.usage import fold_journals

FORMAT = 1
ATTEMPTS = 20
_DATABASES = ("state.db", "async.db", "usage.db", "objects/index.db")
_SESSIONS = "lex.db"
"""A database as well; what is still in its journals belongs to it."""
_PREFIX = ".backup-"
"""Of the folders in the home where backups are collected."""
_SECRETS = ("credentials", "sealing.key", "images.json")


class BackupFailed(Exception):
    """The text says what to do."""


class _Vanished(Exception):
    """A data file was deleted between the copy of the index and the link."""


def backup(home: Home, target: Path) -> int:
    """Write ``target`` (mode 600, whole or not at all); returns its size. Raises ``BackupFailed``."""
    if not home.state.exists():
        raise BackupFailed(f"{home.root} holds no platform: there is nothing to save.")
    temporary = target.with_name(target.name + ".part")
    # In the home, so that data files can be linked rather than copied.
    _remove_left(home)
    with tempfile.TemporaryDirectory(dir=home.root, prefix=_PREFIX) as folder, _held(folder):
        copy = Path(folder)
        for attempt in range(ATTEMPTS):
            try:
                _collect(home, copy)
                break
            except _Vanished as error:
                shutil.rmtree(copy / "objects")
                if attempt == ATTEMPTS - 1:
                    raise BackupFailed(
                        "Objects are deleted faster than they can be saved."
                    ) from error
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                archive.add(copy, arcname=".")
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, target)
    return target.stat().st_size


def _remove_left(home: Home) -> None:
    """What a killed backup left: its links keep the data of objects that are deleted."""
    for folder in home.root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(BlockingIOError), _held(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path | str) -> Iterator[None]:
    """Locked, as whoever works in it has it locked. Raises ``BlockingIOError`` where somebody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _collect(home: Home, copy: Path) -> None:
    manifest = {"format": FORMAT, "modelyard": modelyard.__version__}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for name in _SECRETS:
        if (home.root / name).exists():
            shutil.copy2(home.root / name, copy / name)
    (copy / "objects").mkdir()
    if home.usage_database.exists():
        fold_journals(home.usage_database)
    for name in _DATABASES:
        if (home.root / name).exists():
            _copy_database(home.root / name, copy / name)
    if home.lex_database.exists():
        with held(home.lex_database):
            _copy_database(home.lex_database, copy / _SESSIONS)
            fold_into(copy / _SESSIONS, home.lex_database)
    if (copy / "objects/index.db").exists():
        _link_data(home.objects, copy / "objects")


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


def _link_data(objects: Path, copy: Path) -> None:
    with closing(sqlite3.connect(copy / "index.db")) as index:
        for relative in data_files(index):
            target = copy / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(objects / relative, target)
            except FileNotFoundError as error:
                raise _Vanished(relative) from error


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Files and folders, which is all that a backup holds; not by tarfile's filter, which Python has since 3.11.4.

    Raises ``BackupFailed``.
    """
    inside = folder.resolve()
    for member in archive:
        place = (inside / member.name).resolve()
        if not place.is_relative_to(inside) or not (member.isfile() or member.isdir()):
            raise BackupFailed(f"The backup holds {member.name!r}, which no backup has.")
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        found = archive.extractfile(member)
        assert found is not None, "a regular file"
        with found, place.open("wb") as file:
            shutil.copyfileobj(found, file)
        place.chmod((member.mode & 0o755) | 0o600)


def restore(home: Home, source: Path) -> None:
    """Unpack a backup into a home that holds no platform yet. Raises ``BackupFailed``."""
    if home.state.exists():
        raise BackupFailed(
            f"{home.root} holds a platform already. Move it away, or restore elsewhere with --home DIR."
        )
    home.root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.root.parent, prefix="restore-") as folder:
        copy = Path(folder) / "home"
        try:
            with tarfile.open(source) as archive:
                _unpack(archive, copy)
            manifest = json.loads((copy / "manifest.json").read_text())
        except (OSError, tarfile.TarError, json.JSONDecodeError) as error:
            raise BackupFailed(f"{source} is no backup of Modelyard: {error}") from error
        if manifest.get("format") != FORMAT:
            raise BackupFailed(
                f"{source} has format {manifest.get('format')}, this Modelyard reads {FORMAT}."
            )
        (copy / "manifest.json").unlink()
        for name in (*_SECRETS, *_DATABASES, _SESSIONS):
            if (copy / name).exists():
                (copy / name).chmod(0o600)
        home.create()
        for path in copy.iterdir():
            target = home.root / path.name
            if target.is_dir():
                shutil.rmtree(target)
            shutil.move(path, target)
