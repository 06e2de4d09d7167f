"""Requests of one client to one API are verified each for itself, though their heads are read by the first one's form."""

import json
import time
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from modelyard.base.call import Principal
from modelyard.base.errors import ServiceError
from modelyard.base.settings import Limits, Settings
from modelyard.gateway.gate import Exchange, Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.server.authentication import Authentication
from modelyard.testing.wire import Wire
from modelyard.wire.keys import KeyEntry, KeyTable
from modelyard.wire.sealed import Seal
from modelyard.wire.sigv4 import Verifier

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ROOT = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1", access_key_id=KEY)


class Service:
    """Answers every request, and remembers who sent it, or that nobody may have."""

    def __init__(self) -> None:
        table = KeyTable({KEY: KeyEntry(secret=SECRET, principal=ROOT)})
        verifier = Verifier(keys=lambda: table, seal=Seal(bytes(32)), now=time.time)
        self.authentication = Authentication(Settings(home=Path("/nowhere")), verifier)
        self.found: list[tuple[str, bool]] = []
        """The caller or the refusal's code, and whether the head was read by a form."""
        gate = Gate(Limits(), self.begin, time.monotonic)
        self.connection = ClientConnection(gate)
        self.connection.connection_made(Wire())  # type: ignore[arg-type]

    def begin(self, head: Head, client: ClientConnection) -> Exchange:
        head.memo = True
        return Asked(self, head, client)


class Asked:
    def __init__(self, service: Service, head: Head, client: ClientConnection) -> None:
        self.service, self.head, self.client, self.data = service, head, client, b""

    def body(self, data: bytes) -> None:
        self.data += data

    def whole(self, data: bytes) -> None:
        self.body(data)
        self.complete()

    def complete(self) -> None:
        try:
            who, _ = self.service.authentication.of_head(self.head, self.data, service="comprehend")
            said = who.arn
        except ServiceError as error:
            said = error.code
        self.service.found.append((said, self.head.form is not None))
        self.client.respond(200, b"", b"")

    def client_gone(self) -> None: ...
    def client_paused(self, paused: bool) -> None: ...


def signed(given: Any, *, service: str = "comprehend") -> bytes:
    request = AWSRequest(
        "POST", "http://h/", {"Host": "h", "X-Amz-Target": "C.Detect"}, json.dumps(given).encode()
    )
    SigV4Auth(Credentials(KEY, SECRET), service, "us-east-1").add_auth(request)
    ready = request.prepare()
    lines = [
        f"{name}: {value.decode() if isinstance(value, bytes) else value}"
        for name, value in ready.headers.items()
    ]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + request.data


def test_a_form_vouches_for_no_other_body_key_or_service() -> None:
    service = Service()
    first, second, third = signed({"Text": "one"}), signed({"Text": "two"}), signed({"Text": "six"})
    for request in (first, second, third.replace(b"six", b"ten"), third):
        service.connection.data_received(request)
    service.connection.data_received(signed({"Text": "one"}, service="translate"))
    service.connection.data_received(second.replace(KEY.encode(), KEY[::-1].encode()))
    service.connection.data_received(second)

    assert service.found == [
        (ROOT.arn, False),
        (ROOT.arn, True),
        ("InvalidSignatureException", True),
        (ROOT.arn, True),
        ("InvalidSignatureException", True),
        ("UnrecognizedClientException", True),
        (ROOT.arn, True),
    ]
