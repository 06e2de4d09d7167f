"""No request is lost around hibernation: two gateways, a control that may be restarted, datagrams that may be dropped."""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modelyard.base.errors import ServiceError
from modelyard.control.hibernation import Activity
from modelyard.domain.chain import Final
from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.endpoint_plan import plan
from modelyard.domain.endpoint_steps import (
    Endpoint,
    ForgetWorker,
    PublishRoutes,
    Rules,
    SaveStatus,
    StartWorker,
    StopWorker,
)
from modelyard.domain.fleet import Container, Fleet, Observed, Variant
from modelyard.domain.hibernation import Idle
from modelyard.domain.routes import EndpointRoute
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.in_flight import Invocation
from modelyard.store.resources import Key
from modelyard.testing.clock import ManualClock
from modelyard.transport import frames
from modelyard.transport.channel import Listener

PLACE = ("1", "r", "e", "v")
KEY = Key(kind="endpoint", account="1", region="r", name="e")
AFTER, TELL = 20.0, 5.0
LONG = 1e9
RULES = Rules(startup_seconds=240.0, restart_attempts=5)
CONTAINER = Container(name="primary", image="i", runtime="r")
VARIANT = Variant(name="v", instance_type="", count=1, weight=1.0, containers=(CONTAINER,))
FLEET = Fleet(owner="o", generation=1, created_at=0.0, variants=(VARIANT,))


@dataclass
class Link:
    """One gateway's connection to one worker; a worker that drains takes no more, and hands back what it has not begun."""

    worker: str
    listener: Listener
    is_ready: bool = False
    pending: dict[int, object] = field(default_factory=dict)
    serial: int = 0
    is_closed: bool = False

    @property
    def in_flight(self) -> int:
        return len(self.pending)

    def connect(self) -> None:
        """It greets when its worker is ready."""

    def close(self) -> None:
        assert not self.pending, "a connection with requests on it was closed"
        self.is_ready = False
        self.is_closed = True

    def cancel(self, request_id: int) -> None:
        """It answers all the same."""

    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        assert self.is_ready, "a request went to a worker that takes none"
        self.serial += 1
        self.pending[self.serial] = tag
        return self.serial

    def answer(self) -> None:
        for number in list(self.pending):
            tag = self.pending.pop(number)
            meta = frames.encode_meta(frames.AnswerMeta("text/plain"))
            frame = frames.Frame(frames.ANSWER, 0, number, 200, meta, b"")
            self.listener.answered(tag, frame)

    def drain(self, *, begun: bool) -> None:
        if begun:
            self.answer()
        self.is_ready = False
        pending, self.pending = self.pending, {}
        for tag in pending.values():
            self.listener.lost(tag, executed=False)


class HibernationMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(0.0)
        self.memory = Memory()
        self.observed: dict[str, Observed] = {}
        self.table: tuple[EndpointRoute, ...] = ()
        self.links: list[Link] = []
        self.datagrams: deque[str] = deque()
        self.gateways = [self._gateway() for _ in range(2)]
        self.outcomes: list[list[Final | ServiceError]] = []
        self.starts: set[str] = set()
        self._restart_control()
        self._pass()
        self.the_worker_becomes_ready()

    def _gateway(self) -> Dispatcher:
        def channel(address: str, listener: Listener) -> Link:
            link = Link(address, listener)
            self.links.append(link)
            return link

        made = Dispatcher(
            channel=channel, now=self.clock.monotonic, queue_limit=1_000, wait_seconds=LONG
        )
        made.wake = lambda wanted: self.datagrams.append(wanted[3])
        return made

    def _restart_control(self) -> None:
        self.activity = Activity(self.clock)

    def _pass(self) -> None:
        proposal = FLEET if self.memory.serving is None and self.memory.target is None else None
        awake = [] if self.memory.asleep else ["v"]
        ages = self.activity.ages(KEY, awake) if self.memory.serving else {}
        wished = Endpoint(
            generation=1,
            deleting=False,
            memory=self.memory,
            proposal=proposal,
            idle=Idle(after={"v": AFTER}, ages=ages),
        )
        decided = plan(wished, dict(self.observed), now=self.clock.now(), rules=RULES)
        for step in decided.steps:
            self._apply(step)

    def _apply(self, step: object) -> None:
        match step:
            case PublishRoutes(variants=variants):
                self.table = ()
                if variants is not None:
                    one = EndpointRoute(
                        name="e", arn="", account="1", region="r", variants=variants
                    )
                    self.table = (one,)
            case SaveStatus():
                self.memory = step.memory
                assert step.endpoint_status in ("Creating", "InService")
            case StartWorker(placement=placement):
                assert placement.id not in self.starts, "a worker's id was used twice"
                self.starts.add(placement.id)
                self.observed[placement.id] = Observed(state="starting", address=placement.id)
            case StopWorker(id=worker):
                routed = [
                    w.id
                    for e in self.table
                    for v in e.variants
                    for r in v.replicas
                    for w in r.workers
                ]
                assert worker not in routed
                self.observed[worker] = Observed(state="dead", address=worker)
                for link in self.links:
                    if link.worker == worker:
                        link.drain(begun=len(self.starts) % 2 == 0)
            case ForgetWorker(id=worker):
                del self.observed[worker]

    @rule(gateway=st.integers(0, 1))
    def a_request_comes(self, gateway: int) -> None:
        """A gateway looks for a new table before each request."""
        told: list[Final | ServiceError] = []
        dispatcher = self.gateways[gateway]
        dispatcher.update(self.table)
        if not self.table:
            return
        self.outcomes.append(told)
        invocation = Invocation(b"", frames.RequestMeta(), LONG, told.append)
        dispatcher.submit((*PLACE, 1), invocation)

    @rule(gateway=st.integers(0, 1))
    def a_gateway_ticks(self, gateway: int) -> None:
        dispatcher = self.gateways[gateway]
        dispatcher.update(self.table)
        dispatcher.tick()
        if dispatcher.waits_for(PLACE):
            dispatcher.wake(PLACE)

    @rule(is_lost=st.booleans())
    def control_reads_a_datagram(self, is_lost: bool) -> None:
        if self.datagrams:
            variant = self.datagrams.popleft()
            if not is_lost:
                self.activity.use(KEY, variant)
                self._pass()

    @rule()
    def control_passes(self) -> None:
        self._pass()

    @rule()
    def control_is_restarted(self) -> None:
        self._restart_control()
        self.datagrams.clear()
        self._pass()

    @rule()
    def the_worker_becomes_ready(self) -> None:
        for name, worker in list(self.observed.items()):
            if worker.state == "starting":
                self.observed[name] = Observed(state="ready", address=name)
        self._pass()

    @rule()
    def connections_are_made(self) -> None:
        for link in list(self.links):
            worker = self.observed.get(link.worker)
            if worker and worker.state == "ready" and not link.is_ready and not link.is_closed:
                link.is_ready = True
                link.listener.ready()

    @rule()
    def workers_answer(self) -> None:
        for link in list(self.links):
            link.answer()

    @rule(seconds=st.sampled_from([0.5, TELL, AFTER, 3 * AFTER]), is_told=st.booleans())
    def time_passes(self, seconds: float, is_told: bool) -> None:
        """Gateways tell what is in flight, or it is lost."""
        self.clock.advance(seconds)
        if is_told and any(count for one in self.gateways for *_, count in one.gauges()):
            self.activity.use(KEY, "v")
        self._pass()

    @invariant()
    def nobody_is_refused(self) -> None:
        for told in self.outcomes:
            assert len(told) <= 1
            assert all(isinstance(one, Final) for one in told)

    @invariant()
    def at_most_one_replica_runs(self) -> None:
        living = [w for w in self.observed.values() if w.state in ("starting", "ready")]
        assert len(living) <= 1, "two gateways that wake at once wake once"

    def teardown(self) -> None:
        for _ in range(4):
            for number in range(2):
                self.a_gateway_ticks(number)
            while self.datagrams:
                self.control_reads_a_datagram(is_lost=False)
            self.the_worker_becomes_ready()
            for one in self.gateways:
                one.update(self.table)
            self.connections_are_made()
            self.workers_answer()
        assert all(len(told) == 1 for told in self.outcomes), "a request was never answered"
        self.clock.advance(2 * AFTER)
        for _ in range(4):
            self._pass()
        assert self.memory.asleep == ("v",)
        assert not self.observed, "a variant that sleeps has no workers"
        assert self.table, "it is still invocable"


HibernationMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
TestHibernation = HibernationMachine.TestCase
