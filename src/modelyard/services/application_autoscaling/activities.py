"""DescribeScalingActivities: what was done to capacity, and what was not, with the reason."""

import json

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.domain.scaling.activities import KEPT_SECONDS, Activity, reasons
from modelyard.domain.scaling.targets import NAMESPACE, Place
from modelyard.services.application_autoscaling.resources import list_page, selection
from modelyard.services.members import present
from modelyard.store.resources import Json, ResourceStore
from modelyard.store.scaling import ACTIVITY, activity_of
from modelyard.store.scaling import place_of as place_of_target


class ScalingActivities:
    """DescribeScalingActivities."""

    def __init__(self, *, store: ResourceStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def describe_scaling_activities(
        self,
        call: Call,
        *,
        service_namespace: str,
        resource_id: str | None = None,
        scalable_dimension: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
        include_not_scaled_activities: bool | None = None,
    ) -> Json:
        """The newest first, of the last six weeks."""
        is_selected = selection(service_namespace, resource_id, scalable_dimension)
        oldest = self._clock.now() - KEPT_SECONDS
        found = {}
        for one in self._store.list(ACTIVITY, account=call.account, region=call.region):
            place, activity = place_of_target(one.key), activity_of(one)
            if (
                is_selected(place)
                and (activity.is_scaled or include_not_scaled_activities)
                and activity.started_at >= oldest
            ):
                # By time, whatever the target: the part of the name that begins with it.
                moment = one.key.name.removeprefix(f"{place.name}|")
                found[f"{moment}|{place.name}"] = _described(activity, place)
        filters = f"{resource_id}/{scalable_dimension}/{bool(include_not_scaled_activities)}"
        shown, token = list_page(
            found,
            scope=f"{call.action}/{call.account}/{call.region}/{filters}",
            max_results=max_results,
            next_token=next_token,
            newest_first=True,
        )
        return present({"ScalingActivities": shown, "NextToken": token})


def _described(activity: Activity, place: Place) -> Json:
    return present(
        {
            "ActivityId": activity.id,
            "ServiceNamespace": NAMESPACE,
            "ResourceId": place.resource_id,
            "ScalableDimension": place.dimension,
            "Description": activity.description,
            "Cause": activity.cause,
            "StartTime": activity.started_at,
            "EndTime": activity.ended_at,
            "StatusCode": activity.status,
            "StatusMessage": activity.message or None,
            "Details": json.dumps(activity.details, sort_keys=True) if activity.details else None,
            "NotScaledReasons": reasons(activity) or None,
        }
    )
