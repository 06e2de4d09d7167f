"""The object store's application on a loopback port, in a thread: for tests that ask S3 by boto3, with real signatures."""

import http.client
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError

from modelyard.base.clock import SystemClock
from modelyard.base.settings import Home, Settings
from modelyard.server.objects import build_app
from modelyard.store.objects import ObjectStore
from modelyard.store.published import Publisher

MIB = 1 << 20
SECRETS = {"AKIAROOT": ("secret", "111111111111"), "AKIAOTHER": ("other", "222222222222")}
"""Access keys of two accounts: each one's secret and account."""


class ObjectServer:
    """One objects process, as a thread of the test's."""

    def __init__(self, root: Path) -> None:
        home = Home(root)
        home.create()
        table = {
            key: {
                "secret": secret,
                "principal": {
                    "kind": "root", "arn": f"arn:aws:iam::{account}:root", "id": account,
                    "account": account,
                },
                "active": True,
            }
            for key, (secret, account) in SECRETS.items()
        }  # fmt: skip
        Publisher(home.run, "keys").publish({"keys": table})
        self.store = ObjectStore(home.objects)
        app = build_app(Settings(home=root), self.store, SystemClock())
        config = uvicorn.Config(
            app,
            port=0,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            date_header=False,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            threading.Event().wait(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.store.close()

    def client(
        self, key: str = "AKIAROOT", *, url: str = "", secret: str = "", **config: Any
    ) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=url or self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret or SECRETS[key][0],
            config=Config(retries={"max_attempts": 1}, **config),
        )

    def send(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        result = answer.status, answer.read(), dict(answer.getheaders())
        connection.close()
        return result

    def files(self) -> list[Path]:
        return [path for path in self.store.root.glob("[dt]*/**/*") if path.is_file()]


def code(error: ClientError) -> tuple[str, int]:
    """Of a refusal: its code and its status."""
    response = error.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def refused(call: Callable[[], Any], *expected: Any) -> dict[str, Any]:
    """The error that a call ends with, whose code and status are as expected."""
    try:
        call()
    except ClientError as error:
        assert code(error) == expected
        found: dict[str, Any] = dict(error.response["Error"])
        return found
    raise AssertionError("it was not refused")
