"""One accepted request on its way to an answer: what is known of it, and that it ends exactly once."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.transport import frames

PRIMARY = "primary"
VariantKey = tuple[str, str, str, str, int]
"""Account, region, endpoint, variant, and which fleet's part of it."""


class WorkerChannel(Protocol):
    """``transport.channel.Channel``, or one that traces around it."""

    @property
    def is_ready(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int: ...
    def cancel(self, request_id: int) -> None: ...
    def credit(self, request_id: int, taken: int) -> None: ...


class Serving(Protocol):
    """``replica.Replica``, as far as an invocation has to do with it."""

    @property
    def fleet(self) -> int: ...
    @property
    def containers(self) -> Sequence[str]: ...
    @property
    def channels(self) -> Sequence[WorkerChannel]: ...


class Traced(Protocol):
    """``trace.Trace``, as far as a channel has to do with it."""

    def sent(self, container: str, worker: str) -> tuple[str, str]:
        """It goes to a worker: ``traceparent`` and ``tracestate`` for it."""

    def answered(self, status: int, times: frames.TracedAnswerMeta | None) -> None:
        """The worker's answer came, with what it says of its times, if it does."""

    def lost(self, *, executed: bool) -> None:
        """The worker is gone."""


class Invocation(msgspec.Struct, eq=False):
    """One accepted request. ``deadline`` is in seconds of the dispatcher's clock."""

    body: bytes
    meta: frames.RequestMeta
    deadline: float
    finish: Callable[[Final | ServiceError], None]
    is_over: bool = False
    is_suspect: bool = False
    hop: int = 0
    container: str = ""
    """The one that answers, of an endpoint that is invoked directly; else all do, one after the other."""
    absent: Callable[[], None] | None = None
    """Called where the worker has not got the model that the request names, and did not execute it."""
    waits_until: float = 0.0
    rests_until: float = 0.0
    sent_at: float = 0.0
    hop_sent_at: float = 0.0
    """When the container that it is at got it, of several."""
    parked_at: float | None = None
    """When it last began to wait for its model to be fetched, and how long it has waited so."""
    parked_seconds: float = 0.0
    replica: Serving | None = None
    sent_as: int = 0
    take_part: Callable[[frames.AnswerMeta, bytes], None] | None = None
    """Called with each part of an answer that may come in parts; then ``finish``, with no body, or what broke it off."""
    stream_deadline: float = 0.0
    """The deadline of an answer of which a first part has come."""
    has_begun: bool = False
    """A part has come: there is no second try."""
    trace: Traced | None = None
    """Of a sampled request, where traces are on."""
    encoded: bytes = b""
    """``meta`` as a frame has it, where somebody has encoded it before."""

    @property
    def served_by(self) -> int:
        """The fleet whose replica has it, or had it last; 0 where none had."""
        return self.replica.fleet if self.replica is not None else 0

    def end(self, outcome: Final | ServiceError) -> None:
        """The one answer; a second is a bug of the caller's and does nothing."""
        if not self.is_over:
            self.is_over = True
            finish, self.finish, self.absent = self.finish, nobody, None
            self.take_part = None
            # Let go of the caller before telling it: a cycle would wait for the garbage collector, and it for a pause.
            finish(outcome)


def nobody(outcome: Final | ServiceError) -> None:
    """Who is told of an invocation that has ended."""


def timed_out(container: str) -> ServiceError:
    """What a caller gets whose container did not answer in time (hosting.md, section 5)."""
    return ServiceError(
        "ModelError",
        f"Your invocation timed out while waiting for a response from container {container}. "
        "Review the latency metrics of the endpoint and its log, and try again.",
        status=424,
        members={"OriginalStatusCode": 0, "OriginalMessage": "Your invocation timed out."},
    )


def where(invocation: Invocation) -> str:
    """The container that an invocation is at, or would come to."""
    replica = invocation.replica
    return replica.containers[invocation.hop] if replica else invocation.container or PRIMARY


def cancel_at_worker(invocation: Invocation) -> None:
    replica = invocation.replica
    if replica is not None:
        replica.channels[invocation.hop].cancel(invocation.sent_as)
