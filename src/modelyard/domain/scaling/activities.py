"""Scaling activities: what was done to a target's capacity and why, and what was not done and why not."""

import hashlib
from typing import Any, Literal

import msgspec

KEPT_SECONDS = 42 * 86_400.0
"""AWS keeps activities for six weeks."""
KEPT_MAX = 1_000
"""Of one target; past it the oldest go first."""

Status = Literal["Pending", "InProgress", "Successful", "Overridden", "Unfulfilled", "Failed"]
Code = Literal[
    "AutoScalingAnticipatedFlapping",
    "TargetServicePutResourceAsUnscalable",
    "AlreadyAtMaxCapacity",
    "AlreadyAtMinCapacity",
    "AlreadyAtDesiredCapacity",
]


class Activity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``is_scaled`` False: a *not scaled* activity. ``code`` is then AWS's reason, empty where AWS has none for it.

    ``message`` names the rule that decided; ``details`` the values that it decided by.
    """

    id: str
    description: str
    cause: str
    started_at: float
    status: Status
    ended_at: float | None = None
    message: str = ""
    details: dict[str, Any] = {}
    is_scaled: bool = True
    code: Code | Literal[""] = ""
    capacity: int = 0
    low: int = 0
    high: int = 0


def activity_id(*parts: object) -> str:
    """In the form of a UUID. It follows from its parts, so that a decision that is taken again is the same one."""
    text = "\0".join(str(part) for part in parts)
    digits = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def reasons(activity: Activity) -> list[dict[str, Any]]:
    """``NotScaledReasons``: of the bounds those that the code is about."""
    match activity.code:
        case "":
            return []
        case "AlreadyAtMaxCapacity":
            return [{"Code": activity.code, "MaxCapacity": activity.high}]
        case "AlreadyAtMinCapacity":
            return [{"Code": activity.code, "MinCapacity": activity.low}]
        case "AlreadyAtDesiredCapacity":
            return [{"Code": activity.code, "CurrentCapacity": activity.capacity}]
        case _:
            return [
                {
                    "Code": activity.code,
                    "CurrentCapacity": activity.capacity,
                    "MinCapacity": activity.low,
                    "MaxCapacity": activity.high,
                }
            ]
