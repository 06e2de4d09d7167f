"""Everything that can happen to a scalable target, in any order, with a controller that may be killed before it acts."""

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.alarm_evaluation import evaluate
from modelyard.domain.scaling.load_model import Replica
from modelyard.domain.scaling.planner import decide, refused
from modelyard.domain.scaling.policies import Metric, Step, Stepping, Tracking, alarm_rules
from modelyard.domain.scaling.proposals import Alarm, AlarmState, Point
from modelyard.domain.scaling.simulation import Scenario, simulate
from modelyard.domain.scaling.state import Memory, Scaled, Target
from modelyard.domain.scaling.targets import Place, Range, Suspended
from modelyard.domain.scaling.traces import Trace
from modelyard.testing.clock import ManualClock

PLACE = Place(endpoint="churn", variant="AllTraffic")
METRIC = Metric(
    namespace="AWS/SageMaker", name="InvocationsPerInstance", dimensions=(), statistic="Sum"
)
TRACKING = Tracking(
    name="track", arn="track", metric=METRIC, target=100.0, high_alarm="high", low_alarm="low"
)
STEPPING = Stepping(
    name="step",
    arn="step",
    adjustment_type="PercentChangeInCapacity",
    steps=(
        Step(lower=None, upper=0.0, adjustment=-30),
        Step(lower=0.0, upper=50.0, adjustment=40),
        Step(lower=50.0, upper=None, adjustment=200),
    ),
    cooldown_seconds=120.0,
)
STATES: tuple[AlarmState, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")


class ScalingMachine(RuleBasedStateMachine):
    """The endpoint does what it is told when ``finish`` says so; capacity outside the range is somebody else's doing."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.target = Target(place=PLACE, range=Range(low=1, high=6), policies=[TRACKING, STEPPING])
        self.scaled = Scaled(desired=2, in_service=2, revision=1)
        self.memory = Memory()
        self.alarms: dict[str, list[Alarm]] = {"track": [], "step": []}
        self.activities: dict[str, Activity] = {}

    @initialize(low=st.integers(0, 3), spread=st.integers(0, 6))
    def begin(self, low: int, spread: int) -> None:
        self.target = replace(self.target, range=Range(low=low, high=low + spread))

    @rule(low=st.integers(0, 5), spread=st.integers(0, 6))
    def register(self, low: int, spread: int) -> None:
        bounds = Range(low=low, high=low + spread)
        self.target = replace(self.target, range=bounds, revision=self.target.revision + 1)
        self.look()

    @rule(flags=st.tuples(st.booleans(), st.booleans()))
    def suspend(self, flags: tuple[bool, bool]) -> None:
        suspended = Suspended(scale_in=flags[0], scale_out=flags[1])
        self.target = replace(self.target, suspended=suspended)

    @rule(
        seconds=st.integers(1, 400),
        values=st.lists(st.floats(0, 2_000), max_size=4),
        name=st.sampled_from(["high", "low", "mine"]),
        state=st.sampled_from(STATES),
    )
    def evaluate(self, seconds: int, values: list[float], name: str, state: AlarmState) -> None:
        self.clock.advance(seconds)
        now = self.clock.now()
        alarm = Alarm(
            name=name,
            state=state,
            threshold=100.0,
            evaluated_at=now,
            points=[Point(at=now - 60 * (4 - n), value=value) for n, value in enumerate(values)],
        )
        policy = "step" if name == "mine" else "track"
        others = [one for one in self.alarms[policy] if one.name != name]
        self.alarms[policy] = [*others, alarm]
        self.look()

    @rule(killed=st.booleans(), is_refused=st.booleans())
    def look(self, killed: bool = False, is_refused: bool = False) -> None:
        before, now, known = self.scaled, self.clock.now(), self.memory
        outcome = decide(self.target, self.scaled, self.alarms, self.memory, now=now)
        again = decide(self.target, self.scaled, self.alarms, self.memory, now=now)
        assert outcome == again, "the same world, another decision"
        self.memory = msgspec.json.decode(msgspec.json.encode(outcome.memory), type=Memory)
        assert self.memory == outcome.memory, "the memory does not come back as it was"
        self.activities |= outcome.activities
        if outcome.capacity is None:
            return
        bounds = self.target.range
        assert bounds.low <= outcome.capacity <= bounds.high
        assert not before.unscalable, "scaled while it could not be"
        begun = outcome.memory.change
        assert begun is not None
        is_new = known.change is None or begun.activity.id != known.change.activity.id
        if is_new and begun.activity.cause.startswith("monitor alarm"):
            is_out = outcome.capacity > before.desired
            assert is_out or now >= known.in_until, "scaled in within a scale-in cool-down"
            suspended = self.target.suspended
            assert not (suspended.scale_out if is_out else suspended.scale_in)
        if is_refused:
            told = refused(self.memory, "no", now=now)
            self.memory = told.memory
            self.activities |= told.activities
        elif not killed:
            self.scaled = Scaled(
                desired=outcome.capacity,
                in_service=before.in_service,
                revision=before.revision + 1,
                unscalable="the endpoint is Updating",
            )

    @rule()
    def finish(self) -> None:
        self.scaled = replace(self.scaled, in_service=self.scaled.desired, unscalable="")
        self.look()

    @rule(count=st.integers(0, 12))
    def somebody_sets_the_count(self, count: int) -> None:
        if not self.scaled.unscalable:
            self.scaled = Scaled(
                desired=count,
                in_service=self.scaled.in_service,
                revision=self.scaled.revision + 1,
                unscalable="the endpoint is Updating",
            )

    @rule()
    def the_update_fails(self) -> None:
        if self.scaled.unscalable:
            self.scaled = Scaled(
                desired=self.scaled.in_service,
                in_service=self.scaled.in_service,
                revision=self.scaled.revision,
                failure="no memory left",
            )
            self.look()

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert len(self.memory.history) <= 64
        assert len(self.memory.acted) <= 3

    def teardown(self) -> None:
        """Alarms go quiet, updates finish: it settles within the range, and nothing is left under way."""
        self.alarms = {}
        self.target = replace(self.target, revision=self.target.revision + 1)
        for _ in range(6):
            self.clock.advance(61)
            self.finish()
        bounds = self.target.range
        assert bounds.low <= self.scaled.desired <= bounds.high
        assert self.memory.change is None
        ended = [one for one in self.activities.values() if one.status == "InProgress"]
        assert ended == []


ScalingMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestScalingMachine = ScalingMachine.TestCase


FAST = Metric(
    namespace="AWS/SageMaker", name="ConcurrentRequestsPerModel", dimensions=(),
    statistic="Average", period=10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "target", "noise"),
    [(METRIC, 300.0, 0.0), (METRIC, 300.0, 0.1), (METRIC, 300.0, 0.25), (FAST, 0.05, 0.25)],
)
@settings(max_examples=8, deadline=None)
@given(load=st.floats(0.2, 60.0), initial=st.integers(1, 20), seed=st.integers(0, 1_000))
def test_a_noisy_constant_load_settles_without_oscillation(
    metric: Metric, target: float, noise: float, load: float, initial: int, seed: int
) -> None:
    hours, minutes = 4, 240
    source = random.Random(seed)
    rates = [load * (1 + noise * source.uniform(-1, 1)) for _ in range(minutes)]
    policy = replace(TRACKING, metric=metric, target=target)
    scenario = Scenario(
        target=Target(place=PLACE, range=Range(low=1, high=40), policies=[policy]),
        alarms={"track": alarm_rules(policy)},
        replica=Replica(seconds=0.01),
        initial=initial,
    )
    start = 1_700_000_040
    trace = Trace(
        starts=[start + 60 * minute for minute in range(minutes)],
        rates=rates,
        end=start + 3_600 * hours,
    )
    report = simulate(scenario, trace, evaluate)
    counts = [row.desired for row in report.rows]
    settled = counts[150:]
    turns = sum(
        (after - now) * (now - before) < 0
        for before, now, after in zip(counts, counts[1:], counts[2:], strict=False)
    )
    assert turns <= 1, counts
    assert max(settled) - min(settled) <= 1, counts
    assert all(1 <= count <= 40 for count in counts)
