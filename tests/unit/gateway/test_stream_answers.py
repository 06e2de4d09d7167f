"""A streamed answer towards its client: events, credit as they are taken, and how it ends."""

import json

from botocore.eventstream import EventStreamBuffer

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.gateway.in_flight import timed_out
from modelyard.gateway.streams import StreamAnswer
from modelyard.transport import frames

META = frames.AnswerMeta("text/plain")
DONE = Final(200, "", b"", "primary")


class Client:
    """Keeps what it is written."""

    def __init__(self, *, keeps_alive: bool = True) -> None:
        self.keeps_alive = keeps_alive
        self.data = b""
        self.finished: list[bool] = []
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self, *, keep_alive: bool = True) -> None:
        self.finished.append(keep_alive)

    def abort(self) -> None:
        self.is_aborted = True

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    def events(self, *, is_chunked: bool = True) -> list[tuple[str, bytes]]:
        body, found = self.data.partition(b"\r\n\r\n")[2], EventStreamBuffer()
        while is_chunked and body:
            size, _, body = body.partition(b"\r\n")
            found.add_data(body[: int(size, 16)])
            body = body[int(size, 16) + 2 :]
        if not is_chunked:
            found.add_data(body)
        return [
            (one.headers.get(":event-type") or one.headers[":exception-type"], one.payload)
            for one in found
        ]


class Streamed:
    def __init__(self, *, is_chunked: bool = True, keeps_alive: bool = True) -> None:
        self.client = Client(keeps_alive=keeps_alive)
        self.credits: list[int] = []
        self.answer = StreamAnswer(
            self.client,
            is_chunked=is_chunked,
            headers=lambda kind, attributes: f"X-Type: {kind}{attributes}\r\n".encode(),
            credit=self.credits.append,
        )


def test_parts_are_events_in_chunks() -> None:
    at = Streamed()
    at.answer.part(META, b"a")
    at.answer.part(META, b"b")
    assert at.answer.end(DONE)
    assert at.client.events() == [("PayloadPart", b"a"), ("PayloadPart", b"b")]
    assert b"X-Type: text/plain" in at.client.head
    assert b"Transfer-Encoding: chunked" in at.client.head
    assert b"Connection: close" not in at.client.head
    assert at.client.finished == [True]


def test_to_a_client_of_http_1_0_the_stream_ends_with_the_connection() -> None:
    at = Streamed(is_chunked=False)
    at.answer.part(META, b"a")
    at.answer.end(DONE)
    assert at.client.events(is_chunked=False) == [("PayloadPart", b"a")]
    assert b"Connection: close" in at.client.head and b"chunked" not in at.client.head
    assert at.client.finished == [False]


def test_an_answer_that_came_whole_is_one_part_and_a_large_one_several() -> None:
    at = Streamed()
    assert at.answer.end(Final(200, "text/csv", b"1", "primary"))
    assert at.client.events() == [("PayloadPart", b"1")]
    large = Streamed()
    large.answer.end(Final(200, "text/csv", bytes(3 << 19), "primary"))
    assert [len(data) for _, data in large.client.events()] == [1 << 20, 1 << 19]


def test_credit_is_given_as_the_client_takes_and_not_while_it_does_not() -> None:
    at = Streamed()
    half = frames.STREAM_WINDOW // 2
    at.answer.part(META, bytes(half - frames.PART_WEIGHT - 1))
    assert at.credits == []
    at.answer.part(META, b"")
    assert at.credits == [half - 1 + frames.PART_WEIGHT]
    at.answer.paused(True)
    at.answer.part(META, bytes(half))
    assert len(at.credits) == 1
    at.answer.paused(False)
    assert at.credits[1:] == [half + frames.PART_WEIGHT]


def test_an_error_before_the_first_part_is_left_to_others() -> None:
    at = Streamed()
    assert not at.answer.end(Final(500, "text/plain", b"no", "primary"))
    assert not at.answer.end(ServiceError("ThrottlingException", "Rate exceeded", status=429))
    assert at.client.data == b""


def test_later_it_is_an_event_that_says_whose_fault_it_was() -> None:
    endings: list[tuple[Final | ServiceError, str, str | None]] = [
        (Final(500, "text/plain", b"oh no", "first"), "ModelStreamError", "StreamBroken"),
        (timed_out("first"), "ModelStreamError", "ModelInvocationTimeExceeded"),
        (ServiceError("ServiceUnavailable", "gone", status=503), "InternalStreamFailure", None),
    ]
    for outcome, name, code in endings:
        at = Streamed()
        at.answer.part(META, b"a")
        assert at.answer.end(outcome)
        event, payload = at.client.events()[-1]
        assert (event, json.loads(payload).get("ErrorCode")) == (name, code)
        assert at.client.data.endswith(b"0\r\n\r\n")


def test_a_client_that_does_not_read_is_dropped_at_the_end() -> None:
    at = Streamed()
    at.answer.part(META, b"a")
    at.answer.paused(True)
    assert at.answer.end(timed_out("first"))
    assert at.client.is_aborted
