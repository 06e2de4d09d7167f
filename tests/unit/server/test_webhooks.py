"""Who subscribes to a topic and speaks no HTTP, or speaks it for ever: an error like any other, after which it is given up."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.base.otel import Tracing
from modelyard.server import async_plane, traces
from modelyard.server.async_plane import SnsTopics
from modelyard.server.traces import Collector

TOPIC = "arn:aws:sns:us-east-1:123456789012:done"
BYTE_BY_BYTE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BETWEEN_SECONDS = 0.02


@pytest.fixture(params=[b"SSH-2.0-OpenSSH_9.6\r\n"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of somebody who answers so, byte by byte, until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.recv(65536)
                for byte in request.param:
                    connection.sendall(bytes([byte]))
                    time.sleep(BETWEEN_SECONDS)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(10)


def test_what_is_no_http_is_no_delivery(address: str, tmp_path: Path) -> None:
    topics = SnsTopics(tmp_path, {TOPIC: address})
    with pytest.raises(OSError, match="SSH"):
        topics.publish(TOPIC, "1", {}, 0.0)


@pytest.mark.parametrize("address", [BYTE_BY_BYTE], indirect=True)
def test_what_comes_byte_by_byte_has_to_be_whole_in_time(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_plane, "WEBHOOK_SECONDS", 10 * BETWEEN_SECONDS)
    topics = SnsTopics(tmp_path, {TOPIC: address})
    with pytest.raises(OSError, match="time"):
        topics.publish(TOPIC, "1", {}, 0.0)


@pytest.mark.parametrize("address", [BYTE_BY_BYTE], indirect=True)
def test_a_collector_that_answers_byte_by_byte_is_waited_for_no_longer(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "TIMEOUT_SECONDS", 10 * BETWEEN_SECONDS)
    posted = Collector(Tracing(endpoint=address), {}).post([])
    assert "time" in posted.reason
    assert posted.may_retry
