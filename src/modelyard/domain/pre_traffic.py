"""The test before traffic: requests to the new version's replicas, and what their answers have to be. Pure."""

import json
import math
from typing import Any

import msgspec

from modelyard.domain import shadow
from modelyard.domain.shadow import Answer

REQUESTS_MAX = 100
SECONDS_MAX = 300.0
"""The whole test has to be over by then."""
SAID_MAX = 200
_ROOM_BYTES = 64 * 1024


class Expected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``body``: text, compared word by word, or any other JSON value. ``within``: how far numbers may be apart, relatively."""

    status: int = 200
    body: Any = msgspec.UNSET
    within: float = 0.0
    latency_ms_max: float = math.inf


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request; without ``variant`` each variant of the new version gets it."""

    body: bytes
    content_type: str = ""
    accept: str = ""
    variant: str = ""
    expected: Expected = Expected()


class Tried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a test: requests that were sent, and answered as they should be. With a ``failure`` it ended there."""

    sent: int
    passed: int
    slowest_ms: float = 0.0
    failure: str = ""


def judge(expected: Expected, answer: Answer, *, milliseconds: float) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if answer.status != expected.status:
        return f"expected status {expected.status}"
    if expected.body is not msgspec.UNSET:
        wrong = _judge_body(expected, answer.body)
        if wrong:
            return wrong
    if milliseconds > expected.latency_ms_max:
        return f"expected within {expected.latency_ms_max:g} ms"
    return ""


def described(place: str, answer: Answer, *, milliseconds: float, wrong: str) -> str:
    """Which request failed, what it was answered, and what should have been."""
    said = " ".join(answer.body[: SAID_MAX * 4].decode("utf-8", "replace").split())
    said = said if len(said) <= SAID_MAX else f"{said[:SAID_MAX]} …"
    return f"The test before traffic failed: {place} was answered {answer.status} {said!r} in {milliseconds:.0f} ms; {wrong}."


def _judge_body(expected: Expected, body: bytes) -> str:
    wanted = expected.body
    shown = wanted if isinstance(wanted, str) else json.dumps(wanted)
    shown = shown.strip() if len(shown) <= SAID_MAX else f"{shown[:SAID_MAX]} …"
    near = f", numbers within {expected.within:g}" if expected.within else ""
    if isinstance(wanted, str):
        if len(body) > 4 * len(wanted) + _ROOM_BYTES:
            return f"expected {shown}, which is far shorter"
        drift = shadow.drift(wanted.encode(), body)
        agrees = drift is not None and drift <= expected.within
    else:
        try:
            agrees = _agrees(wanted, json.loads(body), expected.within)
        except (ValueError, RecursionError):
            agrees = False
    return "" if agrees else f"expected {shown}{near}"


def _agrees(wanted: Any, found: Any, within: float) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return wanted == found or shadow.difference(wanted, found) <= within
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            _agrees(one, other, within) for one, other in zip(wanted, found, strict=True)
        )
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            _agrees(one, found[name], within) for name, one in wanted.items()
        )
    return bool(wanted == found)
