"""Alarms against an oracle: values come late or never, time passes, hands set states, control restarts.

The oracle tries every way in which unknown points could have turned out, and keeps its data in plain lists.
"""

import asyncio
import itertools
import tempfile
from pathlib import Path
from statistics import fmean

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelyard.base.call import Call, Principal
from modelyard.control.alarms import SETTLE_SECONDS, AlarmReconciler
from modelyard.domain.metrics import Summary
from modelyard.services.cloudwatch.alarms import Alarms
from modelyard.store.alarms import ALARM
from modelyard.store.metrics import Datum, Metric, MetricStore
from modelyard.store.resources import Key
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

CALL = Call(
    principal=Principal(kind="root", arn="arn:aws:iam::1:root", id="1", account="1"),
    account="1",
    region="r",
    action="monitoring:Test",
    request_id="id",
    deadline=60.0,
)
KEY = Key(kind=ALARM, account="1", region="r", name="watch")
METRIC = Metric(account="1", region="r", namespace="n", name="m")
THRESHOLD = 10.0
STATES = st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"])
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def oracle(
    points: list[bool | None], *, periods: int, needed: int, missing: str, before: str
) -> str:
    """``points``: of the whole evaluation range, oldest first: beyond the threshold, not, or unknown."""
    real = [
        (age, point)
        for age, point in zip(range(len(points), 0, -1), points, strict=True)
        if point is not None
    ]
    used = real[-periods:]
    unknown = periods - len(used)
    outcomes = {
        sum(point for _, point in used) + sum(filled) >= needed
        for filled in itertools.product((False, True), repeat=unknown)
    }
    if missing == "breaching":
        return "ALARM" if max(outcomes) else "OK"
    if missing == "notBreaching":
        return "ALARM" if min(outcomes) else "OK"
    if not used:
        return before if missing == "ignore" else "INSUFFICIENT_DATA"
    if len(outcomes) == 1:
        return "ALARM" if outcomes.pop() else "OK"
    if not all(point for _, point in used):
        return "OK"
    # AWS: the oldest breaching point is as old as DatapointsToAlarm, all newer ones are breaching or missing.
    oldest, _ = used[0]
    return "ALARM" if missing == "missing" and oldest >= needed else before


class AlarmMachine(RuleBasedStateMachine):
    """One alarm, its metric, and the loop that looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.store = MemoryResourceStore(clock=self.clock)
        self.metrics = MetricStore(Path(self.folder.name) / "metrics.db")
        self.alarms = Alarms(store=self.store, metrics=self.metrics, clock=self.clock)
        self.runner = asyncio.Runner()
        self.values: dict[int, list[float]] = {}
        self.expected = "INSUFFICIENT_DATA"
        self.changes = 0
        self.by_hand_at = self.configured_at = 0.0

    @initialize(
        period=st.sampled_from([10, 30, 60, 120]),
        periods=st.integers(1, 5),
        less=st.integers(0, 4),
        missing=st.sampled_from(TREATMENTS),
    )
    def begin(self, period: int, periods: int, less: int, missing: str) -> None:
        self.configure(period, periods, less, missing)

    @rule(periods=st.integers(1, 5), less=st.integers(0, 4), missing=st.sampled_from(TREATMENTS))
    def reconfigure(self, periods: int, less: int, missing: str) -> None:
        self.clock.advance(0.001)  # Two configurations never have the same moment.
        self.configure(self.period, periods, less, missing)

    def configure(self, period: int, periods: int, less: int, missing: str) -> None:
        self.period, self.periods, self.missing = period, periods, missing
        self.needed = max(1, periods - less)
        put = self.alarms.put_metric_alarm(
            CALL,
            alarm_name="watch",
            namespace="n",
            metric_name="m",
            statistic="Average",
            period=period,
            evaluation_periods=periods,
            datapoints_to_alarm=self.needed,
            threshold=THRESHOLD,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data=missing,
        )
        self.runner.run(put)
        self.configured_at = self.clock.now()
        if not hasattr(self, "reconciler"):
            self.start_control()
        else:
            self.evaluate()
            self.look()

    @rule()
    def restart_control(self) -> None:
        self.metrics.close()
        self.metrics = MetricStore(Path(self.folder.name) / "metrics.db")
        self.alarms = Alarms(store=self.store, metrics=self.metrics, clock=self.clock)
        self.start_control()

    def start_control(self) -> None:
        self.reconciler = AlarmReconciler(store=self.store, metrics=self.metrics, clock=self.clock)
        self.evaluate()
        self.look()

    @rule(
        values=st.lists(st.sampled_from([0.0, 10.0, 11.0, 40.0]), min_size=1, max_size=3),
        late=st.integers(0, 3),
    )
    def emit(self, values: list[float], late: int) -> None:
        at = int(self.clock.now()) - late * self.period
        for value in values:
            summary = Summary()
            summary.add(value)
            datum = Datum(metric=METRIC, at=at, summary=summary, is_high_resolution=True)
            self.metrics.put([datum], now=self.clock.now())
        self.values.setdefault(at // self.period * self.period, []).extend(values)

    @rule(state=STATES)
    def set_by_hand(self, state: str) -> None:
        put = self.alarms.set_alarm_state(
            CALL, alarm_name="watch", state_value=state, state_reason="a drill"
        )
        self.runner.run(put)
        self.by_hand_at = self.clock.now()
        self.expect(state)
        self.look()  # The store's hint: not yet time to evaluate.

    @rule(seconds=st.integers(1, 150))
    def pass_time(self, seconds: int) -> None:
        end = self.clock.monotonic() + seconds
        while self.due <= end:
            self.clock.advance(max(0.0, self.due - self.clock.monotonic()))
            self.evaluate()
            self.look()
        self.clock.advance(end - self.clock.monotonic())

    def look(self) -> None:
        wait = self.runner.run(self.reconciler.reconcile(KEY))
        assert wait > 0
        self.due = self.clock.monotonic() + wait

    def evaluate(self) -> None:
        """What the next look has to find."""
        interval = min(self.period, 60)
        closed = (self.clock.now() - SETTLE_SECONDS) // interval * interval
        if self.by_hand_at > max(closed, self.configured_at):
            return  # Nothing is known that is newer than somebody's word.
        end = int(closed // self.period * self.period)
        points: list[bool | None] = []
        for place in range(self.periods + 2, 0, -1):
            values = self.values.get(end - place * self.period)
            points.append(None if values is None else fmean(values) > THRESHOLD)
        self.expect(
            oracle(
                points,
                periods=self.periods,
                needed=self.needed,
                missing=self.missing,
                before=self.expected,
            )
        )

    def expect(self, state: str) -> None:
        self.changes += state != self.expected
        self.expected = state

    @invariant()
    def the_state_is_the_oracles(self) -> None:
        if not hasattr(self, "reconciler"):
            return
        alarm = self.store.get(KEY)
        assert alarm is not None
        assert alarm.status["StateValue"] == self.expected
        history = self.metrics.history("1", "r", "watch")
        assert sum(item.kind == "StateUpdate" for item in history) == self.changes

    def teardown(self) -> None:
        self.runner.close()
        self.metrics.close()
        self.folder.cleanup()


TestAlarmMachine = AlarmMachine.TestCase
TestAlarmMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
