"""One pass after the other over a target: what changes, what does not, and why."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.planner import decide, refused
from modelyard.domain.scaling.policies import (
    Metric,
    Policy,
    Step,
    Stepping,
    Tracking,
    stepped,
)
from modelyard.domain.scaling.proposals import Alarm, AlarmState, Point
from modelyard.domain.scaling.schedules import parse
from modelyard.domain.scaling.state import Memory, Outcome, Scaled, ScheduledAction, Target
from modelyard.domain.scaling.targets import Place, Range, Suspended

PLACE = Place(endpoint="churn", variant="AllTraffic")
METRIC = Metric(
    namespace="AWS/SageMaker", name="InvocationsPerInstance", dimensions=(), statistic="Sum"
)
NOON = 1_800_000_000.0
NONE = Activity(id="", description="", cause="", started_at=0.0, status="Pending")


def tracking(name: str = "track", **changes: Any) -> Tracking:
    return replace(
        Tracking(
            name=name,
            arn="arn",
            metric=METRIC,
            target=100.0,
            high_alarm=f"{name}-high",
            low_alarm=f"{name}-low",
        ),
        **changes,
    )


def stepping(name: str = "step", *steps: Step, **changes: Any) -> Stepping:
    steps = steps or (Step(lower=0.0, upper=None, adjustment=2),)
    policy = Stepping(name=name, arn="arn", adjustment_type="ChangeInCapacity", steps=steps)
    return replace(policy, **changes)


class Scene:
    """A target whose endpoint does at once what it is told, unless ``moving``."""

    def __init__(self, *policies: Policy, capacity: int = 2, low: int = 1, high: int = 10) -> None:
        self.target = Target(place=PLACE, range=Range(low=low, high=high), policies=policies)
        self.scaled = Scaled(desired=capacity, in_service=capacity, revision=1)
        self.memory = Memory()
        self.now = NOON
        self.alarms: dict[str, list[Alarm]] = {}
        self.activities: dict[str, Activity] = {}
        self.moving = False
        self.look()

    @property
    def capacity(self) -> int:
        return self.scaled.desired

    def look(self) -> Outcome:
        outcome = decide(self.target, self.scaled, self.alarms, self.memory, now=self.now)
        self.memory = outcome.memory
        self.activities |= outcome.activities
        if outcome.range is not None:
            self.target = replace(self.target, range=outcome.range)
        if outcome.capacity is not None:
            self.scaled = Scaled(
                desired=outcome.capacity,
                in_service=self.scaled.in_service,
                revision=self.scaled.revision + 1,
                unscalable="the endpoint is Updating",
            )
            if not self.moving:
                self.fulfil()
                self.look()
        return outcome

    def fulfil(self) -> None:
        self.scaled = replace(self.scaled, in_service=self.scaled.desired, unscalable="")

    def fire(
        self,
        policy: Policy,
        kind: str,
        *values: float,
        state: AlarmState = "ALARM",
        after: float = 60.0,
    ) -> Activity:
        """A minute later the policy's alarm is evaluated with these points; the latest activity."""
        self.now += after
        name = f"{policy.name}-{kind}"
        points = [
            Point(at=self.now - 60 * (len(values) - i), value=v) for i, v in enumerate(values)
        ]
        alarm = Alarm(name=name, state=state, threshold=100.0, evaluated_at=self.now, points=points)
        others = [one for one in self.alarms.get(policy.name, []) if one.name != name]
        self.alarms[policy.name] = [*others, alarm]
        self.look()
        return self.latest

    @property
    def latest(self) -> Activity:
        return next(reversed(self.activities.values()), NONE)

    def by_status(self) -> Sequence[str]:
        return [one.status for one in self.activities.values()]


def test_a_high_alarm_sets_the_capacity_that_meets_the_target() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    activity = scene.fire(policy, "high", 240.0, 260.0, 260.0)
    assert scene.capacity == 6
    assert activity.status == "Successful"
    assert activity.cause == "monitor alarm track-high in state ALARM triggered policy track"
    assert activity.message.startswith("Successfully set desired instance count to 6.")
    assert activity.details["metric"] == 260.0


def test_points_of_before_a_scale_out_are_not_taken_for_new_load() -> None:
    policy = tracking(out_seconds=0.0)
    scene = Scene(policy, capacity=2)
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    assert scene.capacity == 6
    activity = scene.fire(policy, "high", 300.0, 300.0, 300.0, after=1.0)
    assert scene.capacity == 6
    assert activity.code == "AlreadyAtDesiredCapacity"


def test_capacity_that_was_added_counts_in_a_cool_down_and_more_may_still_be_added() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2, high=20)
    scene.fire(policy, "high", 200.0, 200.0, 200.0)
    assert scene.capacity == 4
    scene.fire(policy, "high", 150.0, 150.0, 150.0, after=120.0)
    assert scene.capacity == 4, "two more wanted, and two were added"
    scene.fire(policy, "high", 250.0, 250.0, 250.0)
    assert scene.capacity == 8, "six more wanted than there are, on top of the two of before"
    scene.fire(policy, "high", 120.0, 120.0, 120.0, after=400.0)
    assert scene.capacity == 10, "the cool-down is over"


def test_scale_in_takes_at_most_half_and_waits_for_its_cool_down() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=9)
    scene.fire(policy, "low", *[0.0] * 15)
    assert scene.capacity == 5
    activity = scene.fire(policy, "low", *[0.0] * 15)
    assert scene.capacity == 5
    assert "240 seconds left" in activity.message
    scene.fire(policy, "low", *[0.0] * 15, after=241.0)
    assert scene.capacity == 3


def test_a_scale_out_ends_a_scale_in_cool_down() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=4)
    scene.fire(policy, "low", *[10.0] * 15)
    assert scene.capacity == 2
    scene.fire(policy, "low", *[10.0] * 15, state="OK")
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    assert scene.capacity == 6
    scene.fire(policy, "high", 10.0, state="OK")
    scene.fire(policy, "low", *[10.0] * 15)
    assert scene.capacity == 3, "five minutes have not passed since the scale-in, and need not"


def test_a_scale_in_ends_a_scale_out_cool_down() -> None:
    policy, steps = tracking(), stepping()
    scene = Scene(policy, steps, capacity=1)
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    assert scene.capacity == 3
    scene.fire(policy, "high", 10.0, state="OK")
    scene.fire(policy, "low", *[0.0] * 15)
    assert scene.capacity == 2
    scene.fire(policy, "low", *[0.0] * 15, state="OK")
    scene.fire(steps, "mine", 105.0)
    assert scene.capacity == 4


def test_what_would_scale_out_again_is_not_scaled_in() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=3)
    activity = scene.fire(policy, "low", *[85.0] * 15)
    assert scene.capacity == 3
    assert not activity.is_scaled
    assert activity.code == "AutoScalingAnticipatedFlapping"


def test_a_reason_that_lasts_is_one_activity() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=3)
    for _ in range(5):
        scene.fire(policy, "low", *[85.0] * 15)
    assert len(scene.activities) == 1
    assert scene.latest.ended_at == scene.now


def test_of_several_policies_the_largest_capacity_wins() -> None:
    small, large = tracking("small"), tracking("large", target=50.0)
    scene = Scene(small, large, capacity=2)
    scene.fire(small, "high", 150.0, 150.0, 150.0)
    assert scene.capacity == 3
    scene = Scene(small, large, capacity=2)
    scene.alarms["small"] = [
        Alarm(
            name="small-high",
            state="ALARM",
            threshold=100.0,
            evaluated_at=NOON + 60,
            points=[Point(at=NOON, value=150.0)],
        )
    ]
    activity = scene.fire(large, "high", 150.0, 150.0, 150.0)
    assert scene.capacity == 6
    assert "policy large" in activity.cause


def test_tracking_policies_scale_in_only_if_all_agree() -> None:
    one, other = tracking("one"), tracking("other")
    scene = Scene(one, other, capacity=4)
    activity = scene.fire(one, "low", *[0.0] * 15)
    assert scene.capacity == 4
    assert "other does not agree" in activity.message
    scene.fire(other, "low", *[60.0] * 15, state="INSUFFICIENT_DATA")
    assert scene.capacity == 4, "no data is no agreement"
    scene.fire(other, "low", *[60.0] * 15)
    assert scene.capacity == 3, "other needs three"
    scene.fire(one, "low", *[0.0] * 15, after=301)
    assert scene.capacity == 3, "other is heard, although it was acted upon"


def test_a_policy_that_must_not_scale_in_neither_does_nor_hinders_others() -> None:
    silent, other = tracking("silent", disable_scale_in=True), tracking("other")
    scene = Scene(silent, other, capacity=4)
    scene.fire(silent, "low", *[0.0] * 15)
    assert scene.capacity == 4
    assert scene.activities == {}
    scene.fire(other, "low", *[0.0] * 15)
    assert scene.capacity == 2


@pytest.mark.parametrize(
    ("fired", "capacity", "code"),
    [("high", 10, "AlreadyAtMaxCapacity"), ("low", 1, "AlreadyAtMinCapacity")],
)
def test_at_its_bound_a_target_says_so(fired: str, capacity: int, code: str) -> None:
    policy = tracking()
    scene = Scene(policy, capacity=capacity)
    activity = scene.fire(policy, fired, *[0.0 if fired == "low" else 500.0] * 15)
    assert scene.capacity == capacity
    assert activity.code == code
    assert activity.status == "Unfulfilled"


def test_without_data_nothing_happens() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=4)
    scene.now += 60
    scene.alarms["track"] = [
        Alarm(name="track-low", state="INSUFFICIENT_DATA", threshold=90.0, evaluated_at=scene.now)
    ]
    scene.look()
    assert scene.capacity == 4
    assert scene.activities == {}


def test_an_alarm_without_points_says_what_is_missing() -> None:
    policy = stepping()
    scene = Scene(policy)
    activity = scene.fire(policy, "mine")
    assert scene.capacity == 2
    assert "StateReasonData" in activity.message


def test_zero_capacity_wakes_by_a_high_alarm() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=0, low=0)
    scene.fire(policy, "high", 500.0, 500.0, 500.0)
    assert scene.capacity == 1


def test_suspended_scaling_rests_and_resumes() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=4)
    scene.target = replace(scene.target, suspended=Suspended(scale_out=True, scale_in=True))
    scene.fire(policy, "low", *[0.0] * 15)
    activity = scene.fire(policy, "high", 900.0, 900.0, 900.0)
    assert scene.capacity == 4
    assert "scale-out is suspended" in activity.message
    scene.target = replace(scene.target, suspended=Suspended())
    scene.alarms["track"] = []
    scene.fire(policy, "low", *[0.0] * 15)
    assert scene.capacity == 2


def test_a_new_range_clamps_at_once_and_only_once() -> None:
    scene = Scene(capacity=5)
    scene.target = replace(scene.target, range=Range(low=1, high=3), revision=1)
    scene.look()
    assert scene.capacity == 3
    assert scene.latest.cause == "maximum capacity was set to 3"
    scene.scaled = replace(scene.scaled, desired=7, in_service=7)  # somebody insists
    scene.now += 600
    scene.look()
    assert scene.capacity == 7
    scene.target = replace(scene.target, revision=2)
    scene.look()
    assert scene.capacity == 3


def test_a_range_waits_for_an_endpoint_that_is_being_updated() -> None:
    scene = Scene(capacity=5)
    scene.scaled = replace(scene.scaled, unscalable="the endpoint is Updating")
    scene.target = replace(scene.target, range=Range(low=8, high=9), revision=1)
    scene.look()
    assert scene.capacity == 5
    scene.fulfil()
    scene.look()
    assert scene.capacity == 8


def test_while_the_endpoint_updates_nothing_is_scaled_and_that_is_recorded() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    scene.scaled = replace(scene.scaled, unscalable="the endpoint is Updating")
    activity = scene.fire(policy, "high", 300.0, 300.0, 300.0)
    assert scene.capacity == 2
    assert activity.code == "TargetServicePutResourceAsUnscalable"
    assert "Updating" in activity.message
    scene.fulfil()
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    assert scene.capacity == 6


def test_a_decision_that_was_not_applied_is_applied_by_the_next_pass() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    scene.moving = True
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    scene.scaled = Scaled(desired=2, in_service=2, revision=1)  # we were killed before it
    outcome = scene.look()
    assert outcome.capacity == 6
    assert len(scene.activities) == 1


def test_a_change_that_the_endpoint_takes_back_has_failed() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    scene.moving = True
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    scene.scaled = Scaled(desired=2, in_service=2, revision=3, failure="no memory left")
    scene.look()
    assert scene.latest.status == "Failed"
    assert "no memory left" in scene.latest.message
    assert scene.memory.change is None


def test_a_change_that_somebody_overrides_or_never_ends_is_given_up() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    scene.moving = True
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    scene.scaled = Scaled(desired=3, in_service=3, revision=3)
    scene.look()
    assert scene.latest.status == "Overridden"
    scene.fire(policy, "high", 300.0, 300.0, 300.0, after=400.0)
    scene.now += 3_601
    scene.look()
    assert scene.latest.status == "Unfulfilled"


def test_a_change_that_is_refused_has_failed_with_the_reason() -> None:
    policy = tracking()
    scene = Scene(policy, capacity=2)
    scene.moving = True
    scene.fire(policy, "high", 300.0, 300.0, 300.0)
    outcome = refused(scene.memory, "ResourceLimitExceeded: no more", now=scene.now)
    assert [one.status for one in outcome.activities.values()] == ["Failed"]
    assert outcome.memory.change is None


def test_a_scheduled_action_sets_the_range_and_clamps() -> None:
    scene = Scene(capacity=2)
    action = ScheduledAction(
        name="morning",
        schedule=parse("rate(1 hour)"),
        timezone=ZoneInfo("UTC"),
        start=NOON,
        put_at=NOON,
        low=4,
    )
    scene.target = replace(scene.target, actions=[action])
    outcome = scene.look()
    assert outcome.seconds == pytest.approx(3_600)
    scene.now += 3_600
    scene.look()
    assert scene.target.range == Range(low=4, high=10)
    scene.look()
    assert scene.capacity == 4
    causes = [one.cause for one in scene.activities.values()]
    assert causes == [
        "scheduled action name morning was triggered",
        "minimum capacity was set to 4",
    ]


def test_a_suspended_schedule_and_an_empty_range_change_nothing() -> None:
    scene = Scene(capacity=2)
    action = ScheduledAction(
        name="night",
        schedule=parse("rate(1 hour)"),
        timezone=ZoneInfo("UTC"),
        start=NOON,
        put_at=NOON,
        low=20,
    )
    scene.target = replace(scene.target, actions=[action], suspended=Suspended(scheduled=True))
    scene.now += 3_600
    scene.look()
    scene.target = replace(scene.target, suspended=Suspended())
    scene.now += 3_600
    scene.look()
    assert scene.by_status() == ["Unfulfilled", "Failed"]
    assert scene.target.range == Range(low=1, high=10)


STEPS = (
    Step(lower=None, upper=-20.0, adjustment=-2),
    Step(lower=-20.0, upper=0.0, adjustment=-1),
    Step(lower=0.0, upper=10.0, adjustment=1),
    Step(lower=10.0, upper=None, adjustment=3),
)


@pytest.mark.parametrize(
    ("breach", "change"),
    [(0.0, 1), (9.9, 1), (10.0, 3), (500.0, 3), (-0.1, -1), (-19.9, -1), (-20.0, -2), (-90.0, -2)],
)
def test_a_step_holds_its_inner_bound(breach: float, change: int) -> None:
    assert stepped(stepping("s", *STEPS), capacity=5, breach=breach) == 5 + change


@pytest.mark.parametrize(
    ("capacity", "percent", "magnitude", "expected"),
    [
        (10, 25, 0, 12),
        (2, 10, 0, 3),
        (4, 25, 2, 6),
        (10, -15, 0, 9),
        (3, -10, 0, 2),
        (10, 0, 2, 10),
    ],
)
def test_percentages_are_rounded_to_whole_instances(
    capacity: int, percent: int, magnitude: int, expected: int
) -> None:
    policy = stepping(
        "p",
        Step(lower=0.0, upper=None, adjustment=percent),
        adjustment_type="PercentChangeInCapacity",
        minimum_magnitude=magnitude,
    )
    assert stepped(policy, capacity=capacity, breach=1.0) == expected


def test_an_exact_capacity_is_set() -> None:
    policy = stepping(
        "e", Step(lower=0.0, upper=None, adjustment=7), adjustment_type="ExactCapacity"
    )
    assert stepped(policy, capacity=2, breach=1.0) == 7
    assert stepped(policy, capacity=2, breach=-1.0) is None


def test_in_a_step_policys_cool_down_only_a_larger_step_adds_the_difference() -> None:
    policy = stepping("step", *STEPS)
    scene = Scene(policy, capacity=2)
    scene.fire(policy, "mine", 105.0)
    assert scene.capacity == 3
    activity = scene.fire(policy, "mine", 105.0)
    assert scene.capacity == 3
    assert "cool-down" in activity.message
    scene.fire(policy, "mine", 150.0)
    assert scene.capacity == 5, "three in all"


def test_a_policy_acts_once_for_each_evaluation_of_its_alarm() -> None:
    policy = stepping("step", *STEPS, cooldown_seconds=0.0)
    scene = Scene(policy, capacity=2)
    scene.fire(policy, "mine", 105.0)
    for _ in range(5):
        scene.now += 1
        scene.look()
    assert scene.capacity == 3
    scene.fire(policy, "mine", 105.0)
    assert scene.capacity == 4
