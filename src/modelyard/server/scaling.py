"""What automatic scaling is built of: its services, its reconciler, and the seams between them and the platform."""

from collections.abc import Callable

from modelyard.base.call import Call, Principal
from modelyard.base.clock import Clock
from modelyard.base.errors import Unsupported
from modelyard.base.ids import RandomSource, request_id
from modelyard.control.scaling import ScalingReconciler
from modelyard.domain.scaling.targets import INSTANCES, NOUNS, Place
from modelyard.services.application_autoscaling.activities import ScalingActivities
from modelyard.services.application_autoscaling.alarms import PolicyAlarmChanges
from modelyard.services.application_autoscaling.policies import ScalingPolicies
from modelyard.services.application_autoscaling.scheduled_actions import ScheduledActions
from modelyard.services.application_autoscaling.tags import ScalingTags
from modelyard.services.application_autoscaling.targets import ScalableTargets
from modelyard.services.sagemaker.endpoints import Endpoints
from modelyard.store.alarms import ALARM
from modelyard.store.resources import Key, ResourceStore
from modelyard.store.scaling import TARGET

_CALL_SECONDS = 60.0
_ROLE = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"


def build_services(
    *, store: ResourceStore, clock: Clock, random: RandomSource
) -> tuple[object, ...]:
    """The service ``application-autoscaling``."""
    return (
        ScalableTargets(store=store, random=random),
        ScalingPolicies(
            store=store, random=random, alarm_changes=PolicyAlarmChanges(store=store, clock=clock)
        ),
        ScheduledActions(store=store, clock=clock, random=random),
        ScalingActivities(store=store, clock=clock),
        ScalingTags(store=store),
    )


class EndpointCapacity:
    """``CapacitySetter``: asks for another count as any caller would, under the service-linked role's name."""

    def __init__(self, *, endpoints: Endpoints, clock: Clock, random: RandomSource) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._random = random

    async def set_capacity(self, endpoint: Key, place: Place, capacity: int) -> None:
        if place.dimension != INSTANCES:
            raise Unsupported("Modelyard does not change provisioned concurrency yet.")
        account = endpoint.account
        name = f"arn:aws:sts::{account}:assumed-role/{_ROLE}/AutoScaling-UpdateDesiredCapacity"
        call = Call(
            principal=Principal(kind="role", arn=name, id=_ROLE, account=account),
            account=account,
            region=endpoint.region,
            action="sagemaker:UpdateEndpointWeightsAndCapacities",
            request_id=request_id(self._random),
            deadline=self._clock.monotonic() + _CALL_SECONDS,
        )
        await self._endpoints.update_endpoint_weights_and_capacities(
            call,
            endpoint_name=endpoint.name,
            desired_weights_and_capacities=[
                {"VariantName": place.variant, "DesiredInstanceCount": capacity}
            ],
        )


def watch(store: ResourceStore, reconciler: ScalingReconciler, wake: Callable[[Key], None]) -> None:
    """Look at the targets of an endpoint or an alarm when it changes, rather than a minute later."""

    def changed(key: Key) -> None:
        if key.kind == "endpoint":
            for target in reconciler.interested_in(key):
                wake(target)
        elif key.kind == ALARM:
            alarm = store.get(key)
            for arn in (alarm.spec.get("AlarmActions") or ()) if alarm is not None else ():
                for target in scaled_by(arn, key):
                    wake(target)

    store.subscribe(changed)


def scaled_by(arn: str, alarm: Key) -> tuple[Key, ...]:
    """The targets that the policy of an alarm's action may belong to: the ARN does not name the dimension."""
    parts = arn.split(":")
    if len(parts) < 8 or parts[2] != "autoscaling" or parts[5] != "scalingPolicy":
        return ()
    resource_id = parts[7].removeprefix("resource/sagemaker/")
    return tuple(
        Key(
            kind=TARGET,
            account=alarm.account,
            region=alarm.region,
            name=f"{resource_id}|{dimension}",
        )
        for dimension in NOUNS
    )
