"""``modelyard up``: bind the one port, start the platform's processes, restart what dies, stop them in order.

The supervisor owns the listening socket, so that a gateway that dies drops no queued connection, and it is the
subreaper of workers whose host died. It knows nothing of what its processes do.
"""

import contextlib
import fcntl
import ipaddress
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from modelyard.base import log
from modelyard.base.ids import SystemRandom, access_key_id, secret_access_key
from modelyard.base.settings import FIRST_ZONE, Home, Settings, zone_names
from modelyard.domain.shelf import SOCKET as SHELVES
from modelyard.runtimes import keeper
from modelyard.server.process import adopt_orphans
from modelyard.wire.sealed import create_or_load_key

logger = logging.getLogger(__name__)

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""The kernel takes no longer path of a socket."""
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_LAST_SECONDS = 5.0
STABLE_SECONDS = 10.0
"""A process that lived so long starts its back-off anew."""
TABLE_SECONDS = 1.0
"""A table of processes that could not be written is tried again after this."""
STOP_ORDER = ("gateway", "control", "host", "objects")
"""Requests end first, then those who start work, then the work, then what it writes to."""


class StartRefused(Exception):
    """The platform cannot start as asked; the text says what to do."""


@dataclass(slots=True)
class Child:
    """One process of the platform and its restart state."""

    name: str
    command: list[str]
    descriptors: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = 0.0

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]


def run(settings: Settings, *, on_ready: Callable[[Settings], None] | None = None) -> None:
    """Run a platform until SIGTERM or SIGINT. Raises ``StartRefused`` before anything was started."""
    check(settings)
    home = Home(settings.home)
    home.create()
    with _locked(home), _listening(settings) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        _write_secrets(settings)
        _write_settings(home, settings)
        _write_pid(home)
        adopt_orphans()
        supervisor = Supervisor(settings, listener)
        supervisor.serve(on_ready)


def check(settings: Settings) -> None:
    """Refuse what would be unsafe, or could not work. Raises ``StartRefused``."""
    loopback = is_loopback(settings.host)
    if not settings.auth and not loopback:
        raise StartRefused(
            f"--no-auth is for loopback addresses only, and {settings.host} is none: "
            "drop --no-auth, or use --host 127.0.0.1."
        )
    if not loopback and settings.tls_cert is None and not settings.insecure:
        raise StartRefused(
            f"{settings.host} is reachable by other machines: give --tls-cert and --tls-key, "
            "or say --insecure to accept that requests and answers can be read on the way."
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise StartRefused("--tls-cert and --tls-key go together: give both or none.")
    for path in filter(None, (settings.tls_cert, settings.tls_key)):
        if not path.is_file():
            raise StartRefused(f"{path} does not exist or is no file.")
    _check_length(settings)


def _check_length(settings: Settings) -> None:
    home = Home(settings.home)
    sockets = [home.zone(zone) / "host.sock" for zone in zone_names(settings.zones)]
    sockets.append(home.socket(f"{SHELVES}-gateway-{settings.gateways - 1}"))
    excess = max(len(os.fsencode(path)) for path in sockets) - SOCKET_PATH_BYTES
    if excess > 0:
        raise StartRefused(
            f"{settings.home} is too long for the paths of its sockets, by {excess} bytes: "
            "choose another --home."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(
                f"A platform is running on {home.root} already (process {running_pid(home)}). "
                "See it with `modelyard status`, stop it with `modelyard down`, "
                "or start another with --home DIR --port PORT."
            ) from error
        yield


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise StartRefused(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}. "
            "Another program may use the port: choose one with --port PORT."
        ) from error
    with listener:
        yield listener


def running_pid(home: Home) -> int | None:
    """Process id of the platform that holds the home's lock, None if none does."""
    try:
        with home.lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(OSError, ValueError):
            return int((home.run / "supervisor.pid").read_text())
        return 0  # It holds the lock and has not written its id yet.
    return None


def _write_settings(home: Home, settings: Settings) -> None:
    """Whole or not at all: whoever waits for the platform reads it as soon as it is there."""
    temporary = home.settings.with_suffix(".tmp")
    temporary.write_bytes(settings.to_json())
    os.replace(temporary, home.settings)


def _write_pid(home: Home) -> None:
    (home.run / "supervisor.pid").write_text(f"{os.getpid()}\n")


def _write_secrets(settings: Settings) -> None:
    """Create the sealing key and the first access key unless they exist."""
    home = Home(settings.home)
    create_or_load_key(home.sealing_key)
    if home.credentials.exists():
        return
    source = SystemRandom()
    text = json.dumps(
        {
            "access_key_id": access_key_id(source),
            "secret_access_key": secret_access_key(source),
            "account": settings.account,
        },
        indent=2,
    )
    temporary = home.credentials.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, home.credentials)


class Supervisor:
    """The loop: children that should run, run."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._children = _children(settings, listener.fileno())
        self._stopping = False
        self._write_table_at: float | None = None

    def serve(self, on_ready: Callable[[Settings], None] | None) -> None:
        """Start all and keep them; returns when all have stopped."""
        with self._woken_by_signals() as selector:
            announced = False
            while not self._stopping:
                self._start_due()
                if not announced and is_ready(self._settings):
                    announced = True
                    logger.info("ready on %s", self._settings.url)
                    if on_ready is not None:
                        on_ready(self._settings)
                selector.select(self._seconds_to_next(announced))
                self._drain_wakeups()
                self._reap()
        self._stop_all()

    @contextlib.contextmanager
    def _woken_by_signals(self) -> Iterator[selectors.BaseSelector]:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._wakeups = reader
        with selectors.DefaultSelector() as selector, reader, writer:
            selector.register(reader, selectors.EVENT_READ)
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            handlers = {
                number: signal.signal(number, self._handle)
                for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            }
            try:
                yield selector
            finally:
                signal.set_wakeup_fd(before)
                for number, handler in handlers.items():
                    # While stopping, a second Ctrl-C must not leave half of the platform behind.
                    signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else handler)

    def _handle(self, number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._stopping = True

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakeups.recv(4096):
                pass

    def _seconds_to_next(self, announced: bool) -> float | None:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        if self._write_table_at is not None:
            due.append(self._write_table_at)
        waits = [max(0.0, at - time.monotonic()) for at in due]
        if not announced:
            waits.append(0.05)
        return min(waits, default=None)

    def _start_due(self) -> None:
        if self._write_table_at is not None and self._write_table_at <= time.monotonic():
            self._write_process_table()
        for child in self._children:
            if child.restart_at is not None and child.restart_at <= time.monotonic():
                self._start(child)

    def _start(self, child: Child) -> None:
        child.started, child.restart_at = time.monotonic(), None
        try:
            with _open_log(self._home, child.name) as output:
                child.process = subprocess.Popen(
                    child.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=child.descriptors,
                    env=_environment(child),
                    # A Ctrl-C at the terminal reaches the supervisor alone, which stops the others in order.
                    process_group=0,
                )
        except OSError as error:  # No more processes, or no memory, now: the others go on.
            self._plan_restart(child, f"could not be started ({error})")
            return
        logger.info("started %s, process %d", child.name, child.process.pid)
        self._write_process_table()

    def _write_process_table(self) -> None:
        """For ``modelyard status``: who is who."""
        running = [c for c in self._children if c.process is not None]
        table = {c.name: c.process.pid for c in running if c.process is not None}
        temporary = self._home.process_table.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps({"supervisor": os.getpid(), **table}))
            os.replace(temporary, self._home.process_table)
        except OSError as error:  # A full disk: what runs matters more than who reads of it.
            if self._write_table_at is None:
                logger.warning("the table of processes cannot be written: %s", error)
            self._write_table_at = time.monotonic() + TABLE_SECONDS
        else:
            self._write_table_at = None

    def _reap(self) -> None:
        """Collect whatever ended: children of ours, and workers that were orphaned by a dead host."""
        ours = {child.process.pid: child for child in self._children if child.process is not None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in ours:
                code = os.waitstatus_to_exitcode(status)
                self._plan_restart(ours[pid], f"ended with {code}")

    def _plan_restart(self, child: Child, what: str) -> None:
        lived = time.monotonic() - child.started
        child.process = None
        child.failures = 0 if lived >= STABLE_SECONDS else child.failures + 1
        delay = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(child.failures, 10))
        child.restart_at = time.monotonic() + delay
        logger.warning(
            "%s %s after %.1f s; again in %.2f s (see %s)",
            *(child.name, what, lived, delay, self._home.logs / f"{child.name}.log"),
        )

    def _stop_all(self) -> None:
        for kind in STOP_ORDER:
            group = [c.process for c in self._children if c.kind == kind and c.process is not None]
            for process in group:
                # The host takes SIGUSR1 as "stop the workers too"; SIGTERM would leave them to its successor.
                process.send_signal(signal.SIGUSR1 if kind == "host" else signal.SIGTERM)
            deadline = time.monotonic() + self._settings.limits.drain_seconds + 5
            for process in group:
                self._wait_or_kill(kind, process, deadline)
        logger.info("stopped")

    def _wait_or_kill(self, kind: str, process: subprocess.Popen[bytes], deadline: float) -> None:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in time and is killed", kind)
            process.kill()
            process.wait()


def _children(settings: Settings, listener: int) -> list[Child]:
    def command(module: str, *options: str) -> list[str]:
        python = [sys.executable, "-m", f"modelyard.server.{module}"]
        own = ["--settings", str(Home(settings.home).settings), "--parent", str(os.getpid())]
        return [*python, *own, *options]

    gateways = [
        Child(
            name=f"gateway-{number}",
            command=command("gateway", "--fd", str(listener), "--name", f"gateway-{number}"),
            descriptors=(listener,),
        )
        for number in range(settings.gateways)
    ]
    hosts = [
        Child(name=name, command=command("host", "--name", name))
        for name in map(host_name, zone_names(settings.zones))
    ]
    controls = ("control", "control-2") if settings.standby else ("control",)
    return [
        *hosts,
        Child(name="objects", command=command("objects")),
        *(Child(name=name, command=command("control", "--name", name)) for name in controls),
        *gateways,
    ]


def host_name(zone: str) -> str:
    """How the host of a zone is called in the table of processes: ``host``, ``host-b``…"""
    return "host" if zone == FIRST_ZONE else f"host-{zone}"


def _environment(child: Child) -> dict[str, str] | None:
    """What the host forks runs somebody's code: of this shell's secrets it is told nothing. None: all of it."""
    if child.kind != "host":
        return None
    return {name: value for name, value in os.environ.items() if name in keeper.ENVIRONMENT}


def _open_log(home: Home, name: str) -> IO[bytes]:
    path = home.logs / f"{name}.log"
    try:
        if path.exists() and path.stat().st_size > log.LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError as error:  # A full disk: it runs without a log rather than not at all.
        logger.warning("%s starts without a log: %s", name, error)
        return Path(os.devnull).open("ab")


def is_ready(settings: Settings) -> bool:
    """Whether every process answers on its socket."""
    home = Home(settings.home)
    paths: list[Path] = [home.socket(name) for name in ("control", "objects")]
    paths += [home.zone(zone) / "host.sock" for zone in zone_names(settings.zones)]
    return all(_answers(path) for path in paths) and _port_answers(settings)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


def _port_answers(settings: Settings) -> bool:
    """The port accepts as soon as it is bound; only an answer shows that a gateway serves it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    if settings.tls_cert is not None:
        return True  # The other sockets are up, and a gateway starts no later than they do.
    try:
        with socket.socket(family) as probe:
            probe.settimeout(1)
            probe.connect((reachable(settings.host), settings.port))
            probe.sendall(
                b"GET /_modelyard/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            return probe.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def reachable(host: str) -> str:
    """An address at which this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound


def main() -> None:
    """``python -m modelyard.server.supervisor SETTINGS``: what ``modelyard up --detach`` starts."""
    settings = Settings.from_json(Path(sys.argv[1]).read_bytes())
    log.configure("supervisor", file=Home(settings.home).logs / "supervisor.log")
    try:
        run(settings)
    except StartRefused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
