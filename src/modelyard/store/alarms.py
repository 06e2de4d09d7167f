"""How an alarm is kept among the resources: its key, its ARN, and what a change of its state leaves behind."""

import json

from modelyard.store.metrics import HistoryItem
from modelyard.store.resources import Json, Key, Resource

ALARM = "alarm"
ACTIONS = {
    "OK": "OKActions",
    "ALARM": "AlarmActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
"""The member that names who is told of each state."""
BY_HAND = "by_hand"
"""Set where somebody gave the alarm its state."""
RANG_UNTIL = "rang_until"
"""When the alarm last left ALARM: who looks now and then misses none that rang between two looks."""
_VERSION = "1.0"


def alarm_arn(key: Key) -> str:
    """``AlarmArn``."""
    return f"arn:aws:cloudwatch:{key.region}:{key.account}:alarm:{key.name}"


def period_of(alarm: Resource) -> int:
    """Seconds; of an alarm on an expression, those of its metrics."""
    period: int = alarm.spec.get("period") or alarm.spec["Period"]
    return period


def moved(
    alarm: Resource, state: str, *, reason: str, data: str, now: float, by_hand: bool = False
) -> tuple[Json, list[HistoryItem]]:
    """The status in the new state, and what goes into the history: nothing where the state is the old one."""
    before = alarm.status
    status: Json = {
        **before,
        "StateValue": state,
        "StateReason": reason,
        "StateUpdatedTimestamp": now,
        BY_HAND: by_hand,
    }
    status.pop("StateReasonData", None)
    if data:
        status["StateReasonData"] = data
    if before.get("StateValue") == state:
        return status, []
    if before.get("StateValue") == "ALARM":
        status[RANG_UNTIL] = now
    status["StateTransitionedTimestamp"] = now
    change = {
        "version": _VERSION,
        "oldState": {
            "stateValue": before.get("StateValue"),
            "stateReason": before.get("StateReason"),
        },
        "newState": {"stateValue": state, "stateReason": reason},
    }
    summary = f"Alarm updated from {before.get('StateValue')} to {state}"
    item = HistoryItem(
        name=alarm.key.name, at=now, kind="StateUpdate", summary=summary, data=json.dumps(change)
    )
    return status, [item, *_actions(alarm, state, now)]


def _actions(alarm: Resource, state: str, now: float) -> list[HistoryItem]:
    """What the history says of each action of the new state: scaling policies read it, nobody else is told."""
    if not alarm.spec.get("ActionsEnabled", True):
        return []
    items = []
    for arn in alarm.spec.get(ACTIONS[state]) or ():
        is_scaling = ":autoscaling:" in arn
        done = "Successfully executed" if is_scaling else "Failed to execute"
        why = "" if is_scaling else " (Modelyard delivers to scaling policies only)"
        data = {"version": _VERSION, "actionState": done, "stateUpdateTimestamp": now}
        items.append(
            HistoryItem(
                name=alarm.key.name,
                at=now,
                kind="Action",
                summary=f"{done} action {arn}{why}",
                data=json.dumps(data),
            )
        )
    return items
