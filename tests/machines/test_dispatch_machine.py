"""Every accepted invocation ends exactly once and with its own answer, whatever workers and callers do."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from modelyard.base.errors import ServiceError
from modelyard.domain.chain import Final
from modelyard.domain.routes import EndpointRoute, ReplicaRoute, VariantRoute, WorkerRoute
from modelyard.domain.shelf import ABSENT
from modelyard.gateway.dispatcher import Dispatcher
from modelyard.gateway.in_flight import Invocation
from modelyard.transport import frames
from modelyard.transport.channel import Listener

KEY = ("1", "r", "e", "v")  # and the fleet
WAIT_SECONDS = 10.0
CALL_SECONDS = 60.0


@dataclass
class FakeChannel:
    """A worker as the dispatcher sees it; the machine decides what it does."""

    address: str
    listener: Listener
    is_ready: bool = False
    closed: bool = False
    pending: dict[int, object] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    solo: set[int] = field(default_factory=set)
    serial: int = 0

    @property
    def in_flight(self) -> int:
        return len(self.pending)

    def connect(self) -> None:
        """The machine lets it greet."""

    def close(self) -> None:
        self.closed = True

    def send(self, tag: object, remaining_ms: int, flags: int, meta: bytes, body: bytes) -> int:
        assert self.is_ready and not self.closed
        self.serial += 1
        if flags & frames.SOLO:
            assert not self.pending, "a suspect is sent alone"
            self.solo.add(self.serial)
        else:
            assert not self.solo & self.pending.keys(), "nothing joins a suspect"
        self.pending[self.serial] = tag
        self.bodies[self.serial] = body
        return self.serial

    def cancel(self, request_id: int) -> None:
        """A worker answers a cancelled request all the same."""

    def greet(self) -> None:
        self.is_ready = True
        self.listener.ready()

    def answer(self, request_id: int, status: int = 200) -> None:
        tag = self.pending.pop(request_id)
        meta = frames.encode_meta(frames.AnswerMeta("text/plain"))
        body = b"answer to " + self.bodies[request_id]
        self.listener.answered(tag, frames.Frame(frames.ANSWER, 0, request_id, status, meta, body))

    def die(self, *, executed: bool) -> None:
        self.is_ready = False
        pending, self.pending = self.pending, {}
        for tag in pending.values():
            self.listener.lost(tag, executed=executed)


class DispatchMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.channels: dict[str, FakeChannel] = {}
        self.outcomes: dict[int, list[Final | ServiceError]] = {}
        self.left: set[int] = set()
        self.invocations: dict[int, Invocation] = {}
        self.dispatcher = Dispatcher(
            channel=self.make_channel,
            now=lambda: self.now,
            queue_limit=5,
            wait_seconds=WAIT_SECONDS,
        )
        self.replicas = ["a", "b"]
        self.older: VariantRoute | None = None
        self.fleet = 1
        self.containers = 1
        self.absent: list[tuple[int, Invocation]] = []

    @initialize(containers=st.integers(1, 3), rest=st.sampled_from([0.0, 0.1]))
    def begin(self, containers: int, rest: float = 0.0) -> None:
        self.containers = containers
        self.dispatcher.rest_seconds = rest
        self.publish()

    def make_channel(self, address: str, listener: Listener) -> FakeChannel:
        channel = FakeChannel(address, listener)
        self.channels[address] = channel
        return channel

    def publish(self) -> None:
        replicas = tuple(
            ReplicaRoute(id=name, workers=tuple(self.workers(name))) for name in self.replicas
        )
        self.newest = VariantRoute(name="v", weight=1.0, replicas=replicas, fleet=self.fleet)
        both = (self.newest,) if self.older is None else (self.older, self.newest)
        endpoint = EndpointRoute(name="e", arn="arn", account="1", region="r", variants=both)
        self.dispatcher.update((endpoint,))

    def workers(self, replica: str) -> Iterator[WorkerRoute]:
        for n in range(self.containers):
            name = f"{replica}/{n}"
            yield WorkerRoute(id=name, container=f"c{n}", address=name)

    @rule(goes_to_older=st.booleans())
    def arrive(self, goes_to_older: bool) -> None:
        number = len(self.outcomes)
        self.outcomes[number] = []
        invocation = Invocation(
            str(number).encode(),
            frames.RequestMeta(),
            self.now + CALL_SECONDS,
            self.outcomes[number].append,
        )
        self.invocations[number] = invocation
        is_older = goes_to_older and self.older is not None
        fleet = self.fleet - is_older
        if self.containers == 1:
            invocation.absent = lambda: self.absent.append((fleet, invocation))
        try:
            self.dispatcher.submit((*KEY, fleet), invocation)
        except ServiceError as error:
            assert error.status in (429, 503)
            self.outcomes[number].append(error)
            invocation.is_over = True

    @rule(place=st.integers(0, 5))
    def greet(self, place: int) -> None:
        waiting = [c for c in self.channels.values() if not c.is_ready and not c.closed]
        if waiting:
            waiting[place % len(waiting)].greet()

    @rule()
    def greet_all(self) -> None:
        for channel in list(self.channels.values()):
            if not channel.is_ready and not channel.closed:
                channel.greet()

    @rule()
    def answer_all(self) -> None:
        """One hop further, each of them."""
        busy = [(c, i) for c in self.channels.values() for i in c.pending]
        for channel, request_id in busy:
            if request_id in channel.pending:
                channel.answer(request_id)

    @rule(place=st.integers(0, 20), status=st.sampled_from([200, 200, 200, 500, 429, 404]))
    def answer(self, place: int, status: int) -> None:
        busy = [(c, i) for c in self.channels.values() for i in c.pending]
        if busy:
            channel, request_id = busy[place % len(busy)]
            channel.answer(request_id, status)

    @rule()
    def models_are_there(self) -> None:
        absent, self.absent = self.absent, []
        for fleet, invocation in absent:
            if not invocation.is_over:
                self.dispatcher.resume((*KEY, fleet), invocation)

    @rule(place=st.integers(0, 5), executed=st.booleans())
    def die(self, place: int, executed: bool) -> None:
        alive = [c for c in self.channels.values() if c.is_ready]
        alive = [c for c in alive if c.pending] or alive
        if alive:
            alive[place % len(alive)].die(executed=executed)

    @rule(place=st.integers(0, 50))
    def leave(self, place: int) -> None:
        waiting = [n for n, i in self.invocations.items() if not i.is_over]
        if waiting:
            number = waiting[place % len(waiting)]
            self.left.add(number)
            self.dispatcher.cancel(self.invocations[number])

    @rule()
    def replace_a_replica(self) -> None:
        self.replicas = [self.replicas[1], f"{self.replicas[1]}{len(self.channels)}"]
        self.publish()

    @precondition(lambda self: self.older is None)
    @rule()
    def begin_to_roll_out(self) -> None:
        self.older = self.newest
        self.fleet += 1
        self.replicas = [f"green {self.fleet} a", f"green {self.fleet} b"]
        self.publish()

    @precondition(lambda self: self.older is not None)
    @rule()
    def complete_the_rollout(self) -> None:
        self.older = None
        self.publish()

    @rule(seconds=st.sampled_from([0.1, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.dispatcher.tick()

    @precondition(lambda self: self.outcomes)
    @invariant()
    def nobody_is_answered_twice_or_with_anothers_answer(self) -> None:
        for number, outcomes in self.outcomes.items():
            assert len(outcomes) <= 1, f"{number} has {outcomes}"
            assert not (number in self.left and outcomes), f"{number} left and was answered"
            for outcome in outcomes:
                is_error = isinstance(outcome, ServiceError)
                gone = is_error and ("deleted", "no replicas")
                assert not any(word in outcome.message for word in gone or ()), "it is there"
                if isinstance(outcome, Final) and outcome.status == 200:
                    assert outcome.body == b"answer to " * self.containers + b"%d" % number
                if isinstance(outcome, Final):
                    last = outcome.container == f"c{self.containers - 1}"
                    assert last or outcome.status != 200

    @invariant()
    def a_worker_holds_no_more_than_its_queue(self) -> None:
        assert all(len(channel.pending) <= 5 for channel in self.channels.values())

    def teardown(self) -> None:
        """The trouble ends: everyone who still waits gets an answer, and nothing is left in flight."""
        for _ in range(200):
            self.models_are_there()
            for channel in list(self.channels.values()):
                if not channel.is_ready and not channel.closed:
                    channel.greet()
                for request_id in list(channel.pending):
                    channel.answer(request_id)
        self.now += CALL_SECONDS
        self.dispatcher.tick()
        self.dispatcher.tick()
        for number, outcomes in self.outcomes.items():
            assert len(outcomes) == (0 if number in self.left else 1), f"{number}: {outcomes}"
        assert self.dispatcher.in_flight == 0
        self.nobody_is_answered_twice_or_with_anothers_answer()


DispatchMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None
)
TestDispatch = DispatchMachine.TestCase


def test_a_model_that_comes_when_its_fleet_is_gone_is_asked_of_the_other() -> None:
    machine = DispatchMachine()
    machine.begin(containers=1)
    machine.begin_to_roll_out()
    machine.greet_all()
    machine.arrive(goes_to_older=True)
    machine.answer(0, ABSENT)
    machine.complete_the_rollout()
    machine.models_are_there()
    machine.nobody_is_answered_twice_or_with_anothers_answer()
    machine.teardown()
    assert [type(outcome) for outcome in machine.outcomes[0]] == [Final]
