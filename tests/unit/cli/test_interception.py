"""The local HTTPS proxy: AWS addresses meet the platform, with a certificate that the program trusts."""

import http.server
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.base.settings import Home, Settings
from modelyard.cli.interception import Authority, intercepted, is_aws
from modelyard.cli.platform import CommandFailed, Credentials, Platform


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Platform(
        Home(tmp_path),
        Settings(home=tmp_path, port=server.server_address[1]),
        Credentials(access_key_id="a", secret_access_key="s", account="123456789012"),
        "us-east-1",
    )
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_aws_address_reaches_the_platform_with_its_host_header_untouched(
    platform: Platform,
) -> None:
    with intercepted(platform) as variables:
        context = ssl.create_default_context(cafile=variables["AWS_CA_BUNDLE"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": variables["HTTPS_PROXY"]}),
            urllib.request.HTTPSHandler(context=context),
        )
        for host in ("sts.us-east-1.amazonaws.com", "my-bucket.s3.eu-west-1.amazonaws.com"):
            with opener.open(f"https://{host}/a?b=c", timeout=60) as answer:
                assert answer.read().decode() == f"{host} /a?b=c"


def test_a_program_that_does_not_trust_the_authority_refuses_the_connection(
    platform: Platform,
) -> None:
    with intercepted(platform) as variables:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": variables["HTTPS_PROXY"]}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        )
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            opener.open("https://sts.us-east-1.amazonaws.com/", timeout=60)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("sts.amazonaws.com", True),
        ("api.sagemaker.us-east-1.amazonaws.com", True),
        ("SAGEMAKER.US-EAST-1.AMAZONAWS.COM.", True),
        ("s3.us-west-2.api.aws", True),
        ("amazonaws.com.example.org", False),
        ("notamazonaws.com", False),
        ("169.254.169.254", False),
    ],
)
def test_only_aws_addresses_are_intercepted(host: str, expected: bool) -> None:
    assert is_aws(host) is expected


def test_a_proxy_that_cannot_listen_is_an_error_and_no_endless_wait(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no sockets left")

    monkeypatch.setattr("asyncio.start_server", refuse)
    with pytest.raises(CommandFailed, match="no sockets left"), intercepted(platform):
        pass


def test_a_host_that_does_not_answer_is_a_bad_gateway(platform: Platform) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with intercepted(platform) as variables:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": variables["HTTPS_PROXY"]})
        )
        with pytest.raises(OSError, match="502"):
            opener.open(f"https://127.0.0.1:{port}/", timeout=60)


def test_programs_that_are_started_at_once_trust_one_authority(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def load(_: int) -> Authority:
        start.wait(10)
        return Authority.load_or_create(tmp_path / "tls")

    with ThreadPoolExecutor(4) as pool:
        bundles = {one.bundle({}).read_bytes() for one in pool.map(load, range(4))}
    assert len(bundles) == 1
