"""System calls that no model needs, refused with EPERM: tracing, mounting, kernel keys, kernel programs (Linux).

The other walls hold without this one; it is there for the holes that nobody knows yet. The filter is a handful of comparisons
that the kernel compiles, some 50 ns a call.
"""

import ctypes
import errno
import platform
import struct
from functools import cache

_NAMES = (
    "ptrace", "process_vm_readv", "process_vm_writev", "mount", "umount2", "pivot_root", "chroot", "mknod", "mknodat",
    "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "open_by_handle_at", "setns", "unshare", "swapon", "swapoff",
    "reboot", "acct", "quotactl", "settimeofday", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "open_tree", "move_mount", "fsopen", "fsmount", "fspick", "mount_setattr", "kcmp",
)  # fmt: skip
_NUMBERS = {
    "x86_64": (
        101, 310, 311, 165, 166, 155, 161, 133, 259,
        248, 249, 250, 321, 298, 323, 246, 320,
        175, 313, 176, 304, 308, 272, 167, 168,
        169, 163, 179, 164, 425, 426, 427,
        428, 429, 430, 432, 433, 442, 312,
    ),
    "aarch64": (
        117, 270, 271, 40, 39, 41, 51, None, 33,
        217, 218, 219, 280, 241, 282, 104, 294,
        105, 273, 106, 265, 268, 97, 224, 225,
        142, 89, 60, 170, 425, 426, 427,
        428, 429, 430, 432, 433, 442, 272,
    ),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Calls of x86-64's other interface carry this bit."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_SET_SECCOMP, _FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


@cache
def program() -> bytes:
    """The filter in the kernel's form; empty where this machine's numbers are not known."""
    machine = platform.machine()
    if machine not in _NUMBERS:
        return b""
    refused = [number for number in _NUMBERS[machine] if number is not None]
    checks = len(refused)
    lines = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 0, checks + 3, _ARCHITECTURES[machine]),  # 32-bit calls have other numbers: none
        (_LOAD, 0, 0, 0),  # the call's number
        (_AT_LEAST, checks + 1, 0, _X32),
        *((_EQUAL, checks - place, 0, number) for place, number in enumerate(refused)),
    ]
    # The last comparison that does not hold falls through to ALLOW; every other end is REFUSE.
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def install() -> None:
    """For this process and all that it starts. Needs "no new privileges". Raises ``OSError``."""
    filter_ = program()
    if not filter_:
        return
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    described = _Program(len(filter_) // 8, ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(described), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
