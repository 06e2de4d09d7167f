"""Who takes part: the limits, ours, the peers. Each starts on a free port of loopback and is ended by its process group."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks import environments
from benchmarks.load import Target, ask
from benchmarks.models import Case
from modelyard.cli.platform import connect

SERVERS = Path(__file__).parent / "servers"
START_SECONDS = 120.0
SIGNED_APART = 100
"""Signed requests are of so many seconds before and after now, each once, in turn."""
STOP_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class System:
    """``run`` starts it for a case in an empty folder, and ends it when its block does."""

    name: str
    run: Callable[[Case, Path], AbstractContextManager["Running"]]
    about: str
    environment: str = ""
    """The peer's environment, whose versions are reported."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started server. ``groups`` are the process groups whose memory is its own."""

    target: Target
    groups: tuple[int, ...] = field(default=())

    def memory_mib(self) -> float:
        """Proportional set size of all its processes: shared pages are counted once."""
        return sum(_pss_kib(pid) for pid in _members(self.groups)) / 1024


class NotHere(Exception):
    """It needs something that this machine lacks; the text says what."""


def systems() -> dict[str, System]:
    """In the order in which they are shown."""
    found = [
        System(name="nginx constant", run=_nginx_constant, about="HTTP's own cost: no model"),
        System(name="raw server", run=_raw, about="uvloop + httptools, model in the process"),
        System(name="nginx + raw server", run=_nginx_raw, about="the same behind a UNIX socket"),
        System(name="modelyard", run=_modelyard(signed=False), about="--no-auth, 1 gateway"),
        System(name="modelyard x2", run=_modelyard(signed=False, pairs=2), about="2 gateways, 2 workers"),
        System(name="modelyard signed", run=_modelyard(signed=True), about="SigV4 verified"),
        System(name="modelyard signed x2", run=_modelyard(signed=True, pairs=2), about="2 gateways, 2 workers"),
        System(name="FastAPI", run=_fastapi, about="2 workers", environment="fastapi"),
        System(name="KServe", run=_kserve, about="2 workers", environment="kserve"),
        System(name="Ray Serve", run=_ray, about="2 replicas, batching", environment="ray"),
    ]  # fmt: skip
    return {system.name: system for system in found}


def _modelyard(
    *, signed: bool, pairs: int = 1
) -> Callable[[Case, Path], AbstractContextManager[Running]]:
    @contextmanager
    def run(case: Case, folder: Path) -> Iterator[Running]:
        home = folder / "home"
        command = [sys.executable, "-m", "modelyard.cli.main"]
        environment = {**os.environ, "MODELYARD_HOME": str(home)}
        options = [*([] if signed else ["--no-auth"]), "--gateways", str(pairs), "--port", "0"]
        with _process([*command, "up", *options], folder, environment) as group:
            _until(lambda: (home / "run" / "settings.json").exists() and _is_up(home))
            platform = connect(home)
            deploy = ["deploy", str(case.path), "--name", "bench", "--count", str(pairs)]
            subprocess.run([*command, *deploy], env=environment, check=True, capture_output=True)
            url = f"{platform.url}/endpoints/bench/invocations"
            credentials = Credentials(
                platform.credentials.access_key_id, platform.credentials.secret_access_key
            )
            headers = tuple(
                sign(url, case.body, credentials, platform.region, seconds=at)
                for at in range(-SIGNED_APART, SIGNED_APART if signed else -SIGNED_APART)
            )
            yield Running(target=Target(url=url, headers=headers or ({},)), groups=(group,))

    return run


def sign(
    url: str, body: bytes, credentials: Credentials, region: str, *, seconds: int = 0
) -> dict[str, str]:
    """Headers of one signed invocation, as botocore signs it ``seconds`` from now; valid for five minutes."""
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": "application/json"})
    signer = SigV4Auth(credentials, "sagemaker", region)
    signed_at = datetime.now(UTC) + timedelta(seconds=seconds)
    request.context["timestamp"] = signed_at.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return {name: value for name, value in request.headers.items() if name != "Content-Type"}


def _is_up(home: Path) -> bool:
    try:
        platform = connect(home)
        platform.client("sagemaker").list_endpoints()
    except Exception:  # noqa: BLE001 - not yet; the caller gives up in time
        return False
    return True


@contextmanager
def _raw(case: Case, folder: Path) -> Iterator[Running]:
    port = _free_port()
    command = [sys.executable, str(SERVERS / "raw.py"), str(case.path), str(port)]
    with _serving(command, f"http://127.0.0.1:{port}/", case, folder) as running:
        yield running


@contextmanager
def _nginx_raw(case: Case, folder: Path) -> Iterator[Running]:
    path = folder / "raw.sock"
    command = [sys.executable, str(SERVERS / "raw.py"), str(case.path), str(path)]
    with _process(command, folder) as group:
        _until(path.exists)
        to = "proxy_pass http://raw; proxy_http_version 1.1; proxy_set_header Connection '';"
        upstream = f"upstream raw {{ server unix:{path}; keepalive 128; }}"
        with _nginx(case, folder, to, upstream=upstream) as running:
            yield Running(target=running.target, groups=(*running.groups, group))


@contextmanager
def _nginx_constant(case: Case, folder: Path) -> Iterator[Running]:
    answer = '{"predictions": [0.1]}'
    to = f"default_type application/json; return 200 '{answer}';"
    with _nginx(case, folder, to, answers=False) as running:
        yield running


@contextmanager
def _nginx(
    case: Case, folder: Path, location: str, *, upstream: str = "", answers: bool = True
) -> Iterator[Running]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise NotHere("apt-get install nginx-light")
    port = _free_port()
    configuration = folder / "nginx.conf"
    # Started by root, it would drop to a user that may not open the socket behind it.
    user = "" if os.getuid() else "user root;"
    configuration.write_text(
        f"{user} daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder};\n"
        f"proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};\n"
        f"scgi_temp_path {folder}; {upstream}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}\n"
    )
    command = [program, "-c", str(configuration), "-p", str(folder)]
    url = f"http://127.0.0.1:{port}/"
    with _serving(command, url, case, folder, answers=answers) as running:
        yield running


@contextmanager
def _fastapi(case: Case, folder: Path) -> Iterator[Running]:
    port = _free_port()
    python = environments.python_of("fastapi")
    command = [str(python), "-m", "uvicorn", "fastapi_app:app", "--workers", "2"]
    command += ["--port", str(port), "--no-access-log", "--app-dir", str(SERVERS)]
    with _serving(command, f"http://127.0.0.1:{port}/predict", case, folder) as running:
        yield running


@contextmanager
def _kserve(case: Case, folder: Path) -> Iterator[Running]:
    port = _free_port()
    python = environments.python_of("kserve")
    command = [str(python), str(SERVERS / "kserve_app.py"), "--http_port", str(port)]
    command += ["--enable_grpc", "false", "--enable_latency_logging", "false"]
    url = f"http://127.0.0.1:{port}/v1/models/m:predict"
    with _serving(command, url, case, folder) as running:
        yield running


@contextmanager
def _ray(case: Case, folder: Path) -> Iterator[Running]:
    port = _free_port()
    command = [str(environments.python_of("ray")), str(SERVERS / "ray_app.py"), str(port)]
    with _serving(command, f"http://127.0.0.1:{port}/", case, folder) as running:
        yield running


@contextmanager
def _serving(
    command: list[str], url: str, case: Case, folder: Path, *, answers: bool = True
) -> Iterator[Running]:
    """A server that is up when its first answer is right."""
    target = Target(url=url, answers=answers)
    environment = {**os.environ, "MODEL": str(case.path)}
    with _process(command, folder, environment) as group:
        try:
            _until(lambda: _has_answered(target, case))
        except TimeoutError:
            logs = "\n".join(log.read_text()[-1000:] for log in folder.glob("*.log"))
            raise NotHere(f"it did not start in {START_SECONDS:.0f} seconds:\n{logs}") from None
        yield Running(target=target, groups=(group,))


def _has_answered(target: Target, case: Case) -> bool:
    try:
        ask(target, case, timeout=5.0)
    except OSError:
        return False
    return True


@contextmanager
def _process(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Its process group; SIGINT, then SIGKILL for who stays. Raises ``RuntimeError`` with its output if it ended early."""
    log = folder / f"{Path(command[-1]).name or 'server'}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended early: {log.read_text()[-2000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("It did not start in time.")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _members(groups: tuple[int, ...]) -> Iterator[int]:
    """Processes of a group, and their descendants in other groups."""
    parents: dict[int, int] = {}
    own: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                if int(fields[2]) in groups:
                    own.add(int(entry.name))
    grows = True
    while grows:
        found = {pid for pid, parent in parents.items() if parent in own and pid not in own}
        own |= found
        grows = bool(found)
    yield from own


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
