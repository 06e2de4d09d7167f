"""When a variant's workers are stopped because nobody asks for it, and when they start again. Pure.

One rule: a variant sleeps when it was not used for so long. A request that waits for it is a use; so waking twice is waking once,
any number of gateways may ask, and nothing is remembered of who did. The endpoint stays in the routing table, without replicas:
its requests wait in the gateway, which tells control of them by datagram (``Wake``) until the table names a replica again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelyard.domain.endpoint_memory import Memory
from modelyard.domain.fleet import Fleet
from modelyard.domain.routes import VariantRoute

TAG = "modelyard:hibernate-after-seconds"
"""Of an endpoint: its variants hibernate after so many seconds without a request."""
SECONDS_MIN, SECONDS_MAX = 10.0, 604_800.0
"""Gateways tell every five seconds what was used: less than twice that would be a guess."""
SOCKET = "wakes"
DATAGRAM_BYTES = 8 << 10


class Wake(msgspec.Struct, frozen=True, array_like=True):
    """A gateway's word that somebody waits for a variant, as a datagram."""

    account: str
    region: str
    endpoint: str
    variant: str


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Wake).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Of an endpoint's variants, by name: after how many seconds without use each hibernates, and how many it has been now.

    A variant that is not in ``after`` never hibernates; one that is not in ``ages`` stays as it is.
    """

    after: Mapping[str, float] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)


NEVER = Idle()


def seconds_of(tags: Sequence[Mapping[str, Any]]) -> float | None:
    """What the endpoint's tag says; None without one. Raises ``ValueError`` with a text for the user."""
    text = next((str(tag.get("Value", "")) for tag in tags if tag.get("Key") == TAG), None)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ValueError(
            f"Tag {TAG} is {text}: give a number of seconds from {SECONDS_MIN:g} to {SECONDS_MAX:g}."
        )
    return seconds


def after_of(
    config: Mapping[str, Any], tags: Sequence[Mapping[str, Any]], *, serverless_seconds: float
) -> dict[str, float]:
    """``Idle.after`` of an endpoint: by its tag; without one only what is serverless hibernates.

    Reserved concurrency is kept warm, and so is an endpoint that copies its requests to a shadow, or one that is asynchronous: no
    gateway counts its requests, nor wakes it for them.
    """
    if config.get("ShadowProductionVariants") or config.get("AsyncInferenceConfig"):
        return {}
    try:
        tagged = seconds_of(tags)
    except ValueError:
        tagged = None
    found = {}
    for variant in config["ProductionVariants"]:
        serverless = variant.get("ServerlessConfig")
        if serverless and serverless.get("ProvisionedConcurrency"):
            continue
        seconds = tagged if tagged is not None or not serverless else serverless_seconds
        if seconds is not None:
            found[variant["VariantName"]] = seconds
    return found


def decide(memory: Memory, idle: Idle) -> tuple[Memory, float]:
    """Who of the fleet that serves sleeps from now on; seconds until somebody else may."""
    fleet = memory.serving
    if fleet is None or memory.rollout is not None or memory.resize is not None:
        return _asleep(memory, ()), float("inf")
    asleep, seconds = [], float("inf")
    for variant in fleet.variants:
        after = idle.after.get(variant.name)
        if after is None:
            continue
        age = idle.ages.get(variant.name)
        if age is None:
            sleeps = variant.name in memory.asleep
        else:
            sleeps = age >= after
            seconds = seconds if sleeps else min(seconds, after - age)
        if sleeps:
            asleep.append(variant.name)
    return _asleep(memory, tuple(asleep)), seconds


def awake(fleet: Fleet, asleep: Sequence[str]) -> Fleet:
    """The fleet as far as it is not asleep."""
    if not asleep:
        return fleet
    variants = [
        msgspec.structs.replace(one, count=0) if one.name in asleep else one
        for one in fleet.variants
    ]
    return msgspec.structs.replace(fleet, variants=tuple(variants))


def marked(routes: tuple[VariantRoute, ...] | None, idle: Idle) -> tuple[VariantRoute, ...] | None:
    """The routes, with a word for gateways on each that may have no replicas because it sleeps."""
    if routes is None or not idle.after:
        return routes
    return tuple(
        msgspec.structs.replace(route, hibernates=True) if route.name in idle.after else route
        for route in routes
    )


def _asleep(memory: Memory, names: tuple[str, ...]) -> Memory:
    return memory if memory.asleep == names else msgspec.structs.replace(memory, asleep=names)
