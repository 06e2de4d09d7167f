"""What an isolated process sees: a small read-only root, built of the machine's own folders and nothing else.

::

    /usr /bin /lib… /etc /opt/…   the machine's, read-only; of /etc only what any user may read
    the Python that runs this     its environment and this package, read-only
    /opt/ml                       its own: ``model`` is the artifact, read-only
    /tmp /var /run /dev/shm       empty, its own, in memory, bounded
    /proc                         of its own processes, read-only
    /dev                          null, zero, full, random, urandom; accelerators where the instance type has some

Whatever is not listed does not exist there: homes, other models, the platform's home, devices, sockets. The process
enters by itself, as the first one of a new PID namespace (``keeper``), so it costs a few milliseconds and needs no
program beside Python.
"""

import os
import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import modelyard
from modelyard.base.settings import MIB
from modelyard.runtimes import namespaces, seccomp
from modelyard.runtimes.runtime import Caps

MODEL = Path("/opt/ml/model")
SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "nix")
OWN_FOLDERS = ("opt/ml/input", "opt/ml/output", "opt/ml/tmp", "run/lock", "var/tmp")
USER = 1000
"""Who a process of root's platform is, inside."""
TEMPORARY_BYTES = 1 << 30
"""Of /tmp and of /opt/ml, where the instance type sets no limit of memory; both are memory, and count as such."""
SHARED_BYTES = 512 * MIB
INODES = 100_000
ACCELERATORS = ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm*", "nvidia-caps/*", "kfd", "dri/render*")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
          "stderr": "/proc/self/fd/2"}  # fmt: skip
_SYS = ("sys/devices/system/cpu", "sys/devices/system/node")
_SKELETON = ("var/lib", "var/log", "var/cache")
"""Folders whose subfolders exist, empty: programs expect that theirs was installed."""
_WORLD_READABLE = 0o004


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one process sees beside the system. ``binds``: a folder of the machine and where it is seen, read-only;
    ``writable`` ones are the same to be written, and nobody bounds what.
    """

    model: Path | None = None
    binds: tuple[tuple[Path, Path], ...] = ()
    writable: tuple[tuple[Path, Path], ...] = ()
    has_network: bool = True
    is_program: bool = False
    """It starts somebody's program, which expects more of a system than Python does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all sandboxes of a platform share: found out once, by the host, before it forks."""

    home: Path
    folder: Path
    """Of the platform; ``folder/root`` is where the new root is built, in a mount namespace of its own."""
    roots: tuple[Path, ...]
    """Folders outside the system that Python runs from."""
    masked: tuple[Path, ...]
    """Of the system's files those that not everybody may read."""
    accelerators: tuple[Path, ...] = ()
    """Device files, shown to who has an instance type with accelerators."""

    @property
    def inner_user(self) -> int:
        return os.getuid() or USER


def survey(home: Path, folder: Path) -> Ground:
    """Look at the machine. Writes ``folder``, with the user's name as it is seen inside."""
    (folder / "root").mkdir(mode=0o700, parents=True, exist_ok=True)
    ground = Ground(
        home=home,
        folder=folder,
        roots=tuple(_python_roots(home)),
        masked=tuple(_secrets()),
        accelerators=tuple(path for pattern in ACCELERATORS for path in Path("/dev").glob(pattern)),
    )
    user = ground.inner_user
    for name, line in (
        ("passwd", f"modelyard:x:{user}:{user}::/tmp:/bin/sh"),
        ("group", f"modelyard:x:{user}:"),
    ):
        others = [
            text
            for text in Path("/etc", name).read_text(errors="replace").splitlines()
            if text.split(":")[2:3] != [str(user)]
        ]
        (folder / name).write_text("\n".join([*others, line, ""]))
    return ground


def _python_roots(home: Path) -> Iterator[Path]:
    """The interpreter, its packages and this one; never a folder that holds a home."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(modelyard.__file__)}
    paths.update(site.getsitepackages())
    current = os.getcwd()
    paths.update(path for path in sys.path if path not in ("", current))
    for path in sorted(paths):
        for root in {Path(path), Path(path).resolve()}:
            holds_home = home.is_relative_to(root) or Path.home().is_relative_to(root)
            if root.is_absolute() and root.exists() and not holds_home:
                yield root


def _secrets() -> Iterator[Path]:
    for parent, folders, files in os.walk("/etc"):
        for name in [*folders, *files]:
            path = Path(parent, name)
            status = path.lstat()
            if not status.st_mode & _WORLD_READABLE and not path.is_symlink():
                yield path
                if name in folders:
                    folders.remove(name)


def enter(ground: Ground, view: View, caps: Caps) -> None:
    """Leave the machine for the sandbox. The caller is the first process of a PID namespace in a new user namespace."""
    flags = namespaces.NEW_MOUNT | namespaces.NEW_IPC | namespaces.NEW_UTS | namespaces.NEW_CGROUP
    namespaces.unshare(flags if view.has_network else flags | namespaces.NEW_NETWORK)
    namespaces.make_mounts_private()
    root = ground.folder / "root"
    namespaces.mount("tmpfs", root, "tmpfs", namespaces.NO_SUID | namespaces.NO_DEVICES, "mode=755")
    _Builder(root, ground, view, caps).build()
    namespaces.set_host_name("modelyard")
    if not view.has_network:
        namespaces.bring_up_loopback()
    namespaces.change_root(root)
    # Whoever enters another user namespace has every capability in it: the largest part of the kernel that can be attacked.
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    namespaces.set_flags(Path("/proc"), namespaces.READ_ONLY)
    namespaces.drop_privileges()
    seccomp.install()


class _Builder:
    """Mounts beneath the new root, in the order in which later ones cover earlier ones."""

    def __init__(self, root: Path, ground: Ground, view: View, caps: Caps) -> None:
        self._root = root
        self._ground = ground
        self._view = view
        self._memory = caps.memory_bytes or TEMPORARY_BYTES
        self._devices_shown = [Path("/dev", name) for name in _DEVICES]
        if caps.accelerators:
            self._devices_shown += ground.accelerators
        self._bound: list[Path] = []

    def build(self) -> None:
        self._system()
        self._temporary()
        self._devices()
        namespaces.mount(
            "proc", self._folder(Path("/proc")), "proc",
            namespaces.NO_SUID | namespaces.NO_DEVICES | namespaces.NO_EXECUTE,
        )  # fmt: skip
        for root in self._ground.roots:
            self._show(root, root)
        if self._inside(self._ground.home).exists():
            self._empty(self._ground.home, 0)
        for source, place in self._view.binds:
            self._show(source, place, always=True)
        if self._view.model is not None:
            self._show(self._view.model, MODEL, always=True)
        for source, place in self._view.writable:
            flags = namespaces.NO_SUID | namespaces.NO_DEVICES
            namespaces.bind(source, self._folder(place), flags)
        for name in OWN_FOLDERS:
            self._inside(Path("/", name)).mkdir(parents=True, exist_ok=True)
        if self._view.is_program:
            self._skeleton()
        self._seal()

    def _inside(self, place: Path) -> Path:
        return self._root / place.relative_to("/")

    def _folder(self, place: Path) -> Path:
        inside = self._inside(place)
        inside.mkdir(mode=0o755, parents=True, exist_ok=True)
        return inside

    def _show(self, source: Path, place: Path, *, always: bool = False) -> None:
        """A folder or file of the machine, unless a folder that is seen already holds it."""
        if not always and any(place.is_relative_to(bound) for bound in self._bound):
            return
        inside = self._inside(place)
        if source.is_dir():
            inside.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._bound.append(place)
        else:
            inside.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            inside.touch()
        namespaces.bind(source, inside)

    def _system(self) -> None:
        for name in SYSTEM:
            source = Path("/", name)
            if source.is_symlink():
                self._inside(source).symlink_to(os.readlink(source))
            elif source.is_dir():
                self._show(source, source)
        for source in sorted(Path("/opt").glob("*")):
            if source.is_dir() and source != MODEL.parent and not source.is_symlink():
                self._show(source, source)
        self._mask()
        for name in ("passwd", "group"):
            namespaces.bind(self._ground.folder / name, self._inside(Path("/etc", name)))
        for name in _SYS:
            if Path("/", name).is_dir():
                self._show(Path("/", name), Path("/", name))

    def _mask(self) -> None:
        nothing = self._folder(Path("/.nothing"))
        for path in self._ground.masked:
            inside = self._inside(path)
            if inside.exists():
                flags = namespaces.READ_ONLY
                namespaces.bind(nothing if inside.is_dir() else Path(os.devnull), inside, flags)

    def _temporary(self) -> None:
        for place in ("/tmp", "/var", "/run", "/opt/ml"):  # noqa: S108 - inside
            self._empty(Path(place), self._memory)
        self._inside(Path("/tmp")).chmod(0o1777)  # noqa: S108
        self._inside(Path("/var/run")).symlink_to("/run")
        names = os.path.realpath("/etc/resolv.conf")
        if self._view.has_network and names.startswith("/run/") and os.path.exists(names):
            self._show(Path(names), Path(names), always=True)

    def _empty(self, place: Path, size: int) -> None:
        options = f"mode=755,size={size or 4096},nr_inodes={INODES}"
        flags = namespaces.NO_SUID | namespaces.NO_DEVICES
        namespaces.mount("tmpfs", self._folder(place), "tmpfs", flags, options)

    def _devices(self) -> None:
        for device in self._devices_shown:
            inside = self._inside(device)
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.touch()
            namespaces.bind(device, inside, namespaces.NO_SUID)
        for name, target in _LINKS.items():
            self._inside(Path("/dev", name)).symlink_to(target)
        self._empty(Path("/dev/shm"), min(SHARED_BYTES, self._memory))  # noqa: S108
        self._inside(Path("/dev/shm")).chmod(0o1777)  # noqa: S108

    def _skeleton(self) -> None:
        for name in _SKELETON:
            for source in Path("/", name).glob("*/"):
                self._folder(source)

    def _seal(self) -> None:
        """The root itself read-only; what is mounted below keeps its own flags."""
        namespaces.remount_read_only(self._root)
