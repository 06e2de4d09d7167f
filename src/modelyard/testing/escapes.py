"""Ways out of a sandbox, each tried for real: what somebody's code might do to see or change what is not its own.

Of the standard library alone, so that a program without this package can run the file, too. Each way returns evidence of its
success as text, or raises, or returns nothing: then the wall has held. Files are opened for writing, and not written. What would
change the machine is tried only by a process without capabilities that cannot see the platform's home: outside of a sandbox
nothing of it happens.
"""

import ctypes
import os
import resource
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from typing import Any

Targets = dict[str, Any]
"""What lies outside: ``home``, ``own_artifact``, ``other_artifact``, ``user_home``, ``host`` (process id), ``sockets``,
``port``, ``abstract``, ``shared``, ``shared_key``, ``secret``; ``network``: whether one is allowed."""

_PTRACE_ATTACH, _NEW_USER, _IPC_CREATED = 16, 0x10000000, 0
_KEYCTL = {"x86_64": 250, "aarch64": 219}


def _call(name: str, *arguments: Any) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(library, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return f"{path}: {file.read(40)!r}"


def _write(path: str) -> str:
    os.close(os.open(path, os.O_WRONLY))
    return f"{path} can be written"


def reads_the_credentials(targets: Targets) -> str:
    return _read(f"{targets['home']}/credentials")


def reads_the_sealing_key(targets: Targets) -> str:
    return _read(f"{targets['home']}/sealing.key")


def reads_the_state(targets: Targets) -> str:
    return _read(f"{targets['home']}/state.db")


def lists_other_processes_states(targets: Targets) -> str:
    return str(os.listdir(f"{targets['home']}/run/processes"))


def reads_another_models_artifact(targets: Targets) -> str:
    return _read(targets["other_artifact"])


def writes_its_own_artifact(targets: Targets) -> str:
    return _write(targets["own_artifact"])


def makes_its_artifact_writable(targets: Targets) -> str:
    os.chmod(targets["own_artifact"], 0o600)
    return "chmod succeeded"


def adds_to_the_models_folder(targets: Targets) -> str:
    os.close(os.open("/opt/ml/model/added", os.O_WRONLY | os.O_CREAT))
    return "added a file"


def writes_programs_of_the_system(targets: Targets) -> str:
    return _write("/usr/bin/env")


def writes_settings_of_the_system(targets: Targets) -> str:
    return _write("/etc/hosts")


def reads_password_hashes(targets: Targets) -> str:
    text = _read("/etc/shadow")
    return text if "root" in text else ""


def reads_the_users_home(targets: Targets) -> str:
    found = set(os.listdir(targets["user_home"])) & {".ssh", ".aws", ".bashrc", ".profile"}
    return ", ".join(found)


def sees_processes_of_the_platform(targets: Targets) -> str:
    host = str(targets["host"])
    if host not in os.listdir("/proc"):
        return ""
    with open(f"/proc/{host}/cmdline") as file:
        return f"process {host}" if "modelyard" in file.read() else ""


def signals_the_host(targets: Targets) -> str:
    if os.path.exists(f"/proc/{targets['host']}"):
        return ""  # Another process of the sandbox has that number here.
    os.kill(targets["host"], 0)
    return "it can be signalled"


def traces_another_process(targets: Targets) -> str:
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        _call("ptrace", _PTRACE_ATTACH, child, 0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return "ptrace is allowed"


def finds_another_root_by_proc(targets: Targets) -> str:
    return _read(f"/proc/1/root{targets['home']}/credentials")


def connects_to_the_platforms_sockets(targets: Targets) -> str:
    for path in targets["sockets"]:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(path) == 0:
                return str(path)
    return ""


def connects_to_a_container_engine(targets: Targets) -> str:
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"):
        if os.path.exists(path):
            return path
    return ""


def connects_to_the_machine_by_tcp(targets: Targets) -> str:
    if targets["network"]:
        return ""
    with socket.create_connection(("127.0.0.1", targets["port"]), timeout=2):
        return "connected"


def sends_a_datagram(targets: Targets) -> str:
    if targets["network"]:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("192.0.2.1", 53))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("2001:db8::1", 53))
    return "sent"


def connects_to_an_abstract_socket(targets: Targets) -> str:
    if targets["network"]:
        return ""  # They belong to the network, which is shared then.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + targets["abstract"])
    return "connected"


def mounts(targets: Targets) -> str:
    _call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)
    return "mounted"


def remounts_writable(targets: Targets) -> str:
    _call("mount", None, b"/usr", None, 4096 | 32, None)
    return "remounted"


def changes_its_root(targets: Targets) -> str:
    os.chroot(".")
    return "chroot is allowed"


def enters_a_user_namespace(targets: Targets) -> str:
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(_NEW_USER) == 0 else 1)
    _, status = os.waitpid(child, 0)
    return "" if status else "unshare is allowed"


def becomes_root(targets: Targets) -> str:
    os.setuid(0)
    return "setuid is allowed"


def gains_privileges_by_a_program(targets: Targets) -> str:
    finished = subprocess.run(
        ["/bin/sh", "-c", "su -c id root </dev/null || sudo -n id"],
        capture_output=True,
        timeout=10,
        check=False,
    )
    with open("/proc/self/status") as file:
        status = file.read()
    has_none = "NoNewPrivs:\t1" in status and "CapBnd:\t0000000000000000" in status
    return "" if finished.returncode and has_none else f"{finished.stdout!r} {status}"


def makes_a_device(targets: Targets) -> str:
    os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))  # noqa: S108 - within the sandbox
    return "mknod is allowed"


def opens_a_device(targets: Targets) -> str:
    extra = set(os.listdir("/dev")) - {
        *("null", "zero", "full", "random", "urandom", "shm", "fd", "stdin", "stdout", "stderr")
    }
    return ", ".join(extra)


def follows_a_link_out_of_its_folders(targets: Targets) -> str:
    link = f"/opt/ml/output/link-{os.getpid()}"
    os.symlink(f"{targets['home']}/credentials", link)
    return _read(link)


def sees_shared_memory_of_others(targets: Targets) -> str:
    return targets["shared"] if targets["shared"] in os.listdir("/dev/shm") else ""  # noqa: S108 - within the sandbox


def attaches_system_v_memory_of_others(targets: Targets) -> str:
    return str(_call("shmget", targets["shared_key"], 0, _IPC_CREATED))


def inherits_descriptors(targets: Targets) -> str:
    """Its output is the one file that it has; a folder would be a way back."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            status = os.fstat(int(number))
        except OSError:
            continue  # The one that listed.
        is_output = int(number) in (1, 2)
        target = os.readlink(f"/proc/self/fd/{number}")
        if stat.S_ISDIR(status.st_mode) and target != "/proc/self/fd" and "/fd" not in target:
            found.append(target)
        if stat.S_ISREG(status.st_mode) and not is_output:
            found.append(target)
    return ", ".join(found)


def finds_secrets_in_its_environment(targets: Targets) -> str:
    with open("/proc/self/environ") as file:
        everything = file.read() + repr(dict(os.environ))
    return "found" if targets["secret"] in everything else ""


def writes_core_dumps(targets: Targets) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    return "" if 0 <= soft <= 1 and 0 <= hard <= 1 else f"{soft}, {hard}"


def chooses_who_gets_core_dumps(targets: Targets) -> str:
    return _write("/proc/sys/kernel/core_pattern")


def presses_magic_keys(targets: Targets) -> str:
    return _write("/proc/sysrq-trigger")


def uses_kernel_keys(targets: Targets) -> str:
    return str(_call("syscall", _KEYCTL[os.uname().machine], 0, -3, 1, 0, 0))


def leaves_its_control_group(targets: Targets) -> str:
    return ", ".join(os.listdir("/sys/fs/cgroup"))


def renames_the_machine(targets: Targets) -> str:
    socket.sethostname("escaped")
    return "renamed"


def takes_more_of_the_processor(targets: Targets) -> str:
    os.nice(-5)
    return "nice is allowed"


def fills_memory_by_files(targets: Targets) -> str:
    """``limit`` bytes of /tmp and one more."""
    piece = b"x" * (1 << 20)
    path = f"/dev/shm/fill-{os.getpid()}"  # noqa: S108 - within the sandbox
    try:
        with open(path, "wb") as file:
            for _ in range(2048):
                file.write(piece)
    finally:
        os.remove(path)
    return "2 GiB fit into /dev/shm"


LOOKS: tuple[Callable[[Targets], str], ...] = (
    reads_the_credentials,
    reads_the_sealing_key,
    reads_the_state,
    lists_other_processes_states,
    reads_another_models_artifact,
    writes_its_own_artifact,
    writes_programs_of_the_system,
    writes_settings_of_the_system,
    reads_password_hashes,
    reads_the_users_home,
    sees_processes_of_the_platform,
    signals_the_host,
    traces_another_process,
    finds_another_root_by_proc,
    connects_to_the_platforms_sockets,
    connects_to_a_container_engine,
    connects_to_the_machine_by_tcp,
    sends_a_datagram,
    connects_to_an_abstract_socket,
    opens_a_device,
    sees_shared_memory_of_others,
    attaches_system_v_memory_of_others,
    inherits_descriptors,
    finds_secrets_in_its_environment,
    writes_core_dumps,
    chooses_who_gets_core_dumps,
    presses_magic_keys,
    leaves_its_control_group,
)
"""They change nothing, wherever they are tried."""
CHANGES: tuple[Callable[[Targets], str], ...] = (
    makes_its_artifact_writable,
    adds_to_the_models_folder,
    mounts,
    remounts_writable,
    changes_its_root,
    enters_a_user_namespace,
    becomes_root,
    gains_privileges_by_a_program,
    makes_a_device,
    follows_a_link_out_of_its_folders,
    uses_kernel_keys,
    renames_the_machine,
    takes_more_of_the_processor,
    fills_memory_by_files,
)


def attempt_all(targets: Targets) -> dict[str, str]:
    """The evidence of each way that was open; empty where every wall has held."""
    found = _attempt(LOOKS, targets)
    if os.path.exists(targets["home"] + "/state.db") or not _is_powerless():
        return {**found, "is_no_sandbox": "the home is seen, or there are capabilities"}
    return found | _attempt(CHANGES, targets)


def _is_powerless() -> bool:
    with open("/proc/self/status") as file:
        return "CapEff:\t0000000000000000" in file.read()


def _attempt(ways: tuple[Callable[[Targets], str], ...], targets: Targets) -> dict[str, str]:
    found = {}
    for way in ways:
        try:
            evidence = way(targets)
        except (OSError, subprocess.SubprocessError):
            continue
        if evidence:
            found[way.__name__] = evidence
    return found
