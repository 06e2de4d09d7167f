"""Spans to a collector: what gateways tell and control does itself, through a bounded queue, posted in batches.

Nothing waits for a collector. A span that finds the queue full is dropped and counted; a batch that is not taken is tried again
as long as OTLP says that it may help, then dropped and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.base.clock import Clock
from modelyard.domain.exposition import Family, Sample
from modelyard.domain.tracing import Span, decode_told
from modelyard.transport.datagrams import bound

logger = logging.getLogger(__name__)
SPANS_MAX = 16_384
"""Spans that wait to be posted."""
BATCH_SPANS = 512
GATHER_SECONDS = 1.0
"""What comes within so long goes together."""
TRIES = 5
RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS = 1.0, 30.0
SAY_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of one request to the collector. ``reason`` is empty where it took the batch."""

    reason: str = ""
    may_retry: bool = False
    after_seconds: float = 0.0
    """As the collector asks."""


class TraceExport(asyncio.DatagramProtocol):
    """Listens on a UNIX datagram socket and posts; ``post`` blocks, and runs in a thread."""

    def __init__(self, *, post: Callable[[Sequence[Span]], Posted], clock: Clock) -> None:
        self._post = post
        self._clock = clock
        self._waiting: deque[Span] = deque()
        self._some = asyncio.Event()
        self._said_at: float | None = None
        self.exported = 0
        self.dropped = 0

    async def run(self, path: Path) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=bound(path))
        try:
            while True:
                await self._some.wait()
                await self._clock.sleep(GATHER_SECONDS)
                self._some.clear()
                while self._waiting:
                    await self._export(self._next())
        finally:
            transport.close()

    def add(self, span: Span) -> None:
        """One more, if there is room."""
        if len(self._waiting) >= SPANS_MAX:
            self.dropped += 1
            return
        self._waiting.append(span)
        self._some.set()

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            told = decode_told(data)
        except msgspec.MsgspecError as error:
            logger.warning("spans that cannot be read are dropped: %s", error)
            return
        self.dropped += told.dropped
        for span in told.spans:
            self.add(span)

    def families(self) -> tuple[Family, ...]:
        """For Prometheus."""
        return (
            Family(
                name="modelyard_trace_spans_exported_total",
                kind="counter",
                help="Spans that the collector took.",
                samples=[Sample(labels={}, value=self.exported)],
            ),
            Family(
                name="modelyard_trace_spans_dropped_total",
                kind="counter",
                help="Spans that there was no room for, or that the collector did not take.",
                samples=[Sample(labels={}, value=self.dropped)],
            ),
        )

    def _next(self) -> list[Span]:
        return [self._waiting.popleft() for _ in range(min(BATCH_SPANS, len(self._waiting)))]

    async def _export(self, batch: Sequence[Span]) -> None:
        delay = RETRY_FIRST_SECONDS
        for left in reversed(range(TRIES)):
            posted = await asyncio.to_thread(self._post, batch)
            if not posted.reason:
                self.exported += len(batch)
                return
            self._say(posted.reason)
            if not posted.may_retry or not left:
                break
            await self._clock.sleep(min(RETRY_LAST_SECONDS, max(delay, posted.after_seconds)))
            delay *= 2
        self.dropped += len(batch)

    def _say(self, reason: str) -> None:
        """Once a minute: a collector that is away is no news each second."""
        now = self._clock.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at = now
            logger.warning(
                "the collector did not take spans: %s; dropped so far: %d", reason, self.dropped
            )
