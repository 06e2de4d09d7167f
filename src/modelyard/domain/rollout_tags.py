"""What an endpoint's tags add to its updates, and AWS's verbs do not have: gates, alarms that are only
watched, requests that try the new version first, checks and a test that documents in S3 describe. Pure.

A tag's value has no commas in AWS (letters, digits, spaces and ``_.:/=+-@``), so names are separated by spaces.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.base.errors import ValidationError
from modelyard.domain.rollout import Gate, Policy

GATE = "modelyard:rollout-gate"
DRY_RUN = "modelyard:dry-run-alarms"
HEADER = "modelyard:route-header"
CHECKS = "modelyard:rollout-checks"
TEST = "modelyard:pre-traffic-test"
_HEADER = re.compile(r"([A-Za-z0-9-]{1,64})=([^ ](?:.*[^ ])?)")
_DOCUMENT = re.compile(r"s3://[^/ ]+/[^ ](?:.*[^ ])?")
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
        header=_header(tags),
    )


def dry_run_alarms(tags: Tags) -> tuple[str, ...]:
    """Their names."""
    return tuple(dict.fromkeys(_value(tags, DRY_RUN).split()))


def check_tags(tags: Tags) -> None:
    """Raises ``ValidationError`` for a gate of no kind, a header that is none, or a document's URI that is none."""
    text = _value(tags, GATE)
    if text and text not in _GATES:
        raise ValidationError(f"Tag {GATE} is {text}: it can be {' or '.join(_GATES)}.")
    text = _value(tags, HEADER)
    if text and not _header(tags)[0]:
        raise ValidationError(
            f"Tag {HEADER} is {text}: it has to be a header's name and its value, such as X-Tester=yes."
        )
    for key in (CHECKS, TEST):
        text = _value(tags, key)
        if text and not _DOCUMENT.fullmatch(text):
            raise ValidationError(
                f"Tag {key} is {text}: it has to be a URI such as s3://bucket/key."
            )


def deciding(tags: Tags) -> tuple[str, ...]:
    """Those that say when an update goes on or back."""
    return tuple(key for key in (GATE, DRY_RUN, CHECKS, TEST) if _value(tags, key))


def document(tags: Tags, key: str) -> str:
    """The URI of a document that a tag names; empty where none does."""
    return _value(tags, key)


def _header(tags: Tags) -> tuple[str, str]:
    """Name in lower case, and value; empty where none is named."""
    match = _HEADER.fullmatch(_value(tags, HEADER))
    return (match[1].lower(), match[2]) if match else ("", "")


def _value(tags: Tags, key: str) -> str:
    return next((str(tag.get("Value", "")).strip() for tag in tags if tag.get("Key") == key), "")
