"""Targets, policies and schedules that are put by the API and act on an endpoint, on a manual clock."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelyard.base.errors import ServiceError, Unsupported, ValidationError
from modelyard.base.ids import SeededRandom
from modelyard.control.scaling import ScalingReconciler
from modelyard.control.scaling_alarms import PolicyAlarms
from modelyard.domain.scaling.alarm_evaluation import evaluate
from modelyard.domain.scaling.load_model import Replica
from modelyard.domain.scaling.policies import alarm_rules, tracking
from modelyard.domain.scaling.schedules import parse, zone
from modelyard.domain.scaling.simulation import Scenario, simulate
from modelyard.domain.scaling.state import ScheduledAction, Target
from modelyard.domain.scaling.targets import Place, Range
from modelyard.domain.scaling.traces import Trace
from modelyard.server.scaling import EndpointCapacity
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.store.alarms import ALARM
from modelyard.store.resources import Create, Delete, Key, Update
from modelyard.store.scaling import ACTION, POLICY, TARGET, alarm_key
from modelyard.testing.scaling import ENDPOINT, IDENTITY, RESOURCE_ID, ScalingWorld

pytestmark = pytest.mark.anyio
START = 1_700_000_040.0  # a whole minute
PLACE = Place(endpoint="churn", variant="AllTraffic")
CONFIGURATION = {
    "TargetValue": 300.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
    },
    "ScaleOutCooldown": 120,
    "ScaleInCooldown": 180,
}


@pytest.fixture
async def world() -> AsyncIterator[ScalingWorld]:
    world = ScalingWorld(replica=Replica(), initial=2, start=START)
    await world.begin()
    yield world


async def register(world: ScalingWorld, low: int = 1, high: int = 8, **members: Any) -> Any:
    return await world.call(
        "RegisterScalableTarget", **IDENTITY, MinCapacity=low, MaxCapacity=high, **members
    )


async def track(world: ScalingWorld, name: str = "track", **changes: Any) -> Any:
    return await world.call(
        "PutScalingPolicy",
        **IDENTITY,
        PolicyName=name,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**CONFIGURATION, **changes},
    )


async def described(world: ScalingWorld, *, all_of_them: bool = False) -> list[dict[str, Any]]:
    answer = await world.call(
        "DescribeScalingActivities",
        ServiceNamespace="sagemaker",
        IncludeNotScaledActivities=all_of_them,
    )
    found: list[dict[str, Any]] = answer["ScalingActivities"]
    return found


async def test_a_step_in_the_load_scales_out_and_its_end_scales_in(world: ScalingWorld) -> None:
    await register(world)
    await track(world)
    await world.load([20.0] * 600)
    assert world.variant.in_service == 4
    newest = (await described(world))[0]
    assert newest["StatusCode"] == "Successful"
    assert newest["Description"] == "Setting desired instance count to 4."
    assert json.loads(newest["Details"])["target"] == 300
    await world.load([0.0] * 2_400)
    assert world.variant.in_service == 1


RATES = [4.0] * 900 + [30.0] * 600 + [12.5] * 1_800 + [0.0] * 1_500 + [55.0] * 300 + [3.0] * 1_500
FAST = {
    "TargetValue": 2.0,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    },
}
SCHEDULE = {
    "ScheduledActionName": "now and then",
    "Schedule": "rate(25 minutes)",
    "StartTime": START + 707,
    "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 9},
}


@pytest.mark.parametrize(
    ("configurations", "schedules", "startup"),
    [
        ({"load": CONFIGURATION}, [], 5.0),
        ({"load": CONFIGURATION}, [], 0.0),
        ({"fast": FAST}, [SCHEDULE], 95.0),
        ({"load": CONFIGURATION, "fast": FAST}, [SCHEDULE], 12.0),
    ],
)
async def test_the_reconciler_and_the_simulation_do_the_same(
    configurations: dict[str, Any], schedules: list[Any], startup: float
) -> None:
    replica = Replica(startup_seconds=startup)
    world = ScalingWorld(replica=replica, initial=2, start=START)
    await world.begin()
    await register(world, 1, 12)
    twins = []
    for name, configuration in configurations.items():
        answer = await track(world, name, **configuration)
        names = [alarm["AlarmName"] for alarm in answer["Alarms"]]
        twins.append(tracking(name, name, {**CONFIGURATION, **configuration}, PLACE, names))
    for schedule in schedules:
        await world.call("PutScheduledAction", **IDENTITY, **schedule)
    await world.load(RATES)
    await world.settle()

    actions = [
        ScheduledAction(
            name=one["ScheduledActionName"],
            schedule=parse(one["Schedule"]),
            timezone=zone(None),
            start=one["StartTime"],
            put_at=START,
            low=one["ScalableTargetAction"]["MinCapacity"],
            high=one["ScalableTargetAction"]["MaxCapacity"],
        )
        for one in schedules
    ]
    bounds = Range(low=1, high=12)
    scenario = Scenario(
        target=Target(place=PLACE, range=bounds, policies=twins, actions=actions),
        alarms={twin.name: alarm_rules(twin) for twin in twins},
        replica=replica,
        initial=2,
    )
    start = round(START)
    trace = Trace(starts=range(start, start + len(RATES)), rates=RATES, end=start + len(RATES))
    report = simulate(scenario, trace, evaluate)

    live = sorted(world.activities(), key=lambda one: (one.started_at, one.id))
    simulated = sorted(report.activities, key=lambda one: (one.started_at, one.id))
    assert sum(one.is_scaled for one in live) > 6
    assert live == simulated


async def test_a_policy_has_two_alarms_that_go_with_it(world: ScalingWorld) -> None:
    await register(world)
    answer = await track(world)
    high, low = (alarm["AlarmName"] for alarm in answer["Alarms"])
    assert high.startswith(f"TargetTracking-{RESOURCE_ID}-AlarmHigh-")
    alarms = {one.key.name: one.spec for one in world.store.list(ALARM)}
    assert (alarms[high]["Threshold"], alarms[high]["EvaluationPeriods"]) == (300, 3)
    assert (alarms[low]["Threshold"], alarms[low]["EvaluationPeriods"]) == (270, 15)
    assert alarms[high]["AlarmActions"] == [answer["PolicyARN"]]

    again = await track(world, TargetValue=100.0)
    assert again == answer
    assert {one.spec["Threshold"] for one in world.store.list(ALARM)} == {100.0, 90.0}
    shown = await world.call("DescribeScalingPolicies", ServiceNamespace="sagemaker")
    assert shown["ScalingPolicies"][0]["Alarms"] == answer["Alarms"]

    await world.call("DeleteScalingPolicy", **IDENTITY, PolicyName="track")
    assert world.store.list(ALARM) == []
    assert world.store.list(POLICY) == []


async def test_a_step_policy_acts_when_its_users_alarm_is_set(world: ScalingWorld) -> None:
    await register(world)
    answer = await world.call(
        "PutScalingPolicy",
        **IDENTITY,
        PolicyName="wake",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 3}],
            "Cooldown": 60,
        },
    )
    assert answer["Alarms"] == []
    target = world.store.list(TARGET)[0].key
    spec = {
        "AlarmName": "busy",
        "Namespace": "Own",
        "MetricName": "Load",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 2,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [answer["PolicyARN"]],
    }
    status = {
        "StateValue": "ALARM",
        "StateReasonData": json.dumps({"recentDatapoints": [5.0, 7.0]}),
        "StateUpdatedTimestamp": world.clock.now(),
    }
    await world.store.write(Create(key=alarm_key(target, "busy"), spec=spec, status=status))
    await world.settle()
    assert world.variant.desired == 5
    assert "monitor alarm busy in state ALARM" in (await described(world))[0]["Cause"]

    await world.call("DeleteScalingPolicy", **IDENTITY, PolicyName="wake")
    assert [one.key.name for one in world.store.list(ALARM)] == ["busy"]


async def test_a_clock_that_is_set_back_while_control_is_away_keeps_no_policy_from_acting(
    world: ScalingWorld,
) -> None:
    await register(world, 1, 20)
    answer = await world.call(
        "PutScalingPolicy",
        **IDENTITY,
        PolicyName="wake",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 3}],
            "Cooldown": 0,
        },
    )
    key = alarm_key(world.store.list(TARGET)[0].key, "busy")
    spec = {
        "AlarmName": "busy",
        "Namespace": "Own",
        "MetricName": "Load",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [answer["PolicyARN"]],
    }

    def rings() -> dict[str, Any]:
        data = json.dumps({"recentDatapoints": [5.0]})
        now = world.clock.now()
        return {"StateValue": "ALARM", "StateReasonData": data, "StateUpdatedTimestamp": now}

    await world.store.write(Create(key=key, spec=spec, status=rings()))
    await world.load([0.0] * 10)
    assert world.variant.desired == 5
    world.clock.step_wall_time(-86_400.0)
    world.variant.now -= 86_400
    world.reconciler = ScalingReconciler(
        store=world.store,
        alarms=PolicyAlarms(
            store=world.store, metrics=world, clock=world.clock, settle_seconds=0.0
        ),
        capacity=EndpointCapacity(
            endpoints=Endpoints(store=world.store, clock=world.clock),
            clock=world.clock,
            random=SeededRandom(1),
        ),
        clock=world.clock,
    )
    alarm = world.store.get(key)
    assert alarm is not None
    await world.store.write(Update(key=key, version=alarm.version, status=rings()))
    await world.settle()
    assert world.variant.desired == 8


async def test_registering_again_clamps_at_once(world: ScalingWorld) -> None:
    first = await register(world, 1, 8)
    assert world.variant.desired == 2
    assert await register(world, 4, 8) == first
    assert world.variant.desired == 4
    await world.load([0.0] * 10)
    await world.call("RegisterScalableTarget", **IDENTITY, MinCapacity=1, MaxCapacity=3)
    assert world.variant.desired == 3
    await world.load([0.0] * 10)
    assert [one["Cause"] for one in await described(world)] == [
        "maximum capacity was set to 3",
        "minimum capacity was set to 4",
    ]


async def test_a_scheduled_action_changes_the_range_on_the_clock(world: ScalingWorld) -> None:
    await register(world, 1, 8)
    await world.call(
        "PutScheduledAction",
        **IDENTITY,
        ScheduledActionName="peak",
        Schedule="rate(5 minutes)",
        StartTime=START + 60,
        ScalableTargetAction={"MinCapacity": 5},
    )
    await world.load([0.0] * 59)
    assert world.variant.desired == 2
    await world.load([0.0] * 30)
    assert world.variant.desired == 5
    shown = await world.call("DescribeScalableTargets", ServiceNamespace="sagemaker")
    assert shown["ScalableTargets"][0]["MinCapacity"] == 5
    await world.call("DeleteScheduledAction", **IDENTITY, ScheduledActionName="peak")
    assert world.store.list(ACTION) == []


async def test_a_later_put_without_times_deletes_them(world: ScalingWorld) -> None:
    await register(world)
    action = {**IDENTITY, "ScheduledActionName": "peak", "Schedule": "rate(5 minutes)"}
    bounds = {"MinCapacity": 5}
    await world.call(
        "PutScheduledAction",
        **action,
        StartTime=START + 60,
        EndTime=START + 600,
        ScalableTargetAction=bounds,
    )
    await world.call("PutScheduledAction", **action, Timezone="Europe/Madrid")
    answer = await world.call("DescribeScheduledActions", ServiceNamespace="sagemaker")
    shown = answer["ScheduledActions"][0]
    assert "StartTime" not in shown
    assert "EndTime" not in shown
    assert shown["ScalableTargetAction"] == bounds
    assert shown["Timezone"] == "Europe/Madrid"


async def test_while_the_endpoint_updates_the_reason_is_told_once(world: ScalingWorld) -> None:
    await register(world)
    await track(world)
    await world.endpoint_becomes("Updating")
    await world.load([20.0] * 400)
    assert world.variant.desired == 2
    assert await described(world) == []
    told = await described(world, all_of_them=True)
    assert len(told) == 1
    assert told[0]["NotScaledReasons"][0]["Code"] == "TargetServicePutResourceAsUnscalable"
    await world.endpoint_becomes("InService")
    await world.load([20.0] * 120)
    assert world.variant.desired == 4


async def test_deleting_the_endpoint_deregisters_its_targets(world: ScalingWorld) -> None:
    await register(world)
    await track(world)
    endpoint = world.store.get(ENDPOINT)
    assert endpoint is not None
    spec = {**endpoint.spec, "deleting": True}
    await world.store.write(Update(key=ENDPOINT, version=endpoint.version, spec=spec))
    await world.settle()
    for kind in (TARGET, POLICY, ALARM):
        assert world.store.list(kind) == [], kind


async def test_an_endpoint_of_the_same_name_is_another_one(world: ScalingWorld) -> None:
    await register(world)
    await world.store.write(Delete(key=ENDPOINT))
    world.clock.advance(1.0)
    world.variant.now += 1
    await world.begin()
    await world.settle()
    assert world.store.list(TARGET) == []


async def test_a_change_that_the_endpoint_takes_back_fails_with_its_reason(
    world: ScalingWorld,
) -> None:
    await register(world, 5, 8)
    assert world.variant.desired == 5
    world.variant.desired = 2  # the fleet that serves has two still
    await world.endpoint_becomes("InService", FailureReason="no memory left")
    await world.settle()
    newest = (await described(world))[0]
    assert newest["StatusCode"] == "Failed"
    assert "no memory left" in newest["StatusMessage"]


class Killed(BaseException):
    """Control died here."""


class DeadlyCapacity:
    async def set_capacity(self, endpoint: Key, place: Place, capacity: int) -> None:
        raise Killed


async def test_control_that_is_killed_before_it_acts_acts_when_it_is_back(
    world: ScalingWorld,
) -> None:
    survivor = world.reconciler
    world.reconciler = ScalingReconciler(
        store=world.store,
        alarms=PolicyAlarms(
            store=world.store, metrics=world, clock=world.clock, settle_seconds=0.0
        ),
        capacity=DeadlyCapacity(),
        clock=world.clock,
    )
    with pytest.raises(Killed):
        await register(world, 4, 8)
    assert world.variant.desired == 2
    assert [one.status for one in world.activities()] == ["InProgress"]
    world.clock.advance(30.0)
    world.variant.now += 30
    seconds = await survivor.reconcile(world.store.list(TARGET)[0].key)
    assert seconds <= 1.0
    assert world.variant.desired == 4
    await world.load([0.0] * 10)
    assert [one.status for one in world.activities()] == ["Successful"]


async def test_deregistering_takes_all_but_the_activities(world: ScalingWorld) -> None:
    await register(world, 3, 8)
    await track(world)
    await world.load([0.0] * 10)
    await world.call("DeregisterScalableTarget", **IDENTITY)
    for kind in (TARGET, POLICY, ALARM):
        assert world.store.list(kind) == [], kind
    assert len(await described(world)) == 1
    with pytest.raises(ServiceError) as caught:
        await world.call("DeregisterScalableTarget", **IDENTITY)
    assert caught.value.code == "ObjectNotFoundException"


async def test_activities_are_kept_for_six_weeks(world: ScalingWorld) -> None:
    await register(world, 3, 8)
    await world.load([0.0] * 10)
    world.clock.advance(43 * 86_400)
    world.variant.now += 43 * 86_400
    assert await described(world) == []
    for low in [4, 5] * 5:
        await register(world, low, low)
        await world.load([0.0] * 10)
    moments = [one.started_at for one in world.activities()]
    assert len(moments) == 10
    assert min(moments) > world.clock.now() - 86_400


async def test_an_endpoint_that_refuses_the_change_fails_the_activity(world: ScalingWorld) -> None:
    await register(world)
    target = world.store.list(TARGET)[0]
    spec = {**target.spec, "MinCapacity": 0, "MaxCapacity": 0, "revision": 9}
    await world.store.write(Update(key=target.key, version=target.version, spec=spec))
    await world.settle()
    newest = (await described(world))[0]
    assert newest["StatusCode"] == "Failed"
    assert "DesiredInstanceCount" in newest["StatusMessage"]


async def test_paging_goes_through_all_activities_once(world: ScalingWorld) -> None:
    await register(world, 1, 8)
    for low in range(3, 8):
        await register(world, low, 8)
        await world.load([0.0] * 10)
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = await world.call(
            "DescribeScalingActivities", ServiceNamespace="sagemaker", MaxResults=2, **token
        )
        seen += [one["Description"][-2] for one in answer["ScalingActivities"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert seen == ["7", "6", "5", "4", "3"]
    with pytest.raises(ServiceError) as caught:
        await world.call("DescribeScalingActivities", ServiceNamespace="sagemaker", NextToken="x")
    assert caught.value.code == "InvalidNextTokenException"


async def test_tags_of_a_target_are_kept_by_its_arn(world: ScalingWorld) -> None:
    answer = await register(world, Tags={"team": "a"})
    arn = answer["ScalableTargetARN"]
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/")
    await world.call("TagResource", ResourceARN=arn, Tags={"stage": "test"})
    await world.call("UntagResource", ResourceARN=arn, TagKeys=["team"])
    assert await world.call("ListTagsForResource", ResourceARN=arn) == {"Tags": {"stage": "test"}}
    for tags, code in (
        ({"aws:x": "y"}, "ValidationException"),
        ({str(n): "" for n in range(51)}, "TooManyTagsException"),
    ):
        with pytest.raises(ServiceError) as caught:
            await world.call("TagResource", ResourceARN=arn, Tags=tags)
        assert caught.value.code == code
    with pytest.raises(ServiceError) as caught:
        await world.call("ListTagsForResource", ResourceARN=arn + "x")
    assert caught.value.code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"MinCapacity": 5, "MaxCapacity": 2}, "Maximum capacity"),
        ({"MinCapacity": 0, "MaxCapacity": 2}, "1 or more"),
        ({"MinCapacity": -1, "MaxCapacity": 2}, "0"),
        ({"MinCapacity": 1}, "MaxCapacity is required"),
        (
            {"ResourceId": "endpoint/nobody/variant/a", "MinCapacity": 1, "MaxCapacity": 2},
            "endpoint",
        ),
        ({"ResourceId": "endpoint/churn/variant/a", "MinCapacity": 1, "MaxCapacity": 2}, "variant"),
        ({"ResourceId": "churn", "MinCapacity": 1, "MaxCapacity": 2}, "endpoint/<"),
    ],
)
async def test_a_target_that_cannot_be_is_refused(
    world: ScalingWorld, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationError, match=text):
        await world.call("RegisterScalableTarget", **{**IDENTITY, **changes})


async def test_provisioned_concurrency_is_refused_rather_than_never_scaled(
    world: ScalingWorld,
) -> None:
    dimension = "sagemaker:variant:DesiredProvisionedConcurrency"
    asked = {**IDENTITY, "ScalableDimension": dimension, "MinCapacity": 1, "MaxCapacity": 2}
    with pytest.raises(Unsupported, match="provisioned concurrency"):
        await world.call("RegisterScalableTarget", **asked)


async def test_an_update_may_take_away_what_is_scaled_and_bring_it_back_as_another_type(
    world: ScalingWorld,
) -> None:
    await register(world)
    await track(world)

    async def update(**changes: Any) -> None:
        endpoint = world.store.get(ENDPOINT)
        assert endpoint is not None
        (variant,) = endpoint.spec["config"]["ProductionVariants"]
        config = {**endpoint.spec["config"], "ProductionVariants": [{**variant, **changes}]}
        spec = {**endpoint.spec, "config": config}
        await world.store.write(Update(key=ENDPOINT, version=endpoint.version, spec=spec))

    await update(VariantName="another")
    await world.load([20.0] * 300)
    assert world.variant.desired == 2
    (told,) = await described(world, all_of_them=True)
    assert "has no variant AllTraffic any more" in told["StatusMessage"]
    await update(VariantName="AllTraffic", InstanceType="ml.c5.large")
    await world.load([20.0] * 120)
    assert world.variant.desired == 4


async def test_an_asynchronous_endpoint_scales_to_zero() -> None:
    world = ScalingWorld(replica=Replica(), initial=2, start=START)
    await world.begin(AsyncInferenceConfig={"OutputConfig": {}})
    await register(world, 0, 4)
    assert world.store.list(TARGET)[0].spec["MinCapacity"] == 0


@pytest.mark.parametrize("namespace", ["ecs", "dynamodb"])
async def test_other_services_are_refused_by_name(world: ScalingWorld, namespace: str) -> None:
    with pytest.raises(Unsupported, match=namespace):
        await register_other(world, namespace)


async def register_other(world: ScalingWorld, namespace: str) -> None:
    request = {**IDENTITY, "ServiceNamespace": namespace}
    await world.call("RegisterScalableTarget", **request, MinCapacity=1, MaxCapacity=2)


@pytest.mark.parametrize(
    ("configuration", "text"),
    [
        ({"PredefinedMetricSpecification": None}, "Give either"),
        ({"TargetValue": 0.0}, "greater than 0"),
        ({"ScaleInCooldown": -1}, "ScaleInCooldown"),
        (
            {"PredefinedMetricSpecification": {"PredefinedMetricType": "ALBRequestCountPerTarget"}},
            "is not a metric of",
        ),
        (
            {
                "PredefinedMetricSpecification": None,
                "CustomizedMetricSpecification": {"MetricName": "x", "Namespace": "y"},
            },
            "Statistic is required",
        ),
    ],
)
async def test_a_tracking_policy_that_cannot_be_is_refused(
    world: ScalingWorld, configuration: dict[str, Any], text: str
) -> None:
    await register(world)
    given = {**CONFIGURATION, **configuration}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(ValidationError, match=text):
        await world.call(
            "PutScalingPolicy",
            **IDENTITY,
            PolicyName="p",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=given,
        )


def steps(*bounds: tuple[float | None, float | None]) -> list[dict[str, Any]]:
    names = ("MetricIntervalLowerBound", "MetricIntervalUpperBound")
    return [
        {
            **{name: value for name, value in zip(names, pair, strict=True) if value is not None},
            "ScalingAdjustment": 1,
        }
        for pair in bounds
    ]


@pytest.mark.parametrize(
    ("configuration", "text"),
    [
        ({"StepAdjustments": []}, "At least one"),
        ({"StepAdjustments": steps((0, 10), (5, None))}, "overlap"),
        ({"StepAdjustments": steps((0, 10), (15, None))}, "gap"),
        ({"StepAdjustments": steps((0, None), (None, 0.5))}, "overlap"),
        ({"StepAdjustments": steps((0, 10))}, "upper bound"),
        ({"StepAdjustments": steps((-10, 0))}, "lower bound"),
        ({"StepAdjustments": steps((5, 5))}, "greater than"),
        ({"StepAdjustments": steps((0, None)), "MinAdjustmentMagnitude": 2}, "PercentChange"),
        ({"StepAdjustments": steps((0, None)), "Cooldown": -5}, "Cooldown"),
    ],
)
async def test_a_step_policy_that_cannot_be_is_refused(
    world: ScalingWorld, configuration: dict[str, Any], text: str
) -> None:
    await register(world)
    with pytest.raises(ValidationError, match=text):
        await world.call(
            "PutScalingPolicy",
            **IDENTITY,
            PolicyName="p",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                **configuration,
            },
        )


async def test_policies_of_no_target_and_of_another_type_are_refused(world: ScalingWorld) -> None:
    with pytest.raises(ServiceError) as caught:
        await track(world)
    assert caught.value.code == "ObjectNotFoundException"
    await register(world)
    await track(world)
    with pytest.raises(ValidationError, match="cannot be changed"):
        await world.call(
            "PutScalingPolicy", **IDENTITY, PolicyName="track", PolicyType="StepScaling"
        )
    with pytest.raises(Unsupported):
        await world.call(
            "PutScalingPolicy", **IDENTITY, PolicyName="p", PolicyType="PredictiveScaling"
        )
    for n in range(49):
        await track(world, f"more-{n}")
    with pytest.raises(ServiceError) as caught:
        await track(world, "one too many")
    assert caught.value.code == "LimitExceededException"
