"""What a platform is told at its start: one frozen value, handed down; no other module reads the environment.

``modelyard up`` builds it from its options and the environment and writes it to ``<home>/run/settings.json``; each
process of the platform reads that file once.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from modelyard.base import otel

MIB = 1 << 20
IsolationMode = Literal["auto", "require", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of the data plane, in one place."""

    payload_bytes: int = 25 * MIB
    """Largest invocation body, in and out; ``--strict`` sets AWS's modelled 6 MiB."""
    body_budget_bytes: int = 512 * MIB
    """All invocation bodies that one gateway holds at a time; past it requests are refused with 503.

    One endpoint's large bodies may hold as much as is left for all others.
    """
    connections: int = 10_000
    """Open client connections a gateway; past it new ones are closed at once."""
    header_bytes: int = 64 * 1024
    """Request line and headers together; past it 431."""
    header_seconds: float = 20.0
    """A client has so long to finish its headers, and between two pieces of its body."""
    idle_seconds: float = 120.0
    """A kept-alive connection without a request is closed after this, and one whose client takes no byte of its answer."""
    replica_queue: int = 1_000
    """Requests in flight and waiting for one replica; past it 429 ThrottlingException."""
    invocation_seconds: float = 60.0
    """An invocation that has no answer by then is a ModelError (AWS's limit)."""
    async_queue: int = 100_000
    """Asynchronous requests that wait for one endpoint; past it 503."""
    stream_seconds: float = 480.0
    """A streamed answer has to be complete by then (AWS's eight minutes); its first part within ``invocation_seconds``."""
    replica_wait_seconds: float = 10.0
    """How long a request waits while every replica of its variant is being restarted; then 503."""
    api_body_bytes: int = 16 * MIB
    """Largest body of a control-plane call."""
    artifact_bytes: int = 20 * 1024 * MIB
    """Unpacked size of one model archive."""
    artifact_files: int = 100_000
    """Files in one model archive."""
    log_stream_bytes: int = 64 * MIB
    """Kept output of one worker or job; older lines stay, what comes after is counted and dropped."""
    startup_seconds: float = 240.0
    """A worker that is not ready by then failed its health check (AWS's four minutes)."""
    drain_seconds: float = 30.0
    """Between SIGTERM and SIGKILL of a worker."""
    hibernate_seconds: float = 300.0
    """A serverless variant that nobody invoked for so long has its workers stopped; the next request starts them."""
    lex_sessions: int = 100_000
    """Conversations with bots that are remembered at a time; past it new ones are refused with 429."""
    restart_attempts: int = 5
    """Deaths of a replica before its first readiness after which the endpoint is Failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One platform."""

    home: Path
    """Where everything lives; default ``~/.modelyard``."""
    host: str = "127.0.0.1"
    """Address that the gateways listen on."""
    port: int = 8650
    """The one port."""
    gateways: int = 1
    """Gateway processes that share the port."""
    standby: bool = False
    """A second control process waits to take over."""
    zones: int = 1
    """Zones ``a``, ``b``…: each has a host process of its own, and replicas are spread over them."""
    account: str = "123456789012"
    """The account of the first credentials."""
    region: str = "us-east-1"
    """The region where a request names none."""
    auth: bool = True
    """False only with ``--no-auth`` on a loopback address: signatures are neither asked for nor checked."""
    strict_roles: bool = False
    """Refuse a role ARN that names no role of the platform."""
    trusted_imports: tuple[str, ...] = ()
    """Classes (``package.module.Class``) that pickled models may hold beyond the artifact firewall's own list."""
    s3_endpoint: str = ""
    """Another S3 that holds models, inputs and outputs; empty: the platform's own."""
    webhooks: tuple[str, ...] = ()
    """``ARN=URL``: where messages to an SNS topic are posted; of topics without one they are files in ``topics/``."""
    lambdas: tuple[str, ...] = ()
    """``ARN=URL`` or ``ARN=MODULE:FUNCTION``: where the Lambda functions are that bots call."""
    lambda_folder: Path | None = None
    """Where the modules of Python functions are looked for first: where ``modelyard up`` was called."""
    isolation: IsolationMode = "auto"
    """Whether workers get a system of their own: where the machine allows it, always or not at all, never."""
    tls_cert: Path | None = None
    """PEM certificate chain; with ``tls_key`` the port speaks HTTPS."""
    tls_key: Path | None = None
    """PEM private key."""
    insecure: bool = False
    """Allow an address other than loopback without TLS."""
    tracing: otel.Tracing | None = None
    """OpenTelemetry traces, as the ``OTEL_…`` variables said at the start; without them there are none."""
    limits: Limits = field(default_factory=Limits)
    """The bounds."""

    @property
    def url(self) -> str:
        """What ``AWS_ENDPOINT_URL`` is set to."""
        scheme = "https" if self.tls_cert else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(asdict(self), enc_hook=str), indent=2)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ``msgspec.ValidationError`` for a file that another version wrote."""
        return msgspec.json.decode(data, type=cls, dec_hook=_decode)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)  # msgspec's way to say that a type has no decoder


FIRST_ZONE = "a"


def zone_names(count: int) -> tuple[str, ...]:
    """``a``, ``b``…"""
    return tuple(chr(ord(FIRST_ZONE) + number) for number in range(count))


def default_home() -> Path:
    """``$MODELYARD_HOME`` or ``~/.modelyard``."""
    return Path(os.environ.get("MODELYARD_HOME", "~/.modelyard")).expanduser().absolute()


def read_tracing() -> tuple[otel.Tracing, dict[str, str]] | None:
    """How traces are made and the headers that go with them, by the environment. Raises ``ValueError``, as ``otel.read`` does."""
    return otel.read(os.environ)


@dataclass(frozen=True, slots=True)
class Home:
    """The files of a platform's home, by name; nothing else spells their paths."""

    root: Path

    @property
    def state(self) -> Path:
        """Resources: SQLite."""
        return self.root / "state.db"

    @property
    def logs_database(self) -> Path:
        """What workers and jobs printed: SQLite."""
        return self.root / "logs.db"

    @property
    def metrics_database(self) -> Path:
        """What was measured, and what became of alarms: SQLite."""
        return self.root / "metrics.db"

    @property
    def objects(self) -> Path:
        """The S3 store: ``index.db``, ``data/``, ``tmp/``."""
        return self.root / "objects"

    @property
    def fetched(self) -> Path:
        """Artifacts from another S3, as they came; swept when nobody needs them."""
        return self.artifacts / ".fetched"

    @property
    def artifacts(self) -> Path:
        """Unpacked model archives, by content; shared read-only by workers; may be deleted when down."""
        return self.root / "artifacts"

    @property
    def environments(self) -> Path:
        """Virtual environments of scripts that bring requirements, by content; may be deleted when down."""
        return self.root / "environments"

    @property
    def logs(self) -> Path:
        """Log files of the platform's own processes, and ``raw/`` output of workers."""
        return self.root / "logs"

    @property
    def jobs(self) -> Path:
        """Journals of running jobs, by job id."""
        return self.root / "jobs"

    @property
    def run(self) -> Path:
        """Sockets, process ids, published tables."""
        return self.root / "run"

    def zone(self, name: str) -> Path:
        """Of a zone's host: ``host.sock``, ``host.poke``, ``processes``. The first zone's is ``run`` itself."""
        return self.run if name == FIRST_ZONE else self.run / f"zone-{name}"

    @property
    def ledgers(self) -> Path:
        """What gateways enter of requests during rollouts: a book of each, mapped into its memory."""
        return self.run / "ledgers"

    @property
    def processes(self) -> Path:
        """One state file for each worker and job of the first zone, which outlives the host."""
        return self.run / "processes"

    @property
    def credentials(self) -> Path:
        """The first access key (mode 600)."""
        return self.root / "credentials"

    @property
    def external_s3(self) -> Path:
        """Where the external S3 is and as whom it is asked (mode 600); there only with ``--s3-endpoint``."""
        return self.root / "external-s3.json"

    @property
    def trace_headers(self) -> Path:
        """What goes with traces to their collector, often a key (mode 600); there only where traces are on."""
        return self.root / "trace-headers.json"

    @property
    def sealing_key(self) -> Path:
        """32 random bytes that seal session tokens (mode 600)."""
        return self.root / "sealing.key"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor while the platform is up."""
        return self.root / "lock"

    @property
    def lease(self) -> Path:
        """Locked by the process that is control; in it, who that is."""
        return self.run / "control.lease"

    def standing_by(self, name: str) -> Path:
        """Written by a control that has loaded everything and waits for the lease; in it, who that is."""
        return self.run / f"{name}.standby"

    @property
    def process_table(self) -> Path:
        """Names and ids of the platform's processes, written by the supervisor."""
        return self.run / "platform.json"

    @property
    def protections(self) -> Path:
        """Which protections of workers are off, and why: written by the host when it starts."""
        return self.run / "protections.json"

    @property
    def images(self) -> Path:
        """Local programs that are images, by name."""
        return self.root / "images.json"

    @property
    def packs(self) -> Path:
        """Installed model packs of the AI services, by name; ``choices.json`` says which serves what."""
        return self.root / "packs"

    @property
    def usage_database(self) -> Path:
        """What AI services were used for: SQLite."""
        return self.root / "usage.db"

    @property
    def async_database(self) -> Path:
        """Asynchronous requests that wait: SQLite."""
        return self.root / "async.db"

    @property
    def lex_database(self) -> Path:
        """Conversations with bots: SQLite."""
        return self.root / "lex.db"

    @property
    def topics(self) -> Path:
        """Messages to SNS topics, a file each: ``<account>/<region>/<topic>/<id>.json``."""
        return self.root / "topics"

    @property
    def prices(self) -> Path:
        """The user's own price table; without it the one that comes with the platform holds."""
        return self.root / "prices.toml"

    @property
    def settings(self) -> Path:
        return self.run / "settings.json"

    def socket(self, name: str) -> Path:
        """Path of a process's UNIX socket: ``control``, ``objects``, ``host``."""
        return self.run / f"{name}.sock"

    def create(self) -> None:
        """Make every folder; private to the user."""
        for folder in (
            self.root,
            self.objects,
            self.artifacts,
            self.logs,
            self.logs / "raw",
            self.jobs,
            self.run,
            self.processes,
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
