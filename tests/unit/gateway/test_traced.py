"""Traced invocations on a real dispatcher, with channels that a test answers by hand."""

from typing import Any, cast

import msgspec
import pytest

from modelyard.base.call import Principal
from modelyard.base.ids import SeededRandom
from modelyard.base.settings import Limits
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.domain.tracing import Sampler, Span, decode_told, read_parent
from modelyard.gateway import spans as spans_module
from modelyard.gateway.counters import Counters, decode_report
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.gate import Gate
from modelyard.gateway.heads import Head
from modelyard.gateway.http import ClientConnection
from modelyard.gateway.invocations import Invocations, Invoke
from modelyard.gateway.spans import Spans
from modelyard.gateway.traced import TracedChannel, Tracing
from modelyard.testing.clock import ManualClock
from modelyard.testing.wire import Wire
from modelyard.transport import frames
from modelyard.transport.channel import Listener

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"traceparent: 00-{TRACE}-{CALLER}-01\r\ntracestate: shop=1\r\n"


class FakeChannel:
    """A worker that is ready."""

    is_ready = True

    def __init__(self, address: str, listener: Listener) -> None:
        self.listener = listener
        self.sent: list[tuple[Any, int, frames.RequestMeta]] = []

    @property
    def in_flight(self) -> int:
        return len(self.sent)

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def cancel(self, request_id: int) -> None: ...
    def credit(self, request_id: int, taken: int) -> None: ...

    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        self.sent.append((tag, flags, frames.decode_request_meta(meta)))
        return len(self.sent)

    def answer(
        self, status: int = 200, times: frames.TracedAnswerMeta | None = None, *, own: bool = True
    ) -> None:
        tag, flags, _ = self.sent.pop(0)
        meta: Any = frames.AnswerMeta("text/plain")
        answered = frames.OWN_STATUS if own else 0
        if times is not None:
            assert flags & frames.TRACED
            meta, answered = times, answered | frames.TRACED
        frame = frames.Frame(frames.ANSWER, answered, 1, status, frames.encode_meta(meta), b"42")
        self.listener.answered(tag, frame)


class Gateway:
    """One endpoint with one worker, and a client."""

    def __init__(
        self, sampler: str = "parentbased_always_off", *, multi_model: bool = False
    ) -> None:
        self.clock = ManualClock()
        now = self.clock.monotonic
        self.spans = Spans(
            process="gateway", scheme="http", sampler=Sampler(sampler, 1.0), random=SeededRandom(1),
            now=now, wall=self.clock.now,
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            channel=self._channel, now=now, queue_limit=10, wait_seconds=10
        )
        worker = WorkerRoute(id="w", container="primary", address="unix:/run/w/worker-1.sock")
        variant = VariantRoute(
            name="v",
            weight=1.0,
            config="c",
            replicas=(ReplicaRoute(id="r", workers=(worker,)),),
            multi_model=multi_model,
        )
        endpoint = EndpointRoute(name="e", arn="a", account="1", region="r", variants=(variant,))
        self.dispatcher.update((endpoint,))
        unused: Any = None
        principal = Principal(kind="root", arn="arn", id="1", account="1")

        def begin(head: Head, client: ClientConnection) -> Invoke:
            return tracing.begin(head, client)

        self.gate = Gate(Limits(), begin, now)
        invocations = Invocations(
            gate=self.gate, dispatcher=self.dispatcher, authenticate=lambda head, body: (principal, "r"),
            authorise=lambda call: None, audit=lambda call, error: None,
            find=lambda account, region, name: endpoint if name == "e" else None,
            random=SeededRandom(2), now=now, request_id=lambda: "an-id", counters=Counters(),
            capture=unused, shelves=unused, shadows=unused, books=unused,
        )  # fmt: skip
        tracing = Tracing(self.spans, invocations)
        self.wire = Wire()
        self.client = ClientConnection(self.gate)
        self.client.connection_made(cast(Any, self.wire))

    def _channel(self, address: str, listener: Listener) -> TracedChannel:
        def make(address: str, listener: Listener) -> FakeChannel:
            self.worker = FakeChannel(address, listener)
            return self.worker

        return TracedChannel(address, listener, channel=make)

    def ask(self, headers: str = SAMPLED, name: str = "e") -> None:
        head = f"POST /endpoints/{name}/invocations HTTP/1.1\r\nHost: h:80\r\n{headers}Content-Length: 1\r\n\r\n1"
        self.client.data_received(head.encode())

    def told(self) -> list[Span]:
        """What has ended, in the order of its beginning; a request before its parts."""
        datagrams: list[bytes] = []
        self.spans.tell(lambda data: datagrams.append(data) is None)
        found = [span for one in datagrams for span in decode_told(one).spans]
        return sorted(found, key=lambda span: (span.begin, span.kind != 2, span.name != "queue"))


def test_what_it_took_to_load_a_model_is_counted_of_a_sampled_request_too() -> None:
    at = Gateway(multi_model=True)
    counters = at.dispatcher.counters = Counters()
    at.ask(f"{SAMPLED}X-Amzn-SageMaker-Target-Model: m\r\n")
    model = frames.ModelTimes(False, 700, (500,))
    at.worker.answer(times=frames.TracedAnswerMeta("text/plain", model=model))
    assert at.wire.written.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    told: list[bytes] = []
    counters.tell(0, lambda data: told.append(data) is None)
    assert {cell.measure: round(cell.model_sum) for cell in decode_report(told[0]).cells} == {
        "ModelCacheHit": 0,
        "ModelLoadingWaitTime": 700,
        "ModelLoadingTime": 500,
    }


def test_the_workers_times_stand_between_sending_and_answer() -> None:
    at = Gateway()
    at.ask()
    ((_, _, meta),) = at.worker.sent
    at.clock.advance(1.0)
    at.worker.answer(times=frames.TracedAnswerMeta("text/plain", "", 200_000, 600_000, 7))
    assert at.wire.written.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    request, queue, predict = at.told()
    begin = request.begin
    assert (request.parent_id, request.trace_id, request.state) == (CALLER, TRACE, "shop=1")
    assert request.attributes["http.response.body.size"] == 2
    assert {queue.parent_id, predict.parent_id} == {request.span_id}
    seconds = [round((one - begin) / 1e9, 3) for one in (queue.end, predict.begin, predict.end)]
    assert seconds == [0.3, 0.3, 0.9], "what is unexplained is the way, there and back"
    assert (predict.process, predict.attributes["modelyard.batch.requests"]) == ("worker-1", 7)
    parent = read_parent(meta.trace, meta.trace_state)
    assert parent is not None and parent.state == "shop=1"
    assert (parent.trace_id, parent.span_id) == (TRACE, predict.span_id)


def test_each_try_is_a_span_and_a_lost_worker_an_error() -> None:
    at = Gateway()
    at.ask()
    tag, _, _ = at.worker.sent.pop()
    at.clock.advance(0.5)
    at.worker.listener.lost(tag, executed=True)
    at.dispatcher.tick()
    at.worker.answer()
    predicts = [one for one in at.told() if one.name == "predict"]
    assert [one.attributes["modelyard.try"] for one in predicts] == [1, 2]
    assert [one.error is None for one in predicts] == [False, True]
    assert len({one.span_id for one in predicts}) == 2


def test_what_is_not_sampled_goes_on_with_its_callers_context_and_without_a_span() -> None:
    at = Gateway()
    unsampled = SAMPLED.replace("-01\r\n", "-00\r\n")
    at.ask(unsampled)
    ((_, flags, meta),) = at.worker.sent
    assert (flags, meta.trace, meta.trace_state) == (0, f"00-{TRACE}-{CALLER}-00", "shop=1")
    at.worker.answer()
    assert at.told() == []


def test_a_request_without_a_caller_begins_a_trace_each_time() -> None:
    at = Gateway("always_on")
    for _ in range(2):
        at.ask("")
        at.worker.answer()
    requests = [one for one in at.told() if one.kind == 2]
    assert [one.parent_id for one in requests] == ["", ""]
    assert len({one.trace_id for one in requests}) == 2


def test_a_refusal_and_a_failed_model_and_a_client_that_leaves_end_the_trace() -> None:
    at = Gateway()
    at.ask(name="nowhere")
    (refused,) = at.told()
    assert refused.attributes["error.type"] == "ValidationError" and refused.error is None
    at.ask()
    at.worker.answer(500)
    failed, *_ = at.told()
    assert failed.attributes["http.response.status_code"] == 424
    assert failed.error is not None, "the model's failure is the service's"
    at.ask()
    at.client.connection_lost(None)
    at.worker.answer()
    (left,) = at.told()
    assert left.attributes["error.type"] == "client_gone"


def test_spans_that_nobody_takes_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "SPANS_MAX", 70)
    at = Gateway()
    one = Span(TRACE, CALLER, "", "", "s", 1, 0, 1, "p", {"text": "x" * 2_000})
    for _ in range(75):
        at.spans.add(one)
    at.spans.add(msgspec.structs.replace(one, attributes={"text": "x" * 100_000}))
    at.spans.tell(lambda data: False)
    datagrams: list[bytes] = []
    at.spans.tell(lambda data: datagrams.append(data) is None)
    assert all(len(data) <= spans_module.DATAGRAM_BYTES for data in datagrams)
    told = [decode_told(data) for data in datagrams]
    assert sum(len(one.spans) for one in told) == 70
    assert sum(one.dropped for one in told) == 6
