"""Copies of requests for shadow variants: sent when the caller has the answer, so that nothing of them can delay or change it.

A copy is a place in a list when the answer goes out, and a request of its own in the loop's next turn. What copies hold is
bounded; one that finds no room is dropped and counted. What the shadow answers is measured like any variant's, captured if
the request was, and compared with what the caller got; then it is gone.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.base.ids import RandomSource
from modelyard.domain.capture import Side
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.shadow import Answer, compare
from modelyard.gateway.books import Books
from modelyard.gateway.capture import Capture
from modelyard.gateway.counters import CellKey, Counters
from modelyard.gateway.in_flight import Invocation, VariantKey
from modelyard.transport.frames import RequestMeta

COPIES_MAX = 256
"""Copies of one shadow that wait for its answer, in one gateway."""
BYTES_MAX = 64 << 20
"""Requests and answers of all copies of one gateway."""
_OK = 200
_NOT_THERE = (429, 503)


class Submits(Protocol):
    """``Dispatcher``, as far as copies go."""

    def submit(self, key: VariantKey, invocation: Invocation) -> None:
        """Raises ``ServiceError`` to refuse it."""


class Copied(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A request that was answered. ``event_id`` is empty where it is not captured."""

    body: bytes
    meta: RequestMeta
    answer: Answer
    event_id: str = ""
    inference_id: str = ""


class Shadows:
    """All shadows of one gateway. A copy has ``seconds`` to be answered; ``soon`` runs a function in another turn."""

    def __init__(  # noqa: PLR0913 - what the composition root gives it
        self,
        *,
        dispatcher: Submits,
        counters: Counters,
        capture: Capture,
        random: RandomSource,
        now: Callable[[], float],
        seconds: float,
        books: Books,
    ) -> None:
        self._dispatcher = dispatcher
        self._counters = counters
        self._capture = capture
        self._random = random
        self._now = now
        self._seconds = seconds
        self._books = books
        self._waiting: deque[_Copy] = deque()
        self._held: Counter[VariantKey] = Counter()
        self._bytes = 0

    def choose(self, endpoint: EndpointRoute, fleet: int) -> VariantRoute | None:
        """The shadow that gets a copy of a request to this fleet of the endpoint, if one does."""
        for shadow in endpoint.shadows:
            if shadow.fleet == -fleet:
                return shadow if self._random.uniform() < shadow.share else None
        return None

    def copy(self, endpoint: EndpointRoute, shadow: VariantRoute, copied: Copied) -> None:
        """Send it on, soon, if there is room. Never raises, never waits."""
        copy = _Copy(self, endpoint, shadow, copied)
        if self._held[copy.key] >= COPIES_MAX or self._bytes + copy.size > BYTES_MAX:
            self._counters.drop(copy.cell)
            return
        self._held[copy.key] += 1
        self._bytes += copy.size
        self._waiting.append(copy)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            copy.invocation.deadline = self._now() + self._seconds
            try:
                self._dispatcher.submit(copy.key, copy.invocation)
            except ServiceError as error:
                copy.invocation.end(error)

    def answered(self, copy: "_Copy", outcome: Final | ServiceError) -> None:
        """The copy's end, whatever it is."""
        self._held[copy.key] -= 1
        if not self._held[copy.key]:
            del self._held[copy.key]
        self._bytes -= copy.size
        if isinstance(outcome, ServiceError) and outcome.status in _NOT_THERE:
            # Nothing was executed: its shadow is full, restarting, or gone with its fleet. That says nothing of its answers.
            self._counters.drop(copy.cell)
            return
        now, invocation, copied = self._now(), copy.invocation, copy.copied
        self._counters.count(
            copy.cell,
            outcome.status,
            now - invocation.sent_at if invocation.sent_at else 0.0,
            now - invocation.deadline + self._seconds,
        )
        is_answer = isinstance(outcome, Final)
        answer = Answer(
            outcome.status,
            outcome.content_type if isinstance(outcome, Final) else "",
            outcome.body if isinstance(outcome, Final) else b"",
        )
        found = compare(copied.answer, answer, tolerance=copy.shadow.tolerance)
        if found is not None:
            self._counters.compare(copy.cell, found.agrees, found.drift)
        if copy.endpoint.rollout is not None:
            self._books.compared(copy.endpoint.rollout, -copy.shadow.fleet, found)
        rule = copy.endpoint.capture
        if copied.event_id and rule is not None and is_answer and answer.status == _OK:
            self._capture.add(
                (rule, copy.endpoint.name, copy.shadow.name),
                event_id=copied.event_id,
                inference_id=copied.inference_id,
                request=Side(copied.meta.content_type, copied.body),
                answer=Side(answer.content_type, answer.body),
            )


class _Copy:
    """One copy on its way."""

    def __init__(
        self, shadows: Shadows, endpoint: EndpointRoute, shadow: VariantRoute, copied: Copied
    ) -> None:
        self._shadows = shadows
        self.endpoint = endpoint
        self.shadow = shadow
        self.copied = copied
        self.size = len(copied.body) + len(copied.answer.body)
        place = (endpoint.account, endpoint.region, endpoint.name, shadow.name)
        self.key: VariantKey = (*place, shadow.fleet)
        self.cell: CellKey = (*place, shadow.config)
        self.invocation = Invocation(copied.body, copied.meta, 0.0, self._finish)

    def _finish(self, outcome: Final | ServiceError) -> None:
        self._shadows.answered(self, outcome)
