"""From a chosen variant to an answer: replicas, queues, deadlines, retries. Nothing here knows HTTP.

Every accepted invocation ends exactly once, by ``Invocation.finish``: with a container's answer, or with the error that says
why there is none. Callers that leave are counted until their worker has answered, so that what is in flight stays true.
"""

import functools
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final, Next, accept_at, after_answer
from modelyard.domain.retry import Fate, after_loss
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute
from modelyard.domain.routing import least_outstanding
from modelyard.domain.shelf import ABSENT
from modelyard.transport import frames
from modelyard.transport.channel import Listener

logger = logging.getLogger(__name__)
PRIMARY = "primary"
WORKER_DIED = "The worker died while it predicted this request."
_FULL, _EXPIRED = 429, 408

VariantKey = tuple[str, str, str, str, int]
"""Account, region, endpoint, variant, and which fleet's part of it."""


class WorkerChannel(Protocol):
    """``transport.channel.Channel``."""

    is_ready: bool

    @property
    def in_flight(self) -> int: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int: ...
    def cancel(self, request_id: int) -> None: ...
    def credit(self, request_id: int, taken: int) -> None: ...


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
    replica: "_Replica | None" = None
    sent_as: int = 0
    take_part: Callable[[frames.AnswerMeta, bytes], None] | None = None
    """Called with each part of an answer that may come in parts; then ``finish``, with no body, or what broke it off."""
    stream_deadline: float = 0.0
    """The deadline of an answer of which a first part has come."""
    has_begun: bool = False
    """A part has come: there is no second try."""

    @property
    def served_by(self) -> int:
        """The fleet whose replica has it, or had it last; 0 where none had."""
        return self.replica.fleet if self.replica is not None else 0

    def end(self, outcome: Final | ServiceError) -> None:
        """The one answer; a second is a bug of the caller's and does nothing."""
        if not self.is_over:
            self.is_over = True
            finish, self.finish, self.absent = self.finish, _nobody, None
            self.take_part = None
            # Let go of the caller before telling it: a cycle would wait for the garbage collector, and it for a pause.
            finish(outcome)


@functools.lru_cache(maxsize=1024)
def _encoded(meta: frames.RequestMeta) -> bytes:
    """Requests of one client carry the same few metas again and again."""
    return frames.encode_meta(meta)


def _nobody(outcome: Final | ServiceError) -> None:
    """Who is told of an invocation that has ended."""


def _sleeps_on(wanted: tuple[str, str, str, str]) -> None:
    """Where nothing hibernates."""


def _routes_by_key(endpoints: Iterable[EndpointRoute]) -> dict[VariantKey, VariantRoute]:
    return {
        (e.account, e.region, e.name, v.name, v.fleet): v
        for e in endpoints
        for v in (*e.variants, *e.shadows)
    }


class Dispatcher:
    """All variants of one gateway. ``now`` is monotonic seconds; ``channel`` makes a connection to a worker.

    ``rest_seconds``: a request whose worker died waits so long before it is sent again.
    """

    def __init__(
        self,
        *,
        channel: Callable[[str, Listener], WorkerChannel],
        now: Callable[[], float],
        queue_limit: int,
        wait_seconds: float,
        rest_seconds: float = 0.0,
    ) -> None:
        self.channel = channel
        self.now = now
        self.queue_limit = queue_limit
        self.wait_seconds = wait_seconds
        self._pools: dict[VariantKey, _Pool] = {}
        self._live: dict[int, tuple[_Pool, Invocation]] = {}
        self._serial = itertools.count()
        self.rest_seconds = rest_seconds
        self._resting: set[_Pool] = set()
        self._endpoints: dict[tuple[str, str, str], EndpointRoute] = {}
        self.wake: Callable[[tuple[str, str, str, str]], None] = _sleeps_on
        """Called when somebody waits for a variant that hibernates, and it has no replica."""

    def update(self, endpoints: tuple[EndpointRoute, ...]) -> None:
        """Take the routes of a new table: connect to new workers, let go of old ones when they are idle."""
        before, self._endpoints = (
            self._endpoints,
            {(e.account, e.region, e.name): e for e in endpoints},
        )
        # Most of a table is what it was: a thousand endpoints cost a comparison each.
        changed = [e for name, e in self._endpoints.items() if before.get(name) is not e]
        old = [before[name] for name in before.keys() - self._endpoints.keys()]
        old += [before[name] for e in changed if (name := (e.account, e.region, e.name)) in before]
        wanted = _routes_by_key(changed)
        gone = [key for key in _routes_by_key(old) if key not in wanted]
        for key, route in wanted.items():
            if key not in self._pools:
                self._pools[key] = _Pool(self, key, route)
            self._pools[key].update(route)
        retired = [(key, self._pools.pop(key)) for key in gone]
        for key, pool in retired:
            pool.retire(self._other_fleet(key))

    def submit(self, key: VariantKey, invocation: Invocation) -> None:
        """Accept one invocation. Raises ``ServiceError`` to refuse it: no such variant, queue full."""
        pool = self._pools.get(key)
        if pool is None:
            raise ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
        pool.admit(invocation)
        if not invocation.is_over:
            self._live[next(self._serial)] = (pool, invocation)

    def resume(self, key: VariantKey, invocation: Invocation) -> None:
        """The model that was absent is there: as if it had just come, but never refused."""
        pool = self._pools.get(key) or self._other_fleet(key)
        if pool is None:
            invocation.end(
                ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
            )
        else:
            pool.again(invocation)

    def _other_fleet(self, key: VariantKey) -> "_Pool | None":
        """Another fleet's part of the same variant; none of a shadow, whose answers are its own fleet's to compare."""
        if key[4] < 0:
            return None
        return next(
            (pool for other, pool in self._pools.items() if other[:4] == key[:4] and other[4] >= 0),
            None,
        )

    def waits_for(self, wanted: tuple[str, str, str, str]) -> bool:
        """Whether anybody waits for a replica of this variant, which has none."""
        pools = (pool for key, pool in self._pools.items() if key[:4] == wanted)
        return any(pool.sleeps and pool.in_flight for pool in pools)

    def cancel(self, invocation: Invocation) -> None:
        """The caller has left: whatever happens to the invocation, nobody is told."""
        invocation.is_over = True
        invocation.finish, invocation.absent = _nobody, None
        invocation.take_part = None
        _cancel_at_worker(invocation)

    def credit(self, invocation: Invocation, taken: int) -> None:
        """The caller has taken parts worth so many bytes: its worker may go on."""
        replica = invocation.replica
        if replica is not None:
            replica.channels[invocation.hop].credit(invocation.sent_as, taken)

    def pump_later(self, pool: "_Pool") -> None:
        """At the next tick: something rests there."""
        self._resting.add(pool)

    def tick(self) -> None:
        """A few times a second: end what is past its deadline, and forget what has ended."""
        now = self.now()
        resting, self._resting = self._resting, set()
        for pool in resting:
            pool.pump()
        for serial, (pool, invocation) in list(self._live.items()):
            if invocation.is_over:
                del self._live[serial]
                if invocation.replica is None:
                    pool.drop(invocation)  # Its caller left while it waited: its place is free.
            elif now >= invocation.deadline:
                del self._live[serial]
                if invocation.replica is None:
                    pool.drop(invocation)
                invocation.end(timed_out(_where(invocation)))
                _cancel_at_worker(invocation)
            elif invocation.replica is None and now >= invocation.waits_until:
                del self._live[serial]
                pool.drop(invocation)
                invocation.end(
                    ServiceError(
                        "ServiceUnavailable", "No healthy replica came back in time.", status=503
                    )
                )

    def gauges(self) -> Iterator[tuple[VariantKey, str, int, int]]:
        """Of each fleet's part of a variant: its endpoint config, instances, and requests in flight."""
        for key, pool in self._pools.items():
            yield key, pool.config, pool.instances, pool.in_flight

    @property
    def in_flight(self) -> int:
        return sum(1 for _, invocation in self._live.values() if not invocation.is_over)


def timed_out(container: str) -> ServiceError:
    """What a caller gets whose container did not answer in time (hosting.md, section 5)."""
    return ServiceError(
        "ModelError",
        f"Your invocation timed out while waiting for a response from container {container}. "
        "Review the latency metrics of the endpoint and its log, and try again.",
        status=424,
        members={"OriginalStatusCode": 0, "OriginalMessage": "Your invocation timed out."},
    )


def _where(invocation: Invocation) -> str:
    """The container that an invocation is at, or would come to."""
    replica = invocation.replica
    return replica.containers[invocation.hop] if replica else invocation.container or PRIMARY


def _cancel_at_worker(invocation: Invocation) -> None:
    replica = invocation.replica
    if replica is not None:
        replica.channels[invocation.hop].cancel(invocation.sent_as)


class _Pool:
    """The replicas of one variant, and who waits for them."""

    def __init__(self, dispatcher: Dispatcher, key: VariantKey, route: VariantRoute) -> None:
        self.dispatcher = dispatcher
        self._key = key
        self._route = route
        self._replicas: dict[str, _Replica] = {}
        self._waiting: deque[Invocation] = deque()
        self._suspects: deque[Invocation] = deque()
        self._turn = 0
        self._heir: _Pool | None = None
        self._is_gone = False
        self._is_guarded = False
        """Whether a replica may be kept for suspects."""

    def update(self, route: VariantRoute) -> None:
        self._route = route
        wanted = {replica.id: replica for replica in route.replicas}
        for replica_id, replica in list(self._replicas.items()):
            if replica_id not in wanted:
                del self._replicas[replica_id]
                replica.retire()
        for replica_id, replica_route in wanted.items():
            if replica_id not in self._replicas:
                self._replicas[replica_id] = _Replica(self, replica_route)
        if self.sleeps and (self._waiting or self._suspects):
            self.dispatcher.wake(self._key[:4])

    def retire(self, heir: "_Pool | None") -> None:
        """Out of the table. Another fleet of the variant takes over who waits; without one the variant is gone."""
        for replica in self._replicas.values():
            replica.retire()
        self._replicas.clear()
        self._heir, self._is_gone = heir, heir is None
        waiting = (*self._waiting, *self._suspects)
        self._waiting.clear()
        self._suspects.clear()
        for invocation in waiting:
            self.again(invocation)

    def admit(self, invocation: Invocation) -> None:
        """Raises ``ThrottlingException`` past the queue's limit."""
        dispatcher = self.dispatcher
        invocation.waits_until = dispatcher.now() + dispatcher.wait_seconds
        replica = self._choose()
        if replica is not None:
            replica.send(invocation)
            return
        usable = sum(1 for replica in self._replicas.values() if replica.is_ready) or 1
        if len(self._waiting) >= self.queue_limit * usable:
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        if any(replica.is_full for replica in self._replicas.values() if replica.is_ready):
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        self._waiting.append(invocation)
        if self.sleeps:
            self._rouse(invocation)

    def again(self, invocation: Invocation) -> None:
        """It was not executed: as if it had just come, but never refused."""
        invocation.replica = None
        invocation.hop = 0
        if invocation.is_over:
            return
        if self._heir is not None:
            self._heir.again(invocation)
            return
        if self._is_gone:
            gone = "The endpoint was deleted."
            invocation.end(ServiceError("ServiceUnavailable", gone, status=503))
            return
        invocation.waits_until = self.dispatcher.now() + self.dispatcher.wait_seconds
        (self._suspects if invocation.is_suspect else self._waiting).append(invocation)
        if self.sleeps:
            self._rouse(invocation)
        self.pump()

    def _rouse(self, invocation: Invocation) -> None:
        """It waits as long as its caller does: a model that is loaded anew may take its time."""
        invocation.waits_until = invocation.deadline
        self.dispatcher.wake(self._key[:4])

    def park(self, invocation: Invocation) -> None:
        """Nowhere, until its caller brings it back or its deadline passes."""
        invocation.replica = None
        invocation.waits_until = invocation.deadline
        if not invocation.is_over and invocation.absent is not None:
            invocation.absent()

    def lost(self, invocation: Invocation, *, executed: bool) -> None:
        """Its worker is gone."""
        fate = after_loss(
            executed=executed, alone=invocation.is_suspect, may_retry=self._route.retry
        )
        if fate is Fate.FAIL or invocation.has_begun:
            where = _where(invocation)
            invocation.replica = None
            invocation.end(Final(500, "text/plain", WORKER_DIED.encode(), where))
            return
        if fate is Fate.ALONE:
            invocation.is_suspect = True
            # Workers that die together are gone by then: the second of them would be held against the request.
            invocation.rests_until = self.dispatcher.now() + self.dispatcher.rest_seconds
        self.again(invocation)

    def drop(self, invocation: Invocation) -> None:
        for queue in (self._waiting, self._suspects):
            if invocation in queue:
                queue.remove(invocation)

    def pump(self) -> None:
        """Send what waits to whoever may take it. Suspects first: they block the replica that is kept for them."""
        if not self._waiting and not self._suspects and not self._is_guarded:
            return
        self._pump_suspects()
        while self._waiting:
            if self._waiting[0].is_over:
                self._waiting.popleft()
                continue
            chosen = self._choose()
            if chosen is None:
                return
            chosen.send(self._waiting.popleft())

    def _pump_suspects(self) -> None:
        while self._suspects:
            if self._suspects[0].is_over:
                self._suspects.popleft()
                continue
            if self.dispatcher.now() < self._suspects[0].rests_until:
                self.dispatcher.pump_later(self)
                break
            idle = next(
                (r for r in self._replicas.values() if r.is_ready and r.in_flight == 0), None
            )
            if idle is None:
                self._reserve()
                break
            idle.is_reserved = self._is_guarded = True
            idle.send(self._suspects.popleft())
        if not self._suspects:
            self._is_guarded = False
            for replica in self._replicas.values():
                replica.is_reserved = replica.has_suspect
                self._is_guarded |= replica.has_suspect

    def _reserve(self) -> None:
        """Keep one replica free of new requests, so that it falls idle for the first suspect."""
        ready = [replica for replica in self._replicas.values() if replica.is_ready]
        self._is_guarded = True
        if ready and not any(replica.is_reserved for replica in ready):
            min(ready, key=lambda replica: replica.in_flight).is_reserved = True

    def _choose(self) -> "_Replica | None":
        if len(self._replicas) == 1:
            (only,) = self._replicas.values()
            return only if only.takes_more else None
        open_ones = [replica for replica in self._replicas.values() if replica.takes_more]
        if not open_ones:
            return None
        self._turn += 1
        if len(open_ones) == 1:
            return open_ones[0]
        place = least_outstanding([replica.in_flight for replica in open_ones], turn=self._turn)
        return open_ones[place]

    @property
    def sleeps(self) -> bool:
        """Whether it has no replicas and comes back only when somebody says that it is needed."""
        return self._route.hibernates and not self._replicas

    @property
    def queue_limit(self) -> int:
        """Of one replica. A serverless variant has one, and its concurrency is all that it takes at a time."""
        return self._route.concurrency or self.dispatcher.queue_limit

    @property
    def may_retry(self) -> bool:
        return self._route.retry

    @property
    def config(self) -> str:
        return self._route.config

    @property
    def fleet(self) -> int:
        return self._route.fleet

    @property
    def instances(self) -> int:
        return len(self._replicas)

    @property
    def in_flight(self) -> int:
        return len(self._waiting) + sum(replica.in_flight for replica in self._replicas.values())


class _Replica:
    """One replica: a channel for each container; the listener of all of them."""

    def __init__(self, pool: _Pool, route: ReplicaRoute) -> None:
        self._pool = pool
        self.fleet = pool.fleet
        self.containers = tuple(worker.container for worker in route.workers)
        self._takes_arrays = tuple(worker.takes_arrays for worker in route.workers)
        self._dispatcher = pool.dispatcher
        self.in_flight = 0
        self.is_reserved = False
        self.has_suspect = False
        self._retired = False
        self._limit = pool.queue_limit
        self.channels = [self._dispatcher.channel(worker.address, self) for worker in route.workers]
        for channel in self.channels:
            channel.connect()

    @property
    def is_ready(self) -> bool:
        return all(channel.is_ready for channel in self.channels)

    @property
    def takes_more(self) -> bool:
        if self.is_reserved or self.in_flight >= self._limit:
            return False
        channels = self.channels
        return channels[0].is_ready if len(channels) == 1 else self.is_ready

    @property
    def is_full(self) -> bool:
        return self.in_flight >= self._limit

    def send(self, invocation: Invocation) -> None:
        """Begin the chain at its first container."""
        invocation.replica = self
        self.in_flight += 1
        self.has_suspect = invocation.is_suspect
        if invocation.container:
            invocation.hop = self.containers.index(invocation.container)
        meta = invocation.meta
        if len(self.containers) > 1 and not invocation.container:
            meta = self._meta_at(0, meta, meta.content_type)
        self._forward(invocation, invocation.body, meta)

    def _forward(self, invocation: Invocation, body: bytes, meta: frames.RequestMeta) -> None:
        now = self._dispatcher.now()
        remaining = max(0.0, invocation.deadline - now)
        invocation.sent_at = invocation.sent_at or now
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

    def _close_if_idle(self) -> None:
        if self._retired and self.in_flight == 0:
            for channel in self.channels:
                channel.close()

    def answered(self, tag: Invocation, frame: frames.Frame) -> None:
        invocation = tag
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
            invocation.end(timed_out(_where(invocation)))
            self._pool.pump()
            return
        meta = frames.decode_answer_meta(frame.meta)
        if len(self.containers) == 1 or invocation.container:
            final = Final(
                frame.number,
                meta.content_type,
                frame.body,
                _where(invocation),
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
        self.in_flight -= 1
        if invocation.is_suspect:
            self.has_suspect = False
            self.is_reserved = False
        self._close_if_idle()

    def ready(self) -> None:
        self._pool.pump()
