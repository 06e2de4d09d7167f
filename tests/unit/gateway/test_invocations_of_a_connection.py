"""Invocations as a connection brings them: a bug of the gateway, and bodies that crowd out others."""

import json
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from modelyard.base.call import Call, Principal
from modelyard.base.errors import ServiceError
from modelyard.base.ids import SeededRandom
from modelyard.base.settings import Limits
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.gateway.counters import Counters
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.in_flight import Invocation
from modelyard.gateway.invocations import Invocations, Invoke
from modelyard.testing.wire import Wire

MIB = 1 << 20
REQUEST = b"POST /endpoints/churn/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1"
CALLER = Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1")
VARIANT = VariantRoute(name="v", weight=1.0, replicas=())
ENDPOINT = EndpointRoute(name="churn", arn="a", account="1", region="r", variants=(VARIANT,))


def answers(wire: Wire) -> list[tuple[int, dict[str, Any]]]:
    """Status and JSON of each."""
    found = []
    rest = wire.written
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next(int(one[15:]) for one in lines if one.startswith("Content-Length"))
        found.append((int(lines[0].split()[1]), json.loads(rest[:length])))
        rest = rest[length:]
    return found


class Dispatcher:
    """Answers at once when asked to, and what was cancelled never."""

    def __init__(self) -> None:
        self.submitted: list[Invocation] = []

    def submit(self, key: object, invocation: Invocation) -> None:
        self.submitted.append(invocation)

    def cancel(self, invocation: Invocation) -> None:
        invocation.is_over = True

    def answer_all(self) -> None:
        for invocation in self.submitted:
            if not invocation.is_over:
                invocation.end(Final(200, "application/json", b'{"answer": 42}', "primary"))


class Gateway:
    """One connection; its steps may be broken."""

    def __init__(
        self,
        *,
        authorise: Callable[[Call], None] = lambda call: None,
        audit: Callable[[Call, ServiceError | None], None] = lambda call, error: None,
        limits: Limits | None = None,
    ) -> None:
        self.dispatcher, self.wire = Dispatcher(), Wire()
        unused: Any = None

        def begin(head: Head, client: ClientConnection) -> Invoke:
            return invocations.begin(head, client)

        self.gate = Gate(limits or Limits(), begin, lambda: 0.0)
        invocations = Invocations(
            gate=self.gate,
            dispatcher=cast(Any, self.dispatcher),
            authenticate=lambda head, body: (CALLER, "r"),
            authorise=authorise,
            audit=audit,
            find=lambda account, region, name: ENDPOINT,
            random=SeededRandom(1),
            now=lambda: 0.0,
            request_id=lambda: "an-id",
            counters=Counters(),
            capture=unused,
            shelves=unused,
            shadows=unused,
            books=unused,
        )
        self.connection = ClientConnection(self.gate)
        self.connection.connection_made(cast(Any, self.wire))

    def posts(self, endpoint: str, size: int) -> Wire:
        """On a connection of its own."""
        connection, wire = ClientConnection(self.gate), Wire()
        connection.connection_made(cast(Any, wire))
        head = f"POST /endpoints/{endpoint}/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
        connection.data_received(head.encode())
        for piece in range(0, size, MIB):
            connection.data_received(bytes(min(MIB, size - piece)))
        return wire


def broken(*arguments: object) -> None:
    raise ZeroDivisionError("a bug")


def test_a_bug_before_the_dispatch_is_an_internal_failure_and_the_next_request_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [ZeroDivisionError("a bug")]

    def authorise(call: Call) -> None:
        if faults:
            raise faults.pop()

    at = Gateway(authorise=authorise)
    with caplog.at_level(logging.ERROR):
        at.connection.data_received(REQUEST)
    assert answers(at.wire) == [
        (500, {"message": "Request an-id failed.", "Message": "Request an-id failed."})
    ]
    assert "ZeroDivisionError: a bug" in caplog.text
    assert at.gate.body_bytes == 0
    at.connection.data_received(REQUEST)
    at.dispatcher.answer_all()
    assert answers(at.wire)[1:] == [(200, {"answer": 42})]


def test_a_bug_after_the_dispatch_leaves_no_second_answer_to_the_request() -> None:
    at = Gateway(audit=broken)
    at.connection.data_received(REQUEST)
    at.dispatcher.answer_all()
    assert [status for status, _ in answers(at.wire)] == [500]


def test_large_bodies_of_one_endpoint_leave_as_much_room_as_they_take() -> None:
    at = Gateway(limits=Limits(payload_bytes=8 * MIB, body_budget_bytes=16 * MIB))
    accepted = [at.posts("hot", 4 * MIB) for _ in range(2)]
    refused = at.posts("hot", 4 * MIB)
    ((status, error),) = answers(refused)
    assert status == 503 and "endpoint hot" in error["message"]
    small = at.posts("hot", 1024)
    other = at.posts("other", 4 * MIB)
    assert [one.written for one in (*accepted, small, other)] == [b""] * 4, "they wait for answers"
    at.dispatcher.answer_all()
    for wire in (*accepted, small, other):
        assert [status for status, _ in answers(wire)] == [200]
    assert at.gate.body_bytes == 0
    at.posts("hot", 4 * MIB)
    at.dispatcher.answer_all()


def test_the_only_body_of_an_endpoint_may_take_most_of_the_budget() -> None:
    at = Gateway(limits=Limits(payload_bytes=8 * MIB, body_budget_bytes=9 * MIB))
    wire = at.posts("hot", 8 * MIB)
    at.dispatcher.answer_all()
    assert [status for status, _ in answers(wire)] == [200]
