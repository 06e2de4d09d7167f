"""Data files: written under ``tmp/``, then renamed to ``data/xx/<random id>``; never changed afterwards.

A file is locked by whoever writes it until the index names it. So a sweep, which may run beside writers of other
processes, can tell what a killed writer left from what a living one is about to commit: it can lock the former.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.base.failpoint import failpoint
from modelyard.base.ids import RandomSource
from modelyard.store.objects_index import ObjectIndex, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COPY_BYTES = 64 << 20


@contextmanager
def full_disk_told() -> Iterator[None]:
    """A disk without room as ``StorageFull``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and not isinstance(error, StorageFull):
            raise StorageFull(error.errno, f"there is no room for this object: {error}") from error
        raise


class DataFile:
    """One file on its way: ``write``, ``publish``, and ``release`` or ``discard``.

    Its owner holds ``lock`` for each of its own steps: a request that is cancelled discards the file while a thread
    may still be at work on it.
    """

    def __init__(self, root: Path, random: RandomSource) -> None:
        self._root = root
        self.lock = threading.RLock()
        self._id = random.hex(32)
        self.path = root / "tmp" / self._id
        with full_disk_told():
            self._file = _create_locked(self.path)

    def write(self, data: bytes) -> None:
        """Raises ``StorageFull``."""
        with full_disk_told():
            failpoint("objects.write")
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def append(self, source: Path) -> None:
        """The bytes of another file, copied by the kernel, shared where the file system can."""
        with source.open("rb") as file, full_disk_told():
            failpoint("objects.write")
            while _copy(file.fileno(), self._file):
                pass

    def publish(self) -> str:
        """Make it durable under its final name, which is returned relative to the root."""
        with full_disk_told():
            failpoint("objects.before-sync")
            os.fsync(self._file)
            relative = f"data/{self._id[:2]}/{self._id}"
            target = self._root / relative
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(target.parent.parent)
            failpoint("objects.before-rename")
            os.rename(self.path, target)
            self.path = target
            failpoint("objects.after-rename")
            sync_folder(target.parent)
            return relative

    def release(self) -> None:
        """The index names it now."""
        os.close(self._file)
        self._file = -1

    def discard(self) -> None:
        """Nobody will name it. May be called after ``release``, and then does nothing."""
        if self._file >= 0:
            self.path.unlink(missing_ok=True)
            self.release()


def _create_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # A sweep came between the two calls.


def _copy(source: int, target: int) -> int:
    try:
        return os.copy_file_range(source, target, _COPY_BYTES)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return os.sendfile(target, source, None, _COPY_BYTES)


def sync_folder(folder: Path) -> None:
    """Make renames in it durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(root: Path, index: ObjectIndex) -> int:
    """Remove what no row names and no living writer holds; returns how many files that were."""
    swept = sweep_unfinished(root)
    found = {
        f"data/{folder.name}/{path.name}"
        for folder in (root / "data").iterdir()
        for path in folder.iterdir()
    }
    # Files are found first, then locks are tried, then the index is read: a file whose lock is free has a writer that
    # has ended, and so a row by now or never.
    free = {name for name in found - index.data_files() if _is_free(root / name)}
    strays = free - index.data_files()
    for name in strays:
        (root / name).unlink(missing_ok=True)
    return swept + len(strays)


def sweep_unfinished(root: Path) -> int:
    """Remove what killed writers had not written to its end; returns how many files that were."""
    return sum(_unlink_if_free(path) for path in (root / "tmp").iterdir())


def _is_free(path: Path) -> bool:
    with _lock_if_free(path) as free:
        return free


def _unlink_if_free(path: Path) -> bool:
    """With the lock held, so that a writer which has just created the file notices and creates another."""
    with _lock_if_free(path) as free:
        if free:
            path.unlink(missing_ok=True)
        return free


@contextmanager
def _lock_if_free(path: Path) -> Iterator[bool]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)
