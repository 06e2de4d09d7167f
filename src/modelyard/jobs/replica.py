"""One replica as a job uses it: requests go out, several at a time, and answers come back in order.

The next request is read and packed while the worker is busy with the one before. A request whose worker died is a
suspect: it is tried again alone, with nothing else in flight, so that one poison record cannot fail its neighbours.
"""

import itertools
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.domain.chain import Final, Next, after_answer
from modelyard.domain.transform import Batch, TransformOptions
from modelyard.transport.blocking import BlockingChannel, ConnectionLost
from modelyard.transport.frames import (
    ANSWER,
    CANCEL,
    GOAWAY,
    REQUEST,
    SOLO,
    Frame,
    RequestMeta,
    decode_answer_meta,
    encode_meta,
)

FRAME_BYTES_MAX = (1 << 30) + (1 << 20)
_POLL_SECONDS = 0.25
_CONNECT_SECONDS = 5.0
_RECONNECT_SECONDS = 0.05
_BUSY_SECONDS = 0.05
_RETRY_SECONDS = 0.1
_OK, _EXPIRED, _TOO_MANY, _SERVER_ERROR = 200, 408, 429, 500


class ObjectFailed(Exception):
    """The object cannot be transformed; others can."""


class ReplicaLost(Exception):
    """The replica's workers do not come back; nothing more can be transformed."""


class Stopped(Exception):
    """The job was told to stop."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one batch."""

    batch: Batch
    body: bytes
    content_type: str


class StopFlag(Protocol):
    """``threading.Event``."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


@dataclass(slots=True)
class _Request:
    """A batch on its way along the replica's containers."""

    batch: Batch
    body: bytes
    content_type: str
    stage: int = 0
    failures: int = 0
    is_suspect: bool = False
    flying_as: int | None = None
    sent_at: float = 0.0
    not_before: float = 0.0
    is_answered: bool = False


@dataclass(slots=True, kw_only=True)
class ReplicaClient:
    """For one thread.

    ``addresses`` of the workers of its ``containers`` are asked for again whenever one is gone: control starts another.
    """

    addresses: Callable[[], Sequence[str]]
    containers: tuple[str, ...]
    options: TransformOptions
    clock: Clock
    stop: StopFlag = field(default_factory=threading.Event)
    wait_seconds: float = 300.0
    _channels: dict[int, BlockingChannel] = field(default_factory=dict)
    _flying: dict[int, _Request] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def transform(self, batches: Iterator[Batch]) -> Iterator[Answer]:
        """The answers in the order of the batches.

        Raises ``ObjectFailed``, ``ReplicaLost``, ``Stopped`` and whatever ``batches`` raises.
        """
        window: deque[_Request] = deque()
        has_more = True
        try:
            while True:
                while has_more and len(window) <= self.options.concurrency:
                    batch = next(batches, None)
                    if batch is None:
                        has_more = False
                    else:
                        window.append(_Request(batch, batch.body, self.options.content_type))
                        self._send(window)
                if not window:
                    return
                self._step(window)
                answered = []
                while window and window[0].is_answered:
                    answered.append(window.popleft())
                self._send(window)
                for request in answered:
                    yield Answer(request.batch, request.body, request.content_type)
        finally:
            self._abandon()

    def close(self) -> None:
        """Idempotent."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _send(self, window: Sequence[_Request]) -> None:
        """Send what may be sent now: a suspect only alone, others up to the allowed concurrency."""
        now = self.clock.monotonic()
        waiting = [r for r in window if r.flying_as is None and not r.is_answered]
        suspects = [r for r in window if r.is_suspect and not r.is_answered]
        if suspects:
            waiting = [] if self._flying else suspects[:1]
        for request in waiting:
            if len(self._flying) < self.options.concurrency and request.not_before <= now:
                self._launch(request)

    def _launch(self, request: _Request) -> None:
        channel = self._channels.get(request.stage) or self._connect(request.stage)
        request.flying_as = next(self._ids)
        request.sent_at = self.clock.monotonic()
        self._flying[request.flying_as] = request
        meta = RequestMeta(content_type=request.content_type, accept=self.options.accept)
        channel.send(
            REQUEST,
            request.flying_as,
            number=int(self.options.timeout_seconds * 1000),
            flags=SOLO if request.is_suspect else 0,
            meta=encode_meta(meta),
            body=request.body,
        )

    def _connect(self, stage: int) -> BlockingChannel:
        """Wait for the worker. Raises ``ReplicaLost`` when it does not come, ``Stopped``."""
        give_up_at = self.clock.monotonic() + self.wait_seconds
        while True:
            address = self.addresses()[stage]
            try:
                channel = BlockingChannel(
                    address, limit=FRAME_BYTES_MAX, timeout_seconds=_CONNECT_SECONDS
                )
            except ConnectionLost as error:
                if self.clock.monotonic() >= give_up_at:
                    raise ReplicaLost(f"the model's worker does not come back: {error}") from None
                if self.stop.wait(_RECONNECT_SECONDS):
                    raise Stopped from None
            else:
                self._channels[stage] = channel
                return channel

    def _step(self, window: Sequence[_Request]) -> None:
        """Wait for something to happen and take it in."""
        if self.stop.is_set():
            raise Stopped
        poll = select.poll()
        stages = {}
        for stage, channel in self._channels.items():
            poll.register(channel.fileno(), channel.events)
            stages[channel.fileno()] = stage
        for descriptor, ready in poll.poll(self._patience(window) * 1000):
            stage = stages[descriptor]
            try:
                frames = self._channels[stage].step(ready)
            except ConnectionLost:
                self._lose(stage, is_suspicious=True)
                continue
            for frame in frames:
                self._take(stage, frame)
        self._time_out()

    def _patience(self, window: Sequence[_Request]) -> float:
        """Seconds until something has to be done even if nothing arrives."""
        now = self.clock.monotonic()
        waits = [r.not_before - now for r in window if r.flying_as is None and r.not_before > now]
        waits += [r.sent_at + self.options.timeout_seconds - now for r in self._flying.values()]
        return max(0.001, min([_POLL_SECONDS, *waits]))

    def _take(self, stage: int, frame: Frame) -> None:
        if frame.kind == GOAWAY:
            self._lose(stage, is_suspicious=False)
            return
        request = self._flying.pop(frame.id, None) if frame.kind == ANSWER else None
        if request is None:
            return  # of a request that was given up
        request.flying_as = None
        if frame.number == _OK:
            self._advance(request, frame)
        elif frame.number == _TOO_MANY:
            request.not_before = self.clock.monotonic() + _BUSY_SECONDS
        else:
            message = frame.body.decode("utf-8", "replace").strip()
            text = f'the model answered {frame.number} with message "{message}"'
            if frame.number < _SERVER_ERROR and frame.number != _EXPIRED:
                raise ObjectFailed(text)
            self._fail(request, text)

    def _advance(self, request: _Request, frame: Frame) -> None:
        """The answer of a container is the next one's request, the last one's the answer."""
        after = after_answer(
            self.containers,
            request.stage,
            status=frame.number,
            content_type=decode_answer_meta(frame.meta).content_type,
            body=frame.body,
        )
        match after:
            case Next(hop=hop, content_type=content_type, body=body):
                request.stage, request.content_type, request.body = hop, content_type, body
            case Final(status=status, content_type=content_type, body=body):
                if status != _OK:
                    raise ObjectFailed(body.decode())
                request.is_answered = True
                request.content_type, request.body = content_type, body

    def _fail(self, request: _Request, reason: str) -> None:
        """Try again, or give up the object."""
        request.failures += 1
        if request.failures > self.options.retries:
            attempts = f" ({request.failures} attempts)" if request.failures > 1 else ""
            raise ObjectFailed(reason + attempts)
        pause = _RETRY_SECONDS * 2 ** (request.failures - 1)
        request.not_before = self.clock.monotonic() + pause

    def _lose(self, stage: int, *, is_suspicious: bool) -> None:
        """A worker is gone: what it had not answered is sent again, after a death each alone."""
        channel = self._channels.pop(stage, None)
        if channel is not None:
            channel.close()
        hit = [request for request in self._flying.values() if request.stage == stage]
        for request in hit:
            self._flying.pop(request.flying_as or 0)
            request.flying_as = None
        for request in hit:
            if is_suspicious:
                request.is_suspect = True
                self._fail(request, "the model's worker died while it worked on a request")
            else:
                request.not_before = self.clock.monotonic() + _BUSY_SECONDS

    def _time_out(self) -> None:
        now = self.clock.monotonic()
        for number, request in list(self._flying.items()):
            if now - request.sent_at >= self.options.timeout_seconds:
                self._cancel(number)
                request.flying_as = None
                limit = f"{self.options.timeout_seconds:g}"
                self._fail(request, f"the model did not answer within {limit} seconds")

    def _cancel(self, number: int) -> None:
        request = self._flying.pop(number)
        channel = self._channels.get(request.stage)
        if channel is not None:
            channel.send(CANCEL, number, number=0, flags=0, meta=b"", body=b"")

    def _abandon(self) -> None:
        """The object ended early: nobody waits for its answers."""
        for number in list(self._flying):
            self._cancel(number)
