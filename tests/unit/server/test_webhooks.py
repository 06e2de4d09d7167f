"""Who subscribes to a topic and does not speak HTTP: an error like any other, after which it is given up."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.server.async_plane import SnsTopics

TOPIC = "arn:aws:sns:us-east-1:123456789012:done"


@pytest.fixture
def address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join(10)


def test_what_is_no_http_is_no_delivery(address: str, tmp_path: Path) -> None:
    topics = SnsTopics(tmp_path, {TOPIC: address})
    with pytest.raises(OSError, match="SSH"):
        topics.publish(TOPIC, "1", {}, 0.0)
