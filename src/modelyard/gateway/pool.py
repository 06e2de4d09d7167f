"""The replicas of one variant, and who waits for them: queues, suspects, sleep, and another fleet that takes over."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.domain.endpoint_metrics import MODEL_SETUP
from modelyard.domain.retry import Fate, after_loss
from modelyard.domain.routes import VariantRoute
from modelyard.domain.routing import least_outstanding
from modelyard.gateway.counters import CellKey
from modelyard.gateway.in_flight import Invocation, VariantKey, WorkerChannel, where
from modelyard.gateway.lane import Lane, Port, open_port
from modelyard.gateway.replica import Replica
from modelyard.gateway.ways import choose_container
from modelyard.transport.channel import Listener

WORKER_DIED = "The worker died while it predicted this request."


class Measures(Protocol):
    """``counters.Counters``, as far as a pool has to do with it."""

    def spent(self, key: CellKey, measure: str, seconds: float, container: str = "") -> None: ...
    def said(self, key: CellKey, measure: str, is_so: bool) -> None: ...
    def watch(self, port: Port) -> None: ...


class Surroundings(Protocol):
    """``dispatcher.Dispatcher``, as far as a pool has to do with it."""

    channel: Callable[[str, Listener], WorkerChannel]
    now: Callable[[], float]
    queue_limit: int
    wait_seconds: float
    rest_seconds: float
    wake: Callable[[tuple[str, str, str, str]], None]
    lane: Lane | None

    @property
    def counters(self) -> Measures: ...

    def pump_later(self, pool: "Pool") -> None: ...
    def take_over(self, pool: "Pool", invocation: Invocation) -> None: ...


class Pool:
    """The replicas of one variant, and who waits for them."""

    def __init__(self, dispatcher: Surroundings, key: VariantKey, route: VariantRoute) -> None:
        self.dispatcher = dispatcher
        self._key = key
        self._route = route
        self._replicas: dict[str, Replica] = {}
        self._only: Replica | None = None
        self._waiting: deque[Invocation] = deque()
        self._suspects: deque[Invocation] = deque()
        self._turn = 0
        self._heir: Pool | None = None
        self._is_gone = False
        self._is_guarded = False
        """Whether a replica may be kept for suspects."""
        self.port: Port | None = None
        """Where the lane sends to it, if it does."""
        self._roused_at: float | None = None
        """Since when somebody waits for it to wake."""

    def update(self, route: VariantRoute) -> None:
        self._route = route
        wanted = {replica.id: replica for replica in route.replicas}
        for replica_id, replica in list(self._replicas.items()):
            if replica_id not in wanted:
                del self._replicas[replica_id]
                replica.retire()
        for replica_id, replica_route in wanted.items():
            if replica_id not in self._replicas:
                self._replicas[replica_id] = Replica(
                    self, replica_route, channel=self.dispatcher.channel, now=self.dispatcher.now
                )
        for replica in self._replicas.values():
            replica.limit = self.queue_limit
        self._only = next(iter(self._replicas.values())) if len(self._replicas) == 1 else None
        self._open_port()
        if self.sleeps and (self._waiting or self._suspects):
            for invocation in (*self._waiting, *self._suspects):
                invocation.waits_until = invocation.deadline
            self.dispatcher.wake(self._key[:4])

    def retire(self, heir: "Pool | None") -> None:
        """Out of the table. Another fleet of the variant takes over who waits; without one the variant is gone."""
        for replica in self._replicas.values():
            replica.retire()
        self._replicas.clear()
        self._open_port()
        self._only = None
        self._heir, self._is_gone = heir, heir is None
        waiting = (*self._waiting, *self._suspects)
        self._waiting.clear()
        self._suspects.clear()
        for invocation in waiting:
            self.again(invocation)

    def _open_port(self) -> None:
        """For the lane, in the place of one that led where requests went before."""
        if self.port is not None:
            self.port.close()
            self.port = None
        replicas = self._replicas.values()
        is_laned = self.dispatcher.lane is not None and replicas
        if is_laned and all(replica.is_plain for replica in replicas):
            self.port = open_port(
                self._cell,
                self,
                (self._waiting, self._suspects),
                [(replica, replica.channels[0]) for replica in replicas],
                limit=self.queue_limit,
                variant=self._route.name,
            )
            if self.port is not None:
                self.dispatcher.counters.watch(self.port)

    def admit(self, invocation: Invocation) -> None:
        """Raises ``ThrottlingException`` past the queue's limit."""
        replica = self._choose()
        if replica is not None:
            replica.send(invocation)
            return
        dispatcher = self.dispatcher
        invocation.waits_until = dispatcher.now() + dispatcher.wait_seconds
        usable = sum(1 for replica in self._replicas.values() if replica.is_ready) or 1
        if len(self._waiting) >= self.queue_limit * usable:
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        if any(replica.is_full for replica in self._replicas.values() if replica.is_ready):
            raise ServiceError("ThrottlingException", "Rate exceeded", status=429)
        self._waiting.append(invocation)
        if self.sleeps:
            self._rouse(invocation)

    def take_over(self, invocation: Invocation) -> None:
        """It was the lane's, and is at one of its replicas."""
        self.dispatcher.take_over(self, invocation)

    def again(self, invocation: Invocation) -> None:
        """It was not executed: as if it had just come, but never refused."""
        invocation.replica = None
        invocation.hop = 0
        if invocation.is_over:
            return
        if self._heir is not None:
            self._heir.inherit(invocation)
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

    def inherit(self, invocation: Invocation) -> None:
        """Of a fleet that is gone, whose containers need not be this one's."""
        route = self._route
        try:
            if route.direct or invocation.container:
                choose_container(route, invocation.container, self._key[2])
        except ServiceError as error:
            invocation.end(error)
            return
        self.again(invocation)

    def _rouse(self, invocation: Invocation) -> None:
        """It waits as long as its caller does: a model that is loaded anew may take its time."""
        invocation.waits_until = invocation.deadline
        if self._roused_at is None or len(self._waiting) + len(self._suspects) == 1:
            self._roused_at = self.dispatcher.now()
        self.dispatcher.wake(self._key[:4])

    def ready(self) -> None:
        """A worker of one of its replicas has greeted."""
        if self._roused_at is not None and any(one.is_ready for one in self._replicas.values()):
            self.spent(MODEL_SETUP, self.dispatcher.now() - self._roused_at)
            self._roused_at = None
        self.pump()

    def park(self, invocation: Invocation) -> None:
        """Nowhere, until its caller brings it back or its deadline passes."""
        invocation.replica = None
        invocation.waits_until = invocation.deadline
        invocation.parked_at = self.dispatcher.now()
        if not invocation.is_over and invocation.absent is not None:
            invocation.absent()

    def lost(self, invocation: Invocation, *, executed: bool) -> None:
        """Its worker is gone."""
        fate = after_loss(
            executed=executed, alone=invocation.is_suspect, may_retry=self._route.retry
        )
        if fate is Fate.FAIL or invocation.has_begun:
            here = where(invocation)
            invocation.replica = None
            invocation.end(Final(500, "text/plain", WORKER_DIED.encode(), here))
            return
        if fate is Fate.ALONE:
            invocation.is_suspect = True
            # Workers that die together are gone by then: the second of them would be held against the request.
            invocation.rests_until = self.dispatcher.now() + self.dispatcher.rest_seconds
        self.again(invocation)

    def spent(self, measure: str, seconds: float, container: str = "") -> None:
        """Time that is a metric of this fleet's part of the variant."""
        self.dispatcher.counters.spent(self._cell, measure, seconds, container)

    def said(self, measure: str, is_so: bool) -> None:
        """What was so, or not, for one request."""
        self.dispatcher.counters.said(self._cell, measure, is_so)

    @property
    def _cell(self) -> CellKey:
        return (*self._key[:4], self._route.config)

    @property
    def multi_model(self) -> bool:
        """Whether its workers have many models, and say of each request what it cost to have its model there."""
        return self._route.multi_model

    def drop(self, invocation: Invocation) -> None:
        if self._heir is not None:
            self._heir.drop(invocation)
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

    def _choose(self) -> "Replica | None":
        only = self._only
        if only is not None:
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
        waiting = len(self._waiting) + len(self._suspects)
        return waiting + sum(replica.in_flight for replica in self._replicas.values())
