"""The one port speaks HTTPS when it is given a certificate."""

import ipaddress
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelyard.testing.platform import command, running_platform


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def test_clients_reach_a_platform_over_tls_and_only_so(tmp_path: Path) -> None:
    cert, key = _self_signed(tmp_path)
    home = tmp_path / "home"
    with running_platform(
        home, "--tls-cert", str(cert), "--tls-key", str(key), "--gateways", "2"
    ) as platform:
        assert platform.url.startswith("https://127.0.0.1:")
        s3 = platform.client("s3")
        s3.create_bucket(Bucket="over-tls")
        body = b"x" * 3_000_000
        s3.put_object(Bucket="over-tls", Key="k", Body=body)
        assert s3.get_object(Bucket="over-tls", Key="k")["Body"].read() == body
        assert platform.environment()["AWS_CA_BUNDLE"] == str(cert)
        assert command("status", home=home).returncode == 0
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(
                f"http://127.0.0.1:{platform.settings.port}/_modelyard/health", timeout=60
            )
