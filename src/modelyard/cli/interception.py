"""A local HTTPS proxy that leads ``*.amazonaws.com`` to the platform, for clients with hard-coded addresses.

A client that honours ``HTTPS_PROXY`` asks it to CONNECT. For an AWS host the proxy ends the TLS connection itself,
with a certificate made for that host by a certificate authority that lives in the home and that only the started
program trusts (by its environment), and hands the bytes to the platform. Signatures stay valid, because the Host header
is not touched. Any other host is tunnelled as it is.
"""

import asyncio
import contextlib
import fcntl
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelyard.cli.platform import CommandFailed, Platform
from modelyard.server.supervisor import reachable

AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
PIECE = 64 * 1024
VALID_DAYS = 3650
START_SECONDS = 10.0
CONNECT_SECONDS = 30.0
"""For the program to say where it wants to, and for that address to answer."""


@contextlib.contextmanager
def intercepted(platform: Platform) -> Iterator[dict[str, str]]:
    """Run the proxy in a thread; yields the environment variables that make a program use it."""
    authority = Authority.load_or_create(platform.home.root / "tls")
    proxy = _Proxy(platform, authority)
    thread = threading.Thread(target=proxy.run, name="https-proxy", daemon=True)
    thread.start()
    port = proxy.wait_until_listening()
    bundle = str(authority.bundle(os.environ))
    address = f"http://127.0.0.1:{port}"
    try:
        yield {
            "HTTPS_PROXY": address,
            "https_proxy": address,
            "NO_PROXY": "localhost,127.0.0.1,::1",
            "no_proxy": "localhost,127.0.0.1,::1",
            "AWS_CA_BUNDLE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "CURL_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "NODE_EXTRA_CA_CERTS": bundle,
        }
    finally:
        proxy.stop()
        thread.join()


def is_aws(host: str) -> bool:
    """Whether an address belongs to AWS's API, instance metadata excluded."""
    return host.lower().rstrip(".").endswith(AWS_SUFFIXES)


class Authority:
    """A certificate authority in the home; its key never leaves it (mode 600)."""

    def __init__(
        self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        self._folder = folder
        self._key = key
        self._certificate = certificate
        self._contexts: dict[str, ssl.SSLContext] = {}

    @classmethod
    def load_or_create(cls, folder: Path) -> "Authority":
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "authority.pem"
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(
                descriptor, fcntl.LOCK_EX
            )  # Two programs that are started at once trust the same one.
            if not path.exists():
                _write_private(path, _new_authority())
        finally:
            os.close(descriptor)
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(folder, key, x509.load_pem_x509_certificate(data))

    def bundle(self, environment: Mapping[str, str]) -> Path:
        """A file of this authority and all that the program would trust anyway."""
        paths = ssl.get_default_verify_paths()
        known = (
            environment.get("SSL_CERT_FILE")
            or environment.get("REQUESTS_CA_BUNDLE")
            or paths.cafile
        )
        others = Path(known).read_bytes() if known and Path(known).is_file() else b""
        path = self._folder / "bundle.pem"
        _write_private(path, self._certificate.public_bytes(serialization.Encoding.PEM) + others)
        return path

    def context(self, host: str) -> ssl.SSLContext:
        """A server's TLS context for ``host``; made once a host."""
        if host not in self._contexts:
            path = self._folder / f"leaf-{os.getpid()}.pem"
            _write_private(path, self._new_leaf(host))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            path.unlink()
            self._contexts[host] = context
        return self._contexts[host]

    def _new_leaf(self, host: str) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(host, issuer=self._certificate.subject, key=key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return _pem(key, certificate)


def _new_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Modelyard local authority")])
    certificate = (
        _builder("Modelyard local authority", issuer=name, key=key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key, certificate)


def _builder(
    common_name: str, *, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)  # certificates are for clients on this machine's clock
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def _write_private(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(f".tmp{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


class _Proxy:
    """The proxy and its event loop, in a thread of their own."""

    def __init__(self, platform: Platform, authority: Authority) -> None:
        self._platform = platform
        self._authority = authority
        self._listening: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._stopped: asyncio.Event | None = None

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._listening.set_exception(error)
        finally:
            self._loop.close()

    def wait_until_listening(self) -> int:
        """The port. Raises ``CommandFailed``."""
        try:
            return self._listening.result(START_SECONDS)
        except OSError as error:  # also the time-out
            raise CommandFailed(f"The local proxy did not start: {error}.") from error

    def stop(self) -> None:
        assert self._stopped is not None
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopped.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError),
        ):
            async with asyncio.timeout(CONNECT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = head.split(b" ", 2)
            if method != b"CONNECT":
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = target.decode("ascii", "replace").rpartition(":")
            if is_aws(host):
                await self._to_platform(host, reader, writer)
            else:
                await _tunnel(host, int(port), reader, writer)

    async def _to_platform(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self._authority.context(host))
        settings = self._platform.settings
        context = (
            ssl.create_default_context(cafile=str(settings.tls_cert)) if settings.tls_cert else None
        )
        upstream = await asyncio.open_connection(
            reachable(settings.host), settings.port, ssl=context, limit=PIECE
        )
        await _join((reader, writer), upstream)


async def _tunnel(
    host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            upstream = await asyncio.open_connection(host.strip("[]"), port, limit=PIECE)
    except OSError:  # also the time-out
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await _join((reader, writer), upstream)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: Ends, other: Ends) -> None:
    """Copy both ways until either side has ended."""
    with contextlib.closing(other[1]):
        copies = [
            asyncio.create_task(_copy(one[0], other[1])),
            asyncio.create_task(_copy(other[0], one[1])),
        ]
        _, pending = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
