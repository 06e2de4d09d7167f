"""Which variant and which replica a request goes to."""

from collections.abc import Sequence

from modelyard.base.errors import ServiceError
from modelyard.domain.routes import EndpointRoute, VariantRoute


def choose_variant(
    endpoint: EndpointRoute, *, target: str, draw: float, fleet: int | None = None
) -> VariantRoute:
    """The variant that ``target`` names, or one by weight; ``draw`` is uniform in [0, 1).

    Of the ``fleet``'s parts, if one is named and it has any: the variants' whole weights then decide between them.

    Raises ``ValidationError`` for an unknown target, and ``ServiceUnavailable`` where no variant takes traffic.
    """
    if fleet is not None:
        part = _of_fleet(endpoint, fleet, target)
        if part:
            return _draw(part, _whole_weights(endpoint, part), draw)
    if target:
        named = [variant for variant in endpoint.variants if variant.name == target]
        if not named:
            raise ServiceError(
                "ValidationError",
                f"Variant {target} not found for Endpoint {endpoint.name} of account {endpoint.account}.",
            )
        return _draw(named, [variant.share for variant in named], draw)
    if len(endpoint.variants) == 1:
        return endpoint.variants[0]
    weights = [variant.weight for variant in endpoint.variants]
    if sum(weights) <= 0:
        raise ServiceError("ServiceUnavailable", "Every variant has the weight 0.", status=503)
    return _draw(endpoint.variants, weights, draw)


def _of_fleet(endpoint: EndpointRoute, fleet: int, target: str) -> Sequence[VariantRoute]:
    own = [variant for variant in endpoint.variants if variant.fleet == fleet]
    return [variant for variant in own if variant.name == target or not target]


def _whole_weights(endpoint: EndpointRoute, part: Sequence[VariantRoute]) -> Sequence[float]:
    """Of each variant, both fleets' weights together; those of a fleet that has no share yet say nothing."""
    weights = [
        sum(variant.weight for variant in endpoint.variants if variant.name == one.name)
        for one in part
    ]
    return weights if sum(weights) > 0 else [1.0] * len(part)


def _draw(variants: Sequence[VariantRoute], weights: Sequence[float], draw: float) -> VariantRoute:
    if len(variants) == 1:
        return variants[0]
    position = draw * sum(weights)
    for variant, weight in zip(variants, weights, strict=True):
        position -= weight
        if position < 0:
            return variant
    # Rounding may leave a sliver behind the last weight; it belongs to the last variant that has one.
    pairs = zip(reversed(variants), reversed(weights), strict=True)
    return next(variant for variant, weight in pairs if weight > 0)


def least_outstanding(in_flight: Sequence[int], *, turn: int) -> int:
    """Place of the replica with the fewest requests in flight; equal ones take turns."""
    count = len(in_flight)
    best = turn % count
    for step in range(1, count):
        place = (turn + step) % count
        if in_flight[place] < in_flight[best]:
            best = place
    return best
