"""An endpoint under load that is really scaled, but for its replicas and its metrics, on a manual clock.

The services, the store's layout, the reconciler and the endpoint's own update are the platform's; replicas and metrics are
those of the load model, alarms are evaluated by the platform's rules. What is fake passes seconds, nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from botocore import xform_name

from modelyard.base.call import Call, Principal
from modelyard.base.ids import SeededRandom
from modelyard.control.scaling import ScalingReconciler
from modelyard.control.scaling_alarms import PolicyAlarms
from modelyard.domain.scaling.activities import Activity
from modelyard.domain.scaling.alarm_evaluation import evaluate
from modelyard.domain.scaling.load_model import Replica, Variant
from modelyard.domain.scaling.policies import AlarmRule, Metric
from modelyard.domain.scaling.simulation import points_needed
from modelyard.domain.scaling.targets import INSTANCES, NAMESPACE
from modelyard.server.scaling import EndpointCapacity, build_services, watch
from modelyard.services.registry import AUTOSCALING
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.store.alarms import ALARM
from modelyard.store.resources import Create, Json, Key, Resource, Update
from modelyard.store.scaling import ACTIVITY, TARGET, activity_of
from modelyard.testing.clock import ManualClock
from modelyard.testing.memory_store import MemoryResourceStore

ACCOUNT, REGION = "123456789012", "us-east-1"
ENDPOINT = Key(kind="endpoint", account=ACCOUNT, region=REGION, name="churn")
RESOURCE_ID = "endpoint/churn/variant/AllTraffic"
IDENTITY = {
    "ServiceNamespace": NAMESPACE,
    "ResourceId": RESOURCE_ID,
    "ScalableDimension": INSTANCES,
}


class ScalingWorld:
    """Call ``begin`` first. ``replica`` says how replicas serve; ``start`` is the time at first."""

    def __init__(self, *, replica: Replica, initial: int, start: float = 1_700_000_000.0) -> None:
        self.clock = ManualClock(start)
        self.store = MemoryResourceStore(clock=self.clock)
        self.variant = Variant(replica=replica, now=start, desired=initial, in_service=initial)
        random = SeededRandom(1)
        services = build_services(store=self.store, clock=self.clock, random=random)
        self._services = {type(one): one for one in services}
        endpoints = Endpoints(store=self.store, clock=self.clock)
        self.reconciler = ScalingReconciler(
            store=self.store,
            alarms=PolicyAlarms(
                store=self.store, metrics=self, clock=self.clock, settle_seconds=0.0
            ),
            capacity=EndpointCapacity(endpoints=endpoints, clock=self.clock, random=random),
            clock=self.clock,
        )
        self._due: dict[Key, float] = {}
        self.store.subscribe(self._changed)
        watch(self.store, self.reconciler, self._wake)

    async def begin(self, **config: Any) -> None:
        """The endpoint is in service. ``config`` are further members of its configuration."""
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": "churn",
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": self.variant.desired,
        }
        spec = {
            "EndpointConfigName": "config",
            "Tags": [],
            "config": {"ProductionVariants": [variant], **config},
            "models": {},
            "generation": 1,
            "deleting": False,
            "update": {},
        }
        await self.store.write(Create(key=ENDPOINT, spec=spec, status=self._status("InService", 1)))

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """An operation of application-autoscaling, members as its requests have them."""
        owner = next(kind for kind, names in AUTOSCALING.items() if operation in names)
        method: Callable[..., Awaitable[Mapping[str, Any]]] = getattr(
            self._services[owner], xform_name(operation)
        )
        principal = Principal(kind="root", arn="root", id=ACCOUNT, account=ACCOUNT)
        call = Call(
            principal=principal,
            account=ACCOUNT,
            region=REGION,
            action=f"application-autoscaling:{operation}",
            request_id="1",
            deadline=0.0,
        )
        answer = await method(call, **{xform_name(k): value for k, value in members.items()})
        await self.settle()
        return dict(answer)

    async def load(self, rates: Sequence[float]) -> None:
        """Let one second pass for each of ``rates``, requests a second."""
        for rate in rates:
            await self.settle()
            self.variant.pass_second(rate)
            self.clock.advance(1.0)
            if self.variant.now % 10 == 0:
                await self._evaluate_alarms()

    async def settle(self) -> None:
        """What is due now: replicas that are ready, targets that are to be looked at."""
        if self.variant.settle():
            await self._finish_update()
        while due := [key for key, at in self._due.items() if at <= self.clock.now()]:
            for key in due:
                del self._due[key]
                seconds = await self.reconciler.reconcile(key)
                if key not in self._due and seconds < float("inf"):
                    self._due[key] = self.clock.now() + seconds
            if self.variant.settle():  # replicas that start in no time
                await self._finish_update()

    def recent(self, alarm: Resource, *, start: float, end: float) -> Sequence[tuple[float, float]]:
        """``MetricSource``."""
        rule = _rule(alarm)
        period = rule.metric.period
        count = round((end - start) / period)
        points = self.variant.points(rule.metric, period=period, count=count)
        return [(point.at, point.value) for point in points]

    def activities(self) -> list[Activity]:
        """All of them, the oldest first."""
        return [activity_of(one) for one in self.store.list(ACTIVITY)]

    async def endpoint_becomes(self, state: str, **more: Any) -> None:
        """Its status, as somebody else's doing."""
        resource = self.store.get(ENDPOINT)
        assert resource is not None
        status = {**self._status(state, resource.spec["generation"]), **more}
        await self.store.write(Update(key=ENDPOINT, version=resource.version, status=status))

    def _wake(self, key: Key) -> None:
        self._due[key] = self.clock.now()

    def _changed(self, key: Key) -> None:
        if key.kind == TARGET:
            self._wake(key)
        elif key == ENDPOINT:
            resource = self.store.get(key)
            if resource is not None:
                desired = resource.spec["config"]["ProductionVariants"][0]["InitialInstanceCount"]
                if desired != self.variant.desired:
                    self.variant.set_capacity(desired)

    async def _finish_update(self) -> None:
        resource = self.store.get(ENDPOINT)
        assert resource is not None
        await self.endpoint_becomes("InService")

    def _status(self, state: str, generation: int) -> Json:
        return {
            "EndpointStatus": state,
            "generation": generation,
            "variants": [
                {
                    "VariantName": "AllTraffic",
                    "CurrentInstanceCount": self.variant.in_service,
                    "DesiredInstanceCount": self.variant.desired,
                    "CurrentWeight": 1.0,
                    "DesiredWeight": 1.0,
                }
            ],
            "config_name": "config",
            "last_modified": self.clock.now(),
        }

    async def _evaluate_alarms(self) -> None:
        now = self.variant.now
        for alarm in self.store.list(ALARM):
            rule = _rule(alarm)
            if now % min(rule.metric.period, 60) != 0:
                continue
            before = alarm.status["StateValue"]
            count = points_needed(rule)
            points = self.variant.points(rule.metric, period=rule.metric.period, count=count)
            state = evaluate(rule, points, before, now)
            if state != before:
                status = {"StateValue": state, "StateUpdatedTimestamp": now}
                await self.store.write(Update(key=alarm.key, version=alarm.version, status=status))


def _rule(alarm: Resource) -> AlarmRule:
    spec = alarm.spec
    count: int = spec["EvaluationPeriods"]
    return AlarmRule(
        name=spec["AlarmName"],
        metric=Metric(
            namespace=spec["Namespace"],
            name=spec["MetricName"],
            dimensions=(),
            statistic=spec["Statistic"],
            period=spec["Period"],
        ),
        comparison=spec["ComparisonOperator"],
        threshold=spec["Threshold"],
        points=count,
        breaching=spec.get("DatapointsToAlarm") or count,
        missing=spec.get("TreatMissingData", "missing"),
    )
