"""Model packs: which model serves which task of which service in which language, and where it comes from.

A pack is a TOML file: the built-in ones lie in ``packs/``. What is installed lies in ``<home>/packs``::

    NAME/pack.json     the pack as it was installed, and the content key of its files
    NAME/model.tar     its files, as a worker gets them; none for a pack that needs nothing but libraries
    choices.json       which pack the user wants for a service, task and language

A pack whose libraries the platform's own Python has, and that has no files, is there without being installed.
"""

import contextlib
import importlib.util
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

import msgspec

ANY = "*"
"""A language: all of them, or a task that knows none."""
Mark = tuple[tuple[int, ...], ...]
"""Of what was installed and chosen when it was taken."""
ARCHIVE, ABOUT, CHOICES = "model.tar", "pack.json", "choices.json"


class Licence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``accept``: copyleft or unclear, so that the user has to accept it; ``note`` says why."""

    code: str
    weights: str
    accept: bool = False
    note: str = ""


class Serves(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack is for. ``languages`` are codes of the service, pairs as ``en-es``, or ``*``."""

    service: str
    task: str
    languages: tuple[str, ...]


class Package(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a package registry. ``take``: which of its files, and what they are called in the pack."""

    name: str
    version: str
    file: str
    sha256: str
    index: Literal["pypi", "npm"] = "pypi"
    form: Literal["wheel", "sdist", "tgz"] = "wheel"
    take: dict[str, str] = {}


class Module(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A library that the platform's Python must have. ``files``: of its files the pins, by path."""

    name: str
    command: str
    files: dict[str, str] = {}


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the machine, or the absolute path of a file that comes with one, and the command that installs it."""

    name: str
    command: str


class Quality(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured figure."""

    task: str
    metric: str
    value: float
    on: str
    baseline: str = ""


class Pack(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One model. ``build``: the module whose ``build(sources, target)`` makes the pack's files of the packages'.

    ``libraries``: a file of requirements beside the pack, pinned by hash, installed into the pack itself. ``outputs``:
    pins of files that a build without training makes. ``options`` go to the engine.
    """

    name: str
    version: str
    title: str
    engine: str
    licence: Licence
    serves: tuple[Serves, ...]
    bytes: int = 0
    packages: tuple[Package, ...] = ()
    modules: tuple[Module, ...] = ()
    programs: tuple[Program, ...] = ()
    libraries: str = ""
    build: str = ""
    options: dict[str, str] = {}
    quality: tuple[Quality, ...] = ()

    @property
    def has_files(self) -> bool:
        """Or has to be installed though it has none, so that somebody accepts its licence."""
        return bool(self.packages or self.libraries or self.build or self.licence.accept)


class Installed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``key`` identifies the content of the pack's archive; empty where it has none."""

    pack: Pack
    key: str = ""
    files: dict[str, str] = {}
    """SHA-256 of each file, but for its libraries."""
    source: str = ""
    """The user's folder that it was made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A pack that can be served. ``archive`` None: it has no files."""

    pack: Pack
    archive: Path | None
    key: str


class PackMissing(Exception):
    """No pack for the task is installed; ``command`` mends it."""

    def __init__(self, pack: Pack, command: str) -> None:
        super().__init__(
            f"{pack.title} needs the model pack {pack.name}, which is not installed. Install it with: {command}"
        )
        self.pack = pack
        self.command = command


class NotServed(Exception):
    """No pack serves the language; ``languages`` are those that some pack serves."""

    def __init__(self, languages: Sequence[str]) -> None:
        super().__init__(", ".join(languages) or "none")
        self.languages = tuple(languages)


def builtin_folder() -> Traversable:
    """Where the packs of this package are."""
    return files("modelyard.ai").joinpath("packs")


def read_pack(data: bytes) -> Pack:
    """Raises ``ValueError`` for what is no pack."""
    try:
        return msgspec.convert(tomllib.loads(data.decode()), Pack)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def builtin_packs() -> list[Pack]:
    """By name."""
    found = [
        read_pack(one.read_bytes())
        for one in builtin_folder().iterdir()
        if one.name.endswith(".toml")
    ]
    return sorted(found, key=lambda pack: pack.name)


class Catalogue:
    """The packs of one platform. ``root`` is ``<home>/packs``; read anew each time, since commands write it."""

    def __init__(self, root: Path, packs: Sequence[Pack] | None = None) -> None:
        self._root = root
        self._builtin = {pack.name: pack for pack in (builtin_packs() if packs is None else packs)}

    def builtins(self) -> list[Pack]:
        """Those that come with the platform."""
        return list(self._builtin.values())

    def packs(self) -> list[Pack]:
        """All that are known, built-in and the user's own."""
        own = {one.pack.name: one.pack for one in self.installed().values()}
        return sorted({**own, **self._builtin}.values(), key=lambda pack: pack.name)

    def installed(self) -> dict[str, Installed]:
        """Those with a folder, by name."""
        found = {}
        for path in sorted(self._root.glob(f"*/{ABOUT}")):
            with contextlib.suppress(FileNotFoundError):  # Removed, or replaced, at this moment.
                one = msgspec.json.decode(path.read_bytes(), type=Installed)
                found[one.pack.name] = one
        return found

    def choices(self) -> dict[str, str]:
        """Pack by ``service/task/language``."""
        try:
            return msgspec.json.decode((self._root / CHOICES).read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    def ready(self, name: str) -> Ready | None:
        """The pack of this name, if it can be served now."""
        folder = self._root / name
        try:
            one = msgspec.json.decode((folder / ABOUT).read_bytes(), type=Installed)
        except FileNotFoundError:
            pack = self._builtin.get(name)
            if pack is None or pack.has_files or missing_libraries(pack):
                return None
            return Ready(pack=pack, archive=None, key=f"{pack.name}-{pack.version}")
        if missing_libraries(one.pack):
            return None
        return Ready(
            pack=one.pack,
            archive=folder / ARCHIVE if one.key else None,
            key=one.key or f"{one.pack.name}-{one.pack.version}",
        )

    def find(self, service: str, task: str, language: str) -> Ready:
        """The pack that serves. Raises ``PackMissing`` and ``NotServed``."""
        candidates = list(self._candidates(service, task, language))
        for pack in candidates:
            ready = self.ready(pack.name)
            if ready is not None:
                return ready
        if candidates:
            raise PackMissing(candidates[0], mending(candidates[0]))
        raise NotServed(self.languages(service, task))

    def mark(self, name: str) -> Mark:
        """Another one once packs were installed or removed, something was chosen, or the pack of this name was replaced.

        Two changes within one tick of the file system's clock may share one.
        """
        folder = os.fspath(self._root)
        places = (folder, f"{folder}/{CHOICES}", f"{folder}/{name}/{ABOUT}")
        return tuple(_state(place) for place in places)

    def _candidates(self, service: str, task: str, language: str) -> Iterator[Pack]:
        """The chosen one alone; else those that name the language before those for all."""
        packs = self.packs()
        choices = self.choices()
        chosen = choices.get(choice_key(service, task, language)) or choices.get(
            choice_key(service, task, ANY)
        )
        if chosen is not None:
            yield from (pack for pack in packs if pack.name == chosen)
            return
        for wanted in (language, ANY):
            for pack in packs:
                if any(
                    one.service == service and one.task == task and wanted in one.languages
                    for one in pack.serves
                ):
                    yield pack

    def languages(self, service: str, task: str) -> list[str]:
        """Every language that some pack serves, chosen ones included; sorted."""
        found = {
            language
            for pack in self.packs()
            for one in pack.serves
            if (one.service, one.task) == (service, task)
            for language in one.languages
        }
        prefix = f"{service}/{task}/"
        found |= {key.removeprefix(prefix) for key in self.choices() if key.startswith(prefix)}
        return sorted(found)


def _state(place: str) -> tuple[int, ...]:
    try:
        found = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def missing_libraries(pack: Pack) -> list[str]:
    """Commands that install what the machine lacks for this pack."""
    modules = [one.command for one in pack.modules if importlib.util.find_spec(one.name) is None]
    programs = [one.command for one in pack.programs if not _is_there(one.name)]
    return list(dict.fromkeys([*modules, *programs]))


def _is_there(program: str) -> bool:
    path = Path(program)
    return path.exists() if path.is_absolute() else shutil.which(program) is not None


def mending(pack: Pack) -> str:
    """The one command that makes a pack ready, or the first of them."""
    lacking = missing_libraries(pack)
    if lacking and not pack.has_files:
        return lacking[0]
    accept = " --accept-license" if pack.licence.accept else ""
    return f"modelyard models install {pack.name}{accept}"


def choice_key(service: str, task: str, language: str) -> str:
    """Of a choice."""
    return f"{service}/{task}/{language}"


def write_choices(root: Path, choices: Mapping[str, str]) -> None:
    """Replace all choices, at once."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = root / f".{CHOICES}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(choices), indent=2))
    temporary.replace(root / CHOICES)
