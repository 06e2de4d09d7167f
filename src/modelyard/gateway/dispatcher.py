"""From a chosen variant to an answer: replicas, queues, deadlines, retries. Nothing here knows HTTP.

Every accepted invocation ends exactly once, by ``Invocation.finish``: with a container's answer, or with the error that says
why there is none. Callers that leave are counted until their worker has answered, so that what is in flight stays true.
A ``Dispatcher`` has a ``pool.Pool`` for each fleet's part of a variant, and that a ``replica.Replica`` for each of its replicas.
"""

from collections.abc import Callable, Iterable, Iterator

from modelyard.base.errors import ServiceError
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.gateway.counters import CellKey
from modelyard.gateway.in_flight import (
    Invocation,
    VariantKey,
    WorkerChannel,
    cancel_at_worker,
    nobody,
    timed_out,
    where,
)
from modelyard.gateway.lane import Lane, Port
from modelyard.gateway.pool import Measures, Pool
from modelyard.transport.channel import Listener


def _sleeps_on(wanted: tuple[str, str, str, str]) -> None:
    """Where nothing hibernates."""


def _nobody_looks() -> None:
    """Where somebody looks all the time."""


class Uncounted:
    """Where nobody asks for metrics."""

    def spent(self, key: CellKey, measure: str, seconds: float, container: str = "") -> None: ...
    def said(self, key: CellKey, measure: str, is_so: bool) -> None: ...
    def watch(self, port: Port) -> None: ...


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
        self._pools: dict[VariantKey, Pool] = {}
        self._fleets: dict[tuple[str, str, str, str], dict[int, Pool]] = {}
        """The same pools by variant, then by fleet."""
        self._live: list[tuple[Pool, Invocation]] = []
        self._is_mixed = False
        """Whether some of them came later than others that they are older than."""
        self.rest_seconds = rest_seconds
        self._resting: set[Pool] = set()
        self._endpoints: dict[tuple[str, str, str], EndpointRoute] = {}
        self.wake: Callable[[tuple[str, str, str, str]], None] = _sleeps_on
        """Called when somebody waits for a variant that hibernates, and it has no replica."""
        self.begin: Callable[[], None] = _nobody_looks
        """Called when there is an invocation, and there was none."""
        self.counters: Measures = Uncounted()
        """Takes what is a metric beside those of requests: ``counters.Counters``."""
        self.lane: Lane | None = None
        """Of a gateway that has one."""

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
                self._pools[key] = pool = Pool(self, key, route)
                self._fleets.setdefault(key[:4], {})[key[4]] = pool
            self._pools[key].update(route)
        retired = [(key, self._remove(key)) for key in gone]
        for key, pool in retired:
            pool.retire(self._other_fleet(key))

    def submit(self, key: VariantKey, invocation: Invocation) -> None:
        """Accept one invocation. Raises ``ServiceError`` to refuse it: no such variant, queue full."""
        pool = self._pools.get(key)
        if pool is None:
            raise ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
        pool.admit(invocation)
        live = self._live
        live.append((pool, invocation))
        if len(live) == 1:
            self.begin()

    def take_over(self, pool: Pool, invocation: Invocation) -> None:
        """One of the lane's, which is at a replica of the pool's."""
        self._live.append((pool, invocation))
        self._is_mixed = True

    def port(self, key: VariantKey) -> Port | None:
        """Where the lane sends requests of this variant, if it may."""
        pool = self._pools.get(key)
        return pool.port if pool is not None else None

    def resume(self, key: VariantKey, invocation: Invocation) -> None:
        """The model that was absent is there: as if it had just come, but never refused."""
        if invocation.parked_at is not None:
            invocation.parked_seconds += self.now() - invocation.parked_at
        pool = self._pools.get(key) or self._other_fleet(key)
        if pool is None:
            invocation.end(
                ServiceError("ServiceUnavailable", "The endpoint has no replicas.", status=503)
            )
        else:
            pool.again(invocation)

    def _other_fleet(self, key: VariantKey) -> "Pool | None":
        """Another fleet's part of the same variant; none of a shadow, whose answers are its own fleet's to compare."""
        if key[4] < 0:
            return None
        fleets = self._fleets.get(key[:4], {})
        return next((pool for fleet, pool in fleets.items() if fleet >= 0), None)

    def _remove(self, key: VariantKey) -> Pool:
        fleets = self._fleets[key[:4]]
        del fleets[key[4]]
        if not fleets:
            del self._fleets[key[:4]]
        return self._pools.pop(key)

    def waits_for(self, wanted: tuple[str, str, str, str]) -> bool:
        """Whether anybody waits for a replica of this variant, which has none."""
        return any(pool.sleeps and pool.in_flight for pool in self._fleets.get(wanted, {}).values())

    def cancel(self, invocation: Invocation) -> None:
        """The caller has left: whatever happens to the invocation, nobody is told."""
        invocation.is_over = True
        invocation.finish, invocation.absent = nobody, None
        invocation.take_part = None
        cancel_at_worker(invocation)

    def credit(self, invocation: Invocation, taken: int) -> None:
        """The caller has taken parts worth so many bytes: its worker may go on."""
        replica = invocation.replica
        if replica is not None:
            replica.channels[invocation.hop].credit(invocation.sent_as, taken)

    def pump_later(self, pool: "Pool") -> None:
        """At the next tick: something rests there."""
        self._resting.add(pool)

    def tick(self) -> None:
        """A few times a second: end what is past its deadline, and forget what has ended."""
        now = self.now()
        if self.lane is not None:
            self.lane.tick(now)
        if self._is_mixed:
            self._is_mixed = False
            self._live.sort(
                key=lambda one: one[1].deadline
            )  # The oldest first, whichever way it came.
        resting, self._resting = self._resting, set()
        for pool in resting:
            pool.pump()
        live, self._live = self._live, []
        self._live += [one for one in live if self._goes_on(*one, now)]

    def _goes_on(self, pool: Pool, invocation: Invocation, now: float) -> bool:
        """Whether it is to be looked at again; one that is past its deadline is ended here."""
        waits = invocation.replica is None
        if invocation.is_over:
            if waits:
                pool.drop(invocation)  # Its caller left while it waited: its place is free.
            return False
        if now >= invocation.deadline:
            if waits:
                pool.drop(invocation)
            invocation.end(timed_out(where(invocation)))
            cancel_at_worker(invocation)
            return False
        if waits and now >= invocation.waits_until:
            pool.drop(invocation)
            invocation.end(
                ServiceError(
                    "ServiceUnavailable", "No healthy replica came back in time.", status=503
                )
            )
            return False
        return True

    @property
    def is_idle(self) -> bool:
        """Whether a tick has nothing to do."""
        is_laned = self.lane is not None and self.lane.in_flight > 0
        return not (self._live or self._resting or is_laned)

    def gauges(self) -> Iterator[tuple[VariantKey, str, int, int]]:
        """Of each fleet's part of a variant: its endpoint config, instances, and requests in flight."""
        for key, pool in self._pools.items():
            yield key, pool.config, pool.instances, pool.in_flight

    @property
    def in_flight(self) -> int:
        laned = 0 if self.lane is None else self.lane.in_flight
        return laned + sum(1 for _, invocation in self._live if not invocation.is_over)
