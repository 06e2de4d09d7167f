"""One replica of a variant: a channel to each of its workers, and what an invocation does there."""

import functools
from collections.abc import Callable
from typing import Protocol

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final, Next, accept_at, after_answer
from modelyard.domain.endpoint_metrics import (
    CONTAINER_LATENCY,
    MODEL_CACHE_HIT,
    MODEL_LOADING,
    MODEL_UNLOADING,
    MODEL_WAIT,
)
from modelyard.domain.routes import ReplicaRoute
from modelyard.domain.shelf import ABSENT
from modelyard.gateway.in_flight import Invocation, WorkerChannel, timed_out, where
from modelyard.gateway.lane import line_of
from modelyard.transport import frames
from modelyard.transport.channel import Listener

_OK, _FULL, _EXPIRED = 200, 429, 408


class Owner(Protocol):
    """``pool.Pool``, as far as a replica has to do with it."""

    @property
    def fleet(self) -> int: ...
    @property
    def queue_limit(self) -> int: ...
    @property
    def may_retry(self) -> bool: ...
    @property
    def multi_model(self) -> bool: ...
    def pump(self) -> None: ...
    def take_over(self, invocation: Invocation) -> None: ...
    def ready(self) -> None: ...
    def park(self, invocation: Invocation) -> None: ...
    def lost(self, invocation: Invocation, *, executed: bool) -> None: ...
    def spent(self, measure: str, seconds: float, container: str = "") -> None: ...
    def said(self, measure: str, is_so: bool) -> None: ...


@functools.lru_cache(maxsize=1024)
def _encoded(meta: frames.RequestMeta) -> bytes:
    """Requests of one client carry the same few metas again and again."""
    return frames.encode_meta(meta)


class Replica:
    """One replica: a channel for each container; the listener of all of them."""

    def __init__(
        self,
        pool: Owner,
        route: ReplicaRoute,
        *,
        channel: Callable[[str, Listener], WorkerChannel],
        now: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._now = now
        self.fleet = pool.fleet
        self.containers = tuple(worker.container for worker in route.workers)
        self._first = self.containers[0]
        self._is_single = len(self.containers) == 1
        self._is_plain = self._is_single and not pool.multi_model
        self._takes_arrays = tuple(worker.takes_arrays for worker in route.workers)
        self._in_flight = 0
        self.is_reserved = False
        self.has_suspect = False
        self._retired = False
        self.limit = pool.queue_limit
        self.channels = [channel(worker.address, self) for worker in route.workers]
        self._line = line_of(self.channels[0]) if self._is_plain else None
        for one in self.channels:
            one.connect()

    @property
    def in_flight(self) -> int:
        """Requests, the lane's among them."""
        return self._in_flight if self._line is None else self._in_flight + self._line.trips

    @property
    def is_ready(self) -> bool:
        return all(channel.is_ready for channel in self.channels)

    @property
    def takes_more(self) -> bool:
        line = self._line
        if line is not None:  # Nearly all: one worker, reached by a line of its own.
            is_full = self._in_flight + line.trips >= self.limit
            return line.is_ready and not (is_full or self.is_reserved)
        if self.is_reserved or self.in_flight >= self.limit:
            return False
        return self.channels[0].is_ready if self._is_single else self.is_ready

    @property
    def is_full(self) -> bool:
        return self.in_flight >= self.limit

    def send(self, invocation: Invocation) -> None:
        """Begin the chain at its first container."""
        invocation.replica = self
        self._in_flight += 1
        is_suspect = self.has_suspect = invocation.is_suspect
        if (
            self._is_single and invocation.take_part is None
        ):  # Nearly all: one worker, one whole answer.
            now = self._now()
            invocation.sent_at = invocation.sent_at or now
            remaining = invocation.deadline - now
            invocation.sent_as = self.channels[0].send(
                invocation,
                int(remaining * 1000) if remaining > 0.0 else 0,
                frames.SOLO if is_suspect else 0,
                invocation.encoded or _encoded(invocation.meta),
                invocation.body,
            )
            return
        if invocation.container:
            invocation.hop = self.containers.index(invocation.container)
        meta = invocation.meta
        if not self._is_single and not invocation.container:
            meta = self._meta_at(0, meta, meta.content_type)
        self._forward(invocation, invocation.body, meta)

    def _forward(self, invocation: Invocation, body: bytes, meta: frames.RequestMeta) -> None:
        now = self._now()
        remaining = max(0.0, invocation.deadline - now)
        invocation.sent_at = invocation.sent_at or now
        invocation.hop_sent_at = now
        flags = frames.SOLO if invocation.is_suspect else 0
        if invocation.take_part is not None:
            remaining = max(0.0, invocation.stream_deadline - now)
            if invocation.container or invocation.hop == len(self.channels) - 1:
                flags |= frames.STREAM
        invocation.sent_as = self.channels[invocation.hop].send(
            invocation, int(remaining * 1000), flags, _encoded(meta), body
        )

    def retire(self) -> None:
        """Out of the table: no new requests; the channels close when the last answer is in."""
        self._retired = True
        self._close_if_idle()

    def take_over(self, invocation: Invocation, number: int, sent_at: float) -> None:
        """It was the lane's, and is here."""
        invocation.replica, invocation.sent_as, invocation.sent_at = self, number, sent_at
        self._in_flight += 1
        self._pool.take_over(invocation)

    def trip_over(self) -> None:
        """The lane has answered a request, and somebody waits for its place, or for the replica to be idle."""
        self._close_if_idle()
        self._pool.pump()

    @property
    def is_plain(self) -> bool:
        """Whether it is one worker with one model."""
        return self._is_plain

    def _close_if_idle(self) -> None:
        if self._retired and self.in_flight == 0:
            for channel in self.channels:
                channel.close()

    def answered(self, tag: Invocation, frame: frames.Frame) -> None:
        invocation = tag
        if frame.number == _OK and self._is_plain and not invocation.is_suspect:
            meta = frames.decode_answer_meta(frame.meta)
            self._in_flight -= 1
            if self._retired:
                self._close_if_idle()
            invocation.end(
                Final(_OK, meta.content_type, frame.body, self._first, meta.custom_attributes)
            )
            self._pool.pump()
            return
        self._answered(invocation, frame)

    def _answered(self, invocation: Invocation, frame: frames.Frame) -> None:
        """Of a pipeline or of many models, to a suspect, or no success."""
        is_own = frame.flags & frames.OWN_STATUS
        if frame.number == _FULL and not is_own:  # The worker's queue was full: not executed.
            self._released(invocation)
            invocation.end(ServiceError("ThrottlingException", "Rate exceeded", status=429))
            self._pool.pump()
            return
        if frame.number == ABSENT and not is_own and invocation.absent is not None:
            self._released(invocation)
            self._pool.park(invocation)
            self._pool.pump()
            return
        if frame.number == _EXPIRED and not is_own:
            self._released(invocation)
            invocation.end(timed_out(where(invocation)))
            self._pool.pump()
            return
        if not self._is_single:
            here = self.containers[invocation.hop]
            self._pool.spent(CONTAINER_LATENCY, self._now() - invocation.hop_sent_at, here)
        elif not self._is_plain:
            self._count_model(invocation, frames.decode_model_meta(frame.meta).model)
        meta = frames.decode_answer_meta(frame.meta)
        if self._is_single or invocation.container:  # There is no chain to ask.
            final = Final(
                frame.number,
                meta.content_type,
                frame.body,
                where(invocation),
                meta.custom_attributes,
            )
            self._released(invocation)
            invocation.end(final)
            self._pool.pump()
            return
        step = after_answer(
            self.containers,
            invocation.hop,
            status=frame.number,
            content_type=meta.content_type,
            body=frame.body,
            custom_attributes=meta.custom_attributes,
        )
        if isinstance(step, Next) and not invocation.is_over:
            self._next_hop(invocation, step)
            return
        self._released(invocation)
        if isinstance(step, Final):
            invocation.end(step)
        self._pool.pump()

    def _count_model(self, invocation: Invocation, times: frames.ModelTimes | None) -> None:
        """What it took until the request's model was there."""
        if times is None:
            return
        is_hit = times.was_loaded and invocation.parked_at is None
        self._pool.said(MODEL_CACHE_HIT, is_hit)
        if not is_hit:
            self._pool.spent(MODEL_WAIT, invocation.parked_seconds + times.waited / 1e6)
        for measure, each in (
            (MODEL_LOADING, times.loading),
            (MODEL_UNLOADING, times.unloading),
        ):
            for microseconds in each:
                self._pool.spent(measure, microseconds / 1e6)

    def part(self, tag: Invocation, frame: frames.Frame) -> None:
        invocation = tag
        if invocation.take_part is None:
            return  # Its caller has left, and the worker was told.
        if not invocation.has_begun:
            invocation.has_begun = True
            invocation.body = b""
            invocation.deadline = invocation.stream_deadline
        invocation.take_part(frames.decode_answer_meta(frame.meta), frame.body)

    def _next_hop(self, invocation: Invocation, step: Next) -> None:
        invocation.hop = step.hop
        if not self.channels[step.hop].is_ready:
            # It begins again at the first container, which may have to see it only once.
            self.lost(invocation, executed=not self._pool.may_retry)
            return
        meta = self._meta_at(step.hop, invocation.meta, step.content_type)
        self._forward(invocation, step.body, meta)

    def _meta_at(
        self, hop: int, asked: frames.RequestMeta, content_type: str
    ) -> frames.RequestMeta:
        accept = accept_at(
            hop, self._takes_arrays, accept=asked.accept, content_type=asked.content_type
        )
        return msgspec.structs.replace(asked, content_type=content_type, accept=accept)

    def lost(self, tag: Invocation, *, executed: bool) -> None:
        invocation = tag
        self._released(invocation)
        self._pool.lost(invocation, executed=executed)

    def _released(self, invocation: Invocation) -> None:
        self._in_flight -= 1
        if invocation.is_suspect:
            self.has_suspect = False
            self.is_reserved = False
        self._close_if_idle()

    def ready(self) -> None:
        self._pool.ready()
