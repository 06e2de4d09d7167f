"""What an endpoint's tags add to its updates, and AWS's verbs do not have: gates, and alarms that are only watched. Pure.

A tag's value has no commas in AWS (letters, digits, spaces and ``_.:/=+-@``), so names are separated by spaces.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.base.errors import ValidationError
from modelyard.domain.rollout import Gate, Policy

GATE = "modelyard:rollout-gate"
DRY_RUN = "modelyard:dry-run-alarms"
_GATES: dict[str, Gate] = {"before-traffic": "before-traffic", "each-step": "each-step"}
Tags = Sequence[Mapping[str, Any]]


def with_tags(policy: Policy, tags: Tags) -> Policy:
    """The policy with the tags' additions; an alarm of a dry run sends nothing back. A gate of no kind is the strictest."""
    dry_run = dry_run_alarms(tags)
    text = _value(tags, GATE)
    return msgspec.structs.replace(
        policy,
        alarms=tuple(name for name in policy.alarms if name not in dry_run),
        dry_run=dry_run,
        gate=_GATES.get(text, "each-step") if text else "",
    )


def dry_run_alarms(tags: Tags) -> tuple[str, ...]:
    """Their names."""
    return tuple(dict.fromkeys(_value(tags, DRY_RUN).split()))


def check_tags(tags: Tags) -> None:
    """Raises ``ValidationError`` for a gate of no kind."""
    text = _value(tags, GATE)
    if text and text not in _GATES:
        raise ValidationError(f"Tag {GATE} is {text}: it can be {' or '.join(_GATES)}.")


def _value(tags: Tags, key: str) -> str:
    return next((str(tag.get("Value", "")).strip() for tag in tags if tag.get("Key") == key), "")
