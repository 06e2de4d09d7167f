"""Virtual environments for scripts that bring a ``requirements.txt``: made once per content, shared read-only.

An environment is a folder whose name tells what is in it: the requirements and the Python that they are for. The platform's
own packages lie underneath, so that numpy and this package import, and what the requirements name comes first. It is
installed beside its place and renamed into it under a lock between processes; who uses one holds the lock shared, so that
only what nobody uses is removed. Installing runs other people's code, so who calls this says where it runs (``Run``).
"""

import compileall
import errno
import fcntl
import hashlib
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.base.failpoint import failpoint
from modelyard.worker.program import last_output

FILE = "requirements.txt"
INSTALL_SECONDS = 1800.0
REQUIREMENTS_BYTES = 1 << 20
KEPT = 10
"""Environments that nobody uses are kept up to this number, the last used ones."""
FORM = "1"
"""Of an environment's folder; another number makes them all anew."""
_LOCAL = ("-", ".", "/")
"""How a line begins that is no plain requirement; it may name other files, or options that do."""

Run = Callable[[Callable[[], int], Path, float], int]
"""``run(install, writable, seconds)``: call it where only ``writable`` can be written; its status. Raises ``TimeoutError``."""


class EnvironmentFailed(Exception):
    """The requirements cannot be installed; the text is the endpoint's ``FailureReason``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An environment that somebody needs. ``name`` is how messages call the file; ``is_local``: it may name others beside it."""

    requirements: Path
    key: str
    name: str
    is_local: bool = False


def wanted(folders: Sequence[Path], *, artifact_key: str) -> Wanted | None:
    """What the first of these folders that has requirements asks for, None where none has any.

    Raises ``EnvironmentFailed`` for a file that is none. ``artifact_key`` tells versions of files apart that are named beside.
    """
    for folder in folders:
        path = folder / FILE
        if path.is_file():
            return wanted_by(path, artifact_key=artifact_key, name=f"{folder.name}/{FILE}")
    return None


def wanted_by(path: Path, *, artifact_key: str, name: str) -> Wanted | None:
    """The environment of one file; None if it asks for nothing."""
    if path.stat().st_size > REQUIREMENTS_BYTES:
        raise EnvironmentFailed(f"{name} is larger than {REQUIREMENTS_BYTES} bytes.")
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise EnvironmentFailed(f"{name} is not UTF-8: {error}.") from error
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        return None
    parts = [FORM, sys.version, sysconfig.get_platform(), *_beneath(), *lines]
    is_local = any(line.startswith(_LOCAL) or "file:" in line for line in lines)
    if is_local:
        parts.append(artifact_key)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    return Wanted(requirements=path, key=digest, name=name, is_local=is_local)


def _beneath() -> list[str]:
    """The platform's own packages."""
    return [path for path in site.getsitepackages() if os.path.isdir(path)]


class Environments:
    """Those of one platform. ``root`` is their folder; ``run`` calls what installs."""

    def __init__(self, root: Path, run: Run, *, seconds: float = INSTALL_SECONDS) -> None:
        self._root = root
        self._run = run
        self._seconds = seconds

    def python(self, wanted: Wanted) -> Path:
        """The interpreter of an environment, made now unless it is there. Raises ``EnvironmentFailed``.

        Until this process and those that it forked have ended, nobody removes it.
        """
        target = self._root / wanted.key
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._root / f".lock-{wanted.key}", os.O_RDWR | os.O_CREAT, 0o600)
        is_told = False
        while not self._is_held(lock, target):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not is_told:
                    _say("another worker installs the same requirements: waiting for it")
                is_told = True
                continue
            if not target.is_dir():
                self._make(wanted, target)
                self._sweep()
        os.utime(lock)
        return target / "bin" / "python"

    def _is_held(self, lock: int, target: Path) -> bool:
        """Whether it is there, and stays until the descriptor is closed, which is when the process ends."""
        fcntl.flock(lock, fcntl.LOCK_SH)  # Waits for whoever makes it.
        if target.is_dir():
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False

    def _make(self, wanted: Wanted, target: Path) -> None:
        temporary = self._root / f".{wanted.key}.tmp"
        if temporary.exists():  # Whoever made it was killed.
            _remove(temporary)
        temporary.mkdir(mode=0o700)
        _say(f"installing {wanted.name} into an environment of its own")
        try:
            status = self._run(lambda: install(wanted, temporary, target), temporary, self._seconds)
            if status != 0:
                raise EnvironmentFailed(_reason(wanted, status))
            _remove(temporary / ".work")
            _make_read_only(temporary)
            failpoint("environment.before-rename")
            os.replace(temporary, target)
            target.chmod(0o500)  # After the rename, which has to write the folder's "..".
        except TimeoutError:
            _remove(temporary)
            raise EnvironmentFailed(
                f"{wanted.name} was not installed within {self._seconds:g} s. Its last output: {last_output()}"
            ) from None
        except OSError as error:
            _remove(temporary)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise EnvironmentFailed(
                    f"No space is left on the disk to install {wanted.name}."
                ) from error
            raise EnvironmentFailed(f"{wanted.name} could not be installed: {error}.") from error
        except BaseException:
            _remove(temporary)
            raise
        _say(f"installed {wanted.name}")

    def _sweep(self) -> None:
        """Remove what nobody uses beyond the last few, and what was begun by who was killed then."""
        unused, left = [], []
        for lock in self._root.glob(".lock-*"):
            key = lock.name.removeprefix(".lock-")
            if (self._root / key).is_dir():
                unused.append((lock.stat().st_mtime, key))
            if (self._root / f".{key}.tmp").is_dir():
                left.append((key, self._root / f".{key}.tmp"))
        for _, key in sorted(unused, reverse=True)[KEPT:]:
            left.append((key, self._root / key))
        for key, folder in left:
            with (self._root / f".lock-{key}").open("r+") as lock_file, suppress(BlockingIOError):
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.is_dir():  # Another may have swept before.
                    _remove(folder)


def _reason(wanted: Wanted, status: int) -> str:
    lines = last_output()
    if "No space left on device" in lines:
        return f"No space is left on the disk to install {wanted.name}. Its last output: {lines}"
    return f"{wanted.name} could not be installed (status {status}). Its last output: {lines}"


# ---- what runs where ``Run`` says


def install(wanted: Wanted, folder: Path, target: Path) -> int:
    """Fill ``folder``, which will be called ``target``; the installer's exit status. Its output is this process's."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    lines = [f"import site; site.addsitedir({path!r})\n" for path in _beneath()]
    (packages / "modelyard-beneath.pth").write_text("".join(lines))
    work = folder / ".work"
    work.mkdir()
    requirements = _writable(wanted, work) if wanted.is_local else wanted.requirements
    finished = subprocess.run(
        _command(folder / "bin" / "python", requirements),
        cwd=requirements.parent,
        env=_variables(work),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if finished.returncode != 0:
        return finished.returncode
    _name_target(folder / "bin", folder, target)
    # The paths in tracebacks are those where it will lie.
    compileall.compile_dir(
        packages, quiet=2, maxlevels=32, stripdir=str(folder), prependdir=str(target)
    )
    return 0


def _writable(wanted: Wanted, work: Path) -> Path:
    """The same requirements in a copy of their folder: packages that lie there are built where they lie."""
    copy = work / "code"
    shutil.copytree(wanted.requirements.parent, copy)
    for path in (copy, *_walk(copy)):
        path.chmod(0o700)
    return copy / wanted.requirements.name


def _command(python: Path, requirements: Path) -> list[str]:
    """pip, since it reads the user's pip.conf, as uv does not; uv where there is no pip."""
    if importlib.util.find_spec("pip") is not None:
        return [
            str(python), "-m", "pip", "install", "--no-input", "--no-color", "--no-compile", "--no-cache-dir",
            "--no-warn-script-location", "--disable-pip-version-check", "--progress-bar", "off",
            "--root-user-action", "ignore", "-r", str(requirements),
        ]  # fmt: skip
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    return [uv, "pip", "install", "--no-progress", "--no-cache", "--python", str(python),
            "-r", str(requirements)]  # fmt: skip


def _variables(work: Path) -> Mapping[str, str]:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    # Archives are unpacked on the disk: /tmp may be memory.
    return {**kept, "TMPDIR": str(work), "PYTHONUNBUFFERED": "1"}


def _name_target(programs: Path, folder: Path, target: Path) -> None:
    """Programs begin with the interpreter's path."""
    for path in programs.iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if data.startswith(b"#!") and bytes(folder) in data:
            path.write_bytes(data.replace(bytes(folder), bytes(target)))


def _make_read_only(folder: Path) -> None:
    for path in _walk(folder):
        if not path.is_symlink():
            path.chmod(0o500 if path.is_dir() or os.access(path, os.X_OK) else 0o400)


def _remove(folder: Path) -> None:
    for path in (folder, *_walk(folder)):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))


def _say(text: str) -> None:
    print(f"[modelyard] {text}", flush=True)  # noqa: T201 - the container's log
