"""One replica as a job uses it: requests go out, several at a time, and answers come back in order.

The next request is read and packed while the worker is busy with the one before. A request whose worker died is a
suspect: it is tried again alone, with nothing else in flight, so that one poison record cannot fail its neighbours.

A batch may come with its rows as an array (``jobs.columns``). It is asked for alone, so that the same rows are predicted
together as without arrays; should anything be wrong with it, its text is sent as if there had been no array.
"""

import itertools
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.base.clock import Clock
from modelyard.domain.chain import Final, Next, accept_at, after_answer
from modelyard.domain.transform import TransformOptions
from modelyard.domain.transform_packing import Batch, split_batch
from modelyard.jobs.columns import CONTENT_TYPE, Columns
from modelyard.transport.blocking import BlockingChannel, ConnectionLost
from modelyard.transport.frames import (
    ANSWER,
    CANCEL,
    GOAWAY,
    OWN_STATUS,
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
_OK, _NOT_ACCEPTABLE, _EXPIRED, _UNSUPPORTED = 200, 406, 408, 415
_TOO_MANY, _SERVER_ERROR = 429, 500


class ObjectFailed(Exception):
    """The object cannot be transformed; others can."""


class ReplicaLost(Exception):
    """The replica's workers do not come back; nothing more can be transformed."""


class Stopped(Exception):
    """The job was told to stop."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch, and its rows as an array for workers that take arrays."""

    batch: Batch
    array: bytes | bytearray | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one batch; ``error`` instead, where failed records are put aside."""

    batch: Batch
    body: bytes
    content_type: str
    error: str = ""


class StopFlag(Protocol):
    """``threading.Event``."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


@dataclass(slots=True)
class _Request:
    """A batch on its way along the replica's containers."""

    batch: Batch
    body: bytes | bytearray
    content_type: str
    is_array: bool = False
    stage: int = 0
    failures: int = 0
    is_suspect: bool = False
    flying_as: int | None = None
    sent_at: float = 0.0
    not_before: float = 0.0
    is_answered: bool = False
    error: str = ""
    instead: list[Batch] | None = None
    """Smaller requests that take this one's place."""

    @property
    def is_waiting(self) -> bool:
        return self.flying_as is None and not self.is_answered and self.instead is None


def _answer_of(request: _Request) -> Answer:
    body = bytes(request.body)
    return Answer(request.batch, body, request.content_type, request.error)


def _nobody(_batch: Batch, _text: str) -> None:
    """Nobody is told of errors."""


@dataclass(slots=True, kw_only=True)
class ReplicaClient:
    """For one thread.

    ``addresses`` of the workers of its ``containers`` are asked for again whenever one is gone: control starts another.
    ``columns`` is set if rows go to the only container as arrays; ``takes_arrays`` tells of each container whether it
    takes them. ``complain`` hears of each request that went wrong.
    """

    addresses: Callable[[], Sequence[str]]
    containers: tuple[str, ...]
    options: TransformOptions
    clock: Clock
    stop: StopFlag = field(default_factory=threading.Event)
    wait_seconds: float = 300.0
    columns: Columns | None = None
    takes_arrays: tuple[bool, ...] = ()
    complain: Callable[[Batch, str], None] = _nobody
    _channels: dict[int, BlockingChannel] = field(default_factory=dict)
    _flying: dict[int, _Request] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def transform(self, batches: Iterator[Prepared]) -> Iterator[Answer]:
        """The answers in the order of the batches.

        Raises ``ObjectFailed``, ``ReplicaLost``, ``Stopped`` and whatever ``batches`` raises.
        """
        window: deque[_Request] = deque()
        has_more = True
        try:
            while True:
                while has_more and len(window) <= self.options.concurrency:
                    prepared = next(batches, None)
                    if prepared is None:
                        has_more = False
                    else:
                        window.append(self._request(prepared.batch, prepared.array))
                        self._send(window)
                if not window:
                    return
                self._step(window)
                self._put_smaller_ones(window)
                answered: deque[_Request] = deque()
                while window and window[0].is_answered:
                    answered.append(window.popleft())
                self._send(window)
                while (
                    answered
                ):  # No name keeps one of them while the next is waited for: they are large.
                    yield _answer_of(answered.popleft())
        finally:
            self._abandon()

    def _request(self, batch: Batch, array: bytes | bytearray | None = None) -> _Request:
        if array is not None:
            return _Request(batch, array, CONTENT_TYPE, is_array=True)
        return _Request(batch, batch.body, self.options.content_type)

    def _put_smaller_ones(self, window: deque[_Request]) -> None:
        if any(request.instead is not None for request in window):
            expanded: list[_Request] = []
            for request in window:
                if request.instead is None:
                    expanded.append(request)
                else:
                    for batch in request.instead:
                        expanded.append(self._request(batch))
                        expanded[-1].is_suspect = request.is_suspect
            window.clear()
            window.extend(expanded)

    def close(self) -> None:
        """Idempotent."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _send(self, window: Sequence[_Request]) -> None:
        """Send what may be sent now: a suspect only alone, others up to the allowed concurrency."""
        now = self.clock.monotonic()
        waiting = [r for r in window if r.is_waiting]
        suspects = [r for r in window if r.is_suspect and not r.is_answered]
        if suspects:
            waiting = [] if self._flying else suspects[:1]
        for request in waiting:
            # An array has no company in the worker, and the next one may wait there while it is predicted.
            room = self.options.concurrency + request.is_array
            if len(self._flying) >= room:
                break
            if request.not_before <= now:
                self._launch(request)

    def _launch(self, request: _Request) -> None:
        channel = self._channels.get(request.stage) or self._connect(request.stage)
        request.flying_as = next(self._ids)
        request.sent_at = self.clock.monotonic()
        self._flying[request.flying_as] = request
        accept = CONTENT_TYPE if request.is_array else self._accept_at(request.stage)
        meta = RequestMeta(content_type=request.content_type, accept=accept)
        channel.send(
            REQUEST,
            request.flying_as,
            number=int(self.options.timeout_seconds * 1000),
            flags=SOLO if request.is_suspect or request.is_array else 0,
            meta=encode_meta(meta),
            body=request.body,
        )

    def _accept_at(self, stage: int) -> str:
        flags = self.takes_arrays or (False,) * len(self.containers)
        options = self.options
        return accept_at(stage, flags, accept=options.accept, content_type=options.content_type)

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
        waits = [r.not_before - now for r in window if r.is_waiting and r.not_before > now]
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
        if request.is_array and frame.number not in (_TOO_MANY, _EXPIRED):
            self._take_array(request, frame)
        elif frame.number == _OK:
            self._advance(request, frame)
        elif frame.number == _TOO_MANY and not frame.flags & OWN_STATUS:
            request.not_before = self.clock.monotonic() + _BUSY_SECONDS
        else:
            message = frame.body.decode("utf-8", "replace").strip()
            text = f'the model answered {frame.number} with message "{message}"'
            if frame.number < _SERVER_ERROR and frame.number not in (_TOO_MANY, _EXPIRED):
                self.complain(request.batch, text)
                self._give_up(request, text)
            else:
                self._fail(request, text)

    def _take_array(self, request: _Request, frame: Frame) -> None:
        """An answer of numbers, or the text is sent after all."""
        assert self.columns is not None
        if frame.number == _OK:
            text = self.columns.decode(frame.body, request.batch.records)
            if text is not None:
                request.is_answered = True
                request.content_type, request.body = self.columns.accept, text
                return
        if frame.number in (_OK, _NOT_ACCEPTABLE, _UNSUPPORTED):
            self.columns.is_on = False  # The model's answers are no numbers.
        self._send_text(request)

    def _send_text(self, request: _Request) -> None:
        """What was an array is sent as it would have been without."""
        if self.options.is_single and request.batch.records > 1:
            request.instead = self._smaller(request.batch, request.batch.records)
        else:
            request.is_array = False
            request.body = request.batch.body
            request.content_type = self.options.content_type

    def _smaller(self, batch: Batch, parts: int) -> list[Batch]:
        return list(split_batch(batch, split=self.options.split, parts=parts))

    def _give_up(self, request: _Request, text: str) -> None:
        """Fail the object; or, where records are put aside, find out which one it is by halves."""
        if not self.options.dead_letters:
            raise ObjectFailed(text)
        if request.batch.records > 1:
            request.instead = self._smaller(request.batch, 2)
        else:
            request.is_answered, request.body, request.error = True, b"", text

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
                    self._give_up(request, body.decode("utf-8", "replace"))
                    return
                request.is_answered = True
                request.content_type, request.body = content_type, body

    def _fail(self, request: _Request, reason: str) -> None:
        """Try again, or give up the object."""
        self.complain(request.batch, reason)
        if request.is_array:
            self._send_text(request)
            return
        request.failures += 1
        # Halves find the record that kills workers with fewer of them than retries would take.
        is_halved = self.options.dead_letters and request.is_suspect and request.batch.records > 1
        if request.failures > self.options.retries or is_halved:
            attempts = f" ({request.failures} attempts)" if request.failures > 1 else ""
            self._give_up(request, reason + attempts)
            return
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
