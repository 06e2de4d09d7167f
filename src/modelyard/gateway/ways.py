"""Where a request goes: which variant of its endpoint, what comes along with it, and what the endpoint does not take.

Of most endpoints all requests go one way, the same until the routing table changes: it is found out once for a head.
"""

import functools

import msgspec

from modelyard.base.errors import ServiceError
from modelyard.domain.routes import EndpointRoute, VariantRoute
from modelyard.domain.routing import choose_variant
from modelyard.gateway.asked import STREAM, Asked, ask
from modelyard.gateway.counters import CellKey
from modelyard.gateway.heads import Head, Track
from modelyard.gateway.in_flight import VariantKey


class Way(msgspec.Struct, frozen=True, eq=False):
    """To one fleet's part of a variant."""

    endpoint: EndpointRoute
    variant: VariantRoute
    key: VariantKey
    """As the dispatcher knows it."""
    cell: CellKey
    """Where its requests are counted."""


class Known:
    """What is known of a head: what it asks for, and the way of its requests if they all go one."""

    __slots__ = ("asked", "track", "way")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.way: Way | None = None
        self.track: Track | None = None
        """Of the lane, for those that are not signed."""


def known_of(head: Head) -> Known:
    """Found out with the first of its requests."""
    known: Known | None = head.memo
    if known is None:
        known = head.memo = Known(ask(head))
    return known


def only_way(endpoint: EndpointRoute, asked: Asked) -> Way | None:
    """None where each request is looked at by itself. Raises ``ServiceError`` for what the endpoint does not take."""
    if endpoint.asynchronous:
        text = f"Endpoint {endpoint.name} is asynchronous: invoke it with InvokeEndpointAsync."
        raise ServiceError("ValidationError", text)
    is_plain = len(endpoint.variants) == 1 and not (
        endpoint.rollout or endpoint.capture or endpoint.shadows or asked.target_variant
    )
    is_whole = asked.operation != STREAM and not (asked.container or asked.meta.target_model)
    if not is_plain or not is_whole:
        return None
    (variant,) = endpoint.variants
    return None if variant.direct or variant.multi_model else way_to(endpoint, variant)


def choose_way(endpoint: EndpointRoute, asked: Asked, head: Head, draw: float) -> Way:
    """Raises ``ServiceError``, as ``choose_variant`` does."""
    rollout, fleet = endpoint.rollout, None
    if rollout is not None and rollout.header:
        is_asked = head.joined.get(rollout.header) == rollout.value
        fleet = rollout.green if is_asked else None
    variant = choose_variant(endpoint, target=asked.target_variant, draw=draw, fleet=fleet)
    return way_to(endpoint, variant)


def way_to(endpoint: EndpointRoute, variant: VariantRoute) -> Way:
    """To this variant, or this fleet's part of it."""
    account, region, name = endpoint.account, endpoint.region, endpoint.name
    return Way(
        endpoint,
        variant,
        (account, region, name, variant.name, variant.fleet),
        (account, region, name, variant.name, variant.config),
    )


def check_model(variant: VariantRoute, model: str, name: str) -> None:
    """Raises ``ValidationError`` for a model's name that is missing, or that has no meaning."""
    if variant.multi_model == bool(model):
        return
    text = (
        f"Endpoint {name} has many models: name one of them by TargetModel."
        if variant.multi_model
        else f"TargetModel is for multi-model endpoints; {name} is not one."
    )
    raise ServiceError("ValidationError", text)


def choose_container(variant: VariantRoute, wanted: str, name: str) -> str:
    """The container that an invocation names, of an endpoint whose invocations have to. Raises ``ValidationError``."""
    if variant.direct and wanted in variant.containers:
        return wanted
    if not variant.direct:
        text = f"TargetContainerHostname is for endpoints that invoke their containers directly; {name} is not one."
    elif wanted:
        text = f"Container {wanted} was not found in variant {variant.name}: it has {', '.join(variant.containers)}."
    else:
        text = f"Endpoint {name} invokes its containers directly: name one of them by TargetContainerHostname."
    raise ServiceError("ValidationError", text)


@functools.lru_cache(maxsize=4096)
def endpoint_arn(region: str, account: str, name: str) -> str:
    """As IAM's policies name it."""
    return f"arn:aws:sagemaker:{region}:{account}:endpoint/{name.lower()}"
