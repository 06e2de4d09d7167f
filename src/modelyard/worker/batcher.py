"""What waits for a predict, in the order of its arrival, and what may go into the next one.

Pure: no sockets, no clock. Time is passed in, peers are whatever the server has for a connection.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, get_args

import msgspec

from modelyard.native import part
from modelyard.transport.frames import SOLO, Frame, RequestMeta, TracedAnswerMeta

QUEUE_BYTES = 256 << 20
"""Bodies that one worker holds at a time, beside the limit on their number."""


Release = Literal["drained", "full", "bytes", "solo"]
"""Why a batch is let go: nothing else waited, it has ``max_batch`` requests, the next one's bytes are too many for it, or a
request is, or would be, in company that it must not have."""


class Peer(Protocol):
    """One connection, as far as it matters here."""

    @property
    def is_open(self) -> bool:
        """False: nobody is there to answer."""

    @property
    def is_clogged(self) -> bool:
        """It does not read its answers as fast as it asks: no more are made for it until it has."""


P = TypeVar("P", bound=Peer)


class PlainWaiting(msgspec.Struct, Generic[P], eq=False):
    """A request that has not been started. ``expires`` is on the server's monotonic clock."""

    peer: P
    frame: Frame
    meta: RequestMeta
    expires: float


if TYPE_CHECKING:
    Waiting = PlainWaiting
else:
    Waiting = part("Waiting") or PlainWaiting
_survey = part("survey")


def times_of(
    waiting: Waiting[P], *, began: float, ended: float, requests: int, release: str = ""
) -> TracedAnswerMeta:
    """What an answer says of when its request was worked on, and in which company."""
    arrived = waiting.expires - waiting.frame.number / 1000
    return TracedAnswerMeta(
        waited=max(0, round((began - arrived) * 1e6)),
        worked=max(0, round((ended - began) * 1e6)),
        requests=requests,
        release=release,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one worker; ``max_batch`` counts requests of one predict."""

    worker_id: str
    payload_bytes: int
    queue: int
    max_batch: int
    queue_bytes: int = QUEUE_BYTES


class Batcher(Generic[P]):
    """The queue of a worker. Every request that was added leaves exactly once.

    By ``take`` to be answered, by ``cancel``, or with its peer.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.why: Release = "drained"
        """Why the last batch ended where it did."""
        self.releases: dict[Release, int] = dict.fromkeys(get_args(Release), 0)
        """How many batches ended for which reason."""
        self._bounds = bounds
        self._waiting: deque[Waiting[P]] = deque()
        self._held: dict[P, deque[Waiting[P]]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """How many wait, those of clogged peers left out: they take no room from others."""
        return len(self._waiting)

    def add(self, waiting: Waiting[P]) -> bool:
        """Queue a request; False where the queue is full, and then it was not."""
        size = len(waiting.frame.body)
        is_full = len(self._waiting) >= self._bounds.queue
        if is_full or (self._bytes and self._bytes + size > self._bounds.queue_bytes):
            return False
        self._waiting.append(waiting)
        self._bytes += size
        return True

    def add_all(self, run: Sequence[Waiting[P]], size: int) -> Sequence[Waiting[P]]:
        """Queue requests whose bodies have so many bytes together; those that found the queue full."""
        fits = len(self._waiting) + len(run) <= self._bounds.queue
        if fits and self._bytes + size <= self._bounds.queue_bytes:
            self._waiting.extend(run)
            self._bytes += size
            return ()
        return [waiting for waiting in run if not self.add(waiting)]

    def cancel(self, peer: P, request_id: int) -> bool:
        """Drop a request that waits; False if it was started, answered, or never there."""
        for queue in (self._waiting, self._held.get(peer)):
            for waiting in queue or ():
                if waiting.peer is peer and waiting.frame.id == request_id:
                    assert queue is not None
                    queue.remove(waiting)
                    if queue is self._waiting:
                        self._bytes -= len(waiting.frame.body)
                    return True
        return False

    def forget(self, peer: P) -> None:
        """The peer has closed its connection: nobody waits for its answers."""
        self._held.pop(peer, None)
        gone = [waiting for waiting in self._waiting if waiting.peer is peer]
        if gone:
            self._bytes -= sum(len(waiting.frame.body) for waiting in gone)
            self._waiting = deque(one for one in self._waiting if one.peer is not peer)

    def release(self, peer: P) -> None:
        """The peer reads again: its requests are the oldest there are."""
        held = self._held.pop(peer, deque())
        self._waiting.extendleft(reversed(held))
        self._bytes += sum(len(waiting.frame.body) for waiting in held)

    def take(self, now: float) -> tuple[Sequence[Waiting[P]], Sequence[Waiting[P]]]:
        """The next batch, and those found on the way that have expired.

        A batch has at most ``max_batch`` requests, and no more bytes than one request may have. A SOLO request is a
        batch of its own: it may be what killed another worker, and has no company. ``why`` says what ended it.
        """
        plain = self._take_plain(now)
        if plain is not None:
            return plain, ()
        why: Release = "drained"
        batch: list[Waiting[P]] = []
        expired: list[Waiting[P]] = []
        size = 0
        queue, max_batch, most = self._waiting, self._bounds.max_batch, self._bounds.payload_bytes
        last: P | None = None
        is_clogged = False
        while queue:
            if len(batch) >= max_batch:
                why = "full"
                break
            waiting = queue[0]
            frame = waiting.frame
            length = len(frame.body)
            is_solo = frame.flags & SOLO
            if batch and (is_solo or size + length > most):
                why = "solo" if is_solo else "bytes"
                break
            queue.popleft()
            self._bytes -= length
            if waiting.peer is not last:  # Most are of one peer: a gateway.
                last = waiting.peer
                is_clogged = last.is_clogged
            if is_clogged:
                self._held.setdefault(waiting.peer, deque()).append(waiting)
                continue
            if waiting.expires <= now:
                expired.append(waiting)
                continue
            batch.append(waiting)
            size += length
            if is_solo:
                why = "solo"
                break
        if batch:
            self.why = why
            self.releases[why] += 1
        return batch, expired

    def _take_plain(self, now: float) -> list[Waiting[P]] | None:
        """What ``take`` would, where it would take the first that wait as they are; None where it has to look at each."""
        if _survey is None:
            return None
        queue, max_batch = self._waiting, self._bounds.max_batch
        batch = list(queue) if len(queue) <= max_batch else list(islice(queue, max_batch))
        found = _survey(batch, now)
        if not batch or found is None:
            return None
        size, peers = found
        if size > self._bounds.payload_bytes:
            return None
        for peer in peers:
            if peer.is_clogged:
                return None
        if len(batch) == len(queue):
            queue.clear()
        else:
            for _ in batch:
                queue.popleft()
        self._bytes -= size
        self.why = "full" if queue else "drained"
        self.releases[self.why] += 1
        return batch
