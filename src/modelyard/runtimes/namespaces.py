"""The kernel calls of isolation that Python 3.11 has no names for: namespaces, mounts, capabilities (Linux).

Each raises ``OSError`` that names the call and its object.
"""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
from functools import cache
from pathlib import Path

NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_MOUNT = 0x00020000
NEW_IPC = 0x08000000
NEW_UTS = 0x04000000
NEW_CGROUP = 0x02000000
NEW_NETWORK = 0x40000000

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTE = 1, 2, 4, 8
_BIND, _RECURSIVE, _PRIVATE, _DETACH, _REMOUNT = 4096, 16384, 1 << 18, 2, 32

_MOUNT_SETATTR = 442
"""One number on every architecture, as of all calls since Linux 5.1."""
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SET_DEATH_SIGNAL, _DROP_BOUNDING, _NO_NEW_PRIVILEGES = 1, 24, 38
_CAPABILITIES_VERSION = 0x20080522
_SIOCSIFFLAGS, _INTERFACE_UP, _INTERFACE_RUNNING = 0x8914, 0x1, 0x40
HANDLED = (signal.SIGALRM, signal.SIGTERM, signal.SIGABRT)
"""Signals that end the first process of a PID namespace only if it has handlers for them."""


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name; ``NEW_PID`` is for the children."""
    if _library().unshare(ctypes.c_int(flags)) != 0:
        number = ctypes.get_errno()
        if number == errno.ENOSPC:  # The kernel's word for it says something else.
            raise OSError(number, "unshare: sysctl user.max_*_namespaces allows no more")
        raise OSError(number, f"unshare: {os.strerror(number)}")


def enter_user_namespace(inner: int, *, more: int = 0) -> None:
    """A user namespace where this user is ``inner``, and nobody else exists, with all capabilities in it."""
    user, group = os.getuid(), os.getgid()
    unshare(NEW_USER | more)
    for name, text in (
        ("setgroups", "deny"),  # Asked of who has no rights outside before it may map a group.
        ("uid_map", f"{inner} {user} 1"),
        ("gid_map", f"{inner} {group} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def mount(source: Path | str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """A new file system at ``target``."""
    result = _library().mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags),
        options.encode(),
    )  # fmt: skip
    _check(result, f"mount {kind} at {target}")


def bind(source: Path, target: Path, flags: int = READ_ONLY | NO_SUID | NO_DEVICES) -> None:
    """``source`` with all that is mounted below it, at ``target`` too, with ``flags`` on each of these mounts."""
    result = _library().mount(
        os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_BIND | _RECURSIVE), None
    )
    _check(result, f"bind {source} to {target}")
    if flags:
        set_flags(target, flags)


def set_flags(target: Path, flags: int) -> None:
    """Restrict a mount and those below it (Linux 5.12)."""
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)
    result = _library().syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE), attributes, ctypes.c_size_t(len(attributes)),
    )  # fmt: skip
    _check(result, f"mount_setattr {target}")


def remount_read_only(target: Path) -> None:
    """This mount alone, not those below it."""
    flags = _BIND | _REMOUNT | READ_ONLY | NO_SUID | NO_DEVICES
    result = _library().mount(None, os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(result, f"remount {target}")


def make_mounts_private() -> None:
    """What is mounted from here on is seen by this namespace only."""
    result = _library().mount(None, b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None)
    _check(result, "mount --make-rprivate /")


def change_root(root: Path) -> None:
    """``root``, which is a mount, becomes ``/``; the old one is out of reach for good."""
    os.chdir(root)
    _check(_library().pivot_root(b".", b"."), f"pivot_root {root}")
    _check(_library().umount2(b".", ctypes.c_int(_DETACH)), "umount of the old root")
    os.chdir("/")


def bring_up_loopback() -> None:
    """The only interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", _INTERFACE_UP | _INTERFACE_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def set_host_name(name: str) -> None:
    """Of the UTS namespace."""
    _check(_library().sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def drop_privileges() -> None:
    """Give up every capability for good: none now, and none by any program that is started."""
    library = _library()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        _check(library.prctl(_DROP_BOUNDING, capability, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
    header = struct.pack("=Ii", _CAPABILITIES_VERSION, 0)
    _check(library.capset(header, bytes(24)), "capset")
    _check(library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def die_with_parent() -> None:
    """SIGKILL when the parent ends, which a process outside may do at any time."""
    _check(_library().prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0), "prctl")


def be_killable() -> None:
    """Let ``HANDLED`` end this process though it is the first of its PID namespace: it exits with the signal's number.

    The handler is the C library's ``_exit``, so that code which never returns to the interpreter is ended, too.
    """
    library = _library()
    library.signal.restype = ctypes.c_void_p
    handler = ctypes.cast(library._exit, ctypes.c_void_p)
    for number in HANDLED:
        library.signal(ctypes.c_int(number), handler)
