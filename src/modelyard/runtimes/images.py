"""Local programs that are images: a small file in the platform's home, which the command line writes and control reads."""

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from modelyard.domain.images import Program

_HOME = "home"


class LocalImages:
    """The file. Safe for several processes; a reader sees the old or the new list, never half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] = (0, 0)
        self._programs: dict[str, Program] = {}

    def all(self) -> Mapping[str, Program]:
        """By name. Raises ``msgspec.MsgspecError`` for a file that another version wrote."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return {}
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            listed = msgspec.json.decode(self._path.read_bytes(), type=list[Program])
            self._programs = {program.name: program for program in listed}
            self._seen = seen
        return self._programs

    def add(self, program: Program) -> bool:
        """Whether it is new; one of the same name is replaced."""
        with self._locked():
            programs = dict(self.all())
            is_new = program.name not in programs
            self._write({**programs, program.name: program})
        return is_new

    def remove(self, name: str) -> bool:
        """Whether it was there. Endpoints that run it go on."""
        with self._locked():
            programs = dict(self.all())
            was_there = programs.pop(name, None) is not None
            if was_there:
                self._write(programs)
        return was_there

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, programs: Mapping[str, Program]) -> None:
        data = msgspec.json.format(msgspec.json.encode(list(programs.values())), indent=2)
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # It holds environments.
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)


def readable_folders(program: Program) -> list[Path]:
    """What a program is shown at its own place: its folder, ``reads``, and the Pythons of virtual environments in these."""
    folders = [Path(one) for one in (program.folder, *program.reads) if one]
    for folder in list(folders):
        for place in (folder, folder / ".venv", folder / "venv"):
            folders += _base_of(place)
    return list(dict.fromkeys(folders))


def _base_of(environment: Path) -> list[Path]:
    """The installation that a virtual environment borrows its interpreter from, where it is not the system's."""
    try:
        lines = (environment / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == _HOME:
            base = Path(value.strip()).resolve().parent
            return (
                [] if base in (Path("/usr"), Path("/")) or base == Path(sys.base_prefix) else [base]
            )
    return []
