"""Alarms: put, described, silenced, set by hand, deleted. Their states are ``control.alarms``' business.

An alarm is a resource: its spec holds the members of PutMetricAlarm, its status the state, why, and since when.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from modelyard.base.call import Call
from modelyard.base.clock import Clock
from modelyard.base.errors import ServiceError
from modelyard.services.changes import change
from modelyard.services.cloudwatch import alarm_rules
from modelyard.services.cloudwatch.parameters import (
    Moment,
    contradictory,
    dimensions_of,
    invalid,
    list_page,
    seconds,
)
from modelyard.services.members import EXECUTED, REFUSED, Members, check, present
from modelyard.store.alarms import ACTIONS, ALARM, alarm_arn, moved
from modelyard.store.metrics import HistoryItem, MetricStore
from modelyard.store.resources import (
    AlreadyExists,
    Change,
    Create,
    Delete,
    Json,
    Key,
    Resource,
    ResourceStore,
    Update,
)

PAGE_MAX = 100
DELETED_MAX = 100
TAGS_MAX = 50
MEMBERS: Mapping[str, Members] = {
    **alarm_rules.MEMBERS,
    "DescribeAlarms": {
        "AlarmNames": EXECUTED,
        "AlarmNamePrefix": EXECUTED,
        "AlarmTypes": EXECUTED,
        "ChildrenOfAlarmName": REFUSED,
        "ParentsOfAlarmName": REFUSED,
        "StateValue": EXECUTED,
        "ActionPrefix": EXECUTED,
        "MaxRecords": EXECUTED,
        "NextToken": EXECUTED,
    },
    "DescribeAlarmHistory": {
        "AlarmName": EXECUTED,
        "AlarmContributorId": REFUSED,
        "AlarmTypes": EXECUTED,
        "HistoryItemType": EXECUTED,
        "StartDate": EXECUTED,
        "EndDate": EXECUTED,
        "MaxRecords": EXECUTED,
        "NextToken": EXECUTED,
        "ScanBy": EXECUTED,
    },
}


class Alarms:
    """The alarms of the caller's account and region."""

    def __init__(self, *, store: ResourceStore, metrics: MetricStore, clock: Clock) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock

    async def put_metric_alarm(
        self,
        call: Call,
        *,
        alarm_name: str,
        alarm_description: str | None = None,
        actions_enabled: bool | None = None,
        ok_actions: Sequence[str] | None = None,
        alarm_actions: Sequence[str] | None = None,
        insufficient_data_actions: Sequence[str] | None = None,
        metric_name: str | None = None,
        namespace: str | None = None,
        statistic: str | None = None,
        extended_statistic: str | None = None,
        dimensions: Sequence[Json] | None = None,
        period: int | None = None,
        unit: str | None = None,
        evaluation_periods: int | None = None,
        datapoints_to_alarm: int | None = None,
        threshold: float | None = None,
        comparison_operator: str | None = None,
        treat_missing_data: str | None = None,
        evaluate_low_sample_count_percentile: str | None = None,
        metrics: Sequence[Json] | None = None,
        tags: Sequence[Json] | None = None,
        threshold_metric_id: str | None = None,
        evaluation_window: Json | None = None,
        warm_up_configuration: Json | None = None,
        evaluation_criteria: Json | None = None,
        evaluation_interval: int | None = None,
        action_configuration: Json | None = None,
    ) -> None:
        """Create, or replace the whole configuration and keep the state."""
        spec = alarm_rules.alarm_spec(
            present(
                {
                    "AlarmName": alarm_name,
                    "AlarmDescription": alarm_description,
                    "ActionsEnabled": actions_enabled,
                    "OKActions": ok_actions,
                    "AlarmActions": alarm_actions,
                    "InsufficientDataActions": insufficient_data_actions,
                    "MetricName": metric_name,
                    "Namespace": namespace,
                    "Statistic": statistic,
                    "ExtendedStatistic": extended_statistic,
                    "Dimensions": dimensions,
                    "Period": period,
                    "Unit": unit,
                    "EvaluationPeriods": evaluation_periods,
                    "DatapointsToAlarm": datapoints_to_alarm,
                    "Threshold": threshold,
                    "ComparisonOperator": comparison_operator,
                    "TreatMissingData": treat_missing_data,
                    "EvaluateLowSampleCountPercentile": evaluate_low_sample_count_percentile,
                    "Metrics": metrics,
                    "Tags": tags,
                    "ThresholdMetricId": threshold_metric_id,
                    "EvaluationWindow": evaluation_window,
                    "WarmUpConfiguration": warm_up_configuration,
                    "EvaluationCriteria": evaluation_criteria,
                    "EvaluationInterval": evaluation_interval,
                    "ActionConfiguration": action_configuration,
                }
            )
        )
        await self._put(call, spec)

    async def _put(self, call: Call, spec: Json) -> None:
        key = _key(call, spec["AlarmName"])
        now = self._clock.now()
        spec = {**spec, "configured_at": now}
        status = {
            "StateValue": "INSUFFICIENT_DATA",
            "StateReason": "Unchecked: Initial alarm creation",
            "StateUpdatedTimestamp": now,
            "StateTransitionedTimestamp": now,
        }
        verb = ""

        def decide(resource: Resource | None) -> Update | tuple[Change, ...]:
            nonlocal verb
            if resource is None:
                verb = "created"
                return (Create(key=key, spec=spec, status=status),)
            verb = "updated"
            kept = {**spec, "Tags": resource.spec.get("Tags", [])}
            return Update(key=key, version=resource.version, spec=kept)

        try:
            await change(self._store, key, decide)
        except AlreadyExists:  # Since it was looked for.
            await change(self._store, key, decide)
        await self._note(call, key.name, "ConfigurationUpdate", f'Alarm "{key.name}" {verb}')

    async def describe_alarms(
        self,
        call: Call,
        *,
        alarm_names: Sequence[str] | None = None,
        alarm_name_prefix: str | None = None,
        alarm_types: Sequence[str] | None = None,
        children_of_alarm_name: str | None = None,
        parents_of_alarm_name: str | None = None,
        state_value: str | None = None,
        action_prefix: str | None = None,
        max_records: int | None = None,
        next_token: str | None = None,
    ) -> Json:
        """By name; there are no composite alarms."""
        given = present(
            {
                "ChildrenOfAlarmName": children_of_alarm_name,
                "ParentsOfAlarmName": parents_of_alarm_name,
            }
        )
        check("DescribeAlarms", MEMBERS["DescribeAlarms"], given)
        if alarm_names and alarm_name_prefix:
            raise contradictory("AlarmNames and AlarmNamePrefix cannot be given together.")
        found = {
            one.key.name: _shown(one)
            for one in self._alarms(call)
            if (not alarm_names or one.key.name in alarm_names)
            and one.key.name.startswith(alarm_name_prefix or "")
            and state_value in (None, one.status["StateValue"])
            and (not action_prefix or _has_action(one, action_prefix))
            and (not alarm_types or "MetricAlarm" in alarm_types)
        }
        filters = f"{alarm_names}/{alarm_name_prefix}/{state_value}/{action_prefix}"
        shown, token = list_page(
            found,
            scope=f"DescribeAlarms/{call.account}/{call.region}/{filters}",
            limit=max_records or PAGE_MAX,
            next_token=next_token,
        )
        return present({"MetricAlarms": shown, "CompositeAlarms": [], "NextToken": token})

    async def describe_alarms_for_metric(
        self,
        call: Call,
        *,
        metric_name: str,
        namespace: str,
        statistic: str | None = None,
        extended_statistic: str | None = None,
        dimensions: Sequence[Json] | None = None,
        period: int | None = None,
        unit: str | None = None,
    ) -> Json:
        wanted = dimensions_of(dimensions)
        asked = present(
            {
                "MetricName": metric_name,
                "Namespace": namespace,
                "Statistic": statistic,
                "ExtendedStatistic": extended_statistic,
                "Period": period,
                "Unit": unit,
            }
        )
        return {
            "MetricAlarms": [
                _shown(one)
                for one in self._alarms(call)
                if all(one.spec.get(name) == value for name, value in asked.items())
                and dimensions_of(one.spec.get("Dimensions")) == wanted
            ]
        }

    async def describe_alarm_history(
        self,
        call: Call,
        *,
        alarm_name: str | None = None,
        alarm_contributor_id: str | None = None,
        alarm_types: Sequence[str] | None = None,
        history_item_type: str | None = None,
        start_date: Moment = None,
        end_date: Moment = None,
        max_records: int | None = None,
        next_token: str | None = None,
        scan_by: str | None = None,
    ) -> Json:
        """The newest first, unless asked otherwise; of the last thirty days."""
        given = present({"AlarmContributorId": alarm_contributor_id})
        check("DescribeAlarmHistory", MEMBERS["DescribeAlarmHistory"], given)
        if alarm_types and "MetricAlarm" not in alarm_types:
            return {"AlarmHistoryItems": []}
        items = await asyncio.to_thread(
            self._metrics.history, call.account, call.region, alarm_name or ""
        )
        start = seconds(start_date) if start_date is not None else 0.0
        end = seconds(end_date) if end_date is not None else float("inf")
        found = {
            f"{item.at:020.6f}/{place:09d}": {
                "AlarmName": item.name,
                "AlarmType": "MetricAlarm",
                "Timestamp": item.at,
                "HistoryItemType": item.kind,
                "HistorySummary": item.summary,
                "HistoryData": item.data,
            }
            for place, item in enumerate(reversed(items))
            if start <= item.at <= end and history_item_type in (None, item.kind)
        }
        shown, token = list_page(
            found,
            scope=f"DescribeAlarmHistory/{call.account}/{call.region}/{alarm_name}/{history_item_type}",
            limit=max_records or PAGE_MAX,
            next_token=next_token,
            descending=scan_by != "TimestampAscending",
        )
        return present({"AlarmHistoryItems": shown, "NextToken": token})

    async def set_alarm_state(
        self,
        call: Call,
        *,
        alarm_name: str,
        state_value: str,
        state_reason: str,
        state_reason_data: str | None = None,
    ) -> None:
        """Until the next evaluation says otherwise. Its actions are those of any other change."""
        if state_reason_data is not None:
            try:
                json.loads(state_reason_data)
            except (ValueError, RecursionError) as error:
                raise ServiceError(
                    "InvalidFormat", f"StateReasonData is not JSON: {error}"
                ) from error
        now = self._clock.now()
        key = _key(call, alarm_name)
        notes: list[HistoryItem] = []

        def decide(resource: Resource | None) -> Update:
            if resource is None:
                raise _not_found(alarm_name)
            status, notes[:] = moved(
                resource,
                state_value,
                reason=state_reason,
                data=state_reason_data or "",
                now=now,
                by_hand=True,
            )
            return Update(key=key, version=resource.version, status=status)

        await change(self._store, key, decide)
        await asyncio.to_thread(self._metrics.record, call.account, call.region, notes)

    async def enable_alarm_actions(self, call: Call, *, alarm_names: Sequence[str]) -> None:
        await self._enable(call, alarm_names, is_enabled=True)

    async def disable_alarm_actions(self, call: Call, *, alarm_names: Sequence[str]) -> None:
        await self._enable(call, alarm_names, is_enabled=False)

    async def delete_alarms(self, call: Call, *, alarm_names: Sequence[str]) -> None:
        """All or none of up to 100."""
        if len(alarm_names) > DELETED_MAX:
            raise invalid(f"At most {DELETED_MAX} alarms can be deleted at once.")
        names = tuple(dict.fromkeys(alarm_names))

        def decide(_: Resource | None) -> tuple[Change, ...]:
            for name in names:
                if self._store.get(_key(call, name)) is None:
                    raise _not_found(name)
            return tuple(Delete(key=_key(call, name)) for name in names)

        if names:
            await change(self._store, _key(call, names[0]), decide)
        for name in names:
            await self._note(call, name, "ConfigurationUpdate", f'Alarm "{name}" deleted')

    async def tag_resource(self, call: Call, *, resource_arn: str, tags: Sequence[Json]) -> Json:
        def merge(before: Mapping[str, str]) -> dict[str, str]:
            return {**before, **{tag["Key"]: tag["Value"] for tag in tags}}

        await self._retag(call, resource_arn, merge)
        return {}

    async def untag_resource(
        self, call: Call, *, resource_arn: str, tag_keys: Sequence[str]
    ) -> Json:
        def without(before: Mapping[str, str]) -> dict[str, str]:
            return {name: value for name, value in before.items() if name not in tag_keys}

        await self._retag(call, resource_arn, without)
        return {}

    async def list_tags_for_resource(self, call: Call, *, resource_arn: str) -> Json:
        resource = self._store.get(_key_of_arn(call, resource_arn))
        if resource is None:
            raise _nothing_to_tag(resource_arn)
        return {"Tags": resource.spec.get("Tags", [])}

    def exists(self, call: Call, name: str) -> bool:
        """Whether there is an alarm of this name."""
        return self._store.get(_key(call, name)) is not None

    def _alarms(self, call: Call) -> Iterable[Resource]:
        return self._store.list(ALARM, account=call.account, region=call.region)

    async def _enable(self, call: Call, names: Sequence[str], *, is_enabled: bool) -> None:
        for name in names:
            key = _key(call, name)
            if self._store.get(key) is None:
                continue  # As on AWS: names that do not exist are ignored.

            def decide(resource: Resource | None, key: Key = key) -> Update:
                if resource is None:
                    raise _not_found(key.name)
                spec = {**resource.spec, "ActionsEnabled": is_enabled}
                return Update(key=key, version=resource.version, spec=spec)

            await change(self._store, key, decide)
            await self._note(call, name, "ConfigurationUpdate", f'Alarm "{name}" updated')

    async def _retag(
        self, call: Call, arn: str, decide: Callable[[Mapping[str, str]], dict[str, str]]
    ) -> None:
        key = _key_of_arn(call, arn)

        def update(resource: Resource | None) -> Update:
            if resource is None:
                raise _nothing_to_tag(arn)
            before = {tag["Key"]: tag["Value"] for tag in resource.spec.get("Tags", [])}
            after = decide(before)
            if len(after) > TAGS_MAX:
                raise ServiceError("LimitExceeded", f"An alarm has at most {TAGS_MAX} tags.")
            tags = [{"Key": name, "Value": value} for name, value in after.items()]
            return Update(key=key, version=resource.version, spec={**resource.spec, "Tags": tags})

        await change(self._store, key, update)

    async def _note(self, call: Call, name: str, kind: str, summary: str) -> None:
        data = json.dumps({"version": "1.0", "type": summary.rpartition(" ")[2].capitalize()})
        item = HistoryItem(name=name, at=self._clock.now(), kind=kind, summary=summary, data=data)
        await asyncio.to_thread(self._metrics.record, call.account, call.region, [item])


def _shown(resource: Resource) -> Json:
    spec = {name: value for name, value in resource.spec.items() if name[0].isupper()}
    spec.pop("Tags", None)
    status = {name: value for name, value in resource.status.items() if name[0].isupper()}
    return {
        **spec,
        **status,
        "AlarmArn": alarm_arn(resource.key),
        "AlarmConfigurationUpdatedTimestamp": resource.spec.get(
            "configured_at", resource.created_at
        ),
    }


def _has_action(resource: Resource, prefix: str) -> bool:
    return any(
        action.startswith(prefix)
        for member in ACTIONS.values()
        for action in resource.spec.get(member) or ()
    )


def _key(call: Call, name: str) -> Key:
    return Key(kind=ALARM, account=call.account, region=call.region, name=name)


def _key_of_arn(call: Call, arn: str) -> Key:
    prefix = alarm_arn(_key(call, ""))
    if not arn.startswith(prefix):
        raise invalid(f"{arn} is not the ARN of an alarm of this account and region.")
    return _key(call, arn.removeprefix(prefix))


def _not_found(name: str) -> ServiceError:
    return ServiceError("ResourceNotFound", f"Alarm {name} does not exist.", status=404)


def _nothing_to_tag(arn: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", f"There is no alarm {arn}.", status=404)
