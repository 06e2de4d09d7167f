"""How an alarm is kept among the resources: its key, its ARN, and what a change of its state leaves behind."""

import json

from modelyard.store.metrics import HistoryItem
from modelyard.store.resources import Json, Key, Resource

ALARM = "alarm"
_VERSION = "1.0"


def alarm_arn(key: Key) -> str:
    """``AlarmArn``."""
    return f"arn:aws:cloudwatch:{key.region}:{key.account}:alarm:{key.name}"


def moved(
    alarm: Resource, state: str, *, reason: str, data: str, now: float
) -> tuple[Json, list[HistoryItem]]:
    """The status in the new state, and what goes into the history: nothing where the state is the old one."""
    before = alarm.status
    status: Json = {
        **before,
        "StateValue": state,
        "StateReason": reason,
        "StateUpdatedTimestamp": now,
    }
    status.pop("StateReasonData", None)
    if data:
        status["StateReasonData"] = data
    if before.get("StateValue") == state:
        return status, []
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
    return status, [item]
